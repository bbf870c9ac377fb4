//! Nodes: made when a board joins, ready while it answers, tainted while it does not.
//!
//! In: what the node link says of a node's presence, its facts, and the stored Node. Out: the whole
//! Node for a new one, else a merge patch, or nothing when the Node says so already. An idle node
//! therefore writes nothing.

use bramble_api::quantity::Quantity;
use bramble_api::time::Timestamp;
use bramble_api::view::{self, Condition};
use bramble_wire::report::NodeFacts;
use serde_json::{Map, Value, json};

use crate::conditions;

/// Taint of a node that can't be reached.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Taint of a node that says that it is not ready.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Why a node is not ready whose agent said good-bye.
pub const AGENT_STOPPED: &str = "AgentStopped";

/// A Node for a board that joined. It is not ready until it is heard.
pub fn create(name: &str, pod_cidr: &str, facts: &NodeFacts, now: Timestamp) -> Value {
    let mut node = json!({
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": labels(name, facts)},
        "spec": {
            "podCIDR": pod_cidr,
            "podCIDRs": [pod_cidr],
            "providerID": format!("bramble://{name}"),
            "taints": [taint(NOT_READY, "NoSchedule", now)],
        },
    });
    let list = [ready(
        "Unknown",
        "NodeStatusNeverUpdated",
        "The agent was not heard yet.",
        now,
    )];
    let mut status = facts_status(name, facts);
    status.insert("conditions".into(), conditions_json(&list));
    node["status"] = Value::Object(status);
    node
}

