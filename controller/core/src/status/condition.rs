//! The conditions of a pod, with the kubelet's reasons and messages.
//!
//! In: the stored pod and the report of it. Out: its whole list of conditions; those that are
//! others' stay as they are, and a node adds a few ([`conditions::CONDITIONS_MAX`]). Upstream's counterpart is `pkg/kubelet/status/generate.go`.

use bramble_api::time::Timestamp;
use bramble_api::view::{Condition, Container, FullPod};
use bramble_wire::report::{ContainerReport, ContainerState, Phase, PodReport};

use crate::conditions;

/// Conditions that agents add are ours by this prefix, and go when they are not reported any more.
const OURS: &str = "bramble.dev/";
/// Those that are worked out here, whatever a node says.
const COMPUTED: [&str; 5] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

/// What a condition says.
struct Verdict {
    status: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    const TRUE: Self = Self {
        status: true,
        reason: "",
        message: String::new(),
    };

    fn new(status: bool, reason: &'static str) -> Self {
        Self {
            status,
            reason,
            message: String::new(),
        }
    }
}

/// Every condition of the pod after this report.
pub(super) fn list(pod: &FullPod, report: &PodReport, now: Timestamp) -> Vec<Condition> {
    let mut list = pod.status.conditions.clone();
    let reported = |kind: &str| report.conditions.iter().any(|other| other.kind == kind);
    list.retain(|old| !old.kind.starts_with(OURS) || reported(&old.kind));
    let ready = containers_ready(pod, report);
    let sandbox = Verdict::new(report.sandbox, "");
    put(&mut list, COMPUTED[0], &sandbox, now);
    put(&mut list, COMPUTED[1], &initialized(pod, report), now);
    put(&mut list, COMPUTED[2], &pod_ready(pod, &ready), now);
    put(&mut list, COMPUTED[3], &ready, now);
    if conditions::find(&list, COMPUTED[4]).is_none() {
        put(&mut list, COMPUTED[4], &Verdict::TRUE, now);
    }
    let told = report.conditions.iter();
    let told = told.filter(|told| !COMPUTED.contains(&told.kind.as_str()));
    for told in told.take(conditions::TOLD_MAX) {
        if let Some(new) = conditions::told(&list, told, now) {
            replace(&mut list, new);
        }
    }
    list
}

/// The conditions of a pod whose gates may have opened or closed since its node spoke; `None` when its
/// Ready condition says so already.
pub(super) fn after_gates(pod: &FullPod, now: Timestamp) -> Option<Vec<Condition>> {
    let old = &pod.status.conditions;
    let containers = conditions::find(old, COMPUTED[3])?;
    let ready = conditions::find(old, COMPUTED[2])?;
    // While its node does not answer, nobody is ready; and what is not ready for its containers'
    // sake was told by the node.
    if ready.reason == "NodeNotReady" || !containers.is_true() {
        return None;
    }
    let verdict = pod_ready(pod, &Verdict::TRUE);
    let same = ready.is_true() == verdict.status && ready.message == verdict.message;
    let mut list = old.clone();
    put(&mut list, COMPUTED[2], &verdict, now);
    (!same).then_some(list)
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy == "Always"
}

fn find<'a>(reports: &'a [ContainerReport], container: &Container) -> Option<&'a ContainerReport> {
    reports.iter().find(|report| report.name == container.name)
}

