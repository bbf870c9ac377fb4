//! SPDY clients over a connection in memory, and a node that is played by hand.

use std::convert::Infallible;
use std::time::Instant;

use bramble_wire::name::NodeName;
use bramble_wire::stream::{In, Out, Stdio};
use bramble_wire::topic::StreamId;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;

use super::command::{self, Client, Said, SpdyClient, Teller};
use super::forward::{self, Pod};
use super::spdy::tests::Client as Encoder;
use super::{Activity, carrier, spdy};
use crate::nodelink::streams::Streams;

/// What a client hears.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Reply(u32),
    Reset(u32),
    Data(u32, String, bool),
    Other,
}

struct Peer {
    io: DuplexStream,
    encoder: Encoder,
}

impl Peer {
    /// A client's end of a connection that was upgraded, and ours.
    async fn new() -> (Self, Upgraded) {
        let (ours, mut io) = tokio::io::duplex(64 * 1024);
        let (upgrades, mut upgraded) = mpsc::channel(1);
        let service = service_fn(move |request| {
            upgrades.try_send(hyper::upgrade::on(request)).unwrap();
            let answer = http::Response::builder()
                .status(101)
                .header("connection", "upgrade")
                .header("upgrade", "x");
            async move { Ok::<_, Infallible>(answer.body(String::new()).unwrap()) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(ours), service);
        tokio::spawn(connection.with_upgrades());
        io.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.unwrap());
        }
        let encoder = Encoder::new();
        let ours = upgraded.recv().await.unwrap().await.unwrap();
        (Self { io, encoder }, ours)
    }

    async fn open(&mut self, id: u32, headers: &[(&str, &str)]) {
        let frame = self.encoder.open(id, headers);
        self.io.write_all(&frame).await.unwrap();
    }

    async fn open_for(&mut self, id: u32, channel: &str) {
        self.open(id, &[("streamtype", channel)]).await;
    }

    async fn open_half(&mut self, id: u32, sort: &str, request: &str) {
        let headers = [("streamtype", sort), ("port", "80"), ("requestid", request)];
        self.open(id, &headers).await;
    }

    async fn say(&mut self, id: u32, text: &str, fin: bool) {
        let frame = spdy::data(id, text.as_bytes(), fin);
        self.io.write_all(&frame).await.unwrap();
    }

    async fn hear(&mut self) -> Heard {
        let mut head = [0; 8];
        self.io.read_exact(&mut head).await.unwrap();
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        let mut body = vec![0; length];
        self.io.read_exact(&mut body).await.unwrap();
        let id = || u32::from_be_bytes([body[0], body[1], body[2], body[3]]);
        match first {
            0x8003_0002 => Heard::Reply(id()),
            0x8003_0003 => Heard::Reset(id()),
            id if id >> 31 == 0 => Heard::Data(id, String::from_utf8(body).unwrap(), head[4] == 1),
            _ => Heard::Other,
        }
    }
}

const ALL: Stdio = Stdio {
    stdin: true,
    stdout: true,
    stderr: false,
    tty: true,
};

fn n1() -> NodeName {
    NodeName::new("n1").unwrap()
}

/// A command whose client has opened the streams for errors (1), input (3) and output (5), and its
/// node.
async fn command() -> (Peer, Streams, StreamId) {
    let (mut peer, io) = Peer::new().await;
    for (id, channel) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
        peer.open_for(id, channel).await;
    }
    let (sink, source) = carrier::bare(io);
    let (teller, client) = SpdyClient::accept(sink, source, ALL, false).await.unwrap();
    for id in [1, 3, 5] {
        assert_eq!(peer.hear().await, Heard::Reply(id));
    }
    let mut streams = Streams::new(1, std::sync::Arc::default());
    let (id, writer, reader) = streams.open(&n1(), false, Instant::now()).unwrap();
    tokio::spawn(async move {
        let (mut client, mut teller) = (Client::Spdy(client), Teller::Spdy(teller));
        let activity = Activity::new();
        command::relay(
            (writer, reader),
            &mut client,
            &mut teller,
            "exec",
            &activity,
        )
        .await;
    });
    (peer, streams, id)
}

