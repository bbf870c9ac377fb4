//! The board as it is: runtime, network, images and volumes behind the one interface that the
//! reconcile loop knows.
//!
//! In: settled [`Action`]s. Out: [`Seen`]. Everything that it says can be found again on the board
//! after a restart of the agent, except which containers were told to stop (they are told again).
//!
//! ```text
//! <run dir>/pods/<uid>/ready           sandbox complete; holds the digest of the volumes' files
//! <run dir>/pods/<uid>/address         the pod's address
//! <run dir>/pods/<uid>/lives/<id>      image that a life was made from
//! <run dir>/pods/<uid>/lent/           a small file system of what containers may write:
//! <run dir>/pods/<uid>/lent/etc/       hosts, hostname, resolv.conf
//! <run dir>/pods/<uid>/lent/message/<id>  termination message of a life
//! <run dir>/pods/<uid>/health/<id>     what hook and probes of a life said last
//! ```
//!
//! Where volumes are is in [`volumes`].

mod attend;
mod etc;
mod execute;
mod files;
mod lent;
mod logs;
mod network;
mod observe;
mod recall;
mod stop;
mod streams;
mod volumes;

pub use network::Bridge;
pub use recall::recall;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use bramble_agent_core::image::Want;
use bramble_agent_core::observed::{Health, Verdict};
use bramble_agent_core::plan::{Action, PodNetwork};
use bramble_agent_core::probe::Target;
use bramble_agent_core::time::Moment;
use bramble_wire::object::PodUid;
use tokio::sync::watch;

use crate::events::Events;
use crate::image;
use crate::image::puller::Puller;
use crate::reconcile::{Failed, Seen, World};
use crate::runtime::Runtime;
use stop::Stop;

/// What a board needs of the network.
pub trait Network: Send + Sync + 'static {
    /// Gives a pod's network namespace its address; may be repeated.
    fn attach(
        &self,
        uid: PodUid,
        netns: &Path,
        network: PodNetwork,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Takes a pod off the network; one that is not on it is fine.
    fn detach(&self, uid: PodUid) -> impl Future<Output = Result<(), String>> + Send;
}

/// Where things are.
#[derive(Debug, Clone)]
pub struct Directories {
    /// Memory-backed, empty after a boot.
    pub run: PathBuf,
    /// Survives a boot.
    pub data: PathBuf,
}

impl Directories {
    fn pod(&self, uid: PodUid) -> PathBuf {
        self.run.join("pods").join(uid.to_string())
    }

    fn ready(&self, uid: PodUid) -> PathBuf {
        self.pod(uid).join("ready")
    }

    fn life(&self, uid: PodUid, id: &str) -> PathBuf {
        self.pod(uid).join("lives").join(id)
    }

    fn health(&self, uid: PodUid, id: &str) -> PathBuf {
        self.pod(uid).join("health").join(id)
    }

    fn message(&self, uid: PodUid, id: &str) -> PathBuf {
        self.lent(uid).join("message").join(id)
    }

    fn address(&self, uid: PodUid) -> PathBuf {
        self.pod(uid).join("address")
    }

    fn lent(&self, uid: PodUid) -> PathBuf {
        self.pod(uid).join("lent")
    }

    fn etc(&self, uid: PodUid) -> PathBuf {
        self.lent(uid).join("etc")
    }

    fn logs(&self, uid: PodUid) -> PathBuf {
        self.run.join("logs").join(uid.to_string())
    }

    fn disk_volumes(&self, uid: PodUid) -> PathBuf {
        self.data.join("volumes").join(uid.to_string())
    }
}

/// The board.
pub struct Board<R, N> {
    runtime: R,
    network: N,
    images: Arc<image::Store>,
    directories: Directories,
    events: Events,
    /// For tasks that outlive a call.
    me: Weak<Self>,
    /// Containers told to stop.
    stopping: Mutex<BTreeMap<(PodUid, String), Stop>>,
    /// What hooks and probes said last, `None` of a life that has neither.
    healths: Mutex<BTreeMap<(PodUid, String), Option<Health>>>,
    targets: watch::Sender<Vec<Target>>,
    /// Pods that broke a bound and have to go.
    evicted: Mutex<BTreeMap<PodUid, Verdict>>,
    /// When containers ended, on the clock that never jumps, as it was when that was first seen.
    ended: Mutex<BTreeMap<(PodUid, String), u64>>,
    changes: watch::Sender<u64>,
    /// Brings images; without one only those that are here can be used.
    puller: OnceLock<Arc<Puller>>,
}

