//! What carries a stream between us and a client after the upgrade: the bare connection, or WebSocket
//! messages. Each is split into a half that reads and one that writes; a write returns when the
//! kernel has taken it, so a client that does not read holds up its own stream.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// Largest WebSocket message; clients send 32 KiB at a time.
const MESSAGE_MAX: usize = 1024 * 1024;
/// Read from the bare connection at once.
const READ: usize = 16 * 1024;
/// After our end the client's last words are read for so long: closing with something unread would
/// reset the connection, and with it what the client has not read yet.
const LINGER: Duration = Duration::from_secs(5);

type Io = TokioIo<Upgraded>;

/// WebSocket over an upgraded connection.
pub(super) async fn websocket(io: Upgraded) -> (SplitSink<Ws, Message>, SplitStream<Ws>) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(config));
    socket.await.split()
}

pub(super) type Ws = WebSocketStream<Io>;

/// Reads.
pub(super) enum Source {
    /// The bare connection.
    Bare(ReadHalf<Io>, BytesMut),
    /// Messages.
    Messages(SplitStream<Ws>),
}

/// Writes.
pub(super) enum Sink {
    /// The bare connection.
    Bare(WriteHalf<Io>),
    /// Messages.
    Messages(SplitSink<Ws, Message>),
}

/// Both halves of a bare connection.
pub(super) fn bare(io: Upgraded) -> (Sink, Source) {
    let (read, write) = tokio::io::split(TokioIo::new(io));
    (Sink::Bare(write), Source::Bare(read, BytesMut::new()))
}

/// Both halves of a connection inside of WebSocket messages.
pub(super) async fn tunnel(io: Upgraded) -> (Sink, Source) {
    let (sink, source) = websocket(io).await;
    (Sink::Messages(sink), Source::Messages(source))
}

impl Source {
    /// The next bytes or message; `None` when the client is gone. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Bare(read, buffer) => {
                buffer.reserve(READ);
                let n = read.read_buf(buffer).await.ok()?;
                (n > 0).then(|| buffer.split().freeze())
            }
            Self::Messages(source) => loop {
                match source.next().await?.ok()? {
                    Message::Binary(bytes) => return Some(bytes),
                    Message::Text(text) => return Some(text.into()),
                    Message::Close(_) => return None,
                    // The library answers pings.
                    Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                }
            },
        }
    }

    /// Reads what still comes, after our end.
    pub(super) async fn linger(&mut self) {
        let rest = async { while self.next().await.is_some() {} };
        let _ = tokio::time::timeout(LINGER, rest).await;
    }
}

impl Sink {
    /// Sends bytes, or a binary message.
    pub(super) async fn send(&mut self, bytes: Bytes) -> std::io::Result<()> {
        match self {
            Self::Bare(write) => {
                write.write_all(&bytes).await?;
                write.flush().await
            }
            Self::Messages(sink) => sent(sink.send(Message::Binary(bytes)).await),
        }
    }

    /// Sends a text message.
    pub(super) async fn send_text(&mut self, text: String) -> std::io::Result<()> {
        match self {
            Self::Bare(_) => self.send(text.into()).await,
            Self::Messages(sink) => sent(sink.send(Message::Text(text.into())).await),
        }
    }

    /// Ends our side. Clients take a WebSocket that closes without a code for one that broke.
    pub(super) async fn close(&mut self) {
        // Nobody is left to hear that it failed.
        match self {
            Self::Bare(write) => drop(write.shutdown().await),
            Self::Messages(sink) => {
                let frame = CloseFrame {
                    code: CloseCode::Normal,
                    reason: Utf8Bytes::default(),
                };
                let _ = sink.send(Message::Close(Some(frame))).await;
            }
        }
    }
}

fn sent(result: Result<(), tokio_tungstenite::tungstenite::Error>) -> std::io::Result<()> {
    result.map_err(|error| Error::new(ErrorKind::BrokenPipe, error))
}
