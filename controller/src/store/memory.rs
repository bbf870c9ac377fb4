//! A store without a disk: for tests, and the reference that [`super::LedgerStore`] is compared with.

use std::sync::Arc;

use super::{
    Store,
    engine::{Engine, Snapshot},
    journal::{BLOCK, Journal, Signal},
    types::{
        Commit, Durable, Entry, Error, Key, Limits, Listing, Op, Page, Recovered, Revision, Scope,
    },
    watch::Watcher,
};

/// Keeps everything in memory. By default every commit counts as durable at once; a *held* one
/// ([`MemoryStore::held`]) lets a test decide when, or whether, its imaginary disk answers.
#[derive(Clone)]
pub struct MemoryStore {
    engine: Arc<Engine>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl MemoryStore {
    /// Where a fresh store starts.
    pub(super) const START: Revision = Revision::new(1, 1);
    const RECOVERED: Recovered = Recovered {
        top: Revision(0),
        start: Self::START,
    };

    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            engine: Arc::new(Engine::new(limits, Self::RECOVERED, [], None)),
        }
    }

    /// An empty store whose hard commits stay pending until [`MemoryStore::release`].
    #[must_use]
    pub fn held() -> Self {
        let reserved = Revision(Self::START.0 + BLOCK);
        let journal = Journal::new(Arc::<Signal>::default(), reserved, usize::MAX);
        let engine = Engine::new(Limits::default(), Self::RECOVERED, [], Some(journal));
        Self {
            engine: Arc::new(engine),
        }
    }

    /// Lets everything that is pending become durable.
    pub fn release(&self) {
        if let Some(batch) = self.engine.drain(true) {
            self.engine.settle(batch.upto);
        }
    }

    /// Behaves as if the disk had reported an error.
    pub fn fail(&self) {
        self.engine.fail();
    }

    /// Behaves as if only `bytes` more fitted on the disk (held stores only).
    pub fn fill(&self, bytes: usize) {
        self.engine.set_room(bytes, true);
    }
}

impl Store for MemoryStore {
    fn revision(&self) -> Revision {
        self.engine.revision()
    }

    fn visible(&self) -> Revision {
        self.engine.visible()
    }

    fn hard(&self) -> Revision {
        self.engine.hard()
    }

    fn recovered(&self) -> Recovered {
        self.engine.recovered()
    }

    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.engine.get(key)
    }

    fn list(&self, scope: &Scope, page: &Page) -> Result<Listing, Error> {
        self.engine.list(scope, page)
    }

    fn commit(&self, ops: Vec<Op>) -> Result<Commit, Error> {
        self.engine.commit(ops)
    }

    fn watch(&self, scope: &Scope, from: Revision) -> Result<Watcher, Error> {
        self.engine.watch(scope, from, false)
    }

    fn watch_pending(&self, scope: &Scope, from: Revision) -> Result<Watcher, Error> {
        self.engine.watch(scope, from, true)
    }

    fn settled(&self, revision: Revision) -> Durable {
        self.engine.settled(revision)
    }

    fn raise_epoch(&self, epoch: u32) -> Result<Commit, Error> {
        self.engine.raise_epoch(epoch)
    }

    fn snapshot(&self) -> Snapshot {
        self.engine.snapshot()
    }

    fn failed(&self) -> Durable {
        // No revision is ever this high: it resolves by failing only.
        self.engine.settled(Revision(u64::MAX))
    }
}
