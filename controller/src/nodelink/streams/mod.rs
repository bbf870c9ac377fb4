//! Streams: what a node sends waits here until the API's client reads it, and what the client
//! writes until the node takes it.
//!
//! The node may send as much as it has credit for, counted from the start of the stream. Credit is
//! given when the reader has read, so a slow client holds up its stream and nothing else. The node
//! gives credit for input in the same way. The table is the node link task's; a [`Reader`] and a
//! [`Writer`] hold their own stream's buffer and wake the task by a notify.

mod handle;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble_wire::limits::{CHANNEL_CREDIT_MAX, STREAM_CREDIT_MAX, STREAMS_MAX};
use bramble_wire::name::NodeName;
use bramble_wire::stream::{In, Out, StreamError, channel};
use bramble_wire::topic::StreamId;
use tokio::sync::Notify;

use handle::Buffer;
pub use handle::{Closed, Reader, Writer};
pub use state::Event;
use state::State;

/// All credit is repeated so often, whatever else is said: it may have been lost, and it tells the
/// node that somebody still reads.
const REPEAT: Duration = Duration::from_secs(15);

/// Why a stream can't go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The node says why.
    #[error("{}", stream_error(.0))]
    Node(StreamError),
    /// The node is not connected, or the connection broke.
    #[error("node {0} is not connected")]
    Offline(NodeName),
    /// The node serves as many streams as it may.
    #[error("node {0} already serves {STREAMS_MAX} streams")]
    Busy(NodeName),
    /// A frame got lost on the way.
    #[error("part of the stream was lost")]
    Gap,
}

fn stream_error(error: &StreamError) -> &str {
    match error {
        StreamError::NotFound(text)
        | StreamError::Unavailable(text)
        | StreamError::Failed(text)
        | StreamError::Lost(text) => text,
    }
}

#[derive(Debug)]
struct Stream {
    node: NodeName,
    buffer: Arc<Buffer>,
    /// For all channels together.
    granted: u64,
    /// When all credit was told last.
    repeated: Instant,
}

/// The open streams of all nodes.
#[derive(Debug)]
pub(crate) struct Streams {
    open: HashMap<StreamId, Stream>,
    next: u64,
    /// Whose input was taken last.
    served: StreamId,
    /// Ended with our connection; their nodes do not know.
    orphans: Vec<(NodeName, StreamId)>,
    task: Arc<Notify>,
}

impl Streams {
    /// No streams. Ids are drawn from `first` on; `task` is notified when [`Streams::due`] is to be
    /// asked.
    pub(crate) fn new(first: u64, task: Arc<Notify>) -> Streams {
        Streams {
            open: HashMap::new(),
            next: first,
            served: StreamId(0),
            orphans: Vec::new(),
            task,
        }
    }

    /// A new stream of a node, with the initial credit of [`STREAM_CREDIT_MAX`], or with
    /// [`CHANNEL_CREDIT_MAX`] for each channel if it forwards connections.
    pub(crate) fn open(
        &mut self,
        node: &NodeName,
        forward: bool,
        now: Instant,
    ) -> Result<(StreamId, Writer, Reader), Error> {
        let of_node = self.open.values().filter(|stream| stream.node == *node);
        if of_node.count() >= STREAMS_MAX {
            return Err(Error::Busy(node.clone()));
        }
        let id = StreamId(self.next);
        self.next += 1;
        let buffer = Arc::new(Buffer::new(forward, Arc::clone(&self.task)));
        let stream = Stream {
            node: node.clone(),
            buffer: Arc::clone(&buffer),
            granted: u64::from(STREAM_CREDIT_MAX),
            repeated: now,
        };
        self.open.insert(id, stream);
        let writer = Writer {
            buffer: Arc::clone(&buffer),
        };
        Ok((id, writer, Reader { buffer }))
    }

    /// Ends a stream that could not be asked for, or that went wrong; the node is told.
    pub(super) fn fail(&mut self, id: StreamId, error: Error) {
        if let Some(stream) = self.open.get(&id) {
            stream.buffer.end(Err(error));
            // The next look finds it and tells the node.
            stream.buffer.lock().abandoned = true;
            self.task.notify_one();
        }
    }

