//! Port-forward: many connections over one stream to the node, each a channel of its own.
//!
//! With SPDY a client opens two streams for each connection, `error` and `data`, with the port in
//! their headers; with WebSocket channels it names the ports in the query and gets two channels for
//! each (`k8s.io/kubelet/pkg/cri/streaming/portforward`). SPDY clients keep no windows, so what one
//! connection can't take holds up the others of the same client, as upstream.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bramble_wire::limits::STREAM_CHANNELS_MAX;
use bramble_wire::stream::StreamError;
use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::time::Instant;

use super::super::NodeStream;
use super::carrier::{Sink, Source};
use super::negotiate::Channels;
use super::spdy::{self, Frame};
use super::{Activity, CREATION};
use crate::nodelink::streams::{Error, Event, Writer};

/// Half-open pairs of streams; a client opens both at once. One more is refused.
const PAIRS_MAX: usize = 2 * STREAM_CHANNELS_MAX;
/// Longest name of a request, bytes; clients count theirs. Longer ones are refused.
const REQUEST_MAX: usize = 64;
/// How often half-open pairs are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Whose port, for messages.
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) uid: String,
}

impl Pod {
    fn failed(&self, port: u16, error: &StreamError) -> String {
        let (StreamError::NotFound(why)
        | StreamError::Unavailable(why)
        | StreamError::Failed(why)
        | StreamError::Lost(why)) = error;
        let Self { name, uid } = self;
        format!("error forwarding port {port} to pod {name}, uid {uid}: {why}")
    }
}

/// One connection's streams.
#[derive(Debug, Clone, Copy)]
struct Pair {
    error: u32,
    data: u32,
    port: u16,
}

/// A stream whose partner has not been opened yet.
#[derive(Debug, Clone, Copy)]
struct Half {
    /// It is the one for errors.
    error: bool,
    id: u32,
    since: Instant,
}

#[derive(Debug, Default)]
struct Table {
    /// By request.
    half: HashMap<String, Half>,
    /// Connections by the node's channel.
    open: HashMap<u16, Pair>,
    /// The node's channel of a data stream.
    channels: HashMap<u32, u16>,
    next: u16,
}

/// What the opening of a stream led to.
#[derive(Debug, PartialEq, Eq)]
enum Added {
    /// Its partner is missing.
    Half,
    /// The streams for errors and for data.
    Whole(u32, u32),
    /// There is one of that sort already, or there are too many halves.
    Refused,
}

impl Table {
    /// A stream of a request was opened.
    fn add(&mut self, request: String, error: bool, id: u32, now: Instant) -> Added {
        match self.half.get(&request).copied() {
            Some(half) if half.error == error => Added::Refused,
            Some(half) => {
                self.half.remove(&request);
                let (error, data) = if error { (id, half.id) } else { (half.id, id) };
                Added::Whole(error, data)
            }
            None if self.half.len() >= PAIRS_MAX => Added::Refused,
            None => {
                let since = now;
                self.half.insert(request, Half { error, id, since });
                Added::Half
            }
        }
    }

    /// Forgets a half-open pair by its stream.
    fn forget_half(&mut self, id: u32) -> Option<Half> {
        let found = self.half.iter().find(|(_, half)| half.id == id);
        let request = found.map(|(request, _)| request.clone())?;
        self.half.remove(&request)
    }

    /// A half-open data stream.
    fn is_half_data(&self, id: u32) -> bool {
        let mut halves = self.half.values();
        halves.any(|half| half.id == id && !half.error)
    }

    /// Takes out the halves that have waited for too long.
    fn expired(&mut self, now: Instant) -> Vec<(String, Half)> {
        let late = |_: &String, half: &mut Half| now.duration_since(half.since) >= CREATION;
        self.half.extract_if(late).collect()
    }

    fn connect(&mut self, pair: Pair) -> Option<u16> {
        if self.open.len() >= STREAM_CHANNELS_MAX {
            return None;
        }
        while self.open.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let channel = self.next;
        // Not used again soon: what was said of it before may still be on its way.
        self.next = self.next.wrapping_add(1);
        self.open.insert(channel, pair);
        self.channels.insert(pair.data, channel);
        Some(channel)
    }

    /// A client gave up a data stream.
    fn reset(&mut self, id: u32) -> Option<(u16, Pair)> {
        let channel = self.channels.get(&id).copied()?;
        Some((channel, self.close(channel)?))
    }

    fn close(&mut self, channel: u16) -> Option<Pair> {
        let pair = self.open.remove(&channel)?;
        self.channels.remove(&pair.data);
        Some(pair)
    }
}