/// The node answered: Ready, without the taints of an absent one, with its newest facts.
pub fn heartbeat(node: &view::Node, facts: Option<&NodeFacts>, now: Timestamp) -> Option<Value> {
    let mut patch = Map::new();
    let mut status = Map::new();
    if !is(node, "True", "KubeletReady") {
        let message = "the agent is connected and posting status";
        let list = replaced(node, ready("True", "KubeletReady", message, now));
        status.insert("conditions".into(), conditions_json(&list));
    }
    if let Some(facts) = facts {
        let name = &node.metadata.name;
        status.extend(facts_status(name, facts));
        let labels = labels(name, facts);
        let has = |key: &String| node.metadata.labels.get(key).map(String::as_str);
        if labels.iter().any(|(key, value)| has(key) != value.as_str()) {
            patch.insert("metadata".into(), json!({"labels": labels}));
        }
    }
    if !status.is_empty() {
        patch.insert("status".into(), Value::Object(status));
    }
    let ours = |taint: &view::Taint| taint.key == UNREACHABLE || taint.key == NOT_READY;
    if node.spec.taints.iter().any(ours) {
        let rest = node.spec.taints.iter().filter(|taint| !ours(taint));
        patch.insert("spec".into(), json!({"taints": taints(rest)}));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Why a node does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// Its agent said good-bye; its containers go on.
    Stopped,
    /// Its connection was lost, or it was silent for too long.
    Lost,
}

/// The node does not answer: not Ready, and tainted so that nothing new goes there.
pub fn lost(node: &view::Node, absence: Absence, now: Timestamp) -> Option<Value> {
    let (status, reason, message, key) = match absence {
        Absence::Stopped => (
            "False",
            AGENT_STOPPED,
            "the agent said that it stops; containers go on",
            NOT_READY,
        ),
        Absence::Lost => (
            "Unknown",
            "NodeStatusUnknown",
            "Kubelet stopped posting node status.",
            UNREACHABLE,
        ),
    };
    let mut patch = Map::new();
    if !is(node, status, reason) {
        // When it was heard last is all that is known, and does not change now.
        let heard = conditions::find(&node.status.conditions, "Ready")
            .and_then(|c| c.last_heartbeat_time.or(c.last_transition_time));
        let new = Condition {
            last_heartbeat_time: heard.or(Some(now)),
            ..ready(status, reason, message, now)
        };
        let list = replaced(node, new);
        patch.insert(
            "status".into(),
            json!({"conditions": conditions_json(&list)}),
        );
    }
    let effects = ["NoSchedule", "NoExecute"];
    let has = |effect: &str| {
        node.spec
            .taints
            .iter()
            .any(|t| t.key == key && t.effect == effect)
    };
    if !effects.into_iter().all(has) {
        let other = if key == NOT_READY {
            UNREACHABLE
        } else {
            NOT_READY
        };
        let kept = node
            .spec
            .taints
            .iter()
            .filter(|t| t.key != other && t.key != key);
        let mut list = taints(kept);
        if let Value::Array(list) = &mut list {
            list.extend(effects.map(|effect| taint(key, effect, now)));
        }
        patch.insert("spec".into(), json!({"taints": list}));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn is(node: &view::Node, status: &str, reason: &str) -> bool {
    conditions::find(&node.status.conditions, "Ready")
        .is_some_and(|c| c.status == status && c.reason == reason)
}

fn ready(status: &str, reason: &str, message: &str, now: Timestamp) -> Condition {
    Condition {
        last_heartbeat_time: Some(now),
        ..conditions::now("Ready", status, reason, message, now)
    }
}

fn replaced(node: &view::Node, new: Condition) -> Vec<Condition> {
    let mut list = node.status.conditions.clone();
    conditions::set(&mut list, new);
    list
}

fn conditions_json(list: &[Condition]) -> Value {
    let mut out = conditions::to_json(list, false);
    let entries = out.as_array_mut().into_iter().flatten();
    for (entry, condition) in entries.zip(list) {
        if let Some(heard) = condition.last_heartbeat_time {
            entry["lastHeartbeatTime"] = heard.rfc3339().into();
        }
    }
    out
}

fn taint(key: &str, effect: &str, now: Timestamp) -> Value {
    json!({"key": key, "effect": effect, "timeAdded": now.rfc3339()})
}

fn taints<'a>(list: impl Iterator<Item = &'a view::Taint>) -> Value {
    let entry = |taint: &view::Taint| {
        let mut entry = json!({"key": taint.key, "effect": taint.effect});
        if !taint.value.is_empty() {
            entry["value"] = taint.value.as_str().into();
        }
        if let Some(added) = taint.time_added {
            entry["timeAdded"] = added.rfc3339().into();
        }
        entry
    };
    list.map(entry).collect()
}

fn labels(name: &str, facts: &NodeFacts) -> Map<String, Value> {
    let entries = [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", facts.architecture.as_str()),
    ];
    let known = entries.into_iter().filter(|(_, value)| !value.is_empty());
    known
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}

fn facts_status(name: &str, facts: &NodeFacts) -> Map<String, Value> {
    let bytes = |n: u64| {
        // As upstream prints memory: whole Ki.
        let kib = i64::try_from(n / 1024).unwrap_or(i64::MAX / 1024);
        Value::from(format!("{kib}Ki"))
    };
    let cpu = Quantity::from_milli(i64::try_from(facts.cpu_milli).unwrap_or(i64::MAX));
    let capacity = json!({
        "cpu": cpu.to_string(),
        "memory": bytes(facts.memory_bytes),
        "ephemeral-storage": bytes(facts.storage_bytes),
        "pods": facts.pods.to_string(),
    });
    let mut addresses = Vec::new();
    if let Some([a, b, c, d]) = facts.address {
        addresses.push(json!({"type": "InternalIP", "address": format!("{a}.{b}.{c}.{d}")}));
    }
    // As the label `kubernetes.io/hostname`: what a board calls itself need not be unique.
    addresses.push(json!({"type": "Hostname", "address": name}));
    let info = json!({
        "architecture": facts.architecture,
        "bootID": facts.boot_id,
        "containerRuntimeVersion": facts.runtime_version,
        "kernelVersion": facts.kernel,
        "kubeProxyVersion": "",
        "kubeletVersion": facts.agent_version,
        "machineID": facts.machine_id,
        "operatingSystem": "linux",
        "osImage": facts.os_image,
        "systemUUID": facts.machine_id,
    });
    Map::from_iter([
        ("capacity".to_owned(), capacity.clone()),
        ("allocatable".to_owned(), capacity),
        ("addresses".to_owned(), addresses.into()),
        ("nodeInfo".to_owned(), info),
    ])
}

#[cfg(test)]
mod tests;
