//! What the node says of its pods, by Kubernetes' rules. Only what is remembered durably is said as
//! final.

use std::collections::BTreeMap;

use bramble_wire::limits::TEXT_MAX;
use bramble_wire::object::{Pod, PodUid, RestartPolicy};
use bramble_wire::report::{ContainerReport, ContainerState, Phase, PodReport, Terminated};

use crate::desired::{Desired, Host};
use crate::memory::{ContainerMemory, Life, Memory, PodMemory};
use crate::observed::{Observed, ObservedContainer, ObservedPod, Run, Sandbox};
use crate::plan::{Waiting, restarts};

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
    let names: Vec<(&str, &str)> = match pod {
        Some(pod) => (pod.containers.iter())
            .map(|container| (container.name.as_str(), container.image.as_str()))
            .collect(),
        None => (known.containers.keys().map(|name| (name.as_str(), ""))).collect(),
    };
    let containers: Vec<ContainerReport> = names
        .into_iter()
        .map(|(name, image)| container_report(name, image, known, seen, waiting))
        .collect();
    let whole = waiting.iter().find(|waiting| waiting.container.is_none());
    PodReport {
        uid,
        phase: phase(known, &containers),
        reason: whole.map_or_else(String::new, |whole| cut(&whole.reason)),
        message: whole.map_or_else(String::new, |whole| cut(&whole.message)),
        pod_ip: match pod {
            Some(pod) if pod.host_network => host.address,
            _ => known.address,
        },
        started: known.first_seen,
        containers,
        gone: known.gone,
        unclaimed: false,
        init_containers: Vec::new(),
        ephemeral_containers: Vec::new(),
        sandbox: seen.is_some_and(|seen| matches!(seen.sandbox, Sandbox::Ready { .. })),
        conditions: Vec::new(),
    }
}

fn container_report(
    name: &str,
    image: &str,
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
    ContainerReport {
        name: name.into(),
        last,
        restarts: known.restarts(),
        // Also while it uses up its grace: it serves until it stops, and who must not be sent there
        // any more sees that from the deletion timestamp.
        ready: runs,
        started: runs,
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
            let again = pod.ending.is_none() && restarts(pod.restart_policy, end.exit_code);
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

/// The kubelet's `getPhase`.
fn phase(pod: &PodMemory, containers: &[ContainerReport]) -> Phase {
    let (mut waiting, mut running, mut stopped, mut succeeded) = (0, 0, 0, 0);
    for container in containers {
        match (&container.state, &container.last) {
            (ContainerState::Running { .. }, _) => running += 1,
            (ContainerState::Terminated(end), _) => {
                stopped += 1;
                succeeded += usize::from(end.exit_code == 0);
            }
            (ContainerState::Waiting { .. }, Some(_)) => stopped += 1,
            (ContainerState::Waiting { .. }, None) => waiting += 1,
        }
    }
    let all_succeeded = stopped > 0 && stopped == succeeded && waiting == 0;
    if pod.gone || (pod.ending.is_some() && running == 0 && waiting == 0) {
        return if all_succeeded {
            Phase::Succeeded
        } else {
            Phase::Failed
        };
    }
    match pod.restart_policy {
        _ if waiting > 0 => Phase::Pending,
        _ if running > 0 => Phase::Running,
        _ if stopped == 0 => Phase::Pending,
        RestartPolicy::Always => Phase::Running,
        _ if all_succeeded => Phase::Succeeded,
        RestartPolicy::Never => Phase::Failed,
        RestartPolicy::OnFailure => Phase::Running,
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