impl<R: Runtime, N: Network> Board<R, N> {
    /// A board.
    pub fn new(
        runtime: R,
        network: N,
        images: Arc<image::Store>,
        directories: Directories,
        events: Events,
    ) -> Arc<Self> {
        let (targets, watched) = watch::channel(Vec::new());
        let board = Arc::new_cyclic(|me| Self {
            healths: Mutex::default(),
            targets,
            me: Weak::clone(me),
            events,
            runtime,
            network,
            images,
            directories,
            stopping: Mutex::default(),
            evicted: Mutex::default(),
            ended: Mutex::default(),
            changes: watch::Sender::new(0),
            puller: OnceLock::new(),
        });
        // Changes of runtime and images are the board's; the tasks end with the board.
        for mut below in [board.runtime.changes(), board.images.changes()] {
            let weak = Arc::downgrade(&board);
            tokio::spawn(async move {
                while below.changed().await.is_ok() {
                    match weak.upgrade() {
                        Some(board) => board.changed(),
                        None => return,
                    }
                }
            });
        }
        tokio::spawn(attend::attend(Arc::downgrade(&board), watched));
        tokio::spawn(Self::enforce_limits(Arc::downgrade(&board)));
        board
    }

    /// Evicts pods whose volumes grow over their limits, bounds the logs; ends with the board.
    async fn enforce_limits(board: Weak<Self>) {
        let mut limits = volumes::limits::Limits::default();
        loop {
            tokio::time::sleep(volumes::limits::EVERY).await;
            let Some(directories) = board.upgrade().map(|board| board.directories.clone()) else {
                return;
            };
            let looked = tokio::task::spawn_blocking(move || {
                let verdicts = limits.look(&directories);
                logs::bound(&directories.run.join("logs"));
                (limits, verdicts)
            });
            let verdicts = match looked.await {
                Ok((back, verdicts)) => {
                    limits = back;
                    verdicts
                }
                Err(_) => {
                    limits = volumes::limits::Limits::default();
                    continue;
                }
            };
            let Some(board) = board.upgrade() else { return };
            for (uid, verdict) in verdicts {
                board.evict(uid, verdict);
            }
        }
    }

    fn evict(&self, uid: PodUid, verdict: Verdict) {
        if let Entry::Vacant(entry) = self.evicted().entry(uid) {
            self.tell(uid, "", true, &verdict.reason, &verdict.message);
            entry.insert(verdict);
            self.changed();
        }
    }

    fn evicted(&self) -> MutexGuard<'_, BTreeMap<PodUid, Verdict>> {
        // Entries are whole, whatever panicked.
        self.evicted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Images that are not here are pulled from now on.
    pub fn pull_with(&self, puller: Arc<Puller>) {
        let _ = self.puller.set(puller);
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    /// The network below.
    pub fn network(&self) -> &N {
        &self.network
    }

    /// Ends everything that runs and removes everything that the agent put on the board, except its
    /// data directory. Carries on past failures and returns them.
    pub async fn clear(&self, now: Moment) -> Vec<String> {
        let seen = self.observe(&BTreeSet::new(), now).await;
        let mut failures = Vec::new();
        for uid in seen.pods.keys() {
            if let Err(failed) = self.stop_sandbox(*uid).await {
                failures.push(format!("{uid}: {}", failed.message()));
            }
        }
        failures
    }

    /// Something happened to a container.
    fn tell(&self, uid: PodUid, container: &str, warning: bool, reason: &str, message: &str) {
        self.events.tell(uid, container, warning, reason, message);
    }

    fn stopping(&self) -> MutexGuard<'_, BTreeMap<(PodUid, String), Stop>> {
        // Entries are whole, whatever panicked.
        self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn healths(&self) -> MutexGuard<'_, BTreeMap<(PodUid, String), Option<Health>>> {
        // As above.
        self.healths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> MutexGuard<'_, BTreeMap<(PodUid, String), u64>> {
        // As above.
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Runtime, N: Network> World for Board<R, N> {
    async fn observe(&self, images: &BTreeSet<String>, now: Moment) -> Seen {
        self.look(images, now).await
    }

    async fn execute(&self, action: Action) -> Result<(), Failed> {
        self.carry_out(action).await
    }

    fn watch(&self, targets: Vec<Target>) {
        self.targets.send_if_modified(|known| {
            let changed = *known != targets;
            *known = targets;
            changed
        });
    }

    fn pull(&self, wants: Vec<Want>, busy: &BTreeSet<PodUid>) {
        if let Some(puller) = self.puller.get() {
            puller.want(wants, busy);
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
