//! The MVCC engine behind every store: index, revision counter, history, and what waits for the
//! disk. Pure memory: it never touches a file and never blocks.
//!
//! With a [`Journal`] it queues what must be written and holds the *visible* revision back until
//! its owner reports the queue written ([`Engine::settle`]) or lost ([`Engine::fail`]).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tokio::sync::watch;

use super::{
    history::Bucket,
    journal::{Batch, Journal},
    state::State,
    types::{
        Commit, Durability, Durable, Entry, Error, Event, Key, Limits, Listing, Op, Page, Progress,
        Recovered, Revision, Scope,
    },
    watch::Watcher,
};

/// See the module.
pub(super) struct Engine {
    state: RwLock<State>,
    progress: watch::Sender<Progress>,
    limits: Limits,
    recovered: Recovered,
}

/// The store's whole durable state at one revision.
pub struct Snapshot {
    pub(super) revision: Revision,
    pub(super) reserved: Revision,
    pub(super) entries: Vec<Arc<Entry>>,
}

impl Engine {
    /// An engine with `entries`, all of them on disk.
    pub(super) fn new(
        limits: Limits,
        recovered: Recovered,
        entries: impl IntoIterator<Item = Arc<Entry>>,
        journal: Option<Journal>,
    ) -> Self {
        let Recovered { top, start } = recovered;
        let mut state = State {
            revision: start,
            visible: start,
            start,
            buckets: BTreeMap::new(),
            history_bytes: 0,
            gates: VecDeque::new(),
            hard: top,
            failed: false,
            journal,
        };
        for entry in entries {
            let (group, resource) = (entry.key.group.clone(), entry.key.resource.clone());
            state.bucket_mut(&group, &resource).restore(entry, true);
        }
        let progress = watch::Sender::new(Progress {
            visible: start,
            failed: false,
        });
        Self {
            state: RwLock::new(state),
            progress,
            limits,
            recovered,
        }
    }

    pub(super) fn recovered(&self) -> Recovered {
        self.recovered
    }

    pub(super) fn hard(&self) -> Revision {
        self.read().hard
    }

