//! Exec and attach: a client's input, terminal and output, whatever carries them.
//!
//! One future reads the client and writes to the node, one reads the node and writes to the client;
//! each waits for whom it writes to, so nothing is held but what is on its way. The stream ends when
//! the node says so (the client gets the rest of the output, then the status), or when the client is
//! gone (the node is told by the reader being dropped).

use std::collections::{HashMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bramble_wire::stream::{Stdio, StreamError, channel};
use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;

use super::super::NodeStream;
use super::carrier::{Sink, Source};
use super::negotiate::Channels;
use super::spdy::{self, Frame};
use super::{Activity, status};
use crate::nodelink::streams::{Error, Event};

/// Channels as clients number them; the first three are the node's too.
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Of `v5.channel.k8s.io`: the next byte names a channel that ends.
const CLOSE: u8 = 255;

/// Sizes of a terminal that arrive in pieces are held up to this many bytes.
const RESIZE_MAX: usize = 1024;
/// What a SPDY client may say before it has opened all its streams, bytes; one that says more is
/// given up.
const EARLY_MAX: usize = 64 * 1024;
/// What a frame counts there besides its bytes.
const FRAME_COST: usize = 64;

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Input(Bytes),
    /// Half-close.
    InputEnd,
    Resize {
        columns: u16,
        rows: u16,
    },
    /// Waits for an answer that is no output.
    Asks(Answer),
}

/// What a SPDY client is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The same number back.
    Pong(u32),
    /// The stream that it opened late is taken.
    Accept(u32),
    /// It is not.
    Refuse(u32),
}

/// The client's words.
#[allow(clippy::large_enum_variant, reason = "one for each stream")]
pub(super) enum Client {
    Channels(Source, Channels),
    Spdy(SpdyClient),
}

impl Client {
    /// `None` when it is gone.
    pub(super) async fn next(&mut self) -> Option<Said> {
        match self {
            Self::Channels(source, channels) => loop {
                let message = source.next().await?;
                if let Some(said) = said(&message, *channels) {
                    return Some(said);
                }
            },
            Self::Spdy(client) => client.next().await,
        }
    }

    async fn linger(&mut self) {
        match self {
            Self::Channels(source, _) | Self::Spdy(SpdyClient { source, .. }) => {
                source.linger().await;
            }
        }
    }
}

/// A message of a client; what has no meaning is left out.
fn said(message: &Bytes, channels: Channels) -> Option<Said> {
    let (number, rest) = message.split_first()?;
    let (number, rest) = if channels.base64 {
        let digit = number.checked_sub(b'0')?;
        (digit, Bytes::from(STANDARD.decode(rest).ok()?))
    } else {
        (*number, message.slice(1..))
    };
    match number {
        0 if rest.is_empty() => None,
        0 => Some(Said::Input(rest)),
        RESIZE => size(&rest),
        CLOSE if channels.close && rest.first() == Some(&0) => Some(Said::InputEnd),
        _ => None,
    }
}

fn size(json: &[u8]) -> Option<Said> {
    let Size { columns, rows } = serde_json::from_slice(json).ok()?;
    Some(Said::Resize { columns, rows })
}

/// `remotecommand.TerminalSize`.
#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width")]
    columns: u16,
    #[serde(rename = "Height")]
    rows: u16,
}

/// What a client is told.
pub(super) enum Teller {
    Channels(Sink, Channels),
    Spdy(SpdyTeller),
}

impl Teller {
    /// Tells a client that the stream is there, by an empty message on the lowest channel that it
    /// reads, as upstream.
    pub(super) async fn begin(&mut self, stdio: Stdio) -> std::io::Result<()> {
        let lowest = match stdio {
            Stdio { stdout: true, .. } => channel::OUT as u8,
            Stdio { stderr: true, .. } => channel::ERR as u8,
            _ => ERROR,
        };
        match self {
            Self::Channels(sink, channels) => message(sink, *channels, lowest, &[]).await,
            Self::Spdy(_) => Ok(()),
        }
    }

    async fn output(&mut self, number: u16, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Channels(sink, channels) => message(sink, *channels, number as u8, bytes).await,
            Self::Spdy(SpdyTeller { sink, ids, .. }) => {
                let Some(id) = ids.get(usize::from(number)).copied().flatten() else {
                    return Ok(());
                };
                sink.send(spdy::data(id, bytes, false)).await
            }
        }
    }

    async fn answer(&mut self, answer: Answer) -> std::io::Result<()> {
        let Self::Spdy(SpdyTeller { sink, encoder, .. }) = self else {
            return Ok(());
        };
        let frame = match answer {
            Answer::Pong(id) => spdy::pong(id),
            Answer::Accept(id) => encoder.reply(id).map_err(std::io::Error::other)?,
            Answer::Refuse(id) => spdy::reset(id),
        };
        sink.send(frame).await
    }

    /// The status, and the end.
    pub(super) async fn finish(&mut self, result: &Value) -> std::io::Result<()> {
        match self {
            Self::Channels(sink, channels) => {
                let text = text(result, channels.status);
                if !text.is_empty() {
                    message(sink, *channels, ERROR, text.as_bytes()).await?;
                }
                sink.close().await;
            }
            Self::Spdy(SpdyTeller {
                sink, ids, status, ..
            }) => {
                let text = text(result, *status);
                for id in [ids[1], ids[2]].into_iter().flatten() {
                    sink.send(spdy::data(id, &[], true)).await?;
                }
                if let Some(id) = ids[usize::from(ERROR)] {
                    sink.send(spdy::data(id, text.as_bytes(), true)).await?;
                }
                sink.send(spdy::go_away(0)).await?;
                sink.close().await;
            }
        }
        Ok(())
    }
}