    /// A node sent output. What repeats is dropped; what is missing, or is more than there is credit
    /// for, ends the stream.
    pub(crate) fn handle_out(&mut self, node: &NodeName, id: StreamId, out: Out) {
        let Some(stream) = self.open.get(&id).filter(|stream| stream.node == *node) else {
            return;
        };
        let handled = match out {
            Out::Data { offset, bytes } => stream.receive(channel::OUT, offset, &bytes),
            Out::Log {
                offset,
                bytes,
                mark,
            } => {
                let received = stream.receive(channel::OUT, offset, &bytes);
                received.map(|()| stream.buffer.lock().mark(mark))
            }
            Out::ChannelData {
                channel,
                offset,
                bytes,
            } => stream.receive(channel, offset, &bytes),
            Out::ChannelEnd {
                channel,
                offset,
                error,
            } => stream.end_channel(channel, offset, error),
            Out::Credit { channel, credit } => {
                stream.buffer.lock().credit(channel, credit);
                stream.buffer.writable.notify_waiters();
                Ok(())
            }
            Out::Ready => {
                stream.once(|state| &mut state.ready, Event::Ready);
                Ok(())
            }
            Out::Exit { code } => {
                stream.once(|state| &mut state.exited, Event::Exit(code));
                Ok(())
            }
            Out::End { offset, error } => {
                let complete = stream.is_complete(offset);
                let end = match error {
                    Some(error) => Err(Error::Node(error)),
                    None if complete => Ok(()),
                    None => Err(Error::Gap),
                };
                if let Some(stream) = self.open.remove(&id) {
                    stream.buffer.end(end);
                }
                return;
            }
        };
        match handled {
            Ok(()) => stream.buffer.wake_reader(),
            Err(error) => self.fail(id, error),
        }
    }

    /// A node's connection is gone, and with it its streams.
    pub(super) fn handle_node_gone(&mut self, node: &NodeName) {
        self.end_where(|stream| stream.node == *node);
    }

    /// Our own connection is gone.
    pub(super) fn handle_disconnected(&mut self) {
        let open = self.open.iter();
        self.orphans
            .extend(open.map(|(id, stream)| (stream.node.clone(), *id)));
        self.end_where(|_| true);
    }

    /// Streams that nodes may still serve for nobody.
    pub(super) fn take_orphans(&mut self) -> Vec<(NodeName, StreamId)> {
        std::mem::take(&mut self.orphans)
    }

    fn end_where(&mut self, gone: impl Fn(&Stream) -> bool) {
        self.open.retain(|_, stream| {
            let gone = gone(stream);
            if gone {
                stream.buffer.end(Err(Error::Offline(stream.node.clone())));
            }
            !gone
        });
    }

    /// What is to be told to nodes: credit for what was read, all of it again at times, the close of
    /// what nobody reads, and input, as many messages as there is `room` for.
    pub(crate) fn due(&mut self, now: Instant, room: usize) -> Vec<(NodeName, StreamId, In)> {
        let mut due = Vec::new();
        let mut waiting = Vec::new();
        self.open.retain(|id, stream| {
            let tell = |message| due.push((stream.node.clone(), *id, message));
            let mut state = stream.buffer.lock();
            if !state.input.is_empty() {
                waiting.push(*id);
            }
            let goes_on = !state.abandoned;
            stream.granted = credit(&mut state, stream.granted, now, &mut stream.repeated, tell);
            goes_on
        });
        waiting.retain(|id| self.open.contains_key(id));
        self.take_input(waiting, room, &mut due);
        due
    }

    /// One message of each stream in turn, beginning after the one that was served last: none that
    /// has much to say holds up the others.
    fn take_input(
        &mut self,
        mut waiting: Vec<StreamId>,
        mut room: usize,
        due: &mut Vec<(NodeName, StreamId, In)>,
    ) {
        waiting.sort_unstable();
        let first = waiting.partition_point(|id| *id <= self.served);
        waiting.rotate_left(first);
        while room > 0 && !waiting.is_empty() {
            waiting.retain(|id| {
                let stream = self.open.get(id).filter(|_| room > 0);
                let message = stream.and_then(|s| Some((s, s.buffer.lock().input.pop_front()?)));
                let Some((stream, message)) = message else {
                    return false;
                };
                room -= 1;
                self.served = *id;
                due.push((stream.node.clone(), *id, message));
                stream.buffer.writable.notify_waiters();
                true
            });
        }
    }

