//! What waits for the disk: the queue between the engine and the thread that writes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use super::types::{Durability, Entry, Error, Expect, Key, Op, Revision};

/// Revisions are reserved on disk in blocks of this size before the first of a block is shown. A
/// start skips the rest of a block: 2^40 revisions in an epoch are a million starts.
pub(super) const BLOCK: u64 = 1 << 20;

/// Room that only deletes may use, so that a full disk can be emptied: at most this much, and at
/// most a sixteenth.
pub(super) const DELETE_RESERVE: usize = 64 << 10;

/// Soft changes beyond this are written without waiting for a hard one.
const SOFT_BYTES: usize = 256 << 10;

/// One change to be written.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) entry: Arc<Entry>,
    pub(super) deleted: bool,
}

/// What one flush writes.
#[derive(Debug)]
pub(super) struct Batch {
    /// The revision that the batch brings the disk to.
    pub(super) upto: Revision,
    /// A new reservation.
    pub(super) reserve: Option<Revision>,
    /// Hard commits, in order; each is atomic.
    pub(super) commits: Vec<Vec<Change>>,
    /// Soft changes, the last of each object; newer than what `commits` says of it.
    pub(super) soft: Vec<Change>,
}

/// Wakes the thread that writes.
#[derive(Default)]
pub(super) struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    pub(super) fn raise(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    pub(super) fn wait(&self) {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_while(raised, |raised| !*raised);
        *waited.unwrap_or_else(PoisonError::into_inner) = false;
    }
}

/// The queue.
pub(super) struct Journal {
    signal: Arc<Signal>,
    /// The last revision that may be issued without another reservation.
    reserved: Revision,
    reserve: Option<Revision>,
    commits: Vec<Vec<Change>>,
    commit_bytes: usize,
    soft: BTreeMap<Key, Change>,
    soft_bytes: usize,
    /// Taken by the writer, not yet reported written.
    in_flight: usize,
    /// How many bytes may wait in total, in flight included.
    room: usize,
    full: bool,
}

impl Journal {
    /// A queue; `reserved` is on disk already.
    pub(super) fn new(signal: Arc<Signal>, reserved: Revision, room: usize) -> Self {
        Self {
            signal,
            reserved,
            reserve: None,
            commits: Vec::new(),
            commit_bytes: 0,
            soft: BTreeMap::new(),
            soft_bytes: 0,
            in_flight: 0,
            room,
            full: false,
        }
    }

    /// An upper bound on the bytes that writing an operation takes.
    pub(super) fn cost(op: &Op) -> usize {
        let body = match op {
            Op::Put { body, .. } => body.json.len() + 24,
            Op::Delete { .. } => 0,
            Op::Check { .. } => return 0,
        };
        key_cost(op.key()) + body
    }

    /// The last revision that may be issued without another reservation.
    pub(super) fn reserved(&self) -> Revision {
        self.reserved
    }

    pub(super) fn set_room(&mut self, room: usize, full: bool) {
        self.in_flight = 0;
        self.room = room;
        self.full = full;
    }

    /// Whether a commit may still queue up.
    pub(super) fn check_room(&self, ops: &[Op], size: usize) -> Result<(), Error> {
        if ops.iter().all(|op| op.durability() == Durability::Memory) {
            return Ok(());
        }
        let deletes = ops.iter().all(|op| !matches!(op, Op::Put { .. }));
        let reserve = if deletes {
            0
        } else {
            DELETE_RESERVE.min(self.room / 16)
        };
        let room = self.room - reserve;
        let waiting = self.in_flight + self.commit_bytes + self.soft_bytes;
        if waiting + size <= room {
            return Ok(());
        }
        // Soft changes alone must not be what blocks the way for ever.
        self.signal.raise();
        Err(if self.full { Error::Full } else { Error::Busy })
    }

    /// Makes sure that `revision` is covered by a reservation. Returns whether one must be written
    /// before that revision may be shown.
    pub(super) fn reserve(&mut self, revision: Revision) -> bool {
        if revision <= self.reserved && revision.epoch() == self.reserved.epoch() {
            // An earlier reservation may still be on its way, but then a gate stands before us.
            return false;
        }
        self.reserved = Revision(revision.0 + BLOCK);
        self.reserve = Some(self.reserved);
        self.signal.raise();
        true
    }

    pub(super) fn push(&mut self, changes: Vec<Change>, hard: bool) {
        if hard {
            for change in &changes {
                self.commit_bytes += change.cost();
                self.drop_soft(&change.entry.key);
            }
            self.commits.push(changes);
            self.signal.raise();
            return;
        }
        for change in changes {
            self.drop_soft(&change.entry.key);
            self.soft_bytes += change.cost();
            self.soft.insert(change.entry.key.clone(), change);
        }
        if self.soft_bytes > SOFT_BYTES {
            self.signal.raise();
        }
    }

    pub(super) fn drain(&mut self, upto: Revision, all: bool) -> Option<Batch> {
        let due = !self.commits.is_empty()
            || self.reserve.is_some()
            || self.soft_bytes > SOFT_BYTES
            || (all && !self.soft.is_empty());
        if !due {
            return None;
        }
        self.in_flight = self.commit_bytes + self.soft_bytes;
        self.commit_bytes = 0;
        self.soft_bytes = 0;
        Some(Batch {
            upto,
            reserve: self.reserve.take(),
            commits: std::mem::take(&mut self.commits),
            soft: std::mem::take(&mut self.soft).into_values().collect(),
        })
    }

    fn drop_soft(&mut self, key: &Key) {
        if let Some(change) = self.soft.remove(key) {
            self.soft_bytes -= change.cost();
        }
    }
}

impl Change {
    fn cost(&self) -> usize {
        key_cost(&self.entry.key)
            + if self.deleted {
                0
            } else {
                self.entry.json.len()
            }
    }
}

impl Op {
    pub(super) fn expect(&self) -> Expect {
        match self {
            Self::Put { expect, .. } | Self::Delete { expect, .. } | Self::Check { expect, .. } => {
                *expect
            }
        }
    }

    pub(super) fn durability(&self) -> Durability {
        match self {
            Self::Put { durability, .. } | Self::Delete { durability, .. } => *durability,
            Self::Check { .. } => Durability::Memory,
        }
    }
}

/// Key, revisions, lengths and framing.
fn key_cost(key: &Key) -> usize {
    key.group.len() + key.resource.len() + key.namespace.len() + key.name.len() + 64
}
