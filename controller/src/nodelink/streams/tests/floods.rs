//! Clients and nodes that say too much, and what is lost between them.

use std::collections::BTreeSet;

use bramble_wire::limits::{STREAM_CHANNELS_MAX, TEXT_MAX};
use futures_util::FutureExt as _;

use super::super::state::{INPUT_MAX, PIECES_MAX};
use super::*;

#[tokio::test]
async fn a_flood_of_connections_waits_for_the_node() {
    let mut streams = streams();
    let (id, writer, _reader) = streams.open(&node("n1"), true, Instant::now()).unwrap();
    let input = || writer.buffer.lock().input.len();
    for channel in 0..INPUT_MAX as u16 {
        writer.connect(channel, 80).await.unwrap();
    }
    assert_eq!(writer.connect(100, 80).now_or_never(), None, "no room");
    // What the node has not heard of need not be taken back.
    for channel in 0..INPUT_MAX as u16 {
        writer.disconnect(channel);
    }
    assert_eq!(input(), 0);
    for channel in 0..10_000 {
        writer.connect(channel, 80).now_or_never().unwrap().unwrap();
        writer.disconnect(channel);
    }
    assert_eq!(input(), 0);
    // What it has heard of is; nothing new is queued behind that.
    let channels = 0..STREAM_CHANNELS_MAX as u16;
    for channel in channels.clone() {
        writer.connect(channel, 80).await.unwrap();
        streams.due(Instant::now(), 8);
    }
    for channel in channels {
        writer.disconnect(channel);
    }
    assert_eq!(writer.connect(100, 80).now_or_never(), None, "no room");
    assert_eq!(input(), STREAM_CHANNELS_MAX);
    let waiting = {
        let writer = writer.clone();
        tokio::spawn(async move { writer.connect(100, 80).await })
    };
    tokio::task::yield_now().await;
    let told = streams.due(Instant::now(), STREAM_CHANNELS_MAX);
    assert!(told.contains(&(node("n1"), id, In::Disconnect { channel: 0 })));
    assert_eq!(waiting.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_connection_has_its_share_of_the_room() {
    let mut streams = streams();
    let (id, writer, _reader) = forward(&mut streams).await;
    for channel in [1, 2] {
        let credit = u64::from(CHANNEL_CREDIT_MAX);
        streams.handle_out(&node("n1"), id, Out::Credit { channel, credit });
    }
    // One byte each, so that they are no message together.
    let mut sent = 0;
    while writer.send(1, b"x").now_or_never().is_some() {
        sent += 1;
        writer.resize(sent, 1);
        assert!(usize::from(sent) < INPUT_MAX, "it took all the room");
    }
    assert_eq!(writer.send(2, b"y").now_or_never(), Some(Ok(())));
}

#[tokio::test]
async fn streams_take_turns() {
    let mut streams = streams();
    let now = Instant::now();
    let mut open = Vec::new();
    for _ in 0..3 {
        let (id, writer, reader) = streams.open(&node("n1"), true, now).unwrap();
        for channel in 0..4 {
            writer.connect(channel, 80).await.unwrap();
        }
        open.push((id, writer, reader));
    }
    let ids = |told: Vec<(NodeName, StreamId, In)>| -> Vec<StreamId> {
        told.into_iter().map(|(_, id, _)| id).collect()
    };
    let (first, second) = (ids(streams.due(now, 2)), ids(streams.due(now, 2)));
    let served: BTreeSet<StreamId> = first.iter().chain(&second).copied().collect();
    assert_eq!(served.len(), 3, "{first:?} {second:?}");
}

#[tokio::test]
async fn a_channel_ends_only_where_there_are_some() {
    let mut streams = streams();
    let (id, _writer, mut reader) = streams.open(&node("n1"), false, Instant::now()).unwrap();
    let end = Out::ChannelEnd {
        channel: channel::OUT,
        offset: 0,
        error: None,
    };
    streams.handle_out(&node("n1"), id, end);
    let next = reader.next().await;
    assert!(matches!(next, Some(Err(Error::Node(_)))), "{next:?}");
}

#[tokio::test]
async fn bytes_that_come_alone_are_gathered() {
    for forwards in [false, true] {
        let mut streams = streams();
        let (id, writer, mut reader) = streams.open(&node("n1"), forwards, Instant::now()).unwrap();
        if forwards {
            writer.connect(1, 80).await.unwrap();
            writer.connect(2, 80).await.unwrap();
        }
        let each = u64::from(CHANNEL_CREDIT_MAX);
        for offset in 0..each {
            for channel in [1, 2] {
                let bytes = vec![offset as u8];
                let out = Out::ChannelData {
                    channel,
                    offset,
                    bytes,
                };
                streams.handle_out(&node("n1"), id, out);
            }
        }
        let held = reader.buffer.lock().events.len();
        assert!(held <= PIECES_MAX + 1, "{held} pieces");
        let mut read = [Vec::new(), Vec::new()];
        while let Some(Some(Ok(Event::Data { channel, bytes }))) = reader.next().now_or_never() {
            read[usize::from(channel) - 1].extend_from_slice(&bytes);
        }
        let want: Vec<u8> = (0..each).map(|offset| offset as u8).collect();
        assert!(read == [want.clone(), want], "in order and whole");
    }
}

#[tokio::test]
async fn a_lost_end_of_standard_error_is_missed() {
    let mut streams = streams();
    let (id, _writer, mut reader) = streams.open(&node("n1"), false, Instant::now()).unwrap();
    streams.handle_out(&node("n1"), id, data(0, "out"));
    // Three bytes of standard error were sent as well.
    streams.handle_out(&node("n1"), id, Out::Exit { code: 0 });
    streams.handle_out(&node("n1"), id, end(6));
    reader.next().await.unwrap().unwrap();
    assert_eq!(reader.next().await, Some(Ok(Event::Exit(0))));
    assert_eq!(reader.next().await, Some(Err(Error::Gap)));
}

#[tokio::test]
async fn credit_is_repeated_for_each_channel_and_whatever_else_is_said() {
    let mut streams = streams();
    let (id, writer, mut reader) = forward(&mut streams).await;
    let now = Instant::now();
    let window = u64::from(CHANNEL_CREDIT_MAX);
    let out = Out::ChannelData {
        channel: 1,
        offset: 0,
        bytes: vec![b'x'; window as usize],
    };
    streams.handle_out(&node("n1"), id, out);
    reader.next().await.unwrap().unwrap();
    let (channel, credit) = (1, 2 * window);
    let granted = (node("n1"), id, In::ChannelCredit { channel, credit });
    assert_eq!(streams.due(now, 8), std::slice::from_ref(&granted));
    assert_eq!(streams.due(now, 8), []);
    // Input is no answer to what was lost.
    writer.connect(3, 80).await.unwrap();
    streams.due(now + REPEAT / 2, 8);
    let all = (node("n1"), id, In::Credit(WINDOW));
    assert_eq!(streams.due(now + 2 * REPEAT, 8), [all, granted]);
}

#[tokio::test]
async fn what_a_connection_was_to_get_goes_with_it() {
    let mut streams = streams();
    let (id, writer, mut reader) = forward(&mut streams).await;
    let (channel, credit) = (1, 100);
    streams.handle_out(&node("n1"), id, Out::Credit { channel, credit });
    writer.send(1, b"late").await.unwrap();
    let why = "x".repeat(1 << 20);
    let end = Out::ChannelEnd {
        channel,
        offset: 0,
        error: Some(StreamError::Failed(why)),
    };
    streams.handle_out(&node("n1"), id, end);
    assert_eq!(streams.due(Instant::now(), 8), []);
    match reader.next().await {
        Some(Ok(Event::ChannelEnd {
            error: Some(StreamError::Failed(why)),
            ..
        })) => assert_eq!(why.len(), TEXT_MAX),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn credit_that_is_not_worth_a_message_is_told_with_the_next() {
    let mut streams = streams();
    let now = Instant::now();
    let (id, _writer, mut reader) = streams.open(&node("n1"), false, now).unwrap();
    let piece = WINDOW / 8;
    let mut told = Vec::new();
    for n in 0..8 {
        let text = "x".repeat(piece as usize);
        streams.handle_out(&node("n1"), id, data(n * piece, &text));
        reader.next().await.unwrap().unwrap();
        told.extend(streams.due(now, 8).into_iter().map(|(_, _, input)| input));
    }
    let half = WINDOW / 2;
    assert_eq!(told, [In::Credit(WINDOW + half), In::Credit(2 * WINDOW)]);
}