#[tokio::test]
async fn what_a_client_says_before_its_streams_are_open_is_kept() {
    let (mut peer, io) = Peer::new().await;
    peer.open_for(1, "error").await;
    peer.open_for(3, "stdin").await;
    peer.say(3, "early", false).await;
    peer.say(3, " and whole", true).await;
    peer.open_for(5, "stdout").await;
    let (sink, source) = carrier::bare(io);
    let (_teller, client) = SpdyClient::accept(sink, source, ALL, false).await.unwrap();
    let mut client = Client::Spdy(client);
    let mut text = Vec::new();
    loop {
        match client.next().await.unwrap() {
            Said::Input(bytes) => text.extend_from_slice(&bytes),
            Said::InputEnd => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(text, b"early and whole");
}

#[tokio::test]
async fn a_client_that_says_too_much_before_its_streams_are_open_is_given_up() {
    for piece in [1, 8 * 1024] {
        let (mut peer, io) = Peer::new().await;
        peer.open_for(3, "stdin").await;
        let flood = tokio::spawn(async move {
            let frame = spdy::data(3, &vec![b'x'; piece], false);
            while peer.io.write_all(&frame).await.is_ok() {}
        });
        let (sink, source) = carrier::bare(io);
        let accepted = SpdyClient::accept(sink, source, ALL, false).await;
        assert!(accepted.is_err());
        flood.await.unwrap();
    }
}

#[tokio::test]
async fn a_late_stream_for_sizes_is_answered_and_read() {
    let (mut peer, mut streams, id) = command().await;
    peer.open_for(7, "resize").await;
    assert_eq!(peer.hear().await, Heard::Reply(7));
    peer.say(7, r#"{"Width":80,"Height":24}"#, false).await;
    let (columns, rows) = (80, 24);
    let size = (n1(), id, In::Resize { columns, rows });
    // It says so when it has arrived.
    peer.open_for(9, "resize").await;
    assert_eq!(peer.hear().await, Heard::Reset(9), "a second one");
    assert_eq!(streams.due(Instant::now(), 8), [size]);
    peer.open_for(11, "stdout").await;
    assert_eq!(peer.hear().await, Heard::Reset(11));
}

#[tokio::test]
async fn a_command_that_does_not_say_how_it_ended_has_failed() {
    for (exit, want) in [
        (None, "Internal error occurred: part of the stream was lost"),
        (Some(0), ""),
    ] {
        let (mut peer, mut streams, id) = command().await;
        streams.handle_out(&n1(), id, Out::Ready);
        if let Some(code) = exit {
            streams.handle_out(&n1(), id, Out::Exit { code });
        }
        let (offset, error) = (0, None);
        streams.handle_out(&n1(), id, Out::End { offset, error });
        assert_eq!(peer.hear().await, Heard::Data(5, String::new(), true));
        assert_eq!(peer.hear().await, Heard::Data(1, want.into(), true));
    }
}

/// A client that forwards, and its node.
async fn forwarding() -> (Peer, Streams) {
    let (peer, io) = Peer::new().await;
    let mut streams = Streams::new(1, std::sync::Arc::default());
    let (_, writer, reader) = streams.open(&n1(), true, Instant::now()).unwrap();
    tokio::spawn(async move {
        let (sink, source) = carrier::bare(io);
        let pod = Pod {
            name: "p".into(),
            uid: "u".into(),
        };
        let activity = Activity::new();
        forward::relay_spdy((writer, reader), sink, source, &pod, &activity).await;
    });
    (peer, streams)
}

#[tokio::test]
async fn halves_of_connections_that_make_no_sense_are_refused() {
    let (mut peer, mut streams) = forwarding().await;
    peer.open_half(1, "data", &"9".repeat(65)).await;
    assert_eq!(peer.hear().await, Heard::Reset(1), "a long request");
    peer.open_half(3, "error", "1").await;
    assert_eq!(peer.hear().await, Heard::Reply(3));
    peer.open_half(5, "error", "1").await;
    assert_eq!(peer.hear().await, Heard::Reset(5), "a second one");
    peer.open_half(7, "data", "2").await;
    assert_eq!(peer.hear().await, Heard::Reply(7));
    peer.say(7, "nobody is there yet", false).await;
    assert_eq!(peer.hear().await, Heard::Reset(7));
    peer.open_half(9, "data", "1").await;
    assert_eq!(peer.hear().await, Heard::Reply(9));
    let told = streams.due(Instant::now(), 8);
    assert!(
        matches!(told[..], [(.., In::Connect { port: 80, .. })]),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn half_open_connections_end_after_a_while() {
    let (mut peer, _streams) = forwarding().await;
    peer.open_half(1, "error", "n").await;
    assert_eq!(peer.hear().await, Heard::Reply(1));
    for n in 1..128 {
        peer.open_half(2 * n + 1, "data", &n.to_string()).await;
        assert_eq!(peer.hear().await, Heard::Reply(2 * n + 1));
    }
    peer.open_half(1001, "data", "x").await;
    assert_eq!(peer.hear().await, Heard::Reset(1001), "there are too many");
    let mut ended = Vec::new();
    for _ in 0..128 {
        ended.push(peer.hear().await);
    }
    let why = "(request=n) timed out waiting for streams".to_owned();
    assert!(ended.contains(&Heard::Data(1, why, true)));
    assert!(ended.contains(&Heard::Reset(255)));
    peer.open_half(1003, "data", "x").await;
    assert_eq!(peer.hear().await, Heard::Reply(1003), "there is room again");
}
