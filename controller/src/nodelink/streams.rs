//! Log streams: what a node sends waits here until the API's client reads it.
//!
//! The node may send as much as it has credit for, counted from the start of the stream. Credit is
//! given when the reader has read, so a slow client holds up its log and nothing else. The table is
//! the node link task's; a reader holds its own stream's buffer and wakes the task by a notify.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bramble_wire::limits::{STREAM_CREDIT_MAX, STREAMS_MAX};
use bramble_wire::name::NodeName;
use bramble_wire::stream::{In, Out, StreamError};
use bramble_wire::topic::StreamId;
use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

/// Credit is repeated after so much silence: it may have been lost, and it tells the node that
/// somebody still reads.
const REPEAT: Duration = Duration::from_secs(15);

/// Why a log can't go on.
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
        | StreamError::Failed(text) => text,
    }
}

#[derive(Debug, Default)]
struct State {
    data: BytesMut,
    /// Bytes received since the start; the offset of the next frame.
    received: u64,
    /// Bytes that the reader has taken since the start.
    consumed: u64,
    /// The end, once it is known; the reader gets it after the data.
    end: Option<Result<(), Error>>,
    /// Nobody reads any more.
    abandoned: bool,
}

#[derive(Debug)]
struct Buffer {
    state: Mutex<State>,
    readable: Notify,
    /// Wakes the task: credit may be due, or the stream is abandoned.
    task: Arc<Notify>,
}

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn end(&self, end: Result<(), Error>) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.end = Some(end);
        }
        drop(state);
        self.readable.notify_one();
    }
}

/// The reading end of a stream. Dropping it closes the stream on the node.
#[derive(Debug)]
pub struct Reader {
    buffer: Arc<Buffer>,
}

