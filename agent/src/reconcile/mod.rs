//! The agent's one loop: wake, look, plan, remember, act, report.
//!
//! In: the accepted document, changes of the board, a timer, pods to forget. Out: actions on the
//! board through a [`World`], and an [`Observation`] for the session. This task owns what is
//! remembered of pods and what failed. An event only says "look again"; what it was about is read
//! from the board, so a lost one costs time and nothing else. Nothing here waits for the network,
//! a reader of reports, or an action of another pod.

#[cfg(test)]
mod fake;
mod mounts;
mod tell;
#[cfg(test)]
mod tests;
mod wanted;
mod world;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bramble_agent_core::desired::{Desired, Host};
use bramble_agent_core::memory::{Endings, Memory};
use bramble_agent_core::observed::{Failure, Observed, Step};
use bramble_agent_core::plan::{Action, Durability, Plan, Record, plan};
use bramble_agent_core::report;
use bramble_agent_core::session::{Document, Observation};
use bramble_agent_core::time::Moment;
use bramble_wire::object::{ObjectId, PodUid};
use bramble_wire::report::NodeFacts;
use bramble_wire::seal::Sealed;
use bramble_wire::version::Version;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{Id, JoinSet};

use crate::events::Events;
use crate::state::{self, Change, State};
use crate::static_pods::View;
pub use world::{Failed, Seen, World};

/// Passes without a pause; what is left then waits for the next event, which the pass's own records
/// can't have been.
const PASSES_MAX: usize = 16;
/// Starts at the same time: more only make all of them late on a small board.
const STARTS_MAX: usize = 4;
/// A start that takes longer hangs on something of its own (a file system that does not answer): it
/// goes on, its pod waits for it, and no other does.
const START_HOLD: Duration = Duration::from_secs(10);
/// An action that succeeds so often in a row, each time within [`REPEAT_MS`] of the last, has no
/// effect and is taken for a failure.
const REPEATS_MAX: u32 = 5;
const REPEAT_MS: u64 = 1_000;
const START_SANDBOX: &str = "start the sandbox";
const STOP_SANDBOX: &str = "stop the sandbox";
/// When to try again to write what the disk had no room for.
const DISK_RETRY_MS: u64 = 10_000;

/// Reads both clocks; in tests a virtual one.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;
/// Opens a secret that is sealed to this node.
pub type Opener = Box<dyn Fn(&ObjectId, u64, &Sealed) -> Option<Vec<u8>> + Send + Sync>;

/// What wakes the loop.
pub struct Inputs {
    /// The accepted document; it is on disk.
    pub document: watch::Receiver<Option<Arc<Document>>>,
    /// The board's own pods; on disk, too.
    pub static_pods: watch::Receiver<Arc<View>>,
    /// Pods that the controller has forgotten.
    pub forget: mpsc::Receiver<Vec<PodUid>>,
    /// The document whose pods that must not run twice may be started
    /// ([`Session::cleared`](bramble_agent_core::session::Session::cleared)).
    pub cleared: watch::Receiver<Option<Version>>,
    /// The document is the controller's word ([`Session::is_confirmed`]); told after the document.
    ///
    /// [`Session::is_confirmed`]: bramble_agent_core::session::Session::is_confirmed
    pub confirmed: watch::Receiver<bool>,
    /// Facts of the board.
    pub facts: watch::Receiver<NodeFacts>,
}

/// What the loop needs besides.
pub struct Surroundings<W> {
    /// Where what happened is told.
    pub events: Events,
    /// The board.
    pub world: Arc<W>,
    /// The state log.
    pub state: State,
    /// Time.
    pub clock: Clock,
    /// The node's key.
    pub opener: Opener,
    /// The node's name.
    pub node_name: String,
    /// What is remembered is what was left of a damaged log
    /// ([`Contents::salvaged`](crate::state::Contents::salvaged)).
    pub salvaged: bool,
}