    /// Whether there is input for a node.
    pub(super) fn has_input(&self) -> bool {
        (self.open.values()).any(|stream| !stream.buffer.lock().input.is_empty())
    }

    /// When [`Streams::due`] has something to say without a reader doing anything.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.open
            .values()
            .map(|stream| stream.repeated + REPEAT)
            .min()
    }
}

impl Stream {
    fn receive(&self, number: u16, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut state = self.buffer.lock();
        let (total, _) = state.totals();
        let forward = state.forward;
        let Some(channel) = state.channels.get_mut(&number).filter(|c| !c.ended) else {
            // It was closed while this was on its way.
            return Ok(());
        };
        let known = channel.received.checked_sub(offset).ok_or(Error::Gap)?;
        let fresh = bytes.get(usize::try_from(known).unwrap_or(usize::MAX)..);
        let Some(fresh) = fresh.filter(|fresh| !fresh.is_empty()) else {
            return Ok(());
        };
        let (had, granted) = if forward {
            (channel.received, channel.granted)
        } else {
            (total, self.granted)
        };
        if had + fresh.len() as u64 > granted {
            let text = "the node sends more than it may".to_owned();
            return Err(Error::Node(StreamError::Failed(text)));
        }
        channel.received += fresh.len() as u64;
        state.push_data(number, fresh);
        Ok(())
    }

    fn end_channel(
        &self,
        number: u16,
        offset: u64,
        error: Option<StreamError>,
    ) -> Result<(), Error> {
        let mut state = self.buffer.lock();
        if !state.forward {
            let text = "the node ends a channel of a stream that forwards nothing".to_owned();
            return Err(Error::Node(StreamError::Failed(text)));
        }
        let Some(channel) = state.channels.get(&number).filter(|c| !c.ended) else {
            return Ok(());
        };
        if channel.received < offset {
            return Err(Error::Gap);
        }
        state.end_channel(number, error);
        drop(state);
        self.buffer.writable.notify_waiters();
        Ok(())
    }

    /// Whether everything has arrived of a stream that ends after so many bytes on all its channels.
    /// Those of a stream that forwards have ends of their own.
    fn is_complete(&self, offset: u64) -> bool {
        let state = self.buffer.lock();
        state.forward || state.totals().0 >= offset
    }

    fn once(&self, seen: fn(&mut State) -> &mut bool, event: Event) {
        let mut state = self.buffer.lock();
        if !std::mem::replace(seen(&mut state), true) {
            state.push(event);
        }
    }
}

/// Tells the credit of a stream that is due, or its close; what is granted for all channels together.
fn credit(
    state: &mut State,
    granted: u64,
    now: Instant,
    repeated: &mut Instant,
    mut tell: impl FnMut(In),
) -> u64 {
    if state.abandoned {
        tell(In::Close);
        return granted;
    }
    let window = u64::from(STREAM_CREDIT_MAX);
    let (_, consumed) = state.totals();
    let forward = state.forward;
    let grant = if forward { window } else { consumed + window };
    // What was granted stays so.
    let grant = grant.max(granted);
    let repeat = now.duration_since(*repeated) >= REPEAT;
    let mut told = granted;
    if repeat || grant - granted >= window / 2 {
        told = grant;
        *repeated = now;
        tell(In::Credit(told));
    }
    if !forward {
        return told;
    }
    let window = u64::from(CHANNEL_CREDIT_MAX);
    for (number, channel) in state.channels.iter_mut().filter(|(_, c)| !c.ended) {
        let grant = channel.consumed + window;
        let news = grant - channel.granted >= window / 2;
        // What a channel begins with was said with the stream.
        if news || (repeat && grant > window) {
            channel.granted = grant;
            let (channel, credit) = (*number, grant);
            tell(In::ChannelCredit { channel, credit });
        }
    }
    told
}
