//! The node's one decision: from what should be and what is to what to do next.
//!
//! [`plan`] is called whenever something may have changed. It takes whole snapshots and gives at
//! most one action a pod; when that is done the world is looked at again. So a lost event costs
//! time, never correctness, and a pod that can't go on never holds up another.
//!
//! ```text
//!            ┌───────────────── desired, not stopping ─────────────────┐
//!  address ─▶ volumes ─▶ sandbox ─▶ image ─▶ config ─▶ container ─▶ (back-off) ─┐
//!     ▲                     ▲                               └──── ended ◀───────┘
//!     on disk               lost: stopped first                     │ all, for good
//!                                                                   ▼
//!  absent or stop ─▶ ending on disk ─▶ TERM…KILL ─▶ removed ─▶ gone on disk, address free
//! ```

mod absorb;
mod action;
mod draft;
mod end;
mod image;
mod life;
mod run;
mod stop;

use std::collections::{BTreeMap, BTreeSet};

use bramble_wire::object::{Container, Pod, PodUid};
use bramble_wire::report::{Condition, UnixMs};

use self::draft::Draft;
use crate::desired::{Desired, Host};
use crate::memory::{Ending, Endings, Life, Memory, PodMemory};
use crate::observed::{Failure, Health, Observed, ObservedContainer, ObservedPod, Run, Verdict};
use crate::probe::{self, Target};
use crate::time::Moment;
use crate::volume;

pub use self::action::{Action, PodNetwork, SandboxInput, StopInput};

/// Pods that are gone, not in the document, and not yet acknowledged: at more the ones seen first
/// are forgotten.
const GONE_MAX: usize = 512;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What to remember. Written before any action; [`Durability::Hard`] ones are on disk before.
    pub records: Vec<Record>,
    /// At most one for each pod; different pods may be acted on at the same time.
    pub actions: Vec<Action>,
    /// Images that are wanted, the whole list; those of pods with an action under way are left
    /// out, and stay as they are.
    pub pulls: Vec<crate::image::Want>,
    /// What is not done now, and why.
    pub waiting: Vec<Waiting>,
    /// What else is said of pods, as that a token ends soon.
    pub conditions: Vec<(PodUid, Condition)>,
    /// Volumes that can't be made now.
    pub unmounted: Vec<(PodUid, volume::Error)>,
    /// Running containers with hooks or probes: all that there are.
    pub watch: Vec<Target>,
    /// When to look again if nothing happens ([`Moment::boot_ms`]).
    pub next_wake: Option<u64>,
    /// A pod that must not run twice waits for [`Desired::cleared`].
    pub uncleared: bool,
    /// Whether a pod came to its end can't be said yet ([`Desired::doubted`]).
    pub doubts: bool,
    /// The document has been carried out: nothing to do, nothing under way, nothing that has not
    /// been started and none that has not ended.
    pub converged: bool,
}

/// Something to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Of which pod.
    pub uid: PodUid,
    /// What; `None` forgets the pod.
    pub memory: Option<PodMemory>,
    /// How soon it must be on disk.
    pub durability: Durability,
}

/// How soon a record must be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// With the next record that has to.
    Ride,
    /// Within seconds.
    Soon,
    /// Before anything is done or said that depends on it.
    Hard,
}

/// Why something is not done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Pod.
    pub uid: PodUid,
    /// Container; `None`: the pod as a whole.
    pub container: Option<String>,
    /// CamelCase, as Kubernetes shows it.
    pub reason: String,
    /// For a person; may be empty.
    pub message: String,
}

/// Plans the next step of every pod.
///
/// Without a document nothing is started and, above all, nothing is stopped.
pub fn plan(
    desired: Option<&Desired>,
    host: &Host,
    observed: &Observed,
    memory: &Memory,
    endings: &Endings,
    now: Moment,
) -> Plan {
    let Some(desired) = desired else {
        return Plan::default();
    };
    let mut pass = Pass {
        desired,
        host,
        observed,
        endings,
        now,
        taken: memory
            .values()
            .filter(|pod| pod.holds_address)
            .filter_map(|pod| pod.address)
            .collect(),
        plan: Plan {
            converged: true,
            ..Plan::default()
        },
    };
    let uids: BTreeSet<PodUid> = (desired.pods.keys())
        .chain(memory.keys())
        .chain(observed.pods.keys())
        .copied()
        .collect();
    for uid in uids {
        pass.plan_pod(uid, memory.get(&uid));
    }
    pass.forget_surplus(memory);
    pass.plan.actions.sort_by_key(Action::order);
    pass.plan
}

/// One pass over all pods.
struct Pass<'a> {
    desired: &'a Desired,
    host: &'a Host,
    observed: &'a Observed,
    endings: &'a Endings,
    now: Moment,
    taken: BTreeSet<[u8; 4]>,
    plan: Plan,
}

/// What a pod should do.
enum Wanted<'a> {
    Run(&'a Pod),
    End(Ending),
}

