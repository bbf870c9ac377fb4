//! The controllers' loop: objects in the store become other objects in the store.
//!
//! In: changes of the store, also those that are not durable yet, and time. Out: writes to the
//! store. What is written is decided by [`bramble_controller_core`]; here are the cache of small
//! views, the queue of what is to be looked at, and the clock.
//!
//! One task owns all of it, so there is one reconcile at a time. Before each of them the task takes
//! every change that the store has, its own writes among them: a decision never rests on a state
//! that its own last write has outdated, and no expectations need to be kept. A write names the
//! revision that it was decided on; when somebody else was faster, the object is looked at again.
//!
//! An event only says "look again". What fails is tried again with a growing pause and holds nothing
//! else up; what can't be decoded is logged and left out. Idle, the task waits for the store and for
//! the next due moment, if there is any.

mod cache;
mod collect;
mod endpoints;
mod equip;
mod expiry;
mod nodes;
mod queue;
mod quota;
mod reconcile;
mod roles;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bramble_api::time::Timestamp;
use bramble_controller_core::event::Recorder;
use bramble_controller_core::schedule::Cluster;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::apiserver::admission::Admission;
use crate::nodelink::standing::Standing;
use crate::object;
use crate::store::{Error, Store, Watcher};
use cache::{Cache, Id};
pub use equip::{Addresses, ApiPlace};
use queue::{Queue, Work};

/// Reconciles after which other tasks of the process get their turn.
const TURN: usize = 32;

/// Tells the time; tests bring their own.
type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the controllers are told of their cluster.
#[derive(Clone)]
pub struct Settings {
    /// The cluster's CA, PEM.
    pub ca: String,
    /// Where pods find the API; none while nobody can know.
    pub api: Option<ApiPlace>,
    /// How the cluster stands after its store was set back.
    pub standing: watch::Receiver<Arc<Standing>>,
}

/// Starts the controllers. What every client expects to find, such as the `default` accounts, is
/// there and durable when this returns. The task ends only when the store has failed; abort it to
/// stop: every write is one commit, so there is nothing to finish.
///
/// # Errors
/// What the store says.
pub async fn start(store: Arc<dyn Store>, settings: Settings) -> Result<JoinHandle<Error>, Error> {
    let clock: Clock = Arc::new(object::now);
    let mut first = Controllers::open(store.clone(), clock, settings)?;
    first.catch_up()?;
    if !first.has_yielded() {
        first.equip_first();
    }
    store.settled(store.revision()).wait().await?;
    Ok(tokio::spawn(async move {
        tokio::select! {
            error = run(first) => error,
            error = quota::run(store) => error,
        }
    }))
}

/// Runs until the store fails, and says how.
async fn run(mut controllers: Controllers) -> Error {
    let parts = |c: &Controllers| (c.store.clone(), c.clock.clone(), c.settings.clone());
    loop {
        let (store, clock, settings) = parts(&controllers);
        match controllers.run().await {
            // More was written than the watch history holds: list again, from scratch.
            error @ (Error::Compacted { .. } | Error::Future { .. }) => {
                tracing::warn!(%error, "controllers start over");
            }
            error => return error,
        }
        tokio::task::yield_now().await;
        controllers = match Controllers::open(store, clock, settings) {
            Ok(controllers) => controllers,
            Err(error) => return error,
        };
    }
}

/// All the controllers' state.
struct Controllers {
    store: Arc<dyn Store>,
    clock: Clock,
    settings: Settings,
    admission: Admission,
    watchers: Vec<Watcher>,
    cache: Cache,
    cluster: Cluster,
    queue: Queue,
    recorder: Recorder,
    /// Events in the cache.
    events: usize,
    /// When it was last decided where a Service leads; for its changes to be gathered.
    led: HashMap<Id, Instant>,
    /// Nodes that are lost, and since when.
    watch: nodes::Watch,
    /// What is not collected while the store may lack what its nodes run.
    held: BTreeSet<Id>,
}

