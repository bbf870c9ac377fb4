//! The store's vocabulary: keys, revisions, entries, operations, events, errors.

use std::{fmt, str::FromStr, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;

/// A `resourceVersion`: `epoch << 40 | n`. Grows with every write and is never issued twice, also
/// not across a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    const EPOCH_SHIFT: u32 = 40;

    /// The revision `n` of an epoch.
    #[must_use]
    pub const fn new(epoch: u32, n: u64) -> Self {
        Self((epoch as u64) << Self::EPOCH_SHIFT | n)
    }

    /// The epoch it was issued in.
    #[must_use]
    pub const fn epoch(self) -> u32 {
        (self.0 >> Self::EPOCH_SHIFT) as u32
    }

    /// Its number within the epoch.
    #[must_use]
    pub const fn n(self) -> u64 {
        self.0 & ((1 << Self::EPOCH_SHIFT) - 1)
    }

    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Revision {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What a life of the store began with. No revision between the two was ever shown by what this store
/// has on disk: who has seen one has seen a store that this one is an older copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The newest revision that was on disk.
    pub top: Revision,
    /// Where this life begins, beyond everything that was ever shown.
    pub start: Revision,
}

/// Where an object lives. The order is the listing order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// API group; "" for the core group.
    pub group: Arc<str>,
    /// Plural resource name, `pods`.
    pub resource: Arc<str>,
    /// Namespace; "" for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// Object name.
    pub name: Arc<str>,
}

impl Key {
    /// A key from its parts.
    pub fn new(
        group: impl Into<Arc<str>>,
        resource: impl Into<Arc<str>>,
        namespace: impl Into<Arc<str>>,
        name: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            group: group.into(),
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.group, self.resource, self.namespace, self.name
        )
    }
}

/// A resource, in one namespace or in all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// API group; "" for the core group.
    pub group: Arc<str>,
    /// Plural resource name.
    pub resource: Arc<str>,
    /// Only this namespace; `None` for all (and for cluster-scoped resources).
    pub namespace: Option<Arc<str>>,
}

impl Scope {
    /// Every object of a resource.
    pub fn all(group: impl Into<Arc<str>>, resource: impl Into<Arc<str>>) -> Self {
        Self {
            group: group.into(),
            resource: resource.into(),
            namespace: None,
        }
    }

    /// The objects of a resource in one namespace.
    pub fn namespaced(
        group: impl Into<Arc<str>>,
        resource: impl Into<Arc<str>>,
        namespace: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            group: group.into(),
            resource: resource.into(),
            namespace: Some(namespace.into()),
        }
    }
}

/// A stored object at one revision. Immutable; shared by index, history and readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it lives.
    pub key: Key,
    /// The object as canonical JSON, its `resourceVersion` already inside.
    pub json: Bytes,
    /// Revision of the put that created it.
    pub created: Revision,
    /// Revision of the last put.
    pub modified: Revision,
    /// Where in `json` the digits of `modified` start, if the writer said so.
    pub revision_at: Option<usize>,
}

/// What a put stores.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// Canonical JSON with an empty string as `resourceVersion`.
    pub json: Vec<u8>,
    /// The store inserts the decimal revision at this byte offset, inside quotes that are already
    /// there. `None` stores `json` as it is.
    pub revision_at: Option<usize>,
}

/// What a write must find for the commit to go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No such object; else [`Error::Exists`].
    Absent,
    /// The object at exactly this revision; else [`Error::Conflict`] or [`Error::NotFound`].
    Revision(Revision),
    /// Anything. A delete still needs the object to exist.
    Any,
}

/// How much of a write must survive a power cut. A commit is as hard as its hardest operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Never written (heartbeats, Events). An object that is on disk already keeps its last
    /// written state there; deleting one that is on disk counts as `Soft`.
    Memory,
    /// Written along with the next hard commit; lost in a crash before that (reported status).
    Soft,
    /// Durable before anybody outside sees it.
    Hard,
}

/// One write, or a condition on one.
#[derive(Clone, Debug)]
pub enum Op {
    /// Creates or replaces an object.
    Put {
        /// Where.
        key: Key,
        /// The guard.
        expect: Expect,
        /// The new object.
        body: Body,
        /// How durable.
        durability: Durability,
    },
    /// Removes an object. The event carries its last state under the revision of the removal.
    Delete {
        /// Where.
        key: Key,
        /// The guard.
        expect: Expect,
        /// How durable.
        durability: Durability,
    },
    /// Writes nothing and takes no revision: the commit goes through only if the object is as
    /// expected. So one object can be written on the condition of another.
    Check {
        /// Where.
        key: Key,
        /// The guard.
        expect: Expect,
    },
}