fn text(result: &Value, whole: bool) -> String {
    if whole {
        result.to_string()
    } else {
        status::plain(result)
    }
}

async fn message(
    sink: &mut Sink,
    channels: Channels,
    number: u8,
    bytes: &[u8],
) -> std::io::Result<()> {
    if channels.base64 {
        let digit = char::from(b'0' + number);
        return sink
            .send_text(format!("{digit}{}", STANDARD.encode(bytes)))
            .await;
    }
    let mut message = BytesMut::with_capacity(1 + bytes.len());
    message.put_u8(number);
    message.extend_from_slice(bytes);
    sink.send(message.freeze()).await
}

/// A client with a SPDY stream for each channel.
pub(super) struct SpdyClient {
    source: Source,
    decoder: spdy::Decoder,
    /// Channels of its streams.
    channels: HashMap<u32, u8>,
    /// What comes before anything that is read.
    early: VecDeque<Frame>,
    sizes: BytesMut,
}

/// The other half.
pub(super) struct SpdyTeller {
    sink: Sink,
    /// The stream of each channel.
    ids: [Option<u32>; 5],
    encoder: spdy::Encoder,
    status: bool,
}

/// The channel that a stream is for.
fn channel_of(headers: &[(String, String)]) -> Option<u8> {
    let kind = headers.iter().find(|(name, _)| name == "streamtype");
    match kind.map(|(_, value)| value.as_str())? {
        "stdin" => Some(0),
        "stdout" => Some(1),
        "stderr" => Some(2),
        "error" => Some(ERROR),
        "resize" => Some(RESIZE),
        _ => None,
    }
}

impl SpdyClient {
    /// Waits for the streams that a client opens for what it wants. What it says meanwhile is kept.
    ///
    /// # Errors
    /// When it is gone, opens something else, or says more than [`EARLY_MAX`].
    pub(super) async fn accept(
        mut sink: Sink,
        mut source: Source,
        stdio: Stdio,
        status: bool,
    ) -> std::io::Result<(SpdyTeller, SpdyClient)> {
        let broken = |why: &str| std::io::Error::other(why.to_owned());
        let wanted = [stdio.stdin, stdio.stdout, stdio.stderr, true];
        let mut missing = wanted.iter().filter(|wanted| **wanted).count();
        let mut decoder = spdy::Decoder::new();
        let mut encoder = spdy::Encoder::new();
        let (mut channels, mut ids) = (HashMap::new(), [None; 5]);
        let (mut early, mut held) = (VecDeque::new(), 0);
        // Clients before the third version have no stream for sizes, so it is not waited for.
        while missing > 0 || (stdio.tty && status && ids[usize::from(RESIZE)].is_none()) {
            let bytes = source.next().await.ok_or_else(|| broken("gone"))?;
            decoder.feed(&bytes);
            while let Some(frame) = decoder.next().map_err(std::io::Error::other)? {
                let (id, headers) = match frame {
                    Frame::Open { id, headers, .. } => (id, headers),
                    Frame::Ping(id) => {
                        sink.send(spdy::pong(id)).await?;
                        continue;
                    }
                    Frame::GoAway => return Err(broken("gone")),
                    Frame::Data { .. } | Frame::Reset { .. } => {
                        if let Frame::Data { bytes, .. } = &frame {
                            held += bytes.len();
                        }
                        held += FRAME_COST;
                        if held > EARLY_MAX {
                            return Err(broken("too much before its streams"));
                        }
                        early.push_back(frame);
                        continue;
                    }
                };
                let channel = channel_of(&headers);
                let channel = channel.ok_or_else(|| broken("a stream of another type"))?;
                if ids[usize::from(channel)].replace(id).is_some() {
                    return Err(broken("a second stream of a type"));
                }
                channels.insert(id, channel);
                missing -= usize::from(wanted.get(usize::from(channel)) == Some(&true));
                let reply = encoder.reply(id).map_err(std::io::Error::other)?;
                sink.send(reply).await?;
            }
        }
        let client = SpdyClient {
            source,
            decoder,
            channels,
            early,
            sizes: BytesMut::new(),
        };
        let teller = SpdyTeller {
            sink,
            ids,
            encoder,
            status,
        };
        Ok((teller, client))
    }

