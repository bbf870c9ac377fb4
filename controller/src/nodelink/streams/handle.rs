//! The API's ends of a stream: one reads what the node sends, one writes what the node is to get.
//!
//! Both hold the stream's buffer, which the task of the node link fills and empties. A reader takes
//! events when it likes; credit for the node follows what it took. A writer waits until the node has
//! given credit and what it wrote before is on its way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bramble_wire::limits::{CHANNEL_CREDIT_MAX, STREAM_CREDIT_MAX, STREAM_FRAME_MAX};
use bramble_wire::stream::{In, StreamError, channel};
use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::Error;

/// Messages for the node that a stream holds; a writer waits before one more.
const INPUT_MAX: usize = 8;

/// What a node says on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// What was asked for is there.
    Ready,
    /// Output of a channel.
    Data {
        /// Which channel.
        channel: u16,
        /// Never empty.
        bytes: Bytes,
    },
    /// A forwarded connection has ended.
    ChannelEnd {
        /// Which channel.
        channel: u16,
        /// Why, when it is an error.
        error: Option<StreamError>,
    },
    /// The command or the container has ended.
    Exit(i32),
}

/// An event that waits; output of a channel that comes in pieces is gathered.
#[derive(Debug)]
enum Waiting {
    Data(u16, BytesMut),
    Other(Event),
}

/// One direction of a channel from the node.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// Bytes received since the start; the offset of the next frame.
    pub(super) received: u64,
    /// Bytes that the reader has taken since the start.
    pub(super) consumed: u64,
    /// What the node may send in all, where each channel has its own credit.
    pub(super) granted: u64,
    /// It ended; it is forgotten when the reader has been told.
    pub(super) ended: bool,
}

/// The other direction.
#[derive(Debug, Default)]
struct Inward {
    sent: u64,
    credit: u64,
    ended: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    events: VecDeque<Waiting>,
    /// Each channel has its own credit.
    pub(super) forward: bool,
    pub(super) channels: BTreeMap<u16, Channel>,
    /// The end, once it is known; the reader gets it after the events.
    end: Option<Result<(), Error>>,
    pub(super) ready: bool,
    pub(super) exited: bool,
    /// Nobody reads any more.
    pub(super) abandoned: bool,
    /// For the node.
    pub(super) input: VecDeque<In>,
    inputs: BTreeMap<u16, Inward>,
}

impl State {
    pub(super) fn new(forward: bool) -> Self {
        let mut state = Self {
            forward,
            ..Self::default()
        };
        if !forward {
            state.channels.insert(channel::OUT, Channel::default());
            state.channels.insert(channel::ERR, Channel::default());
            state.inputs.insert(channel::IN, Inward::default());
        }
        state
    }

    /// Bytes received and taken, over all channels.
    pub(super) fn totals(&self) -> (u64, u64) {
        let sum = |of: fn(&Channel) -> u64| self.channels.values().map(of).sum();
        (sum(|c| c.received), sum(|c| c.consumed))
    }

    pub(super) fn push_data(&mut self, channel: u16, bytes: &[u8]) {
        match self.events.back_mut() {
            Some(Waiting::Data(last, data)) if *last == channel => data.extend_from_slice(bytes),
            _ => self
                .events
                .push_back(Waiting::Data(channel, BytesMut::from(bytes))),
        }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.events.push_back(Waiting::Other(event));
    }

    /// The node gives credit for input; never for more than a window.
    pub(super) fn credit(&mut self, channel: u16, credit: u64) {
        let window = u64::from(if self.forward {
            CHANNEL_CREDIT_MAX
        } else {
            STREAM_CREDIT_MAX
        });
        if let Some(inward) = self.inputs.get_mut(&channel) {
            inward.credit = inward.credit.max(credit.min(inward.sent + window));
        }
    }

    /// Drops what waits of a channel.
    fn forget(&mut self, gone: u16) {
        self.events.retain(|waiting| match waiting {
            Waiting::Data(channel, _) => *channel != gone,
            Waiting::Other(Event::ChannelEnd { channel, .. }) => *channel != gone,
            Waiting::Other(_) => true,
        });
        self.input.retain(|input| match input {
            In::Data { channel, .. } | In::End { channel, .. } => *channel != gone,
            _ => true,
        });
    }

