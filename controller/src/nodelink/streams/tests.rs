//! The table of streams, driven by hand.

mod floods;

use bramble_wire::limits::CURSOR_MAX;
use bramble_wire::stream::Mark;

use super::*;

const WINDOW: u64 = STREAM_CREDIT_MAX as u64;

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn streams() -> Streams {
    Streams::new(100, Arc::default())
}

fn data(offset: u64, text: &str) -> Out {
    Out::Data {
        offset,
        bytes: text.into(),
    }
}

fn end(offset: u64) -> Out {
    Out::End {
        offset,
        error: None,
    }
}

async fn read_all(reader: &mut Reader) -> (String, Option<Error>) {
    let mut text = String::new();
    while let Some(next) = reader.next().await {
        match next {
            Ok(Event::Data { bytes, .. }) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => return (text, Some(error)),
        }
    }
    (text, None)
}

#[tokio::test]
async fn repeats_are_dropped_and_the_end_comes_last() {
    let mut streams = streams();
    let (id, _writer, mut reader) = streams.open(&node("n1"), false, Instant::now()).unwrap();
    for out in [
        data(0, "abc"),
        data(0, "abc"),
        data(2, "cd"),
        data(4, "e"),
        end(5),
    ] {
        streams.handle_out(&node("n1"), id, out);
    }
    assert_eq!(read_all(&mut reader).await, ("abcde".to_owned(), None));
    assert!(reader.next().await.is_none());
}

#[tokio::test]
async fn a_gap_is_an_error_after_what_came_before() {
    for lost in [data(5, "x"), end(5)] {
        let mut streams = streams();
        let (id, _writer, mut reader) = streams.open(&node("n1"), false, Instant::now()).unwrap();
        streams.handle_out(&node("n1"), id, data(0, "abc"));
        streams.handle_out(&node("n1"), id, lost);
        assert_eq!(
            read_all(&mut reader).await,
            ("abc".to_owned(), Some(Error::Gap))
        );
        assert!(reader.next().await.is_none(), "an error comes once");
    }
}

#[tokio::test]
async fn the_newest_place_of_what_came_is_kept() {
    let mut streams = streams();
    let (id, _writer, mut reader) = streams.open(&node("n1"), false, Instant::now()).unwrap();
    let cursor = |length| vec![7; length];
    let place = |at, length| Mark {
        offset: at,
        cursor: cursor(length),
    };
    let mut say = |offset, text: &str, mark: Mark| {
        let bytes = text.into();
        let out = Out::Log {
            offset,
            bytes,
            mark,
        };
        streams.handle_out(&node("n1"), id, out);
        reader.mark()
    };
    assert_eq!(say(0, "", place(0, 1)), Some(place(0, 1)));
    let longest = place(2, CURSOR_MAX);
    assert_eq!(say(0, "abc", longest.clone()), Some(longest));
    assert_eq!(say(3, "d", place(5, 1)), None, "of what did not come");
    assert_eq!(say(4, "e", place(5, CURSOR_MAX + 1)), None, "too long");
    assert_eq!(say(9, "x", place(5, 1)), None, "something got lost before");
    let (text, error) = read_all(&mut reader).await;
    assert_eq!((&*text, error), ("abcde", Some(Error::Gap)));
}

#[test]
fn streams_that_ended_with_our_connection_are_closed_once() {
    let mut streams = streams();
    let (id, _writer, _reader) = streams.open(&node("n1"), false, Instant::now()).unwrap();
    let (other, ..) = streams.open(&node("n2"), false, Instant::now()).unwrap();
    streams.handle_node_gone(&node("n2"));
    assert_eq!(streams.take_orphans(), [], "{other:?} has no node");
    streams.handle_disconnected();
    assert_eq!(streams.take_orphans(), [(node("n1"), id)]);
    assert_eq!(streams.take_orphans(), []);
}