/// `GeneratePodInitializedCondition`.
fn initialized(pod: &FullPod, report: &PodReport) -> Verdict {
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for container in &pod.spec.init_containers {
        let complete = |report: &ContainerReport| match &report.state {
            _ if is_sidecar(container) => report.started,
            ContainerState::Terminated(end) => end.exit_code == 0,
            ContainerState::Waiting { .. } | ContainerState::Running { .. } => false,
        };
        match find(&report.init_containers, container) {
            None => unknown.push(container.name.as_str()),
            Some(report) if !complete(report) => incomplete.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    if report.phase == Phase::Succeeded && unknown.is_empty() {
        return Verdict::new(true, "PodCompleted");
    }
    let began = |report: &ContainerReport| {
        report.last.is_some() || !matches!(report.state, ContainerState::Waiting { .. })
    };
    if report.containers.iter().any(began) || (unknown.is_empty() && incomplete.is_empty()) {
        return Verdict::TRUE;
    }
    Verdict {
        message: message("incomplete", &unknown, &incomplete),
        ..Verdict::new(false, "ContainersNotInitialized")
    }
}

/// `GenerateContainersReadyCondition`.
fn containers_ready(pod: &FullPod, report: &PodReport) -> Verdict {
    match report.phase {
        Phase::Succeeded => return Verdict::new(false, "PodCompleted"),
        Phase::Failed => return Verdict::new(false, "PodFailed"),
        Phase::Pending | Phase::Running => {}
    }
    let sidecars = pod.spec.init_containers.iter().filter(|c| is_sidecar(c));
    let sidecars = sidecars.map(|c| (c, find(&report.init_containers, c)));
    let main = pod.spec.containers.iter();
    let main = main.map(|c| (c, find(&report.containers, c)));
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for (container, report) in sidecars.chain(main) {
        match report {
            None => unknown.push(container.name.as_str()),
            Some(report) if !report.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    if unknown.is_empty() && unready.is_empty() {
        return Verdict::TRUE;
    }
    Verdict {
        message: message("unready", &unknown, &unready),
        ..Verdict::new(false, "ContainersNotReady")
    }
}

/// `GeneratePodReadyCondition`: the containers, and the conditions that others keep.
fn pod_ready(pod: &FullPod, containers: &Verdict) -> Verdict {
    if !containers.status {
        return Verdict {
            message: containers.message.clone(),
            ..*containers
        };
    }
    let closed = |kind: &str| match conditions::find(&pod.status.conditions, kind) {
        None => Some(format!(
            "corresponding condition of pod readiness gate \"{kind}\" does not exist."
        )),
        Some(condition) if !condition.is_true() => Some(format!(
            "the status of pod readiness gate \"{kind}\" is not \"True\", but {}",
            condition.status
        )),
        Some(_) => None,
    };
    let gates = pod.spec.readiness_gates.iter();
    let closed: Vec<String> = gates
        .filter_map(|gate| closed(&gate.condition_type))
        .collect();
    if closed.is_empty() {
        return Verdict::TRUE;
    }
    Verdict {
        message: closed.join(", "),
        ..Verdict::new(false, "ReadinessGatesNotReady")
    }
}

/// `containers with unknown status: [a], containers with unready status: [b c]`.
fn message(word: &str, unknown: &[&str], others: &[&str]) -> String {
    let lists = [("unknown", unknown), (word, others)].into_iter();
    let texts = lists
        .filter(|(_, names)| !names.is_empty())
        .map(|(word, names)| format!("containers with {word} status: [{}]", names.join(" ")));
    texts.collect::<Vec<_>>().join(", ")
}

fn put(list: &mut Vec<Condition>, kind: &str, verdict: &Verdict, now: Timestamp) {
    let status = if verdict.status { "True" } else { "False" };
    let new = conditions::now(kind, status, verdict.reason, &verdict.message, now);
    replace(list, new);
}

/// Sets a condition in its place. Unlike a Deployment's, a pod's condition takes a new message also
/// while status and reason stay.
fn replace(list: &mut Vec<Condition>, mut new: Condition) {
    new.last_update_time = None;
    match list.iter_mut().find(|old| old.kind == new.kind) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time;
            }
            *old = new;
        }
        None => list.push(new),
    }
}

#[cfg(test)]
mod tests {
    use bramble_wire::report::Condition as Told;

    use super::*;

    #[test]
    fn a_node_adds_a_few_conditions_of_some_length() {
        let mut pod = FullPod::default();
        let now = Timestamp::from_seconds(1_800_000_000);
        let told = |kind: String| Told {
            kind,
            status: Some(true),
            reason: "ä".repeat(1000),
            message: "ä".repeat(100_000),
        };
        for n in 0..100 {
            let mut report = PodReport::default();
            let kinds = (0..100).map(|k| told(format!("example.com/{n}-{k}")));
            report.conditions = kinds.collect();
            report.conditions.push(told("x".repeat(100_000)));
            pod.status.conditions = list(&pod, &report, now);
        }
        let list_of = &pod.status.conditions;
        assert_eq!(list_of.len(), conditions::CONDITIONS_MAX);
        let bytes = |c: &Condition| c.kind.len() + c.reason.len() + c.message.len();
        assert!(list_of.iter().all(|c| bytes(c) < 5000));
        // One that is there goes on to change, and one that is no name is none.
        let changed = Told {
            status: None,
            ..told("example.com/0-0".into())
        };
        let report = PodReport {
            conditions: vec![changed, told("no name".into())],
            ..PodReport::default()
        };
        let list = list(&pod, &report, now);
        let changed = conditions::find(&list, "example.com/0-0");
        assert_eq!(changed.unwrap().status, "Unknown");
        assert!(conditions::find(&list, "no name").is_none());
    }
}
