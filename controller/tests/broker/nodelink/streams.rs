//! What streams from a node.

use super::*;

fn last_lines() -> LogRequest {
    LogRequest {
        node: "n1".into(),
        namespace: "default".into(),
        pod: "web".into(),
        uid: UID.into(),
        container: "main".into(),
        follow: false,
        previous: false,
        timestamps: false,
        tail_lines: Some(3),
        since: None,
        limit_bytes: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_stream_through_the_broker() {
    let world = World::new().await;
    let link = world.start().await;
    let mut board = world.board(1).await;
    let head = board.born().await;
    board.report(head.version, vec![running()]).await;
    let request = LogRequest {
        timestamps: true,
        ..last_lines()
    };

    // More than the first credit: the node goes on when the reader has read.
    let opened = tokio::spawn(link.open(request.clone()));
    let (topic, open) = board
        .next::<Open>(|topic| matches!(topic, Topic::StreamOpen(..)))
        .await;
    let Topic::StreamOpen(_, id) = topic else {
        unreachable!()
    };
    let What::Logs(logs) = &open.what else {
        panic!("{open:?}")
    };
    assert_eq!((open.boot, logs.tail_lines), (Boot(1), Some(3)));
    let total = u64::from(open.credit) * 3;
    let feeding = tokio::spawn(async move {
        let (mut offset, mut credit) = (0, u64::from(open.credit));
        while offset < total {
            if offset == credit {
                let (_, more) = board
                    .next::<In>(|topic| *topic == Topic::StreamIn(n1(), id))
                    .await;
                let In::Credit(more) = more else {
                    panic!("closed early")
                };
                credit = more;
                continue;
            }
            let bytes = vec![b'x'; 8192.min((credit - offset) as usize)];
            let length = bytes.len() as u64;
            board.send(&Topic::StreamOut(n1(), id), &Out::Data { offset, bytes });
            offset += length;
            // Frames are refused when the outbox is full; a real agent waits likewise.
            while !board.peer.link.is_idle() {
                tokio::task::yield_now().await;
            }
        }
        board.send(
            &Topic::StreamOut(n1(), id),
            &Out::End {
                offset,
                error: None,
            },
        );
        board
    });
    let mut stream = opened.await.unwrap().unwrap();
    let mut read = 0;
    while let Some(chunk) = stream.next().await {
        read += chunk.unwrap().len() as u64;
    }
    assert_eq!(read, total);
    let mut board = feeding.await.unwrap();

    // A client that goes away closes the stream on the node.
    let opened = tokio::spawn(link.open(LogRequest {
        follow: true,
        ..request.clone()
    }));
    let (topic, _) = board
        .next::<Open>(|topic| matches!(topic, Topic::StreamOpen(..)))
        .await;
    let Topic::StreamOpen(_, id) = topic else {
        unreachable!()
    };
    board.send(
        &Topic::StreamOut(n1(), id),
        &Out::Data {
            offset: 0,
            bytes: b"line\n".to_vec(),
        },
    );
    let mut stream = opened.await.unwrap().unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "line\n");
    drop(stream);
    let (_, message) = board
        .next::<In>(|topic| *topic == Topic::StreamIn(n1(), id))
        .await;
    assert_eq!(message, In::Close);

    // A node that is away is an answer, not a wait.
    drop(board);
    world.node_ready("Unknown").await;
    let refused = link.open(request).await.err().unwrap();
    assert_eq!(refused.code(), 503, "{refused:?}");
}

/// The next opening of a log on a board.
async fn opened(board: &mut Board) -> (StreamId, Logs) {
    let wanted = |topic: &Topic| matches!(topic, Topic::StreamOpen(..));
    match board.next::<Open>(wanted).await {
        (
            Topic::StreamOpen(_, id),
            Open {
                what: What::Logs(logs),
                ..
            },
        ) => (id, logs),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_followed_log_goes_on_when_its_node_comes_back() {
    let world = World::new().await;
    let link = world.start().await;
    let mut board = world.board(1).await;
    let head = board.born().await;
    board.report(head.version, vec![running()]).await;
    let request = LogRequest {
        follow: true,
        limit_bytes: Some(100),
        ..last_lines()
    };
    let opening = tokio::spawn(link.open(request));
    let (id, logs) = opened(&mut board).await;
    assert_eq!((logs.limit_bytes, logs.resume), (Some(100), None));
    let mark = Mark {
        offset: 4,
        cursor: b"here".to_vec(),
    };
    let (offset, bytes) = (0, b"one\ntw".to_vec());
    let said = Out::Log {
        offset,
        bytes,
        mark,
    };
    board.send(&Topic::StreamOut(n1(), id), &said);
    let mut stream = opening.await.unwrap().unwrap();
    let mut text = stream.next().await.unwrap().unwrap().to_vec();
    assert_eq!(text, b"one\ntw");

    // The client goes on to wait, and hears nothing of this.
    let rest = tokio::spawn(async move {
        while let Some(bytes) = stream.next().await {
            text.extend(bytes.unwrap());
        }
        text
    });
    drop(board);
    world.node_ready("Unknown").await;
    let mut board = world.board(2).await;
    let head = board.born().await;
    // Its acknowledgement is not waited for: the log may be asked for before.
    board.report_unheard(head.version, vec![running()]);
    let (id, logs) = opened(&mut board).await;
    let resume = Resume {
        cursor: b"here".to_vec(),
        skip: 2,
        line_open: true,
    };
    assert_eq!((logs.limit_bytes, logs.resume), (Some(94), Some(resume)));
    let bytes = b"o\n".to_vec();
    board.send(&Topic::StreamOut(n1(), id), &Out::Data { offset, bytes });
    let error = None;
    board.send(&Topic::StreamOut(n1(), id), &Out::End { offset: 2, error });
    assert_eq!(rest.await.unwrap(), b"one\ntwo\n");
}
