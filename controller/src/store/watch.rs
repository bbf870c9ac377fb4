//! A watcher: a cursor into the history of one resource.
//!
//! Watchers hold no queue of their own beyond a small batch. One that falls behind the bounded
//! history is told so ([`Error::Compacted`]) and its client lists again; it never holds memory or
//! a writer up.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::Notify;

use super::{
    engine::Engine,
    types::{Error, Event, Revision, Scope},
};

/// How many events one look at the history takes.
const BATCH: usize = 64;

/// A stream of changes, see [`super::Store::watch`].
pub struct Watcher {
    engine: Arc<Engine>,
    scope: Scope,
    pending: bool,
    /// Everything up to here has been taken from the history.
    cursor: Revision,
    batch: VecDeque<Event>,
    wake: Arc<Notify>,
}

impl Watcher {
    pub(super) fn new(
        engine: Arc<Engine>,
        scope: Scope,
        pending: bool,
        from: Revision,
        wake: Arc<Notify>,
    ) -> Self {
        Self {
            engine,
            scope,
            pending,
            cursor: from,
            batch: VecDeque::new(),
            wake,
        }
    }

    /// The next event. Cancel safe: dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Error::Compacted`] when this watcher was too slow and events are lost to it: list again.
    /// [`Error::Failed`] when the store failed.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            let wake = self.wake.clone();
            let notified = wake.notified();
            tokio::pin!(notified);
            // Registered before the look, so that a change in between is not missed.
            notified.as_mut().enable();
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            notified.await;
        }
    }

    /// The next event if there is one now.
    ///
    /// # Errors
    /// As [`Watcher::next`].
    pub fn try_next(&mut self) -> Result<Option<Event>, Error> {
        if self.batch.is_empty() {
            self.cursor = self.engine.since(
                &self.scope,
                self.pending,
                self.cursor,
                BATCH,
                &mut self.batch,
            )?;
        }
        Ok(self.batch.pop_front())
    }

    /// A revision up to which everything has been delivered: what a bookmark may say. It moves on
    /// with changes of other resources, so that a client of a quiet resource can resume late.
    pub fn progress(&mut self) -> Revision {
        if self.batch.is_empty()
            && let Ok(cursor) = self.engine.since(
                &self.scope,
                self.pending,
                self.cursor,
                BATCH,
                &mut self.batch,
            )
        {
            self.cursor = cursor;
        }
        match self.batch.front() {
            Some(event) => Revision(event.revision.0 - 1),
            None => self.cursor,
        }
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher")
            .field("scope", &self.scope)
            .field("pending", &self.pending)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}