impl<'a> Pass<'a> {
    fn plan_pod(&mut self, uid: PodUid, old: Option<&PodMemory>) {
        if self.desired.unreadable.contains(&uid) {
            self.plan.converged = false;
            self.wait(
                uid,
                None,
                "Unreadable",
                "this agent can't read the pod".into(),
            );
            return;
        }
        let spec = self.desired.pods.get(&uid);
        let mut draft = Draft::new(uid, spec, old, self.now);
        if old.is_none() && spec.is_some() && self.endings.contains(&uid) {
            draft.memory.verdict = Some(ended_before());
            draft.mark(Durability::Hard);
        }
        let wanted = wanted(spec, &draft.memory, self.now);
        if let Wanted::End(ending) = wanted {
            draft.end(ending);
        }
        let seen = self.observed.pods.get(&uid);
        absorb::absorb(&mut draft, spec, seen, self.observed, self.now);
        let action = match wanted {
            Wanted::Run(pod) => self.plan_run(&mut draft, pod, seen),
            Wanted::End(ending) => self.plan_end(&mut draft, spec, seen, ending),
        };
        self.watch(&draft, spec, seen);
        if spec.is_none() && draft.memory.gone && draft.memory.acknowledged {
            draft.forget();
        }
        if self.observed.busy.contains(&uid) {
            // The reasons of what waits are still true; everything else waits for the action.
            self.plan.converged = false;
            self.plan.pulls.retain(|want| want.uid != uid);
            self.plan.doubts |= self.desired.doubted && spec.is_some_and(run::may_have_ended);
            return;
        }
        self.plan.converged &= action.is_none();
        self.plan.actions.extend(action);
        if let Some(record) = draft.into_record(old) {
            self.plan.converged = false;
            self.plan.records.push(record);
        }
    }

    /// What there is to watch of a pod. While one is being ended nothing ends its containers a
    /// second time, and whether they are ready still counts.
    fn watch(&mut self, draft: &Draft, pod: Option<&Pod>, seen: Option<&ObservedPod>) {
        let (Some(pod), Some(seen)) = (pod, seen) else {
            return;
        };
        let memory = &draft.memory;
        let leaving = memory.ending.is_some() || memory.finishing.is_some();
        for container in pod.all_containers() {
            let Some(seen) = seen.containers.get(&container.name) else {
                continue;
            };
            let known = memory.containers.get(&container.name);
            let current =
                known.is_some_and(|known| known.life == Life::Begun && known.lives == seen.life);
            let Run::Running {
                started, stopping, ..
            } = seen.run
            else {
                continue;
            };
            let address = self.address(draft, pod);
            let target = probe::target(pod.uid, container, seen.life, started.boot_ms, address);
            let Some(mut target) = target.filter(|_| current) else {
                continue;
            };
            if leaving || stopping.is_some() {
                (target.post_start, target.startup, target.liveness) = (None, None, None);
            }
            self.plan.watch.push(target);
        }
    }

    /// Where a pod is reached.
    fn address(&self, draft: &Draft, pod: &Pod) -> Option<[u8; 4]> {
        match pod.host_network {
            true => self.host.address,
            false => draft.memory.address,
        }
    }

    fn wait(&mut self, uid: PodUid, container: Option<&str>, reason: &str, message: String) {
        self.plan.waiting.push(Waiting {
            uid,
            container: container.map(str::to_owned),
            reason: reason.into(),
            message,
        });
    }

    fn wake_at(&mut self, at: u64) {
        let at = self.plan.next_wake.map_or(at, |next| next.min(at));
        self.plan.next_wake = Some(at);
    }

    /// Why the pod as a whole is left alone: the last try failed and the next is not due yet.
    fn held_back(&mut self, uid: PodUid) -> Option<&'a Failure> {
        let failure = self.observed.failure(uid, "")?;
        let due = failure.retry_at();
        if self.now.boot_ms >= due {
            return None;
        }
        self.wake_at(due);
        Some(failure)
    }

    /// A controller that never acknowledges must not fill the disk.
    fn forget_surplus(&mut self, memory: &Memory) {
        let mut gone: BTreeMap<(UnixMs, PodUid), ()> = memory
            .iter()
            .filter(|(uid, pod)| pod.gone && !self.desired.pods.contains_key(*uid))
            .map(|(uid, pod)| ((pod.first_seen, *uid), ()))
            .collect();
        while gone.len() > GONE_MAX {
            let Some(((_, uid), ())) = gone.pop_first() else {
                return;
            };
            self.plan.records.retain(|record| record.uid != uid);
            self.plan.records.push(Record {
                uid,
                memory: None,
                durability: Durability::Ride,
            });
        }
    }
}

/// Absence and a deletion timestamp end a pod; once ending, always ending.
fn wanted<'a>(spec: Option<&'a Pod>, memory: &PodMemory, now: Moment) -> Wanted<'a> {
    let asked = match spec {
        Some(pod) => pod.stop.map(|stop| stop.grace_s),
        None => Some(memory.grace_s),
    };
    let known = memory.ending.map(|ending| ending.grace_s);
    match (spec, asked, known) {
        (Some(pod), None, None) => Wanted::Run(pod),
        // The shortest grace that was ever asked for holds.
        _ => Wanted::End(Ending {
            grace_s: asked.into_iter().chain(known).min().unwrap_or_default(),
            since_boot_ms: (memory.ending).map_or(now.boot_ms, |ending| ending.since_boot_ms),
        }),
    }
}

/// It ran here, ended and was forgotten by both ends; the controller's store is an older one.
fn ended_before() -> Verdict {
    Verdict {
        reason: "EndedBefore".into(),
        message: "the pod ran on this node and came to its end before the controller's store was set back"
            .into(),
        grace_s: None,
    }
}

/// Whether anything of a pod runs.
fn runs(seen: &ObservedPod) -> bool {
    (seen.containers.values()).any(|container| matches!(container.run, Run::Running { .. }))
}

/// What the hook and the probes of a container say.
pub(crate) fn health(container: &Container, run: &Run) -> Health {
    match run {
        Run::Running {
            health: Some(health),
            ..
        } => *health,
        _ => Health::initial(container),
    }
}

/// A container that runs now, if it does.
fn running<'a>(seen: Option<&'a ObservedPod>, container: &str) -> Option<&'a ObservedContainer> {
    seen?
        .containers
        .get(container)
        .filter(|seen| matches!(seen.run, Run::Running { .. }))
}

#[cfg(test)]
mod tests;
