//! What was seen becomes what is remembered: lives that began and how they ended.

use bramble_wire::object::{Pod, RestartPolicy};
use bramble_wire::report::Terminated;

use super::{Draft, Durability};
use crate::container::life_id;
use crate::memory::{ContainerMemory, Kind, Life};
use crate::observed::{Exit, Observed, ObservedContainer, ObservedPod, Run, Sandbox, Step};
use crate::time::Moment;

/// Kubernetes' text for a container that ran and of which nothing is left.
const VANISHED: &str = "The container could not be located when the pod was deleted.  The container used to be Running";
/// Exit code that stands for "unknown".
const VANISHED_CODE: i32 = 137;
/// Exit code of a program that could not be started.
const START_ERROR_CODE: i32 = 128;

pub(super) fn absorb(
    draft: &mut Draft,
    pod: Option<&Pod>,
    seen: Option<&ObservedPod>,
    observed: &Observed,
    now: Moment,
) {
    if let Some(seen) = seen {
        for (name, container) in &seen.containers {
            absorb_seen(draft, pod, name, container);
        }
    }
    // What a silent shim knows of those that are not to be seen is not lost.
    if seen.is_some_and(|seen| seen.sandbox == Sandbox::Silent) {
        return;
    }
    let begun: Vec<(String, u32)> = draft
        .memory
        .containers
        .iter()
        .filter(|(_, known)| known.life == Life::Begun)
        .map(|(name, known)| (name.clone(), known.lives))
        .collect();
    for (name, life) in begun {
        let there = seen
            .and_then(|seen| seen.containers.get(&name))
            .is_some_and(|container| container.life == life);
        if there {
            continue;
        }
        if never_began(draft, seen, observed, &name) {
            known(draft, &name).take_back();
            continue;
        }
        absorb_missing(draft, &name, life, observed, now);
    }
}

/// The agent was killed between the record of a life and its start: a shim that lives keeps what it
/// started. Only where that life would have been the last one does it matter, and there every end
/// is on disk before a new sandbox starts, so no life is taken for one that came before.
fn never_began(draft: &Draft, seen: Option<&ObservedPod>, observed: &Observed, name: &str) -> bool {
    draft.memory.restart_policy == RestartPolicy::Never
        && observed.failure(draft.uid, name).is_none()
        && seen.is_some_and(|seen| {
            matches!(seen.sandbox, Sandbox::Ready) && !seen.containers.contains_key(name)
        })
}

fn absorb_seen(draft: &mut Draft, pod: Option<&Pod>, name: &str, seen: &ObservedContainer) {
    let sandbox = draft.memory.sandbox;
    let known = draft.memory.containers.entry(name.to_owned()).or_default();
    if seen.life < known.lives {
        return;
    }
    if seen.life > known.lives {
        // This agent, or one before it, started it and lost the record, which was not hard.
        if let Life::Ended(end) = std::mem::take(&mut known.life) {
            known.previous = Some(end);
        }
        known.lives = seen.life;
        known.life = Life::Begun;
        known.sandbox = sandbox;
        known.kind = pod
            .and_then(|pod| Kind::of(pod, name))
            .unwrap_or(known.kind);
    }
    known.image_id.clone_from(&seen.image_id);
    if let (Life::Begun, Run::Exited(exit)) = (&known.life, &seen.run) {
        let end = terminated(exit, seen.id.clone());
        ended(draft, name, end);
    }
}

fn absorb_missing(draft: &mut Draft, name: &str, life: u32, observed: &Observed, now: Moment) {
    let failure = observed.failure(draft.uid, name);
    let end = |exit_code, reason: &str, message: &str, started, finished| Terminated {
        exit_code,
        signal: 0,
        reason: reason.into(),
        message: message.into(),
        started,
        finished,
        container_id: life_id(draft.uid, name, life),
    };
    let end = match failure.map(|failure| (failure.step, failure)) {
        Some((Step::Create { life: tried, .. }, _)) if tried == life => {
            known(draft, name).take_back();
            return;
        }
        Some((Step::Start { life: tried }, failure)) if tried == life => {
            let at = failure.at.unix;
            end(START_ERROR_CODE, "StartError", &failure.message, at, at)
        }
        _ => end(
            VANISHED_CODE,
            "ContainerStatusUnknown",
            VANISHED,
            Default::default(),
            now.unix,
        ),
    };
    ended(draft, name, end);
}

fn ended(draft: &mut Draft, name: &str, end: Terminated) {
    let leaving = draft.memory.ending.is_some();
    let policy = draft.memory.restart_policy;
    let known = known(draft, name);
    // A last end is reported as such and must not be taken back by a power cut. An init container
    // that has done its work does it again after one.
    let last = match known.kind {
        Kind::Init if end.exit_code == 0 => leaving,
        _ => leaving || !known.restarts_after(policy, end.exit_code),
    };
    known.life = Life::Ended(end);
    draft.mark(if last {
        Durability::Hard
    } else {
        Durability::Ride
    });
}

fn known<'a>(draft: &'a mut Draft, name: &str) -> &'a mut ContainerMemory {
    draft.memory.containers.entry(name.to_owned()).or_default()
}

fn terminated(exit: &Exit, container_id: String) -> Terminated {
    let reason = match exit {
        Exit {
            oom_killed: true, ..
        } => "OOMKilled",
        Exit { code: 0, .. } => "Completed",
        _ => "Error",
    };
    Terminated {
        exit_code: exit.code,
        signal: exit.signal,
        reason: reason.into(),
        message: exit.message.clone(),
        started: exit.started.unix,
        finished: exit.finished.unix,
        container_id,
    }
}