/// Runs the loop until the state log fails, which must end the process, or the sender of documents
/// is gone.
///
/// # Errors
/// [`state::Error::Failed`].
pub async fn run<W: World>(
    around: Surroundings<W>,
    memory: Memory,
    endings: Endings,
    inputs: Inputs,
    observations: watch::Sender<Observation>,
) -> Result<(), state::Error> {
    let reconciler = Reconciler {
        memory,
        endings,
        desired: None,
        undecided: true,
        sure_of_own: false,
        version: None,
        converged: None,
        failures: BTreeMap::new(),
        unmade: BTreeSet::new(),
        unmounted: mounts::Unmounted::default(),
        running: JoinSet::new(),
        busy: HashMap::new(),
        repeats: BTreeMap::new(),
        starts: Arc::new(Semaphore::new(STARTS_MAX)),
        told: tell::Told::default(),
        around,
        observations,
    };
    reconciler.run(inputs).await
}

struct Reconciler<W> {
    around: Surroundings<W>,
    memory: Memory,
    endings: Endings,
    desired: Option<Desired>,
    /// The last pass could not be remembered, or left a doubt.
    undecided: bool,
    /// [`View::sure`].
    sure_of_own: bool,
    version: Option<Version>,
    converged: Option<Version>,
    failures: BTreeMap<(PodUid, String), Failure>,
    /// Pods whose sandbox could not be made at the last try.
    unmade: BTreeSet<PodUid>,
    unmounted: mounts::Unmounted,
    running: JoinSet<Result<(), Failed>>,
    busy: HashMap<Id, Under>,
    repeats: BTreeMap<PodUid, Repeats>,
    starts: Arc<Semaphore>,
    told: tell::Told,
    observations: watch::Sender<Observation>,
}

/// The last action on a pod, and how often it came in a row.
#[derive(Debug)]
struct Repeats {
    under: Under,
    at: u64,
    count: u32,
}

/// An action under way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Under {
    uid: PodUid,
    what: &'static str,
    container: String,
    life: u32,
}

impl Under {
    fn of(action: &Action) -> Self {
        let names;
        let (what, container, life) = match action {
            Action::StartSandbox(_) => (START_SANDBOX, "", 0),
            Action::WriteVolumes { .. } => ("write the volumes", "", 0),
            Action::StartContainer(input) => ("start a container", input.name.as_str(), input.life),
            Action::StopContainers { containers, .. } => {
                let each = containers.iter().map(|stop| {
                    let held = if stop.hold { ", held" } else { "" };
                    format!("{}-{}{held}", stop.container, stop.life)
                });
                names = each.collect::<Vec<_>>().join(" ");
                ("stop containers", names.as_str(), 0)
            }
            Action::StopSandbox { .. } => (STOP_SANDBOX, "", 0),
            Action::RemovePod { .. } => ("remove the pod", "", 0),
        };
        Self {
            uid: action.uid(),
            what,
            container: container.to_owned(),
            life,
        }
    }

    /// Under which name its failure is kept: a container's own only for its start.
    fn key(&self) -> (PodUid, String) {
        let starts = self.what == "start a container";
        let container = if starts {
            self.container.clone()
        } else {
            String::new()
        };
        (self.uid, container)
    }
}

