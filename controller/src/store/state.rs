//! What the engine knows, and how one operation changes it. Everything here happens under the
//! engine's lock.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    history::Bucket,
    journal::{Change, Journal},
    types::{
        Body, Durability, Entry, Error, Event, EventKind, Expect, Key, Limits, Op, Revision, Scope,
    },
};

/// The engine's state.
pub(super) struct State {
    pub(super) revision: Revision,
    pub(super) visible: Revision,
    /// Where this life of the store began; no history reaches further back.
    pub(super) start: Revision,
    pub(super) buckets: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Bucket>>,
    pub(super) history_bytes: usize,
    /// The commits that wait for the disk, ascending.
    pub(super) gates: VecDeque<Gate>,
    /// The newest hard change that is on disk.
    pub(super) hard: Revision,
    pub(super) failed: bool,
    pub(super) journal: Option<Journal>,
}

/// A commit that waits for the disk.
pub(super) struct Gate {
    /// Its first revision: nothing from here on is shown.
    pub(super) first: Revision,
    /// Its newest change, of a hard one.
    hard: Option<Revision>,
}

impl State {
    pub(super) fn bucket(&self, group: &str, resource: &str) -> Option<&Bucket> {
        self.buckets.get(group)?.get(resource)
    }

    pub(super) fn bucket_mut(&mut self, group: &Arc<str>, resource: &Arc<str>) -> &mut Bucket {
        let start = self.start;
        let resources = self.buckets.entry(group.clone()).or_default();
        resources
            .entry(resource.clone())
            .or_insert_with(|| Bucket::new(start))
    }

    pub(super) fn check_floor(&self, scope: &Scope, revision: Revision) -> Result<(), Error> {
        let bucket = self.bucket(&scope.group, &scope.resource);
        let oldest = bucket.map_or(self.start, Bucket::floor);
        if revision < oldest {
            return Err(Error::Compacted {
                requested: revision,
                oldest,
            });
        }
        Ok(())
    }

    pub(super) fn check_reach(&self, scope: &Scope, revision: Revision) -> Result<(), Error> {
        if revision > self.revision {
            return Err(Error::Future {
                requested: revision,
                current: self.revision,
            });
        }
        self.check_floor(scope, revision)
    }