impl Op {
    /// The key it writes or checks.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } | Self::Check { key, .. } => key,
        }
    }
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The state at exactly this revision; `None` for now.
    pub at: Option<Revision>,
    /// At most so many objects; `None` for all.
    pub limit: Option<usize>,
    /// Start at this key (inclusive): the `next` of the page before.
    pub from: Option<Key>,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The revision whose state this is. Ask for the next page `at` it; watch from it.
    pub revision: Revision,
    /// The objects in key order.
    pub entries: Vec<Arc<Entry>>,
    /// Where the next page starts; `None` when this was the last.
    pub next: Option<Key>,
    /// How many objects come after this page.
    pub remaining: usize,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It is new.
    Added,
    /// It was replaced.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change, as watchers get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The object after the change; for a deletion its last state, its `resourceVersion` being the
    /// revision of the deletion.
    pub entry: Arc<Entry>,
    /// The object before the change.
    pub previous: Option<Arc<Entry>>,
    /// The revision of the change.
    pub revision: Revision,
}

/// An accepted commit.
#[derive(Debug)]
#[must_use = "nothing may leave the process before `durable` has resolved"]
pub struct Commit {
    /// Revision of the first operation.
    pub first: Revision,
    /// Revision of the last operation.
    pub revision: Revision,
    /// The objects that the puts made, and for deletes the removed object, in order; a check adds
    /// none.
    pub entries: Vec<Arc<Entry>>,
    pub(super) durable: Durable,
}

impl Commit {
    /// Resolves when the commit, and all before it, may be shown outside.
    ///
    /// # Errors
    /// [`Error::Failed`] when the store failed first. Whether the write survives is then unknown.
    pub async fn durable(self) -> Result<Revision, Error> {
        self.durable.wait().await?;
        Ok(self.revision)
    }

    /// A handle that outlives the commit.
    #[must_use]
    pub fn handle(&self) -> Durable {
        self.durable.clone()
    }
}

/// How far the store has come; published on a watch channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) visible: Revision,
    pub(super) failed: bool,
}

/// Waits for a revision to become durable.
#[derive(Clone, Debug)]
pub struct Durable {
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) revision: Revision,
}

impl Durable {
    /// Whether it has happened already.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.progress.borrow().visible >= self.revision
    }

    /// Resolves when it has happened.
    ///
    /// # Errors
    /// [`Error::Failed`] when the store failed or went away first.
    pub async fn wait(mut self) -> Result<(), Error> {
        let revision = self.revision;
        let progress = self
            .progress
            .wait_for(|p| p.visible >= revision || p.failed)
            .await;
        match progress {
            Ok(progress) if progress.visible >= revision => Ok(()),
            _ => Err(Error::Failed),
        }
    }
}

/// Bounds on what the store holds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Watch history: events kept for each resource.
    pub history_events: usize,
    /// Watch history: bytes of objects kept over all resources.
    pub history_bytes: usize,
    /// The largest object.
    pub object_bytes: usize,
    /// The largest commit.
    pub commit_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            history_events: 2048,
            history_bytes: 8 << 20,
            // Upstream's limit on a request is 3 MiB and etcd's on an object 1.5 MiB; ours is
            // what a node protocol object may be.
            object_bytes: 1 << 20,
            commit_bytes: 2 << 20,
        }
    }
}

/// Why the store refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Expected absent.
    #[error("{0} already exists")]
    Exists(Key),
    /// Expected present.
    #[error("{0} not found")]
    NotFound(Key),
    /// Expected at another revision.
    #[error("{key} is at revision {current}, not {expected}")]
    Conflict {
        /// The object.
        key: Key,
        /// What the writer expected.
        expected: Revision,
        /// Where it stands.
        current: Revision,
    },
    /// A key occurs twice in one commit.
    #[error("{0} is written twice in one commit")]
    Twice(Key),
    /// The revision is older than the history (410 Gone).
    #[error("revision {requested} is compacted, history starts after {oldest}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// The oldest revision that can still be watched from.
        oldest: Revision,
    },
    /// The revision was never issued ("too large resource version").
    #[error("revision {requested} is in the future, the store is at {current}")]
    Future {
        /// What was asked for.
        requested: Revision,
        /// Where the store stands.
        current: Revision,
    },
    /// An object or commit beyond its limit.
    #[error("{size} bytes are too large, the limit is {limit}")]
    TooLarge {
        /// Size of what was refused.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The disk is full; the old state stands. Deletes may still go through.
    #[error("no space left for the store")]
    Full,
    /// More is waiting for the disk than may wait; try again.
    #[error("too many writes are waiting for the disk")]
    Busy,
    /// The disk failed earlier. Nothing is accepted any more and the process must end.
    #[error("the store has failed")]
    Failed,
}
