//! The API's ends of a stream: one reads what the node sends, one writes what the node is to get.
//!
//! Both hold the stream's buffer, which the task of the node link fills and empties. A reader takes
//! events when it likes; credit for the node follows what it took. A writer waits until the node has
//! given credit and what it wrote before is on its way.

use std::sync::{Arc, Mutex, MutexGuard};

use bramble_wire::stream::Mark;
use tokio::sync::Notify;

use super::Error;
use super::state::{Event, State};

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

    /// Takes the newest place of a followed log that the node told; it may be ahead of what was read.
    pub fn mark(&mut self) -> Option<Mark> {
        self.buffer.lock().mark.take()
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
        let sent = self.buffer.lock().send(channel, bytes)?;
        if sent > 0 {
            self.buffer.task.notify_one();
        }
        Ok(sent)
    }

    /// No more input on a channel.
    pub fn end(&self, channel: u16) {
        if self.buffer.lock().end_input(channel) {
            self.buffer.task.notify_one();
        }
    }

    /// The terminal has this size now.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.buffer.lock().resize(columns, rows);
        self.buffer.task.notify_one();
    }

    /// Connects a new channel to a port, as soon as there is room to say so: who connects faster than
    /// the node hears of it waits.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn connect(&self, channel: u16, port: u16) -> Result<(), Closed> {
        loop {
            let room = self.buffer.writable.notified();
            if self.buffer.lock().connect(channel, port)? {
                self.buffer.task.notify_one();
                return Ok(());
            }
            room.await;
        }
    }

    /// Gives up a connected channel: nothing more is heard of it.
    pub fn disconnect(&self, channel: u16) {
        self.buffer.lock().disconnect(channel);
        self.buffer.task.notify_one();
        self.buffer.writable.notify_waiters();
    }

    /// Resolves when the stream takes nothing more.
    pub async fn closed(&self) {
        loop {
            let changed = self.buffer.writable.notified();
            {
                if self.buffer.lock().is_over() {
                    return;
                }
            }
            changed.await;
        }
    }
}