impl Controllers {
    /// Lists everything, watches from there, and queues all of it once.
    fn open(store: Arc<dyn Store>, clock: Clock, settings: Settings) -> Result<Self, Error> {
        let now = clock();
        let mut this = Self {
            admission: Admission::without_services(store.clone()),
            store,
            clock,
            settings,
            watchers: Vec::new(),
            cache: Cache::default(),
            cluster: Cluster::default(),
            queue: Queue::default(),
            recorder: Recorder::default(),
            events: 0,
            led: HashMap::new(),
            watch: nodes::Watch::new(now),
            held: BTreeSet::new(),
        };
        let mut entries = Vec::new();
        for scope in cache::scopes() {
            let listing = this.store.list(&scope, &crate::store::Page::default())?;
            this.watchers
                .push(this.store.watch_pending(&scope, listing.revision)?);
            entries.extend(listing.entries);
        }
        for entry in entries {
            this.handle(&entry, false);
        }
        Ok(this)
    }

    async fn run(mut self) -> Error {
        loop {
            if self.has_yielded() {
                self.idle().await;
            }
            match self.work() {
                Err(error) => return error,
                Ok(true) => tokio::task::yield_now().await,
                Ok(false) => {
                    if let Err(error) = self.wait().await {
                        return error;
                    }
                }
            }
        }
    }

    /// Another controller of this identity goes on: the store of this one stays as it is.
    fn has_yielded(&self) -> bool {
        self.settings.standing.borrow().has_yielded()
    }

    /// Waits until this controller goes on.
    async fn idle(&mut self) {
        let goes_on = |now: &Arc<Standing>| !now.has_yielded();
        if self.settings.standing.wait_for(goes_on).await.is_err() {
            // Whoever would say so has ended.
            std::future::pending::<()>().await;
        }
        self.handle_standing();
    }

    /// Reconciles what is due, for one turn; false when nothing is left.
    fn work(&mut self) -> Result<bool, Error> {
        for _ in 0..TURN {
            if self.has_yielded() {
                return Ok(true);
            }
            self.catch_up()?;
            let Some(work) = self.queue.pop(Instant::now()) else {
                return Ok(false);
            };
            self.reconcile(&work);
        }
        Ok(true)
    }

    /// Takes every change that the store has.
    fn catch_up(&mut self) -> Result<(), Error> {
        let mut watchers = std::mem::take(&mut self.watchers);
        let mut taken = Ok(());
        'all: for watcher in &mut watchers {
            loop {
                match watcher.try_next() {
                    Ok(Some(event)) => {
                        let gone = event.kind == crate::store::EventKind::Deleted;
                        self.handle(&event.entry, gone);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        taken = Err(error);
                        break 'all;
                    }
                }
            }
        }
        self.watchers = watchers;
        taken
    }

    /// Waits for a change or for the next due moment.
    async fn wait(&mut self) -> Result<(), Error> {
        let due = self.queue.next_due();
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let changes = self
            .watchers
            .iter_mut()
            .map(|watcher| Box::pin(watcher.next()));
        let event = tokio::select! {
            Ok(()) = self.settings.standing.changed() => None,
            (event, ..) = futures_util::future::select_all(changes) => Some(event?),
            () = timer => return Ok(()),
        };
        match event {
            Some(event) => {
                self.handle(&event.entry, event.kind == crate::store::EventKind::Deleted)
            }
            None => self.handle_standing(),
        }
        Ok(())
    }

    /// Nodes have reported, or a person has decided: what waited for it is looked at.
    fn handle_standing(&mut self) {
        if self.settings.standing.borrow().is_in_doubt() {
            return;
        }
        for id in std::mem::take(&mut self.held) {
            self.queue.push(Work::Collect(id));
        }
        self.queue.unpark(Instant::now());
    }

    /// When a moment of the wall clock is, on the timer's clock.
    fn instant(&self, at: Timestamp) -> Instant {
        let now = (self.clock)();
        let nanos = |t: Timestamp| i128::from(t.seconds) * 1_000_000_000 + i128::from(t.nanos);
        let wait = u64::try_from(nanos(at) - nanos(now)).unwrap_or(0);
        // Never sooner than a millisecond: a rounding error must not make the loop spin.
        let wait = std::time::Duration::from_nanos(wait).max(std::time::Duration::from_millis(1));
        Instant::now() + wait
    }

    fn later(&mut self, work: Work, at: Timestamp) {
        let due = self.instant(at);
        self.queue.push_at(work, due);
    }
}
