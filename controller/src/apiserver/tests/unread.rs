//! Clients that don't read, and users with too many connections.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::Limits;
use super::*;
use crate::apiserver::NoLogs;
use crate::store::MemoryStore;

/// A server that waits for nobody, and two map objects that are large and change.
async fn impatient(limits: Limits) -> Cluster {
    let store = MemoryStore::default();
    Cluster::with(store, limits, std::sync::Arc::new(NoLogs)).await
}

fn limits() -> Limits {
    Limits {
        stall: Duration::from_millis(300),
        watches: 2,
        ..Limits::default()
    }
}

/// Writes until no watch is left, which is when a further one is let in.
async fn until_dropped(cluster: &Cluster, watches: usize) {
    let mut large = config_map("large");
    cluster.post(CONFIG_MAPS, &large).await.expect(201);
    let path = format!("{CONFIG_MAPS}/large");
    for n in 0..2000 {
        large["data"]["text"] = format!("{n}{}", "x".repeat(200_000)).into();
        cluster.put(&path, &large).await.expect(200);
        if cluster.watches_under_way().await < watches {
            return;
        }
    }
    panic!("the watch that nobody reads is still there");
}

impl Cluster {
    async fn watches_under_way(&self) -> usize {
        let reply = self.get("/metrics").await.expect(200);
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        let mut lines = text.lines();
        let count = lines.find_map(|l| l.strip_prefix("apiserver_longrunning_requests "));
        count.unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn a_watch_that_nobody_reads_ends() {
    let cluster = impatient(limits()).await;
    let mut stream = cluster.connect_admin().await;
    let request = format!("GET {CONFIG_MAPS}?watch=true HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    until_dropped(&cluster, 1).await;
}

#[tokio::test]
async fn nor_does_one_over_http_2_whose_window_is_full() {
    let cluster = impatient(limits()).await;
    let stream = cluster.connect_admin_with(&[b"h2"]).await;
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(70_000)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    // The connection is alive all the time: pings and other requests are answered.
    let connection = tokio::spawn(connection);
    let request = |path: String| {
        http::Request::get(format!("https://localhost{path}"))
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap()
    };
    let unread = sender
        .send_request(request(format!("{CONFIG_MAPS}?watch=true")))
        .await
        .unwrap();
    assert_eq!(unread.status(), 200);
    let other = sender.send_request(request("/version".into())).await;
    other.unwrap().into_body().collect().await.unwrap();
    until_dropped(&cluster, 1).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), connection).await;
    ended.expect("the connection ends").unwrap().ok();
    drop(unread);
}

#[tokio::test]
async fn a_quiet_watch_is_not_an_unread_one() {
    let cluster = impatient(limits()).await;
    let mut quiet = cluster.watch(&format!("{PODS}?watch=true")).await;
    // Another one is dropped meanwhile, so time enough has passed.
    let mut stream = cluster.connect_admin().await;
    let request = format!("GET {CONFIG_MAPS}?watch=true HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    until_dropped(&cluster, 2).await;
    cluster.post(PODS, &pod("a")).await.expect(201);
    assert_eq!(quiet.brief().await, "ADDED a");
}

#[tokio::test]
async fn one_user_does_not_take_every_connection() {
    let limits = Limits {
        connections: 8,
        connections_per_user: 3,
        ..Limits::default()
    };
    let cluster = impatient(limits).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = cluster.connect_admin().await;
        stream
            .write_all(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        held.push(stream);
    }
    let mut fourth = cluster.connect_admin().await;
    // Its write may or may not fail, depending on who is quicker; its read ends.
    let _ = fourth
        .write_all(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), fourth.read_to_end(&mut rest));
    let _ = read.await.expect("it is closed");
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    drop(held.pop());
    let again = async {
        loop {
            let mut stream = cluster.connect_admin().await;
            let _ = stream
                .write_all(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n")
                .await;
            let mut head = [0; 12];
            if stream.read_exact(&mut head).await.is_ok() {
                return head;
            }
        }
    };
    let head = tokio::time::timeout(Duration::from_secs(10), again).await;
    assert_eq!(&head.expect("a seat is free again"), b"HTTP/1.1 200");
}