    pub(super) fn check_expectations(&self, ops: &[Op]) -> Result<(), Error> {
        for op in ops {
            let (key, expect) = (op.key(), op.expect());
            let bucket = self.bucket(&key.group, &key.resource);
            let current = bucket.and_then(|bucket| bucket.get(&key.namespace, &key.name));
            match (expect, current) {
                (Expect::Absent, Some(_)) => return Err(Error::Exists(key.clone())),
                (Expect::Revision(_), None) => return Err(Error::NotFound(key.clone())),
                (Expect::Revision(expected), Some(current)) if current.modified != expected => {
                    let (key, current) = (key.clone(), current.modified);
                    return Err(Error::Conflict {
                        key,
                        expected,
                        current,
                    });
                }
                (_, None) if matches!(op, Op::Delete { .. }) => {
                    return Err(Error::NotFound(key.clone()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Carries out one checked operation. Returns the new (or removed) entry, and what of it has
    /// to be written; nothing for a check.
    pub(super) fn apply(
        &mut self,
        op: Op,
        hardest: Durability,
    ) -> Option<(Arc<Entry>, Option<Change>)> {
        let (key, body) = match op {
            Op::Put { key, body, .. } => (key, Some(body)),
            Op::Delete { key, .. } => (key, None),
            Op::Check { .. } => return None,
        };
        self.revision = self.revision.next();
        let revision = self.revision;
        let bucket = self.bucket_mut(&key.group, &key.resource);
        let previous = bucket.get(&key.namespace, &key.name).cloned();
        let was_stored = bucket.is_stored(&key);
        let (kind, entry) = match (body, &previous) {
            (Some(body), None) => (EventKind::Added, put(key, body, revision, revision)),
            (Some(body), Some(previous)) => {
                let key = previous.key.clone();
                (
                    EventKind::Modified,
                    put(key, body, previous.created, revision),
                )
            }
            (None, Some(previous)) => (EventKind::Deleted, stamp(previous, revision)),
            (None, None) => unreachable!("expectations were checked under this lock"),
        };
        let entry = Arc::new(entry);
        let deleted = kind == EventKind::Deleted;
        let stored = was_stored || hardest > Durability::Memory;
        let event = Event {
            kind,
            entry: entry.clone(),
            previous,
            revision,
        };
        let grown = bucket.apply(event, stored);
        self.history_bytes += grown;
        // What was never written need not be removed; what was must not come back.
        let write = if deleted {
            was_stored
        } else {
            hardest > Durability::Memory
        };
        let change = write.then(|| Change {
            entry: entry.clone(),
            deleted,
        });
        Some((entry, change))
    }

    /// Hands the changes of a commit, `first` its first revision, to the journal, and sets a gate where
    /// the commit must wait for the disk.
    pub(super) fn enqueue(&mut self, first: Revision, changes: Vec<Change>, hardest: Durability) {
        let newest = changes.iter().map(|change| change.entry.modified).max();
        let hard = newest.filter(|_| hardest == Durability::Hard);
        let Some(journal) = &mut self.journal else {
            self.hard = hard.map_or(self.hard, |hard| hard.max(self.hard));
            return;
        };
        let reserve = journal.reserve(self.revision);
        journal.push(changes, hard.is_some());
        if hard.is_some() || reserve {
            self.gates.push_back(Gate { first, hard });
        }
    }

    /// Everything up to here is on disk.
    pub(super) fn settle(&mut self, upto: Revision) {
        while let Some(gate) = self.gates.pop_front_if(|gate| gate.first <= upto) {
            self.hard = gate.hard.map_or(self.hard, |hard| hard.max(self.hard));
        }
    }

    pub(super) fn trim_history(&mut self, limits: &Limits) {
        let buckets = self.buckets.values_mut().flat_map(BTreeMap::values_mut);
        for bucket in buckets {
            while bucket.history_len() > limits.history_events {
                self.history_bytes -= bucket.drop_oldest();
            }
        }
        while self.history_bytes > limits.history_bytes {
            let buckets = self.buckets.values_mut().flat_map(BTreeMap::values_mut);
            let oldest = buckets
                .filter(|b| b.oldest().is_some())
                .min_by_key(|b| b.oldest());
            let Some(bucket) = oldest else { return };
            self.history_bytes -= bucket.drop_oldest();
        }
    }
}

/// A new entry, its revision written where the body says.
fn put(key: Key, body: Body, created: Revision, modified: Revision) -> Entry {
    let Body { json, revision_at } = body;
    let json = match revision_at {
        Some(at) => splice(&json, at, at, modified),
        None => Bytes::from(json.into_boxed_slice()),
    };
    Entry {
        key,
        json,
        created,
        modified,
        revision_at,
    }
}

/// The last state of a removed object, under the revision of the removal.
fn stamp(entry: &Entry, revision: Revision) -> Entry {
    let json = match entry.revision_at {
        Some(at) => splice(
            &entry.json,
            at,
            at + entry.modified.to_string().len(),
            revision,
        ),
        None => entry.json.clone(),
    };
    Entry {
        key: entry.key.clone(),
        json,
        modified: revision,
        ..*entry
    }
}

/// `json` with the revision in place of a range, in a buffer of exactly the right size: it stays
/// in memory for as long as the object.
fn splice(json: &[u8], start: usize, end: usize, revision: Revision) -> Bytes {
    let digits = revision.to_string();
    let mut bytes = Vec::with_capacity(json.len() - (end - start) + digits.len());
    bytes.extend_from_slice(&json[..start]);
    bytes.extend_from_slice(digits.as_bytes());
    bytes.extend_from_slice(&json[end..]);
    Bytes::from(bytes)
}
