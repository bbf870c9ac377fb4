//! Clients without a certificate can't keep those with one out.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::tokens::account;
use super::*;
use crate::apiserver::{Limits, NoLogs};
use crate::store::MemoryStore;

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Few places, and deadlines that no test waits for.
pub(super) fn few() -> Limits {
    let long = Duration::from_secs(300);
    Limits {
        connections: 2,
        strangers: 4,
        strangers_per_source: 2,
        handshake: long,
        header: long,
        stranger_idle: long,
        ..Limits::default()
    }
}

async fn limited(limits: Limits) -> Cluster {
    Cluster::with(MemoryStore::default(), limits, Arc::new(NoLogs)).await
}

/// Waits until the server has closed it.
pub(super) async fn closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest));
    let _ = end.await.expect("closed by the server");
}

/// Opens so many connections that say nothing, and waits until all but the last `left` are closed.
async fn flood(cluster: &Cluster, from: Ipv4Addr, count: usize, left: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(cluster.connect_from(from).await);
    }
    for stream in &mut open[..count - left] {
        closed(stream).await;
    }
    open
}

async fn says(stream: &mut (impl AsyncRead + Unpin), wanted: &str) {
    let mut start = vec![0; wanted.len()];
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut start));
    read.await.expect("an answer in time").unwrap();
    assert_eq!(String::from_utf8_lossy(&start), wanted);
}

#[tokio::test]
async fn silent_connections_do_not_lock_the_administrator_out() {
    let cluster = limited(few()).await;
    let _silent = flood(&cluster, HERE, 20, 2).await;
    cluster.get(PODS).await.expect(200);
}

#[tokio::test]
async fn one_byte_of_a_head_does_not_lock_the_administrator_out() {
    let cluster = limited(few()).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = cluster.connect(None).await;
        // It may have lost its place already.
        let _ = stream.write_all(b"P").await;
        held.push(stream);
    }
    for stream in &mut held[..18] {
        closed(stream).await;
    }
    cluster.get(PODS).await.expect(200);
}

#[tokio::test]
async fn an_open_connection_of_the_administrator_survives_strangers() {
    let cluster = limited(few()).await;
    let mut admin = cluster.connect_admin().await;
    let request = b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n";
    admin.write_all(request).await.unwrap();
    says(&mut admin, "HTTP/1.1 200").await;
    let _silent = flood(&cluster, HERE, 20, 2).await;
    admin.write_all(request).await.unwrap();
    let mut rest = Vec::new();
    while rest.windows(12).filter(|w| w == b"HTTP/1.1 200").count() < 1 {
        let read = tokio::time::timeout(Duration::from_secs(20), admin.read_buf(&mut rest));
        assert_ne!(read.await.expect("an answer in time").unwrap(), 0);
    }
}

#[tokio::test]
async fn strangers_of_one_address_do_not_displace_those_of_another() {
    let cluster = limited(few()).await;
    let mut quiet = cluster.connect(None).await;
    let _silent = flood(&cluster, ELSEWHERE, 20, 2).await;
    quiet
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    says(&mut quiet, "HTTP/1.1 200").await;
}

#[tokio::test]
async fn a_stranger_is_displaced_while_idle_rather_than_at_work() {
    let cluster = limited(few()).await;
    let mut joining = cluster.connect(None).await;
    let head = "POST /bramble/v1/join HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\
                content-length: 2\r\n\r\n";
    joining.write_all(head.as_bytes()).await.unwrap();
    says(&mut joining, "HTTP/1.1 100 Continue\r\n\r\n").await;
    let _silent = flood(&cluster, HERE, 20, 1).await;
    joining.write_all(b"{}").await.unwrap();
    says(&mut joining, "HTTP/1.1 400").await;
}

#[tokio::test]
async fn strangers_that_do_not_ask_are_closed() {
    let limits = Limits {
        stranger_idle: Duration::from_millis(100),
        ..few()
    };
    let cluster = limited(limits).await;
    let h2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for start in [&b""[..], b"P", b"GET / HT", h2] {
        let mut stream = cluster.connect(None).await;
        stream.write_all(start).await.unwrap();
        closed(&mut stream).await;
    }
    // After its answer, too.
    let mut stream = cluster.connect(None).await;
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    says(&mut stream, "HTTP/1.1 200").await;
    closed(&mut stream).await;
}

#[tokio::test]
async fn certified_connections_have_a_limit_of_their_own() {
    let limits = Limits {
        connections: 1,
        ..few()
    };
    let cluster = limited(limits).await;
    let mut first = cluster.connect_admin().await;
    let request = b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n";
    first.write_all(request).await.unwrap();
    says(&mut first, "HTTP/1.1 200").await;
    closed(&mut cluster.connect_admin().await).await;
    cluster
        .send_as(None, "GET", "/healthz", &[], "")
        .await
        .expect(200);
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_flood_writes_one_line() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone())
        .finish();
    // The test's runtime has one thread, so the server logs here too.
    let _guard = tracing::subscriber::set_default(subscriber);
    let cluster = limited(few()).await;
    let _silent = flood(&cluster, HERE, 50, 2).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("from one address"), "{text}");
}

/// Sends a request with a token and reads the answer to its end.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), token: &str) -> String {
    let request =
        format!("GET /version HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        let length = text.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
        if length.is_some() && length == body {
            return text.lines().next().unwrap_or_default().to_owned();
        }
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_buf(&mut answer));
        assert_ne!(read.await.expect("an answer in time").unwrap(), 0, "{text}");
    }
}

#[tokio::test]
async fn a_token_that_counts_makes_a_connection_known() {
    let limits = Limits {
        stranger_idle: Duration::from_millis(500),
        ..few()
    };
    let cluster = account(limited(limits).await).await;
    let token = cluster.plain_token().await;
    let mut known = cluster.connect(None).await;
    assert_eq!(ask(&mut known, &token).await, "http/1.1 200 ok");
    // Neither others that come nor the patience for strangers end it.
    let mut idle = cluster.connect(None).await;
    let _silent = flood(&cluster, ELSEWHERE, 20, 2).await;
    closed(&mut idle).await;
    assert_eq!(ask(&mut known, &token).await, "http/1.1 200 ok");
    // A token that counts for nothing changes nothing.
    let mut stranger = cluster.connect(None).await;
    assert_eq!(ask(&mut stranger, "x").await, "http/1.1 401 unauthorized");
    closed(&mut stranger).await;
}

#[tokio::test]
async fn whoever_guesses_tokens_loses_the_connection() {
    let cluster = limited(few()).await;
    let mut guessing = cluster.connect(None).await;
    for guess in 0..8 {
        let token = format!("a.b.{guess}");
        assert_eq!(
            ask(&mut guessing, &token).await,
            "http/1.1 401 unauthorized"
        );
    }
    closed(&mut guessing).await;
    cluster.get(PODS).await.expect(200);
}

#[tokio::test]
async fn tokens_work_when_no_seat_is_free() {
    let limits = Limits {
        connections: 1,
        ..few()
    };
    let cluster = account(limited(limits).await).await;
    let token = cluster.plain_token().await;
    let mut first = cluster.connect(None).await;
    let mut second = cluster.connect(None).await;
    assert_eq!(ask(&mut first, &token).await, "http/1.1 200 ok");
    assert_eq!(ask(&mut second, &token).await, "http/1.1 200 ok");
}