    fn take(&mut self) -> Option<Event> {
        match self.events.pop_front()? {
            Waiting::Data(channel, bytes) => {
                if let Some(counts) = self.channels.get_mut(&channel) {
                    counts.consumed += bytes.len() as u64;
                }
                let bytes = bytes.freeze();
                Some(Event::Data { channel, bytes })
            }
            Waiting::Other(event) => {
                if let Event::ChannelEnd { channel, .. } = event {
                    self.channels.remove(&channel);
                    self.inputs.remove(&channel);
                }
                Some(event)
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Buffer {
    state: Mutex<State>,
    readable: Notify,
    /// A writer may go on.
    pub(super) writable: Notify,
    /// Wakes the task: credit may be due, there is input, or the stream is abandoned.
    task: Arc<Notify>,
}

impl Buffer {
    pub(super) fn new(forward: bool, task: Arc<Notify>) -> Self {
        Self {
            state: Mutex::new(State::new(forward)),
            readable: Notify::new(),
            writable: Notify::new(),
            task,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Tells the reader that there is something.
    pub(super) fn wake_reader(&self) {
        self.readable.notify_one();
    }

    pub(super) fn end(&self, end: Result<(), Error>) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.end = Some(end);
        }
        drop(state);
        self.readable.notify_one();
        self.writable.notify_waiters();
    }
}

/// The reading end of a stream. Dropping it closes the stream on the node.
#[derive(Debug)]
pub struct Reader {
    pub(super) buffer: Arc<Buffer>,
}

impl Reader {
    /// The next event; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// [`Error`] when the stream ended early; after that, `None`.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.buffer.readable.notified().await;
        }
    }

    /// Waits until there is something to read, an end included, without taking it.
    pub async fn ready(&mut self) {
        loop {
            {
                let state = self.buffer.lock();
                if !state.events.is_empty() || state.end.is_some() {
                    return;
                }
            }
            self.buffer.readable.notified().await;
        }
    }

    /// Takes the error of a stream that ended before its first event.
    pub fn refusal(&mut self) -> Option<Error> {
        let mut state = self.buffer.lock();
        let begun = state.ready || state.totals().0 > 0;
        if begun || !matches!(state.end, Some(Err(_))) {
            return None;
        }
        state.end.replace(Ok(()))?.err()
    }

    fn take(&mut self) -> Option<Option<Result<Event, Error>>> {
        let mut state = self.buffer.lock();
        if let Some(event) = state.take() {
            drop(state);
            match event {
                Event::Data { .. } => self.buffer.task.notify_one(),
                // Who waits to write to it waits for nothing.
                Event::ChannelEnd { .. } => self.buffer.writable.notify_waiters(),
                Event::Ready | Event::Exit(_) => {}
            }
            return Some(Some(Ok(event)));
        }
        match state.end.replace(Ok(())) {
            Some(Ok(())) => Some(None),
            Some(Err(error)) => Some(Some(Err(error))),
            None => {
                state.end = None;
                None
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.buffer.lock().abandoned = true;
        self.buffer.task.notify_one();
        self.buffer.writable.notify_waiters();
    }
}

/// The stream, or this channel of it, takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream has ended")]
pub struct Closed;

/// The writing end of a stream. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Writer {
    pub(super) buffer: Arc<Buffer>,
}

impl Writer {
    /// Sends input, as far and as soon as the node takes it.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn send(&self, channel: u16, mut bytes: &[u8]) -> Result<(), Closed> {
        while !bytes.is_empty() {
            let room = self.buffer.writable.notified();
            let sent = self.try_send(channel, bytes)?;
            if sent == 0 {
                room.await;
            }
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    fn try_send(&self, channel: u16, bytes: &[u8]) -> Result<usize, Closed> {
        let mut state = self.buffer.lock();
        if state.end.is_some() || state.abandoned {
            return Err(Closed);
        }
        if state.input.len() >= INPUT_MAX {
            return Ok(0);
        }
        let inward = state.inputs.get_mut(&channel).filter(|i| !i.ended);
        let inward = inward.ok_or(Closed)?;
        let credit = usize::try_from(inward.credit - inward.sent).unwrap_or(usize::MAX);
        let size = bytes.len().min(credit).min(STREAM_FRAME_MAX);
        if size == 0 {
            return Ok(0);
        }
        let offset = inward.sent;
        inward.sent += size as u64;
        let bytes = &bytes[..size];
        match state.input.back_mut() {
            // Many small writes, such as keys, make few messages.
            Some(In::Data {
                channel: last,
                bytes: data,
                ..
            }) if *last == channel && data.len() + size <= STREAM_FRAME_MAX => {
                data.extend_from_slice(bytes);
            }
            _ => state.input.push_back(In::Data {
                channel,
                offset,
                bytes: bytes.to_vec(),
            }),
        }
        drop(state);
        self.buffer.task.notify_one();
        Ok(size)
    }

    /// No more input on a channel.
    pub fn end(&self, channel: u16) {
        let mut state = self.buffer.lock();
        let Some(inward) = state.inputs.get_mut(&channel).filter(|i| !i.ended) else {
            return;
        };
        inward.ended = true;
        let offset = inward.sent;
        state.input.push_back(In::End { channel, offset });
        drop(state);
        self.buffer.task.notify_one();
    }

    /// The terminal has this size now.
    pub fn resize(&self, columns: u16, rows: u16) {
        let mut state = self.buffer.lock();
        // Only the newest counts.
        state.input.retain(|i| !matches!(i, In::Resize { .. }));
        state.input.push_back(In::Resize { columns, rows });
        drop(state);
        self.buffer.task.notify_one();
    }

    /// Connects a new channel to a port.
    pub fn connect(&self, channel: u16, port: u16) {
        let mut state = self.buffer.lock();
        let granted = u64::from(CHANNEL_CREDIT_MAX);
        let outward = Channel {
            granted,
            ..Channel::default()
        };
        state.channels.insert(channel, outward);
        state.inputs.insert(channel, Inward::default());
        state.input.push_back(In::Connect { channel, port });
        drop(state);
        self.buffer.task.notify_one();
    }

    /// Gives up a connected channel: nothing more is heard of it.
    pub fn disconnect(&self, channel: u16) {
        let mut state = self.buffer.lock();
        let known = state.channels.remove(&channel).is_some_and(|c| !c.ended);
        state.inputs.remove(&channel);
        state.forget(channel);
        if known {
            state.input.push_back(In::Disconnect { channel });
        }
        drop(state);
        self.buffer.task.notify_one();
        self.buffer.writable.notify_waiters();
    }

    /// Resolves when the stream takes nothing more.
    pub async fn closed(&self) {
        loop {
            let changed = self.buffer.writable.notified();
            {
                let state = self.buffer.lock();
                if state.end.is_some() || state.abandoned {
                    return;
                }
            }
            changed.await;
        }
    }
}
