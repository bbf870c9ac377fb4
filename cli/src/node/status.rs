//! `bramble node status`: the board as a node, on one screen or as JSON.

use anyhow::Result;
use bramble_api::time::{Timestamp, human_duration};
use bramble_wire::local::{Board, Pod};
use bramble_wire::report::{ContainerReport, ContainerState, Phase, Terminated, UnixMs};
use serde_json::{Value, json};

use crate::args::{NodeStatus, Output};
use crate::output::{self, plain, table};

/// Characters of an image's digest that are shown.
const DIGEST_SHOWN: usize = 12;

/// Prints it.
pub(crate) fn run(args: &NodeStatus) -> Result<()> {
    let (board, pods) = super::board(&args.socket.socket)?;
    match args.output {
        Output::Text => output::print(&text(&board, &pods)),
        Output::Json => output::print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&as_json(&board, &pods))?
        )),
    }
}

pub(super) fn text(board: &Board, pods: &[Pod]) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| text.push_str(&format!("{what:<12}{value}\n"));
    let agent = format!(
        "agent {}, started {} ago, start {}",
        plain(&board.agent_version),
        duration(board.up_ms),
        board.boot
    );
    if board.node.is_empty() {
        line(
            "Node",
            format!("this board has not joined a cluster ({agent})"),
        );
    } else {
        line(
            "Node",
            format!(
                "{} of cluster {}",
                plain(&board.node),
                plain(&board.cluster)
            ),
        );
        line("Agent", agent);
    }
    line("Addresses", addresses(&board.addresses));
    if !board.node.is_empty() {
        line("Controller", controller(board));
        line("Document", document(board));
    }
    let shown: Vec<&Pod> = pods.iter().filter(|pod| !pod.report.gone).collect();
    if shown.is_empty() {
        text.push_str("\nNo pods.\n");
    } else {
        let rows: Vec<Vec<String>> = (shown.iter())
            .flat_map(|pod| rows(pod, board.now))
            .collect();
        text.push('\n');
        let head = [
            "POD",
            "CONTAINER",
            "STATE",
            "READY",
            "RESTARTS",
            "ADDRESS",
            "SINCE",
            "IMAGE",
        ];
        text.push_str(&table(&head, &rows));
    }
    if !board.notes.is_empty() {
        text.push('\n');
        for note in &board.notes {
            text.push_str(&format!("- {}\n", plain(note)));
        }
    }
    text
}

fn controller(board: &Board) -> String {
    let uplink = board.uplink;
    let since = duration(uplink.for_ms);
    let brokers: Vec<String> = board.brokers.iter().map(|url| plain(url)).collect();
    match (uplink.connected, uplink.ever) {
        (true, _) => format!("connected for {since}"),
        (false, true) => format!("away for {since}; looked for at {}", brokers.join(", ")),
        (false, false) => format!(
            "not heard since the agent was started {since} ago; looked for at {}",
            brokers.join(", ")
        ),
    }
}

fn document(board: &Board) -> String {
    match (board.document.is_empty(), board.converged) {
        (true, _) => "none yet".to_owned(),
        (false, true) => format!("{}, carried out", plain(&board.document)),
        (false, false) => format!("{}, not yet carried out", plain(&board.document)),
    }
}

/// A line for each container that says something; init containers that have done their work don't.
fn rows(pod: &Pod, now: UnixMs) -> Vec<Vec<String>> {
    let report = &pod.report;
    let busy = (report.init_containers.iter()).filter(|container| {
        !matches!(&container.state, ContainerState::Terminated(end) if end.exit_code == 0)
    });
    let mut name = plain(&pod.name.to_string());
    if report.unclaimed {
        name.push_str(" (unclaimed)");
    }
    if pod.file.is_some() {
        name.push_str(" (static)");
    }
    let address = report
        .pod_ip
        .map_or_else(|| "-".to_owned(), |ip| addresses(&[ip]));
    let row = |container: &ContainerReport| {
        let (state, since) = state(&container.state);
        vec![
            name.clone(),
            plain(&container.name),
            state,
            if container.ready { "yes" } else { "no" }.to_owned(),
            container.restarts.to_string(),
            address.clone(),
            since.map_or_else(|| "-".to_owned(), |since| ago(since, now)),
            image(container),
        ]
    };
    (busy
        .chain(&report.containers)
        .chain(&report.ephemeral_containers))
    .map(row)
    .collect()
}