/// What both directions of a SPDY connection share.
struct Shared<'a> {
    table: Mutex<Table>,
    sink: tokio::sync::Mutex<(&'a mut Sink, spdy::Encoder)>,
    pod: &'a Pod,
}

impl Shared<'_> {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, frame: Bytes) -> std::io::Result<()> {
        self.sink.lock().await.0.send(frame).await
    }

    /// Says why on the error stream, if something went wrong, and ends both.
    async fn end(&self, pair: Pair, error: Option<&StreamError>) -> std::io::Result<()> {
        let why = error.map(|error| self.pod.failed(pair.port, error));
        let why = why.unwrap_or_default();
        self.send(spdy::data(pair.error, why.as_bytes(), true))
            .await?;
        self.send(spdy::data(pair.data, &[], true)).await
    }

    /// Ends the half-open pairs whose other half does not come, as upstream.
    async fn expire(&self) -> std::io::Result<()> {
        loop {
            tokio::time::sleep(LOOK).await;
            let expired = self.table().expired(Instant::now());
            for (request, Half { error, id, .. }) in expired {
                if error {
                    let why = format!("(request={request}) timed out waiting for streams");
                    self.send(spdy::data(id, why.as_bytes(), true)).await?;
                } else {
                    self.send(spdy::reset(id)).await?;
                }
            }
        }
    }
}