    // A panic under this lock would be a bug in this file; the panic itself is what gets reported.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn revision(&self) -> Revision {
        self.read().revision
    }

    pub(super) fn visible(&self) -> Revision {
        self.read().visible
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        let state = self.read();
        state
            .bucket(&key.group, &key.resource)?
            .get(&key.namespace, &key.name)
            .cloned()
    }

    pub(super) fn list(&self, scope: &Scope, page: &Page) -> Result<Listing, Error> {
        let state = self.read();
        let revision = page.at.unwrap_or(state.revision);
        state.check_reach(scope, revision)?;
        let mut listing = Listing {
            revision,
            entries: Vec::new(),
            next: None,
            remaining: 0,
        };
        let Some(bucket) = state.bucket(&scope.group, &scope.resource) else {
            return Ok(listing);
        };
        let from = page
            .from
            .as_ref()
            .map_or(("", ""), |key| (&*key.namespace, &*key.name));
        let mut range = bucket.range_at(revision, scope.namespace.as_deref(), from);
        let limit = page.limit.unwrap_or(usize::MAX);
        listing.entries.extend(range.by_ref().take(limit).cloned());
        if let Some(next) = range.next() {
            listing.next = Some(next.key.clone());
            listing.remaining = 1 + range.count();
        }
        Ok(listing)
    }

    /// Takes a watcher's next events, at most `max`. Returns how far it has got.
    pub(super) fn since(
        &self,
        scope: &Scope,
        pending: bool,
        cursor: Revision,
        max: usize,
        out: &mut VecDeque<Event>,
    ) -> Result<Revision, Error> {
        let state = self.read();
        if state.failed {
            return Err(Error::Failed);
        }
        state.check_floor(scope, cursor)?;
        let upto = if pending {
            state.revision
        } else {
            state.visible
        };
        let Some(bucket) = state.bucket(&scope.group, &scope.resource) else {
            return Ok(cursor.max(upto));
        };
        for event in bucket
            .since(cursor)
            .take_while(|event| event.revision <= upto)
        {
            if scope
                .namespace
                .as_ref()
                .is_none_or(|only| *only == event.entry.key.namespace)
            {
                out.push_back(event.clone());
                if out.len() == max {
                    return Ok(event.revision);
                }
            }
        }
        // A watcher may stand at a pending revision that a list gave it; it never goes back.
        Ok(cursor.max(upto))
    }

    pub(super) fn watch(
        self: &Arc<Self>,
        scope: &Scope,
        from: Revision,
        pending: bool,
    ) -> Result<Watcher, Error> {
        let mut state = self.write();
        if state.failed {
            return Err(Error::Failed);
        }
        state.check_reach(scope, from)?;
        let bucket = state.bucket_mut(&scope.group, &scope.resource);
        let wake = if pending {
            &bucket.committed
        } else {
            &bucket.shown
        };
        let wake = wake.clone();
        drop(state);
        Ok(Watcher::new(
            self.clone(),
            scope.clone(),
            pending,
            from,
            wake,
        ))
    }

    pub(super) fn settled(&self, revision: Revision) -> Durable {
        Durable {
            progress: self.progress.subscribe(),
            revision,
        }
    }

    pub(super) fn commit(&self, ops: Vec<Op>) -> Result<Commit, Error> {
        let size = self.check_sizes(&ops)?;
        let mut state = self.write();
        if state.failed {
            return Err(Error::Failed);
        }
        state.check_expectations(&ops)?;
        if let Some(journal) = &state.journal {
            journal.check_room(&ops, size)?;
        }
        let first = state.revision.next();
        let mut entries = Vec::with_capacity(ops.len());
        let mut changes = Vec::new();
        let hardest = ops
            .iter()
            .map(Op::durability)
            .max()
            .unwrap_or(Durability::Memory);
        for op in ops {
            if let Some((entry, change)) = state.apply(op, hardest) {
                entries.push(entry);
                changes.extend(change);
            }
        }
        let revision = state.revision;
        state.enqueue(first, changes, hardest);
        state.trim_history(&self.limits);
        self.show(&mut state);
        drop(state);
        Ok(Commit {
            first,
            revision,
            entries,
            durable: self.settled(revision),
        })
    }

    pub(super) fn raise_epoch(&self, epoch: u32) -> Result<Commit, Error> {
        let mut state = self.write();
        if state.failed {
            return Err(Error::Failed);
        }
        if epoch > state.revision.epoch() {
            state.revision = Revision::new(epoch, 1);
            let first = state.revision;
            state.enqueue(first, Vec::new(), Durability::Memory);
            self.show(&mut state);
        }
        let revision = state.revision;
        drop(state);
        let durable = self.settled(revision);
        Ok(Commit {
            first: revision,
            revision,
            entries: Vec::new(),
            durable,
        })
    }

    /// Takes everything that waits for the disk. With `all`, also what need not be written yet.
    /// Nothing is shown before [`Engine::settle`] with the batch's revision.
    pub(super) fn drain(&self, all: bool) -> Option<Batch> {
        let mut state = self.write();
        let upto = state.revision;
        state.journal.as_mut()?.drain(upto, all)
    }

    /// Everything that belongs on disk, at the current revision. Whatever is queued is part of it.
    pub(super) fn snapshot(&self) -> Snapshot {
        let state = self.read();
        let buckets = state.buckets.values().flat_map(BTreeMap::values);
        Snapshot {
            revision: state.revision,
            reserved: state
                .journal
                .as_ref()
                .map_or(state.revision, Journal::reserved),
            entries: buckets.flat_map(Bucket::stored).cloned().collect(),
        }
    }

    /// Everything taken by the drain that returned `upto` is durable.
    pub(super) fn settle(&self, upto: Revision) {
        let mut state = self.write();
        state.settle(upto);
        self.show(&mut state);
    }

    /// How many bytes may wait for the disk from now on, and whether that is all there ever is.
    pub(super) fn set_room(&self, bytes: usize, full: bool) {
        if let Some(journal) = &mut self.write().journal {
            journal.set_room(bytes, full);
        }
    }

    /// The disk is gone. Nothing more is accepted or shown.
    pub(super) fn fail(&self) {
        let mut state = self.write();
        state.failed = true;
        let visible = state.visible;
        self.progress.send_replace(Progress {
            visible,
            failed: true,
        });
        for bucket in state.buckets.values().flat_map(BTreeMap::values) {
            bucket.committed.notify_waiters();
            bucket.shown.notify_waiters();
        }
    }

    /// Moves the visible revision up as far as the gates allow and wakes whom it concerns.
    fn show(&self, state: &mut State) {
        if state.failed {
            return;
        }
        let before = state.visible;
        let gate = state.gates.front().map(|gate| Revision(gate.first.0 - 1));
        state.visible = gate.unwrap_or(state.revision).max(before);
        let visible = state.visible;
        for bucket in state.buckets.values().flat_map(BTreeMap::values) {
            let Some(newest) = bucket.newest() else {
                continue;
            };
            if newest > before {
                bucket.committed.notify_waiters();
                bucket.shown.notify_waiters();
            }
        }
        if visible > before {
            self.progress.send_replace(Progress {
                visible,
                failed: false,
            });
        }
    }

    fn check_sizes(&self, ops: &[Op]) -> Result<usize, Error> {
        let mut size = 0;
        let mut keys = BTreeSet::new();
        for op in ops {
            if !keys.insert(op.key()) {
                return Err(Error::Twice(op.key().clone()));
            }
            if let Op::Put { body, .. } = op {
                let at = body.revision_at.unwrap_or(0);
                assert!(
                    at <= body.json.len(),
                    "revision_at lies outside of {}",
                    op.key()
                );
            }
            if let Op::Put { body, .. } = op
                && body.json.len() > self.limits.object_bytes
            {
                let (size, limit) = (body.json.len(), self.limits.object_bytes);
                return Err(Error::TooLarge { size, limit });
            }
            size += Journal::cost(op);
        }
        if size > self.limits.commit_bytes {
            return Err(Error::TooLarge {
                size,
                limit: self.limits.commit_bytes,
            });
        }
        Ok(size)
    }
}