    async fn next(&mut self) -> Option<Said> {
        loop {
            if let Some(said) = self.resized() {
                return Some(said);
            }
            let frame = match self.early.pop_front() {
                Some(early) => Some(early),
                None => self.decoder.next().ok()?,
            };
            match frame {
                Some(frame) => match self.said(frame)? {
                    Some(said) => return Some(said),
                    None => continue,
                },
                None => {
                    let bytes = self.source.next().await?;
                    self.decoder.feed(&bytes);
                }
            }
        }
    }

    /// `None` when the client is gone.
    fn said(&mut self, frame: Frame) -> Option<Option<Said>> {
        Some(match frame {
            Frame::Data { id, bytes, fin } => match self.channels.get(&id) {
                Some(0) if fin && bytes.is_empty() => Some(Said::InputEnd),
                Some(0) => {
                    // The end comes after the last bytes, as a frame of its own.
                    if fin {
                        let bytes = Bytes::new();
                        self.early.push_front(Frame::Data { id, bytes, fin });
                    }
                    Some(Said::Input(bytes))
                }
                Some(&RESIZE) => {
                    self.sizes.extend_from_slice(&bytes);
                    None
                }
                _ => None,
            },
            Frame::Reset { id } if self.channels.get(&id) == Some(&0) => Some(Said::InputEnd),
            Frame::GoAway => return None,
            Frame::Ping(id) => Some(Said::Asks(Answer::Pong(id))),
            // The stream for sizes is not waited for with every client.
            Frame::Open { id, headers, .. } => {
                let known = self.channels.values().any(|channel| *channel == RESIZE);
                let taken = !known && channel_of(&headers) == Some(RESIZE);
                if taken {
                    self.channels.insert(id, RESIZE);
                }
                Some(Said::Asks(if taken {
                    Answer::Accept(id)
                } else {
                    Answer::Refuse(id)
                }))
            }
            Frame::Reset { .. } => None,
        })
    }

    /// The next size, when it has arrived whole.
    fn resized(&mut self) -> Option<Said> {
        let end = self.sizes.iter().position(|byte| *byte == b'}');
        let Some(end) = end else {
            if self.sizes.len() > RESIZE_MAX {
                self.sizes.clear();
            }
            return None;
        };
        let json = self.sizes.split_to(end + 1);
        size(json.trim_ascii())
    }
}

/// Carries everything until the node or the client ends.
pub(super) async fn relay(
    node: NodeStream,
    client: &mut Client,
    teller: &mut Teller,
    what: &str,
    activity: &Activity,
) {
    let (writer, mut reader) = node;
    let (asks, mut asked) = mpsc::channel(4);
    let inward = async {
        while let Some(said) = client.next().await {
            activity.touch();
            match said {
                // What a command that has ended would have read is nobody's.
                Said::Input(bytes) => drop(writer.send(channel::IN, &bytes).await),
                Said::InputEnd => writer.end(channel::IN),
                Said::Resize { columns, rows } => writer.resize(columns, rows),
                // While the client reads nothing there is nothing to answer.
                Said::Asks(pong @ Answer::Pong(_)) => drop(asks.try_send(pong)),
                Said::Asks(answer) => drop(asks.send(answer).await),
            }
        }
    };
    let outward = async {
        let mut exit = None;
        loop {
            let event = tokio::select! {
                event = reader.next() => event,
                Some(answer) = asked.recv() => {
                    teller.answer(answer).await?;
                    continue;
                }
            };
            match event {
                Some(Ok(Event::Data { channel, bytes })) => {
                    activity.touch();
                    teller.output(channel, &bytes).await?;
                }
                Some(Ok(Event::Exit(code))) => exit = Some(code),
                Some(Ok(Event::Ready | Event::ChannelEnd { .. })) => {}
                Some(Err(error)) => return teller.finish(&failure(what, &error)).await,
                None => return teller.finish(&ended(what, exit)).await,
            }
        }
    };
    let finished = tokio::select! {
        () = inward => false,
        told = outward => told.is_ok(),
    };
    // The node must not wait for the client's last words.
    drop(reader);
    if finished {
        client.linger().await;
    }
}

/// How a stream ended that nothing went wrong with.
fn ended(what: &str, exit: Option<i32>) -> Value {
    match exit {
        // How an attached container ended is in its status.
        _ if what == "attach" => status::success(),
        Some(code) => status::exit(code),
        // A command always says how it ended: that was lost.
        None => failure(what, &Error::Gap),
    }
}

fn failure(what: &str, error: &Error) -> Value {
    let doing = match what {
        "attach" => "error attaching to container",
        _ => "error executing command in container",
    };
    match error {
        Error::Node(StreamError::NotFound(text) | StreamError::Failed(text)) => {
            status::internal(&format!("{doing}: {text}"))
        }
        other => status::internal(&other.to_string()),
    }
}

/// Tells a client why there is no stream.
pub(super) async fn refuse(client: &mut Client, teller: &mut Teller, why: &Value) {
    if teller.finish(why).await.is_ok() {
        client.linger().await;
    }
}