/// Carries connections of a SPDY client until it or the node ends.
pub(super) async fn relay_spdy(
    node: NodeStream,
    mut sink: Sink,
    mut source: Source,
    pod: &Pod,
    activity: &Activity,
) {
    let (writer, mut reader) = node;
    let shared = Shared {
        table: Mutex::default(),
        sink: tokio::sync::Mutex::new((&mut sink, spdy::Encoder::new())),
        pod,
    };
    let inward = async {
        let mut decoder = spdy::Decoder::new();
        while let Some(bytes) = source.next().await {
            activity.touch();
            decoder.feed(&bytes);
            while let Some(frame) = decoder.next().map_err(std::io::Error::other)? {
                if !handle(&shared, &writer, frame).await? {
                    return Ok(());
                }
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let outward = async {
        while let Some(event) = reader.next().await {
            match event {
                Ok(Event::Data { channel, bytes }) => {
                    activity.touch();
                    let pair = shared.table().open.get(&channel).copied();
                    if let Some(pair) = pair {
                        shared.send(spdy::data(pair.data, &bytes, false)).await?;
                    }
                }
                Ok(Event::ChannelEnd { channel, error }) => {
                    let pair = shared.table().close(channel);
                    if let Some(pair) = pair {
                        shared.end(pair, error.as_ref()).await?;
                    }
                }
                Ok(Event::Ready | Event::Exit(_)) => {}
                Err(error) => {
                    // The node is gone: every connection hears why.
                    let error = StreamError::Failed(error.to_string());
                    let pairs: Vec<Pair> = shared.table().open.drain().map(|(_, p)| p).collect();
                    for pair in pairs {
                        shared.end(pair, Some(&error)).await?;
                    }
                    return Ok(());
                }
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let told = tokio::select! {
        _ = inward => false,
        _ = shared.expire() => false,
        told = outward => told.is_ok(),
    };
    drop((reader, shared));
    if told && sink.send(spdy::go_away(0)).await.is_ok() {
        sink.close().await;
        source.linger().await;
    }
}

/// Does what the client says; `false` when it has ended.
async fn handle(shared: &Shared<'_>, writer: &Writer, frame: Frame) -> std::io::Result<bool> {
    match frame {
        Frame::Open { id, headers, .. } => open(shared, writer, id, &headers).await?,
        Frame::Data { id, bytes, fin } => {
            let channel = shared.table().channels.get(&id).copied();
            if let Some(channel) = channel {
                // A connection that has ended takes no more; its streams are ended by the node's word.
                let _ = writer.send(channel, &bytes).await;
                if fin {
                    writer.end(channel);
                }
            } else if shared.table().is_half_data(id) {
                // There is no connection yet, and what it would be sent must not get lost silently.
                shared.table().forget_half(id);
                shared.send(spdy::reset(id)).await?;
            }
        }
        Frame::Reset { id } => {
            shared.table().forget_half(id);
            let closed = shared.table().reset(id);
            if let Some((channel, pair)) = closed {
                writer.disconnect(channel);
                shared.send(spdy::data(pair.error, &[], true)).await?;
            }
        }
        Frame::Ping(id) => shared.send(spdy::pong(id)).await?,
        Frame::GoAway => return Ok(false),
    }
    Ok(true)
}

async fn open(
    shared: &Shared<'_>,
    writer: &Writer,
    id: u32,
    headers: &[(String, String)],
) -> std::io::Result<()> {
    let header = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| name == wanted);
        found.map_or("", |(_, value)| value.as_str())
    };
    let error = match header("streamtype") {
        "error" => true,
        "data" => false,
        _ => return shared.send(spdy::reset(id)).await,
    };
    let Some(port) = header("port").parse::<u16>().ok().filter(|port| *port > 0) else {
        return shared.send(spdy::reset(id)).await;
    };
    // Clients that name no request open the error stream first, then the data stream.
    let request = match header("requestid") {
        "" => (if error { id } else { id.wrapping_sub(2) }).to_string(),
        long if long.len() > REQUEST_MAX => return shared.send(spdy::reset(id)).await,
        named => named.to_owned(),
    };
    let added = shared.table().add(request, error, id, Instant::now());
    if added == Added::Refused {
        return shared.send(spdy::reset(id)).await;
    }
    {
        let mut sink = shared.sink.lock().await;
        let reply = sink.1.reply(id).map_err(std::io::Error::other)?;
        sink.0.send(reply).await?;
    }
    let Added::Whole(error, data) = added else {
        return Ok(());
    };
    let pair = Pair { error, data, port };
    let channel = shared.table().connect(pair);
    match channel {
        Some(channel) => {
            // When the stream has ended, so has the pair.
            let _ = writer.connect(channel, port).await;
            Ok(())
        }
        None => {
            let why = format!("there are {STREAM_CHANNELS_MAX} connections already");
            shared.end(pair, Some(&StreamError::Unavailable(why))).await
        }
    }
}

/// Carries one connection for each port, two channels each, until the client or the node ends.
pub(super) async fn relay_channels(
    node: NodeStream,
    (mut sink, mut source): (Sink, Source),
    channels: Channels,
    ports: &[u16],
    pod: &Pod,
    activity: &Activity,
) {
    let (writer, mut reader) = node;
    let count = u8::try_from(ports.len()).unwrap_or(u8::MAX).min(127);
    let inward = async {
        while let Some(message) = source.next().await {
            activity.touch();
            let Some((number, bytes)) = split(&message, channels) else {
                continue;
            };
            // Odd channels are for errors, which clients have none of.
            if number % 2 == 0 && number / 2 < count {
                let _ = writer.send(u16::from(number / 2), &bytes).await;
            }
        }
    };
    let outward = async {
        for (n, port) in (0..count).zip(ports) {
            for number in [2 * n, 2 * n + 1] {
                message(&mut sink, channels, number, &port.to_le_bytes()).await?;
            }
            if writer.connect(u16::from(n), *port).await.is_err() {
                break;
            }
        }
        let mut left = usize::from(count);
        while left > 0
            && let Some(event) = reader.next().await
        {
            match event {
                Ok(Event::Data { channel, bytes }) => {
                    activity.touch();
                    message(&mut sink, channels, 2 * channel as u8, &bytes).await?;
                }
                Ok(Event::ChannelEnd { channel, error }) => {
                    left -= 1;
                    let port = ports.get(usize::from(channel)).copied().unwrap_or(0);
                    if let Some(error) = error {
                        let why = pod.failed(port, &error);
                        let number = 2 * channel as u8 + 1;
                        message(&mut sink, channels, number, why.as_bytes()).await?;
                    }
                }
                Ok(Event::Ready | Event::Exit(_)) => {}
                Err(error) => return lost(&mut sink, channels, &error).await,
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let told = tokio::select! {
        () = inward => false,
        told = outward => told.is_ok(),
    };
    drop(reader);
    if told {
        sink.close().await;
        source.linger().await;
    }
}

async fn lost(sink: &mut Sink, channels: Channels, error: &Error) -> std::io::Result<()> {
    message(sink, channels, 1, error.to_string().as_bytes()).await
}

fn split(message: &Bytes, channels: Channels) -> Option<(u8, Bytes)> {
    let (number, rest) = message.split_first()?;
    if channels.base64 {
        let digit = number.checked_sub(b'0')?;
        return Some((digit, STANDARD.decode(rest).ok()?.into()));
    }
    Some((*number, message.slice(1..)))
}

async fn message(
    sink: &mut Sink,
    channels: Channels,
    number: u8,
    bytes: &[u8],
) -> std::io::Result<()> {
    if channels.base64 {
        let digit = char::from(b'0'.wrapping_add(number));
        let text = format!("{digit}{}", STANDARD.encode(bytes));
        return sink.send_text(text).await;
    }
    let mut message = BytesMut::with_capacity(1 + bytes.len());
    message.put_u8(number);
    message.extend_from_slice(bytes);
    sink.send(message.freeze()).await
}