#[tokio::test]
async fn another_node_can_not_write_into_a_stream() {
    let mut streams = streams();
    let (id, _writer, mut reader) = streams.open(&node("n1"), false, Instant::now()).unwrap();
    streams.handle_out(&node("n2"), id, data(0, "forged"));
    streams.handle_out(&node("n1"), id, data(0, "own"));
    streams.handle_out(&node("n1"), id, end(3));
    assert_eq!(read_all(&mut reader).await, ("own".to_owned(), None));
}

#[tokio::test]
async fn credit_follows_the_reader() {
    let mut streams = streams();
    let now = Instant::now();
    let (id, _writer, mut reader) = streams.open(&node("n1"), false, now).unwrap();
    let half = "x".repeat(WINDOW as usize / 2);
    streams.handle_out(&node("n1"), id, data(0, &half));
    streams.handle_out(&node("n1"), id, data(WINDOW / 2, &half));
    assert_eq!(streams.due(now, 8), [], "nothing read, no credit");
    reader.next().await.unwrap().unwrap();
    assert_eq!(
        streams.due(now, 8),
        [(node("n1"), id, In::Credit(2 * WINDOW))]
    );
    assert_eq!(streams.due(now, 8), []);
    assert_eq!(
        streams.due(now + REPEAT, 8),
        [(node("n1"), id, In::Credit(2 * WINDOW))]
    );
}