impl Reader {
    /// The next bytes; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// [`Error`] when the stream ended early; after that, `None`.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
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
                if !state.data.is_empty() || state.end.is_some() {
                    return;
                }
            }
            self.buffer.readable.notified().await;
        }
    }

    /// Takes the error of a stream that ended before its first byte.
    pub fn refusal(&mut self) -> Option<Error> {
        let mut state = self.buffer.lock();
        if state.received > 0 || !matches!(state.end, Some(Err(_))) {
            return None;
        }
        state.end.replace(Ok(()))?.err()
    }

    fn take(&mut self) -> Option<Option<Result<Bytes, Error>>> {
        let mut state = self.buffer.lock();
        if !state.data.is_empty() {
            let bytes = std::mem::take(&mut state.data).freeze();
            state.consumed += bytes.len() as u64;
            drop(state);
            self.buffer.task.notify_one();
            return Some(Some(Ok(bytes)));
        }
        match state.end.take()? {
            Ok(()) => {
                state.end = Some(Ok(()));
                Some(None)
            }
            Err(error) => {
                state.end = Some(Ok(()));
                Some(Some(Err(error)))
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.buffer.lock().abandoned = true;
        self.buffer.task.notify_one();
    }
}

#[derive(Debug)]
struct Stream {
    node: NodeName,
    buffer: Arc<Buffer>,
    granted: u64,
    spoken: Instant,
}

/// The open streams of all nodes.
#[derive(Debug)]
pub(super) struct Streams {
    open: HashMap<StreamId, Stream>,
    next: u64,
    task: Arc<Notify>,
}

impl Streams {
    /// No streams. Ids are drawn from `first` on; `task` is notified when [`Streams::due`] is to be
    /// asked.
    pub(super) fn new(first: u64, task: Arc<Notify>) -> Streams {
        Streams {
            open: HashMap::new(),
            next: first,
            task,
        }
    }

    /// A new stream of a node, with the initial credit of [`STREAM_CREDIT_MAX`].
    pub(super) fn open(
        &mut self,
        node: &NodeName,
        now: Instant,
    ) -> Result<(StreamId, Reader), Error> {
        if self
            .open
            .values()
            .filter(|stream| stream.node == *node)
            .count()
            >= STREAMS_MAX
        {
            return Err(Error::Busy(node.clone()));
        }
        let id = StreamId(self.next);
        self.next += 1;
        let (state, task) = (Mutex::default(), Arc::clone(&self.task));
        let buffer = Arc::new(Buffer {
            state,
            readable: Notify::new(),
            task,
        });
        let stream = Stream {
            node: node.clone(),
            buffer: Arc::clone(&buffer),
            granted: u64::from(STREAM_CREDIT_MAX),
            spoken: now,
        };
        self.open.insert(id, stream);
        Ok((id, Reader { buffer }))
    }

    /// Ends a stream that could not be asked for.
    pub(super) fn fail(&mut self, id: StreamId, error: Error) {
        if let Some(stream) = self.open.remove(&id) {
            stream.buffer.end(Err(error));
        }
    }

    /// A node sent output. What repeats is dropped; what is missing, or is more than there is credit
    /// for, ends the stream.
    pub(super) fn handle_out(&mut self, node: &NodeName, id: StreamId, out: Out) {
        let Some(stream) = self.open.get(&id).filter(|stream| stream.node == *node) else {
            return;
        };
        match out {
            Out::Data { offset, bytes } => {
                let mut state = stream.buffer.lock();
                let Some(known) = state.received.checked_sub(offset) else {
                    drop(state);
                    return self.fail(id, Error::Gap);
                };
                let fresh = bytes.get(usize::try_from(known).unwrap_or(usize::MAX)..);
                let Some(fresh) = fresh.filter(|fresh| !fresh.is_empty()) else {
                    return;
                };
                if state.received + fresh.len() as u64 > stream.granted {
                    drop(state);
                    let text = "the node sends more than it may".to_owned();
                    return self.fail(id, Error::Node(StreamError::Failed(text)));
                }
                state.received += fresh.len() as u64;
                state.data.extend_from_slice(fresh);
                drop(state);
                stream.buffer.readable.notify_one();
            }
            Out::Credit { .. }
            | Out::ChannelData { .. }
            | Out::ChannelEnd { .. }
            | Out::Exit { .. } => {}
            Out::End { offset, error } => {
                let complete = stream.buffer.lock().received >= offset;
                let end = match error {
                    Some(error) => Err(Error::Node(error)),
                    None if complete => Ok(()),
                    None => Err(Error::Gap),
                };
                if let Some(stream) = self.open.remove(&id) {
                    stream.buffer.end(end);
                }
            }
        }
    }

    /// A node's connection is gone, and with it its streams.
    pub(super) fn handle_node_gone(&mut self, node: &NodeName) {
        self.end_where(|stream| stream.node == *node);
    }

    /// Our own connection is gone.
    pub(super) fn handle_disconnected(&mut self) {
        self.end_where(|_| true);
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

    /// What is to be told to nodes: credit for what was read, repeated after a silence, and the
    /// close of what nobody reads.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(NodeName, StreamId, In)> {
        let mut due = Vec::new();
        self.open.retain(|id, stream| {
            let state = stream.buffer.lock();
            if state.abandoned {
                due.push((stream.node.clone(), *id, In::Close));
                return false;
            }
            let window = u64::from(STREAM_CREDIT_MAX);
            let grant = state.consumed + window;
            let silent = now.duration_since(stream.spoken) >= REPEAT;
            if silent || grant - stream.granted >= window / 2 {
                stream.granted = grant;
                stream.spoken = now;
                due.push((stream.node.clone(), *id, In::Credit(grant)));
            }
            true
        });
        due
    }

    /// When [`Streams::due`] has something to say without a reader doing anything.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.open
            .values()
            .map(|stream| stream.spoken + REPEAT)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = STREAM_CREDIT_MAX as u64;

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn streams() -> Streams {
        Streams::new(100, Arc::default())
    }

    fn data(offset: u64, text: &str) -> Out {
        Out::Data {
            offset,
            bytes: text.into(),
        }
    }

    fn end(offset: u64) -> Out {
        Out::End {
            offset,
            error: None,
        }
    }

    async fn read_all(reader: &mut Reader) -> (String, Option<Error>) {
        let mut text = String::new();
        while let Some(next) = reader.next().await {
            match next {
                Ok(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
                Err(error) => return (text, Some(error)),
            }
        }
        (text, None)
    }

    #[tokio::test]
    async fn repeats_are_dropped_and_the_end_comes_last() {
        let mut streams = streams();
        let (id, mut reader) = streams.open(&node("n1"), Instant::now()).unwrap();
        for out in [
            data(0, "abc"),
            data(0, "abc"),
            data(2, "cd"),
            data(4, "e"),
            end(5),
        ] {
            streams.handle_out(&node("n1"), id, out);
        }
        assert_eq!(read_all(&mut reader).await, ("abcde".to_owned(), None));
        assert!(reader.next().await.is_none());
    }

    #[tokio::test]
    async fn a_gap_is_an_error_after_what_came_before() {
        for lost in [data(5, "x"), end(5)] {
            let mut streams = streams();
            let (id, mut reader) = streams.open(&node("n1"), Instant::now()).unwrap();
            streams.handle_out(&node("n1"), id, data(0, "abc"));
            streams.handle_out(&node("n1"), id, lost);
            assert_eq!(
                read_all(&mut reader).await,
                ("abc".to_owned(), Some(Error::Gap))
            );
            assert!(reader.next().await.is_none(), "an error comes once");
        }
    }

    #[tokio::test]
    async fn another_node_can_not_write_into_a_stream() {
        let mut streams = streams();
        let (id, mut reader) = streams.open(&node("n1"), Instant::now()).unwrap();
        streams.handle_out(&node("n2"), id, data(0, "forged"));
        streams.handle_out(&node("n1"), id, data(0, "own"));
        streams.handle_out(&node("n1"), id, end(3));
        assert_eq!(read_all(&mut reader).await, ("own".to_owned(), None));
    }

    #[tokio::test]
    async fn credit_follows_the_reader() {
        let mut streams = streams();
        let now = Instant::now();
        let (id, mut reader) = streams.open(&node("n1"), now).unwrap();
        let half = "x".repeat(WINDOW as usize / 2);
        streams.handle_out(&node("n1"), id, data(0, &half));
        streams.handle_out(&node("n1"), id, data(WINDOW / 2, &half));
        assert_eq!(streams.due(now), [], "nothing read, no credit");
        reader.next().await.unwrap().unwrap();
        assert_eq!(streams.due(now), [(node("n1"), id, In::Credit(2 * WINDOW))]);
        assert_eq!(streams.due(now), []);
        assert_eq!(
            streams.due(now + REPEAT),
            [(node("n1"), id, In::Credit(2 * WINDOW))]
        );
    }

    #[tokio::test]
    async fn more_than_the_credit_ends_the_stream() {
        let mut streams = streams();
        let (id, mut reader) = streams.open(&node("n1"), Instant::now()).unwrap();
        let window = "x".repeat(WINDOW as usize);
        streams.handle_out(&node("n1"), id, data(0, &window));
        streams.handle_out(&node("n1"), id, data(WINDOW, "y"));
        let (text, error) = read_all(&mut reader).await;
        assert_eq!(text.len() as u64, WINDOW);
        assert!(
            matches!(error, Some(Error::Node(StreamError::Failed(_)))),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn a_dropped_reader_closes_the_stream() {
        let mut streams = streams();
        let (id, reader) = streams.open(&node("n1"), Instant::now()).unwrap();
        drop(reader);
        assert_eq!(streams.due(Instant::now()), [(node("n1"), id, In::Close)]);
        assert!(streams.next_wake().is_none());
    }

    #[tokio::test]
    async fn streams_of_a_lost_node_end_and_those_of_others_go_on() {
        let mut streams = streams();
        let now = Instant::now();
        let (_, mut lost) = streams.open(&node("n1"), now).unwrap();
        let (id, mut other) = streams.open(&node("n2"), now).unwrap();
        streams.handle_node_gone(&node("n1"));
        assert_eq!(
            read_all(&mut lost).await.1,
            Some(Error::Offline(node("n1")))
        );
        streams.handle_out(&node("n2"), id, end(0));
        assert_eq!(read_all(&mut other).await, (String::new(), None));
    }

    #[test]
    fn a_node_serves_a_few_streams() {
        let mut streams = streams();
        let now = Instant::now();
        let open: Vec<_> = (0..STREAMS_MAX)
            .map(|_| streams.open(&node("n1"), now).unwrap())
            .collect();
        assert_eq!(
            streams.open(&node("n1"), now).unwrap_err(),
            Error::Busy(node("n1"))
        );
        assert!(streams.open(&node("n2"), now).is_ok());
        drop(open);
        streams.due(now);
        assert!(streams.open(&node("n1"), now).is_ok());
    }
}
