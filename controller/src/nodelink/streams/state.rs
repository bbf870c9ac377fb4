//! What is held of one stream: events that its reader has not taken, and messages that its node has
//! not got.
//!
//! All of it is bounded. Bytes are, by the credit that was given for them, and credit follows what was
//! taken: whoever does not read holds up his stream (back-pressure). The number of pieces is bounded
//! apart from that, as a byte may come alone: many small pieces of a channel are gathered into one.
//! Messages for the node are a few, of which one channel has its share; besides them there is at most
//! one end or good-bye for each channel that the node knows.

use std::collections::{BTreeMap, VecDeque};

use bramble_wire::limits::{
    CHANNEL_CREDIT_MAX, CURSOR_MAX, STREAM_CREDIT_MAX, STREAM_FRAME_MAX, TEXT_MAX,
};
use bramble_wire::stream::{In, Mark, StreamError, channel};
use bytes::{Bytes, BytesMut};

use super::Error;
use super::handle::Closed;

/// Messages for the node that a stream holds; a writer waits before one more.
pub(super) const INPUT_MAX: usize = 8;
/// Of those, what one of several channels may hold: there is always room for another's.
const CHANNEL_INPUT_MAX: usize = INPUT_MAX / 2;
/// Pieces of output that wait in the order in which they came, standard output among standard error.
/// Beyond, a piece is added to what waits of its channel, and only that order is lost.
pub(super) const PIECES_MAX: usize = 64;

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
pub(super) enum Waiting {
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

/// See the module.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) events: VecDeque<Waiting>,
    /// Each channel has its own credit.
    pub(super) forward: bool,
    pub(super) channels: BTreeMap<u16, Channel>,
    /// The end, once it is known; the reader gets it after the events.
    pub(super) end: Option<Result<(), Error>>,
    /// Where a followed log can be gone on with, as last told.
    pub(super) mark: Option<Mark>,
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

    /// Nothing more is taken from the writer.
    pub(super) fn is_over(&self) -> bool {
        self.end.is_some() || self.abandoned
    }

    pub(super) fn push_data(&mut self, channel: u16, bytes: &[u8]) {
        // Connections have nothing to do with each other, so each has one piece at most.
        let gather = self.forward || self.events.len() >= PIECES_MAX;
        let looked_at = if gather { self.events.len() } else { 1 };
        let mut newest = self.events.iter_mut().rev().take(looked_at);
        let piece = newest.find_map(|waiting| match waiting {
            Waiting::Data(of, data) if *of == channel => Some(data),
            _ => None,
        });
        match piece {
            Some(data) => data.extend_from_slice(bytes),
            None => self
                .events
                .push_back(Waiting::Data(channel, BytesMut::from(bytes))),
        }
    }