impl<W: World> Reconciler<W> {
    async fn run(mut self, mut inputs: Inputs) -> Result<(), state::Error> {
        let mut changes = self.around.world.changes();
        self.take(&mut inputs);
        loop {
            let facts = inputs.facts.borrow_and_update().clone();
            let confirmed = *inputs.confirmed.borrow_and_update();
            if confirmed && inputs.document.has_changed().unwrap_or(false) {
                self.take(&mut inputs);
            }
            self.take_clearance(*inputs.cleared.borrow_and_update());
            let mut wake = self.passes(&facts).await?;
            if confirmed && self.settle(&mut inputs).await? {
                wake = self.passes(&facts).await?;
            }
            let now = (self.around.clock)().boot_ms;
            let pause = wake.map(|at| Duration::from_millis(at.saturating_sub(now)));
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    changes.mark_unchanged();
                }
                changed = inputs.document.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.take(&mut inputs);
                }
                Ok(()) = inputs.static_pods.changed() => self.take(&mut inputs),
                Some(done) = self.running.join_next_with_id() => self.finished(done),
                Some(uids) = inputs.forget.recv() => self.acknowledged(&uids),
                Ok(()) = inputs.facts.changed() => {}
                Ok(()) = inputs.cleared.changed() => {}
                Ok(()) = inputs.confirmed.changed() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Passes until there is nothing more to decide; returns when to wake at the latest.
    async fn passes(&mut self, facts: &NodeFacts) -> Result<Option<u64>, state::Error> {
        let mut wake = None;
        for _ in 0..PASSES_MAX {
            self.undecided = true;
            let (observed, plan) = self.look(facts).await;
            let again = !plan.records.is_empty();
            if let Err(error) = self.remember(&plan.records).await {
                if let state::Error::Failed(_) = error {
                    return Err(error);
                }
                tracing::error!(%error, "nothing is done until it can be remembered");
                return Ok(Some((self.around.clock)().boot_ms + DISK_RETRY_MS));
            }
            self.say(facts, &observed, &plan);
            wake = plan.next_wake;
            self.around.world.pull(plan.pulls, &observed.busy);
            self.around.world.watch(plan.watch);
            for action in plan.actions {
                self.spawn(action);
            }
            if !again {
                self.undecided = plan.doubts;
                return Ok(wake);
            }
        }
        Ok(wake)
    }

    async fn look(&mut self, facts: &NodeFacts) -> (Observed, Plan) {
        let now = (self.around.clock)();
        let images = self.desired.as_ref().map(Desired::images);
        let images: BTreeSet<String> = (images.iter().flatten())
            .map(|image| (*image).to_owned())
            .collect();
        let seen = self.around.world.observe(&images, now).await;
        self.leave_alone(&seen);
        let mut busy: BTreeSet<PodUid> = self.busy.values().map(|under| under.uid).collect();
        busy.extend(seen.busy);
        let observed = Observed {
            pods: seen.pods,
            images: seen.images,
            pulls: seen.pulls,
            busy,
            failures: self.failures.clone(),
            evicted: seen.evicted,
        };
        let host = self.host(facts);
        let held = self.hold_back();
        let (desired, memory) = (self.desired.as_ref(), &self.memory);
        let plan = plan(desired, &host, &observed, memory, &self.endings, now);
        if let Some(desired) = &mut self.desired {
            (desired.pods).extend(held.into_iter().map(|pod| (pod.uid, pod)));
        }
        (observed, plan)
    }

    fn host(&self, facts: &NodeFacts) -> Host {
        Host::new(&self.around.node_name, facts)
    }

    /// Writes the records and only then believes them.
    async fn remember(&mut self, records: &[Record]) -> Result<(), state::Error> {
        let Some(durability) = records.iter().map(|record| record.durability).max() else {
            return Ok(());
        };
        let changes = records
            .iter()
            .map(|record| Change::Pod(record.uid, record.memory.clone().map(Box::new)));
        self.around
            .state
            .commit(changes.collect(), durability)
            .await?;
        tell::records(&self.around.events, records, &self.memory);
        for record in records {
            match &record.memory {
                Some(memory) => {
                    self.memory.insert(record.uid, memory.clone());
                }
                None => {
                    let uid = record.uid;
                    self.memory.remove(&uid);
                    self.endings.note(uid);
                    self.repeats.remove(&uid);
                    self.unmade.remove(&uid);
                    self.failures.retain(|(pod, _), _| *pod != uid);
                }
            }
        }
        Ok(())
    }

    fn spawn(&mut self, action: Action) {
        let under = Under::of(&action);
        tracing::debug!(pod = %under.uid, container = under.container, life = under.life, "{}", under.what);
        let world = Arc::clone(&self.around.world);
        let starts = matches!(action, Action::StartSandbox(_) | Action::StartContainer(_));
        let permits = starts.then(|| Arc::clone(&self.starts));
        let task = self.running.spawn(async move {
            let Some(permits) = permits else {
                return world.execute(action).await;
            };
            let permit = permits.acquire_owned().await;
            let (uid, work) = (action.uid(), world.execute(action));
            tokio::pin!(work);
            if let Ok(done) = tokio::time::timeout(START_HOLD, &mut work).await {
                return done;
            }
            tracing::warn!(pod = %uid, "a start takes long; others go on without it");
            drop(permit);
            work.await
        });
        self.busy.insert(task.id(), under);
    }

