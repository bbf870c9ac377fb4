//! The object store: every Kubernetes object of the cluster as canonical JSON bytes, under one
//! revision counter, with a bounded watch history.
//!
//! In: atomic commits of puts and deletes, each guarded by what the writer expects to find.
//! Out: objects, consistent lists (also at a recent older revision), ordered watch events that
//! carry the previous value, and a handle that tells when a commit is durable.
//!
//! The model is etcd's (range at a revision, compare-and-put, watch with previous value, compact),
//! so that etcd can stand behind the same trait. State is owned by one [`engine`] behind a lock
//! that is never held across an await or a disk access. [`MemoryStore`] is that engine alone;
//! [`LedgerStore`] adds a thread that writes what must survive.
//!
//! **Reads see pending writes.** `get` and `list` return what is committed in memory, which
//! controllers in this process may act on inwardly. Whatever leaves the process first waits:
//! [`Commit::durable`] after a write, [`Store::settled`] with the revision of what was read, and
//! [`Store::watch`] (not [`Store::watch_pending`]) for streams.

mod copy;
mod engine;
mod history;
mod journal;
mod ledger;
mod load;
mod memory;
mod record;
mod state;
#[cfg(test)]
mod tests;
mod types;
mod watch;

pub use copy::{Checker, Making, NoStore};
pub use engine::Snapshot;
pub use ledger::{LedgerStore, OpenError, Settings};
pub use memory::MemoryStore;
pub use types::{
    Body, Commit, Durability, Durable, Entry, Error, Event, EventKind, Expect, Key, Limits,
    Listing, Op, Page, Recovered, Revision, Scope,
};
pub use watch::Watcher;

use std::sync::Arc;

/// A versioned object store. Shared as `Arc<dyn Store>`; no method blocks on the disk.
pub trait Store: Send + Sync + 'static {
    /// The newest revision committed in memory.
    fn revision(&self) -> Revision;

    /// The newest revision that may be shown outside: everything up to it is as durable as its
    /// class demands.
    fn visible(&self) -> Revision;

    /// The revision of the newest hard change that is on disk: a store that comes back from this disk
    /// has all hard changes up to it. Changes together with [`Store::visible`].
    fn hard(&self) -> Revision;

    /// What this life of the store began with.
    fn recovered(&self) -> Recovered;

    /// One object, pending writes included.
    fn get(&self, key: &Key) -> Option<Arc<Entry>>;

    /// Objects of one resource in key order, a page at a time.
    ///
    /// # Errors
    /// [`Error::Compacted`] and [`Error::Future`] for a revision outside of the history.
    fn list(&self, scope: &Scope, page: &Page) -> Result<Listing, Error>;

    /// Applies all of `ops` or none. Operations take consecutive revisions in the order given and
    /// become visible together. A key may occur once.
    ///
    /// # Errors
    /// What the first failing expectation says; [`Error::Full`], [`Error::Busy`] and
    /// [`Error::Failed`] leave the old state in place too.
    ///
    /// # Panics
    /// When a body's `revision_at` lies outside of its JSON.
    fn commit(&self, ops: Vec<Op>) -> Result<Commit, Error>;

    /// Events after `from`, without a gap, each only once it may be shown outside.
    ///
    /// # Errors
    /// [`Error::Compacted`] when the history no longer reaches back to `from`, [`Error::Future`]
    /// when `from` was never issued.
    fn watch(&self, scope: &Scope, from: Revision) -> Result<Watcher, Error>;

    /// As [`Store::watch`], but events come as soon as they are committed in memory. For
    /// controllers inside the process, never for anything that leaves it.
    ///
    /// # Errors
    /// As [`Store::watch`].
    fn watch_pending(&self, scope: &Scope, from: Revision) -> Result<Watcher, Error>;

    /// Resolves once everything up to `revision` may be shown outside.
    fn settled(&self, revision: Revision) -> Durable;

    /// Starts a new epoch, at least `epoch`, because history may be broken (a restore, or a node
    /// that saw more than we know). Revisions jump to it; nothing else changes. A lower or equal
    /// epoch changes nothing.
    ///
    /// # Errors
    /// [`Error::Failed`] as for any commit.
    fn raise_epoch(&self, epoch: u32) -> Result<Commit, Error>;

    /// Everything that belongs on disk, as of now: pointers, no copies. Nothing of it may leave the
    /// process before its revision is [settled](Store::settled).
    fn snapshot(&self) -> Snapshot;

    /// Resolves when the store has failed for good (the disk reported an error, so nothing that
    /// is pending will ever be acknowledged). The process must end.
    fn failed(&self) -> Durable;
}
