//! What streams from a node.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_stream_through_the_broker() {
    let world = World::new().await;
    let link = world.start().await;
    let mut board = world.board(1).await;
    let head = board.born().await;
    board.report(head.version, vec![running()]).await;
    let request = LogRequest {
        node: "n1".into(),
        namespace: "default".into(),
        pod: "web".into(),
        uid: UID.into(),
        container: "main".into(),
        follow: false,
        previous: false,
        timestamps: true,
        tail_lines: Some(3),
        since: None,
        limit_bytes: None,
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