    fn finished(&mut self, done: Result<(Id, Result<(), Failed>), tokio::task::JoinError>) {
        let (id, result) = match done {
            Ok((id, result)) => (id, result),
            Err(panic) => (panic.id(), Err(Failed::Other(panic.to_string()))),
        };
        let Some(under) = self.busy.remove(&id) else {
            return;
        };
        let result = result.and_then(|()| self.check_effect(&under));
        let key = under.key();
        match result {
            // What is half-made is taken away before it is made again; that mends nothing.
            Ok(()) if under.what == STOP_SANDBOX && self.unmade.contains(&under.uid) => {}
            Ok(()) => {
                self.unmade.remove(&under.uid);
                self.failures.remove(&key);
            }
            Err(failed) => {
                if under.what == START_SANDBOX {
                    self.unmade.insert(under.uid);
                }
                let count = self.failures.get(&key).map_or(0, |failure| failure.count) + 1;
                tracing::warn!(
                    pod = %under.uid, container = under.container, count, error = failed.message(),
                    "could not {}", under.what
                );
                tell::failure(&self.around.events, &under, failed.message());
                let failure = Failure {
                    step: under.step(&failed),
                    message: failed.into_message(),
                    at: (self.around.clock)(),
                    count,
                };
                self.failures.insert(key, failure);
            }
        }
    }

    /// The same step again and again means that the board does not show its effect: then it waits
    /// like a failed one, so that the loop never spins.
    fn check_effect(&mut self, under: &Under) -> Result<(), Failed> {
        let now = (self.around.clock)().boot_ms;
        let last = self.repeats.remove(&under.uid);
        let count = match last {
            Some(last) if last.under == *under && now < last.at + REPEAT_MS => last.count + 1,
            _ => 1,
        };
        let repeats = Repeats {
            under: under.clone(),
            at: now,
            count,
        };
        self.repeats.insert(under.uid, repeats);
        if count > REPEATS_MAX {
            return Err(Failed::Other("it has no effect".into()));
        }
        Ok(())
    }

    fn acknowledged(&mut self, uids: &[PodUid]) {
        for uid in uids {
            if let Some(memory) = self.memory.get_mut(uid) {
                memory.acknowledged = true;
            }
        }
    }

    /// Says what is, now that what is final is on disk.
    fn say(&mut self, facts: &NodeFacts, observed: &Observed, plan: &Plan) {
        if plan.converged {
            self.converged = self.version;
        }
        let host = self.host(facts);
        let desired = self.desired.as_ref();
        let mut pods = report::reports(desired, &host, observed, &self.memory, &plan.waiting);
        for (uid, condition) in &plan.conditions {
            if let Some(report) = pods.get_mut(uid) {
                report.conditions.push(condition.clone());
            }
        }
        let now_ms = (self.around.clock)().boot_ms;
        (self.told).waiting(&self.around.events, plan, &self.memory);
        (self.unmounted).tell(&self.around.events, &plan.unmounted, now_ms);
        let names = (self.memory.iter()).map(|(uid, pod)| (*uid, pod.name.clone()));
        let observation = Observation {
            pods,
            names: names.collect(),
            converged: self.converged,
            uncleared: plan.uncleared,
            facts: facts.clone(),
        };
        self.observations.send_if_modified(|last| {
            let changed = *last != observation;
            *last = observation;
            changed
        });
    }
}

impl Under {
    fn step(&self, failed: &Failed) -> Step {
        let life = self.life;
        match failed {
            _ if self.what != "start a container" => Step::Pod,
            Failed::Start(_) => Step::Start { life },
            Failed::Config(_) => Step::Create { life, config: true },
            Failed::Other(_) => Step::Create {
                life,
                config: false,
            },
        }
    }
}

/// For ever without a pause.
async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// What must be on disk before the agent ends by itself.
///
/// # Errors
/// What the state log says.
pub async fn flush(state: &State) -> Result<(), state::Error> {
    state.commit(Vec::new(), Durability::Hard).await
}