    /// Keeps a place, unless it is none of what was received, or longer than may be.
    pub(super) fn mark(&mut self, mark: Mark) {
        if mark.offset <= self.totals().0 && mark.cursor.len() <= CURSOR_MAX {
            self.mark = Some(mark);
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

    /// The node has ended a forwarded connection: it takes no more, and the reader will hear of it. Of
    /// a long text of why the rest is cut off.
    pub(super) fn end_channel(&mut self, channel: u16, error: Option<StreamError>) {
        if let Some(ended) = self.channels.get_mut(&channel) {
            ended.ended = true;
        }
        if let Some(inward) = self.inputs.get_mut(&channel) {
            inward.ended = true;
        }
        self.forget_input(channel);
        let error = error.map(cut);
        self.push(Event::ChannelEnd { channel, error });
    }

    /// The next event for the reader.
    pub(super) fn take(&mut self) -> Option<Event> {
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

    /// Queues as much input as there is credit and room for; how much it was.
    pub(super) fn send(&mut self, channel: u16, bytes: &[u8]) -> Result<usize, Closed> {
        if self.is_over() {
            return Err(Closed);
        }
        let held = self.input.len();
        let mine = |input: &&In| matches!(input, In::Data { channel: of, .. } if *of == channel);
        let share = self.forward && self.input.iter().filter(mine).count() >= CHANNEL_INPUT_MAX;
        let inward = self.inputs.get_mut(&channel).filter(|i| !i.ended);
        let inward = inward.ok_or(Closed)?;
        let credit = usize::try_from(inward.credit - inward.sent).unwrap_or(usize::MAX);
        let size = bytes.len().min(credit).min(STREAM_FRAME_MAX);
        if size == 0 || share || held >= INPUT_MAX {
            return Ok(0);
        }
        let offset = inward.sent;
        inward.sent += size as u64;
        let bytes = &bytes[..size];
        match self.input.back_mut() {
            // Many small writes, such as keys, make few messages.
            Some(In::Data {
                channel: last,
                bytes: data,
                ..
            }) if *last == channel && data.len() + size <= STREAM_FRAME_MAX => {
                data.extend_from_slice(bytes);
            }
            _ => self.input.push_back(In::Data {
                channel,
                offset,
                bytes: bytes.to_vec(),
            }),
        }
        Ok(size)
    }

    /// No more input on a channel; whether that is news.
    pub(super) fn end_input(&mut self, channel: u16) -> bool {
        let Some(inward) = self.inputs.get_mut(&channel).filter(|i| !i.ended) else {
            return false;
        };
        inward.ended = true;
        let offset = inward.sent;
        self.input.push_back(In::End { channel, offset });
        true
    }

    /// Only the newest size of the terminal counts.
    pub(super) fn resize(&mut self, columns: u16, rows: u16) {
        self.input.retain(|i| !matches!(i, In::Resize { .. }));
        self.input.push_back(In::Resize { columns, rows });
    }

    /// Queues a new channel, if there is room.
    pub(super) fn connect(&mut self, channel: u16, port: u16) -> Result<bool, Closed> {
        if self.is_over() {
            return Err(Closed);
        }
        if self.input.len() >= INPUT_MAX {
            return Ok(false);
        }
        let granted = u64::from(CHANNEL_CREDIT_MAX);
        let outward = Channel {
            granted,
            ..Channel::default()
        };
        self.channels.insert(channel, outward);
        self.inputs.insert(channel, Inward::default());
        self.input.push_back(In::Connect { channel, port });
        Ok(true)
    }

    /// Forgets a channel. The node is told unless it has never heard of it, or ended it itself.
    pub(super) fn disconnect(&mut self, gone: u16) {
        let known = self.channels.remove(&gone).is_some_and(|c| !c.ended);
        self.inputs.remove(&gone);
        self.events.retain(|waiting| match waiting {
            Waiting::Data(channel, _) => *channel != gone,
            Waiting::Other(Event::ChannelEnd { channel, .. }) => *channel != gone,
            Waiting::Other(_) => true,
        });
        let unheard = self.forget_input(gone);
        if known && !unheard {
            self.input.push_back(In::Disconnect { channel: gone });
        }
    }

    /// Drops what waits for the node about a channel; whether it has not even heard of it.
    fn forget_input(&mut self, gone: u16) -> bool {
        let mut unheard = false;
        self.input.retain(|input| match input {
            In::Connect { channel, .. } if *channel == gone => {
                unheard = true;
                false
            }
            In::Data { channel, .. } | In::End { channel, .. } => *channel != gone,
            _ => true,
        });
        unheard
    }
}

fn cut(error: StreamError) -> StreamError {
    let short = |mut text: String| {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        text
    };
    match error {
        StreamError::NotFound(text) => StreamError::NotFound(short(text)),
        StreamError::Unavailable(text) => StreamError::Unavailable(short(text)),
        StreamError::Failed(text) => StreamError::Failed(short(text)),
        StreamError::Lost(text) => StreamError::Lost(short(text)),
    }
}
