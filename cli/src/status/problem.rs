//! What is not well, and why: pure, from one object.

use bramble_api::time::{Timestamp, human_duration};
use serde::Serialize;

use super::model::{Condition, ContainerStatus, Node, Pod, Terminated, time};

/// A pod may take this long to start or to end before that is worth a line.
const PATIENCE_SECONDS: i64 = 30;

/// Something that is not well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Problem {
    /// `node` or `pod`.
    pub(super) kind: &'static str,
    /// Empty for a node.
    pub(super) namespace: String,
    pub(super) name: String,
    /// Of a pod; empty while it has none.
    pub(super) node: String,
    /// One word.
    pub(super) reason: String,
    /// A sentence; may be empty.
    pub(super) message: String,
}

/// A node that is not Ready, or lacks memory, disk or process ids.
pub(super) fn of_node(node: &Node) -> Vec<Problem> {
    let problem = |reason: &str, message: &str| Problem {
        kind: "node",
        namespace: String::new(),
        name: node.metadata.name.clone(),
        node: String::new(),
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    let mut problems = Vec::new();
    match node.condition("Ready") {
        Some(ready) if ready.status == "True" => {}
        Some(ready) => problems.push(problem(or(&ready.reason, "NotReady"), &ready.message)),
        None => problems.push(problem("Unknown", "it has not reported yet")),
    }
    // Every other condition of a node names something bad; of what every node has after a restore the
    // screen tells first.
    problems.extend(
        node.status
            .conditions
            .iter()
            .filter(|c| !matches!(c.kind.as_str(), "Ready" | "Unconfirmed") && c.status == "True")
            .map(|c| problem(&c.kind, &c.message)),
    );
    problems
}

/// The first reason why a pod is not what it should be.
pub(super) fn of_pod(pod: &Pod, now: Timestamp) -> Option<Problem> {
    let (reason, message) = reason(pod, now)?;
    Some(Problem {
        kind: "pod",
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        node: pod.spec.node_name.clone(),
        reason,
        message,
    })
}

fn reason(pod: &Pod, now: Timestamp) -> Option<(String, String)> {
    let status = &pod.status;
    if pod.phase() == "Succeeded" {
        return None;
    }
    if let Some(due) = time(pod.metadata.deletion_timestamp.as_ref()) {
        let late = now.since(due);
        return (late > PATIENCE_SECONDS).then(|| {
            let message = format!("should have ended {} ago", human_duration(late));
            ("Terminating".into(), message)
        });
    }
    if pod.phase() == "Failed" {
        let message = if status.message.is_empty() {
            ended_badly(pod).unwrap_or_default()
        } else {
            status.message.clone()
        };
        return Some((or(&status.reason, "Failed").to_owned(), message));
    }
    // On a machine whose clock is behind, every pod seems to come from the future: not young then.
    let age = time(pod.metadata.creation_timestamp.as_ref())
        .map(|made| now.since(made))
        .filter(|&age| age >= -PATIENCE_SECONDS);
    if let Some(unscheduled) = failing(pod, "PodScheduled") {
        let reason = or(&unscheduled.reason, "Unschedulable");
        return Some((reason.to_owned(), unscheduled.message.clone()));
    }
    if let Some(found) = all_containers(pod).find_map(container_problem) {
        return Some(found);
    }
    // Nothing says why: a pod that has just been made is no problem.
    if age.is_some_and(|age| age <= PATIENCE_SECONDS) {
        return None;
    }
    let since = age.map_or_else(String::new, |age| format!("for {}", human_duration(age)));
    if pod.phase() != "Running" {
        let message = or(&status.message, &since).to_owned();
        return Some((or(&status.reason, pod.phase()).to_owned(), message));
    }
    let ready = failing(pod, "Ready")?;
    let unready: Vec<&str> = all_containers(pod)
        .filter(|c| !c.ready)
        .map(|c| c.name.as_str())
        .collect();
    let message = if ready.message.is_empty() && !unready.is_empty() {
        format!("container {} is not ready", unready.join(", "))
    } else {
        ready.message.clone()
    };
    Some((or(&ready.reason, "NotReady").to_owned(), message))
}

fn all_containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = &pod.status;
    status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
}

/// A condition that says no.
fn failing<'a>(pod: &'a Pod, kind: &str) -> Option<&'a Condition> {
    pod.condition(kind).filter(|c| c.status == "False")
}

/// Waiting for something that will not come by itself, or ended and not started again.
fn container_problem(container: &ContainerStatus) -> Option<(String, String)> {
    if let Some(waiting) = &container.state.waiting {
        let usual = matches!(
            waiting.reason.as_str(),
            "" | "ContainerCreating" | "PodInitializing"
        );
        if usual && waiting.message.is_empty() {
            return None;
        }
        let mut message = format!("container {}", container.name);
        for part in [
            (!waiting.message.is_empty()).then(|| waiting.message.clone()),
            container
                .last_state
                .terminated
                .as_ref()
                .map(|t| format!("last {}", ending(t))),
            (container.restart_count > 0).then(|| format!("{} restarts", container.restart_count)),
        ]
        .into_iter()
        .flatten()
        {
            message.push_str(": ");
            message.push_str(&part);
        }
        return Some((or(&waiting.reason, "Waiting").to_owned(), message));
    }
    let ended = container.state.terminated.as_ref()?;
    (ended.exit_code != 0).then(|| {
        (
            or(&ended.reason, "Error").to_owned(),
            format!("container {}: {}", container.name, ending(ended)),
        )
    })
}

/// The first container of a failed pod that did not end well.
fn ended_badly(pod: &Pod) -> Option<String> {
    all_containers(pod).find_map(|c| {
        let ended = c.state.terminated.as_ref().filter(|t| t.exit_code != 0)?;
        Some(format!("container {}: {}", c.name, ending(ended)))
    })
}

fn ending(ended: &Terminated) -> String {
    let mut text = format!("exit code {}", ended.exit_code);
    if !matches!(ended.reason.as_str(), "" | "Error") {
        text.push_str(&format!(" ({})", ended.reason));
    }
    if !ended.message.is_empty() {
        text.push_str(&format!(", {}", ended.message));
    }
    text
}

fn or<'a>(text: &'a str, instead: &'a str) -> &'a str {
    if text.is_empty() { instead } else { text }
}