#[tokio::test]
async fn more_than_the_credit_ends_the_stream() {
    let mut streams = streams();
    let (id, _writer, mut reader) = streams.open(&node("n1"), false, Instant::now()).unwrap();
    let window = "x".repeat(WINDOW as usize);
    streams.handle_out(&node("n1"), id, data(0, &window));
    streams.handle_out(&node("n1"), id, data(WINDOW, "y"));
    let (text, error) = read_all(&mut reader).await;
    assert_eq!(text.len() as u64, WINDOW);
    assert!(
        matches!(error, Some(Error::Node(StreamError::Failed(_)))),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_dropped_reader_closes_the_stream() {
    let mut streams = streams();
    let (id, _writer, reader) = streams.open(&node("n1"), false, Instant::now()).unwrap();
    drop(reader);
    assert_eq!(
        streams.due(Instant::now(), 8),
        [(node("n1"), id, In::Close)]
    );
    assert!(streams.next_wake().is_none());
}

#[tokio::test]
async fn streams_of_a_lost_node_end_and_those_of_others_go_on() {
    let mut streams = streams();
    let now = Instant::now();
    let (_, _writer, mut lost) = streams.open(&node("n1"), false, now).unwrap();
    let (id, _writer, mut other) = streams.open(&node("n2"), false, now).unwrap();
    streams.handle_node_gone(&node("n1"));
    assert_eq!(
        read_all(&mut lost).await.1,
        Some(Error::Offline(node("n1")))
    );
    streams.handle_out(&node("n2"), id, end(0));
    assert_eq!(read_all(&mut other).await, (String::new(), None));
}

#[test]
fn a_node_serves_a_few_streams() {
    let mut streams = streams();
    let now = Instant::now();
    let open: Vec<_> = (0..STREAMS_MAX)
        .map(|_| streams.open(&node("n1"), false, now).unwrap())
        .collect();
    assert_eq!(
        streams.open(&node("n1"), false, now).unwrap_err(),
        Error::Busy(node("n1"))
    );
    assert!(streams.open(&node("n2"), false, now).is_ok());
    drop(open);
    streams.due(now, 8);
    assert!(streams.open(&node("n1"), false, now).is_ok());
}

async fn forward(streams: &mut Streams) -> (StreamId, Writer, Reader) {
    let (id, writer, reader) = streams.open(&node("n1"), true, Instant::now()).unwrap();
    writer.connect(1, 80).await.unwrap();
    writer.connect(2, 80).await.unwrap();
    let told = streams.due(Instant::now(), 8);
    let connect = |channel| (node("n1"), id, In::Connect { channel, port: 80 });
    assert_eq!(told, [connect(1), connect(2)]);
    (id, writer, reader)
}

#[tokio::test]
async fn input_waits_for_the_nodes_credit_and_for_room() {
    let mut streams = streams();
    let now = Instant::now();
    let (id, writer, _reader) = streams.open(&node("n1"), false, now).unwrap();
    let sending = {
        let writer = writer.clone();
        tokio::spawn(async move { writer.send(channel::IN, b"abcdef").await })
    };
    tokio::task::yield_now().await;
    assert_eq!(streams.due(now, 8), [], "no credit, no input");
    let (channel, credit) = (channel::IN, 4);
    streams.handle_out(&node("n1"), id, Out::Credit { channel, credit });
    tokio::task::yield_now().await;
    assert!(streams.has_input());
    assert_eq!(streams.due(now, 0), [], "no room, no input");
    let (offset, bytes) = (0, b"abcd".to_vec());
    let data = In::Data {
        channel,
        offset,
        bytes,
    };
    assert_eq!(streams.due(now, 8), [(node("n1"), id, data)]);
    let credit = 100;
    streams.handle_out(&node("n1"), id, Out::Credit { channel, credit });
    assert_eq!(sending.await.unwrap(), Ok(()));
    writer.end(channel);
    let (offset, bytes) = (4, b"ef".to_vec());
    let data = In::Data {
        channel,
        offset,
        bytes,
    };
    let end = In::End { channel, offset: 6 };
    let told = streams.due(now, 8);
    assert_eq!(told, [(node("n1"), id, data), (node("n1"), id, end)]);
    assert_eq!(writer.send(channel, b"more").await, Err(Closed));
}

#[tokio::test]
async fn a_channel_that_is_not_read_holds_up_no_other() {
    let mut streams = streams();
    let (id, _writer, mut reader) = forward(&mut streams).await;
    let window = CHANNEL_CREDIT_MAX as usize;
    for channel in [1, 2] {
        let (offset, bytes) = (0, vec![b'x'; window]);
        let out = Out::ChannelData {
            channel,
            offset,
            bytes,
        };
        streams.handle_out(&node("n1"), id, out);
    }
    match reader.next().await.unwrap().unwrap() {
        Event::Data { channel: 1, bytes } => assert_eq!(bytes.len(), window),
        other => panic!("{other:?}"),
    }
    let (channel, credit) = (1, 2 * window as u64);
    let told = streams.due(Instant::now(), 8);
    assert_eq!(
        told,
        [(node("n1"), id, In::ChannelCredit { channel, credit })]
    );
    let (offset, bytes) = (window as u64, vec![b'y'; 1]);
    let out = Out::ChannelData {
        channel: 2,
        offset,
        bytes,
    };
    streams.handle_out(&node("n1"), id, out);
    assert!(matches!(reader.next().await, Some(Ok(Event::Data { .. }))));
    assert!(
        matches!(reader.next().await, Some(Err(Error::Node(_)))),
        "more than the channel's credit ends the stream"
    );
}

#[tokio::test]
async fn a_channel_that_is_given_up_is_told_and_forgotten() {
    let mut streams = streams();
    let (id, writer, mut reader) = forward(&mut streams).await;
    let out = |channel, bytes: &[u8]| Out::ChannelData {
        channel,
        offset: 0,
        bytes: bytes.to_vec(),
    };
    streams.handle_out(&node("n1"), id, out(1, b"late"));
    writer.disconnect(1);
    streams.handle_out(&node("n1"), id, out(1, b"later"));
    let told = streams.due(Instant::now(), 8);
    assert_eq!(told, [(node("n1"), id, In::Disconnect { channel: 1 })]);
    streams.handle_out(&node("n1"), id, out(2, b"kept"));
    let (channel, offset, error) = (2, 4, None);
    let end = Out::ChannelEnd {
        channel,
        offset,
        error: error.clone(),
    };
    streams.handle_out(&node("n1"), id, end);
    let bytes = bytes::Bytes::from_static(b"kept");
    let next = reader.next().await;
    assert_eq!(next, Some(Ok(Event::Data { channel, bytes })));
    let next = reader.next().await;
    assert_eq!(next, Some(Ok(Event::ChannelEnd { channel, error })));
    assert_eq!(writer.send(2, b"x").await, Err(Closed));
}
