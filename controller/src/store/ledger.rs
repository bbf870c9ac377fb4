//! The store on disk: the engine, and one thread that writes what must survive.
//!
//! In: what the engine queued. Out: the news that it is durable, or that the disk has failed. The
//! thread owns the ledger. Commits that arrive while it waits for the disk share the next sync.
//! Snapshots are written by a second thread that lives as long as one takes, so that no commit
//! waits for them. With nothing queued nothing runs and nothing is written.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use bramble_ledger::{Compacted, Compaction, Error as LedgerError, Ledger, Media, Options};

use super::{
    MemoryStore, Store,
    engine::{Engine, Snapshot},
    journal::{BLOCK, Batch, Change, DELETE_RESERVE, Journal, Signal},
    load::Loader,
    record::{Json, Object, Record, Write},
    types::{
        Commit, Durable, Entry, Error, Key, Limits, Listing, Op, Page, Recovered, Revision, Scope,
    },
    watch::Watcher,
};

/// Room that is not promised to anybody: frames and reservations take a little.
const SLACK: usize = 256;

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The ledger did not open.
    #[error("cannot open the store's ledger")]
    Ledger(#[from] LedgerError),
    /// No thread.
    #[error("cannot start the store's thread")]
    Thread(#[source] io::Error),
}

/// How a store on disk is set up.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bounds on memory.
    pub limits: Limits,
    /// Sizes on disk.
    pub ledger: Options,
    /// A deliberate mistake, to see that the tests find it.
    #[cfg(test)]
    pub(super) late: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            ledger: Options::controller(),
            #[cfg(test)]
            late: false,
        }
    }
}

/// A store that survives. Dropping the last handle writes what is still pending, soft changes
/// included, and ends the thread.
pub struct LedgerStore {
    engine: Arc<Engine>,
    signal: Arc<Signal>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LedgerStore {
    /// Opens the store in a directory, which is created if need be.
    ///
    /// # Errors
    /// See [`OpenError`]. Corruption is reported, never repaired.
    pub fn open(directory: impl AsRef<Path>, settings: Settings) -> Result<Self, OpenError> {
        let mut loader = Loader::default();
        let ledger = Ledger::open(directory, settings.ledger, |o, r| loader.visit(o, r))?;
        Self::start(ledger, loader, settings)
    }

    /// [`LedgerStore::open`] on any [`Media`].
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_on<M: Media>(media: M, settings: Settings) -> Result<Self, OpenError> {
        let mut loader = Loader::default();
        let ledger = Ledger::open_on(media, settings.ledger, |o, r| loader.visit(o, r))?;
        Self::start(ledger, loader, settings)
    }

    fn start<M: Media>(
        mut ledger: Ledger<M>,
        loader: Loader,
        settings: Settings,
    ) -> Result<Self, OpenError> {
        let signal = Arc::new(Signal::default());
        // Any revision up to the reserved one may have been seen outside, by somebody who also saw
        // soft changes that are lost now. So this life starts at one that nobody has seen, and at
        // another one than a life that begins from a copy of this disk.
        let start = loader
            .reserved
            .map_or(MemoryStore::START, |last| Revision(last.0 + 1 + spread()));
        let reserved = Revision(start.0 + BLOCK);
        let reserve = Record::Reserve(reserved.0).encode();
        ledger.commit(loader.gate.due().into_iter().chain([reserve]))?;
        let skipped = loader.gate.skipped();
        if skipped > 0 {
            let writer = loader.gate.writer().unwrap_or_default();
            tracing::warn!(writer, skipped, "a later release wrote what this one drops");
            signal.raise();
        }
        let segment = settings.ledger.segment_bytes;
        let mut limits = settings.limits;
        // What can never fit must be refused as too large, not as busy.
        limits.commit_bytes = limits.commit_bytes.min(segment / 2);
        limits.object_bytes = limits.object_bytes.min(limits.commit_bytes);
        let journal = Journal::new(signal.clone(), reserved, 0);
        let recovered = Recovered {
            top: loader.top,
            start,
        };
        let entries = loader.entries.into_values();
        let engine = Arc::new(Engine::new(limits, recovered, entries, Some(journal)));
        let stop = Arc::new(AtomicBool::new(false));
        let mut writer = Writer {
            engine: engine.clone(),
            signal: signal.clone(),
            stop: stop.clone(),
            ledger,
            compaction: None,
            drop_skipped: skipped > 0,
            compact_beyond: 0,
            #[cfg(test)]
            late: settings.late.then(Vec::new),
            low_room: limits.commit_bytes + DELETE_RESERVE.min(segment / 16) + 2 * SLACK,
        };
        writer.make_room()?;
        let thread = thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run());
        let thread = Some(thread.map_err(OpenError::Thread)?);
        Ok(Self {
            engine,
            signal,
            stop,
            thread,
        })
    }
}

impl Drop for LedgerStore {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.signal.raise();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread panicked");
        }
    }
}

/// How far beyond the reserved revisions a life begins.
fn spread() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the lives of two copies are harder to tell apart, and that is all.
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes) % (BLOCK / 2),
        Err(_) => 0,
    }
}

/// Fails the engine when dropped.
struct FailAtEnd(Arc<Engine>);

impl Drop for FailAtEnd {
    fn drop(&mut self) {
        self.0.fail();
    }
}

type Compacting = JoinHandle<Result<Compacted, LedgerError>>;

