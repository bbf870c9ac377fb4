//! The table of streams, driven by hand.

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