/// What a container does, and since when.
fn state(state: &ContainerState) -> (String, Option<UnixMs>) {
    match state {
        ContainerState::Waiting { reason, .. } => (plain(reason), None),
        ContainerState::Running { started } => ("Running".to_owned(), Some(*started)),
        ContainerState::Terminated(end) => (
            format!("{} ({})", plain(&end.reason), end.exit_code),
            Some(end.finished),
        ),
    }
}

fn image(container: &ContainerReport) -> String {
    let digest = container.image_id.strip_prefix("sha256:");
    match digest.and_then(|digest| digest.get(..DIGEST_SHOWN)) {
        Some(digest) => format!("{} ({})", plain(&container.image), plain(digest)),
        None => plain(&container.image),
    }
}

fn addresses(addresses: &[[u8; 4]]) -> String {
    let all: Vec<String> = (addresses.iter())
        .map(|address| std::net::Ipv4Addr::from(*address).to_string())
        .collect();
    if all.is_empty() {
        "-".to_owned()
    } else {
        all.join(", ")
    }
}

fn duration(ms: u64) -> String {
    human_duration(i64::try_from(ms / 1000).unwrap_or(i64::MAX))
}

/// By the board's clock, which may have been set meanwhile.
fn ago(then: UnixMs, now: UnixMs) -> String {
    human_duration((now.0.saturating_sub(then.0) / 1000).max(0))
}

fn time(at: UnixMs) -> String {
    Timestamp::from_seconds(at.0.div_euclid(1000)).rfc3339()
}

pub(super) fn as_json(board: &Board, pods: &[Pod]) -> Value {
    json!({
        "node": board.node,
        "cluster": board.cluster,
        "agentVersion": board.agent_version,
        "boot": board.boot,
        "upSeconds": board.up_ms / 1000,
        "time": time(board.now),
        "addresses": board.addresses.iter().map(|a| addresses(&[*a])).collect::<Vec<_>>(),
        "controller": {
            "connected": board.uplink.connected,
            "forSeconds": board.uplink.for_ms / 1000,
            "everConnected": board.uplink.ever,
            "brokers": board.brokers,
        },
        "staticPods": board.static_pods,
        "document": (!board.document.is_empty()).then(|| json!({
            "version": board.document,
            "carriedOut": board.converged,
        })),
        "pods": pods.iter().map(pod_json).collect::<Vec<_>>(),
        "notes": board.notes,
    })
}

fn pod_json(pod: &Pod) -> Value {
    let report = &pod.report;
    let all = |containers: &[ContainerReport]| -> Vec<Value> {
        containers.iter().map(container_json).collect()
    };
    json!({
        "namespace": pod.name.namespace,
        "name": pod.name.name,
        "uid": report.uid.to_string(),
        "phase": match report.phase {
            Phase::Pending => "Pending",
            Phase::Running => "Running",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
        },
        "reason": report.reason,
        "message": report.message,
        "address": report.pod_ip.map(|ip| addresses(&[ip])),
        "startedAt": time(report.started),
        "file": pod.file,
        "gone": report.gone,
        "unclaimed": report.unclaimed,
        "initContainers": all(&report.init_containers),
        "containers": all(&report.containers),
        "ephemeralContainers": all(&report.ephemeral_containers),
    })
}

fn container_json(container: &ContainerReport) -> Value {
    let ended = |end: &Terminated| {
        json!({
            "exitCode": end.exit_code,
            "signal": end.signal,
            "reason": end.reason,
            "message": end.message,
            "startedAt": time(end.started),
            "finishedAt": time(end.finished),
        })
    };
    let state = match &container.state {
        ContainerState::Waiting { reason, message } => {
            json!({ "waiting": { "reason": reason, "message": message } })
        }
        ContainerState::Running { started } => {
            json!({ "running": { "startedAt": time(*started) } })
        }
        ContainerState::Terminated(end) => json!({ "terminated": ended(end) }),
    };
    json!({
        "name": container.name,
        "state": state,
        "lastState": container.last.as_ref().map(ended),
        "ready": container.ready,
        "restarts": container.restarts,
        "image": container.image,
        "imageID": container.image_id,
        "containerID": container.container_id,
    })
}