/// The thread that writes.
struct Writer<M: Media> {
    engine: Arc<Engine>,
    signal: Arc<Signal>,
    stop: Arc<AtomicBool>,
    ledger: Ledger<M>,
    compaction: Option<Compacting>,
    /// The log has records that this release does not know: the next snapshot drops them.
    drop_skipped: bool,
    /// After a snapshot that found no space: try again when the log is longer than this.
    compact_beyond: u64,
    #[cfg(test)]
    late: Option<Vec<Vec<Change>>>,
    /// With less room than this the next segment is made ready.
    low_room: usize,
}

impl<M: Media> Writer<M> {
    fn run(mut self) {
        // However this thread ends, nobody must wait for it any longer.
        let _end = FailAtEnd(self.engine.clone());
        if let Err(error) = self.serve() {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the store has failed"
            );
            self.engine.fail();
        }
        if let Some(compaction) = self.compaction.take() {
            // Nobody needs its result any more; the next start finds it, or its remains.
            let _ = compaction.join();
        }
    }

    fn serve(&mut self) -> Result<(), LedgerError> {
        loop {
            self.signal.wait();
            let stopping = self.stop.load(Ordering::Acquire);
            loop {
                let batch = self.engine.drain(stopping);
                if let Some(batch) = &batch {
                    self.write(batch)?;
                    self.engine.settle(batch.upto);
                }
                if !stopping {
                    self.compact()?;
                }
                self.make_room()?;
                if batch.is_none() {
                    break;
                }
            }
            if stopping {
                return Ok(());
            }
        }
    }

    /// A full disk is an error here: room was promised before the commit was accepted.
    fn write(&mut self, batch: &Batch) -> Result<(), LedgerError> {
        if let Some(last) = batch.reserve {
            self.ledger.append(&Record::Reserve(last.0).encode())?;
        }
        #[cfg(test)]
        if let Some(late) = &mut self.late {
            // Acknowledged now, written with the next batch.
            for commit in std::mem::replace(late, batch.commits.clone()) {
                self.ledger.append(&encode(&commit))?;
            }
            return self.ledger.sync();
        }
        for commit in &batch.commits {
            self.ledger.append(&encode(commit))?;
        }
        for change in &batch.soft {
            self.ledger.append(&encode(std::slice::from_ref(change)))?;
        }
        self.ledger.sync()
    }

    /// Tells the engine how much may queue up, after making sure that it is enough.
    fn make_room(&mut self) -> Result<(), LedgerError> {
        let mut full = false;
        // A snapshot under way ends with an old segment becoming the next one, so it is worth
        // waiting for, up to a point.
        let low = if self.compaction.is_some() {
            self.low_room / 2
        } else {
            self.low_room
        };
        if self.ledger.room() < low {
            match self.ledger.prepare() {
                Err(LedgerError::Full) => full = true,
                other => other?,
            }
        }
        self.engine
            .set_room(self.ledger.room().saturating_sub(SLACK), full);
        Ok(())
    }

    fn compact(&mut self) -> Result<(), LedgerError> {
        if let Some(done) = self
            .compaction
            .take_if(|compaction| compaction.is_finished())
        {
            match done.join() {
                Ok(Ok(compacted)) => {
                    self.ledger.finish_compaction(compacted)?;
                    self.compact_beyond = 0;
                    self.drop_skipped = false;
                }
                Ok(Err(LedgerError::Full)) => self.postpone_compaction(),
                Ok(Err(error)) => return Err(error),
                // It has reported itself. The log stays longer, which is safe.
                Err(_) => self.postpone_compaction(),
            }
        }
        let due = (self.drop_skipped || self.ledger.wants_compaction())
            && self.ledger.log_bytes() > self.compact_beyond;
        if self.compaction.is_some() || !due {
            return Ok(());
        }
        let compaction = match self.ledger.begin_compaction() {
            Err(LedgerError::Full) => {
                self.postpone_compaction();
                return Ok(());
            }
            other => other?,
        };
        // Taken after the log moved on: everything in older segments is part of it.
        let snapshot = self.engine.snapshot();
        let signal = self.signal.clone();
        let thread = thread::Builder::new()
            .name("store-snapshot".into())
            .spawn(move || {
                let result = write_snapshot(compaction, &snapshot);
                signal.raise();
                result
            });
        match thread {
            Ok(thread) => self.compaction = Some(thread),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no thread for a snapshot"
                );
                self.postpone_compaction();
            }
        }
        Ok(())
    }

    fn postpone_compaction(&mut self) {
        tracing::warn!(
            log_bytes = self.ledger.log_bytes(),
            "no snapshot of the store was made"
        );
        self.compact_beyond = self.ledger.log_bytes() + self.low_room as u64;
    }
}

fn write_snapshot<M: Media>(
    mut compaction: Compaction<M>,
    snapshot: &Snapshot,
) -> Result<Compacted, LedgerError> {
    for record in snapshot.records_from(0) {
        compaction.append(&record)?;
    }
    compaction.finish()
}

pub(super) fn encode(changes: &[Change]) -> Vec<u8> {
    let writes = changes.iter().map(|Change { entry, deleted }| Write {
        group: &entry.key.group,
        resource: &entry.key.resource,
        namespace: &entry.key.namespace,
        name: &entry.key.name,
        modified: entry.modified.0,
        object: (!deleted).then(|| Object {
            created: entry.created.0,
            revision_at: entry.revision_at.map(|at| at as u32),
            json: Json(&entry.json),
        }),
    });
    Record::Commit(writes.collect()).encode()
}

impl Store for LedgerStore {
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
