//! What the node says of its pods, by Kubernetes' rules. Only what is remembered durably is said as
//! final.

mod phase;

use std::collections::BTreeMap;

use bramble_wire::limits::TEXT_MAX;
use bramble_wire::object::{Container, Pod, PodUid};
use bramble_wire::report::{ContainerReport, ContainerState, Phase, PodReport, Terminated};

use crate::desired::{Desired, Host};
use crate::memory::{ContainerMemory, Kind, Life, Memory, PodMemory};
use crate::observed::{Observed, ObservedContainer, ObservedPod, Run, Sandbox};
use crate::plan::{Waiting, health};

/// The state of every pod that the node remembers, which is every pod that it has planned for.
/// Whether one is unclaimed is the session's to say.
pub fn reports(
    desired: Option<&Desired>,
    host: &Host,
    observed: &Observed,
    memory: &Memory,
    waiting: &[Waiting],
) -> BTreeMap<PodUid, PodReport> {
    memory
        .iter()
        .map(|(uid, known)| {
            let pod = desired.and_then(|desired| desired.pods.get(uid));
            let reasons = waiting.iter().filter(|waiting| waiting.uid == *uid);
            let seen = observed.pods.get(uid);
            let report = pod_report(*uid, pod, host, known, seen, &reasons.collect::<Vec<_>>());
            (*uid, report)
        })
        .collect()
}

/// The state of one pod.
pub fn pod_report(
    uid: PodUid,
    pod: Option<&Pod>,
    host: &Host,
    known: &PodMemory,
    seen: Option<&ObservedPod>,
    waiting: &[&Waiting],
) -> PodReport {
    let report =
        |name: &str, image: &str, spec| container_report(name, image, spec, known, seen, waiting);
    // Without the pod in the document only those that ever began are known.
    let list = |kinds: &[Kind], of: fn(&Pod) -> &[Container]| -> Vec<ContainerReport> {
        match pod {
            Some(pod) => (of(pod).iter())
                .map(|container| report(&container.name, &container.image, Some(container)))
                .collect(),
            None => (known.containers.iter())
                .filter(|(_, known)| kinds.contains(&known.kind))
                .map(|(name, _)| report(name, "", None))
                .collect(),
        }
    };
    let containers = list(&[Kind::Main], |pod| &pod.containers);
    let init_containers = list(&[Kind::Init, Kind::Sidecar], |pod| &pod.init_containers);
    let ephemeral_containers = list(&[Kind::Ephemeral], |pod| &pod.ephemeral_containers);
    let phase = phase::phase(pod, known, &init_containers, &containers);
    let (reason, message) = match &known.verdict {
        Some(verdict) if phase == Phase::Failed => (&*verdict.reason, &*verdict.message),
        _ => (waiting.iter())
            .find(|waiting| waiting.container.is_none())
            .map_or(("", ""), |whole| (&*whole.reason, &*whole.message)),
    };
    PodReport {
        uid,
        phase,
        reason: cut(reason),
        message: cut(message),
        pod_ip: match pod {
            Some(pod) if pod.host_network => host.address,
            _ => known.address,
        },
        started: known.first_seen,
        containers,
        gone: known.gone,
        unclaimed: false,
        init_containers,
        ephemeral_containers,
        sandbox: seen.is_some_and(|seen| matches!(seen.sandbox, Sandbox::Ready | Sandbox::Silent)),
        conditions: Vec::new(),
        name: None,
    }
}

fn container_report(
    name: &str,
    image: &str,
    spec: Option<&Container>,
    pod: &PodMemory,
    seen: Option<&ObservedPod>,
    waiting: &[&Waiting],
) -> ContainerReport {
    let never = ContainerMemory::default();
    let known = pod.containers.get(name).unwrap_or(&never);
    let seen = seen
        .and_then(|seen| seen.containers.get(name))
        .filter(|seen| seen.life == known.lives);
    let reason = waiting
        .iter()
        .find(|waiting| waiting.container.as_deref() == Some(name));
    let (state, last) = state(pod, known, seen, reason.copied());
    let runs = matches!(state, ContainerState::Running { .. });
    let health = spec.zip(seen).map(|(spec, seen)| health(spec, &seen.run));
    let started = runs && health.is_none_or(|health| health.hooked && health.started);
    ContainerReport {
        name: name.into(),
        last,
        restarts: known.restarts(),
        // Also while it uses up its grace: it serves until it stops, and who must not be sent there
        // any more sees that from the deletion timestamp.
        ready: match &state {
            // An init container is ready when it has done its work.
            ContainerState::Terminated(end) => known.kind == Kind::Init && end.exit_code == 0,
            _ => started && health.is_none_or(|health| health.ready),
        },
        started,
        image: seen.map_or_else(|| image.to_owned(), |seen| seen.image.clone()),
        image_id: known.image_id.clone(),
        container_id: match (&state, seen) {
            (ContainerState::Terminated(end), _) => end.container_id.clone(),
            (_, Some(seen)) => seen.id.clone(),
            _ => String::new(),
        },
        state,
    }
}

/// Now, and how the life before ended.
fn state(
    pod: &PodMemory,
    known: &ContainerMemory,
    seen: Option<&ObservedContainer>,
    waiting: Option<&Waiting>,
) -> (ContainerState, Option<Terminated>) {
    match (&known.life, seen.map(|seen| &seen.run)) {
        (Life::Begun, Some(Run::Running { started, .. })) => (
            ContainerState::Running {
                started: started.unix,
            },
            known.previous.clone(),
        ),
        (Life::Ended(end), _) => {
            let again =
                pod.ending.is_none() && known.restarts_after(pod.restart_policy, end.exit_code);
            match waiting {
                Some(waiting) if again => (waiting_state(Some(waiting)), Some(cut_end(end))),
                _ => (
                    ContainerState::Terminated(cut_end(end)),
                    known.previous.as_ref().map(cut_end),
                ),
            }
        }
        (Life::None | Life::Begun, _) => {
            (waiting_state(waiting), known.previous.as_ref().map(cut_end))
        }
    }
}

fn waiting_state(waiting: Option<&Waiting>) -> ContainerState {
    match waiting {
        Some(waiting) => ContainerState::Waiting {
            reason: cut(&waiting.reason),
            message: cut(&waiting.message),
        },
        None => ContainerState::Waiting {
            reason: "ContainerCreating".into(),
            message: String::new(),
        },
    }
}

fn cut_end(end: &Terminated) -> Terminated {
    Terminated {
        message: cut(&end.message),
        ..end.clone()
    }
}

/// At most [`TEXT_MAX`] bytes, ending at a character.
fn cut(text: &str) -> String {
    let end = (0..=text.len().min(TEXT_MAX))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests;
