//! Nodes: made when a board joins, ready while it answers, tainted while it does not.
//!
//! In: what the node link says of a node's presence, its facts, and the stored Node. Out: the whole
//! Node for a new one, else a merge patch, or nothing when the Node says so already. An idle node
//! therefore writes nothing.

mod facts;
mod taints;
mod told;

use bramble_api::time::Timestamp;
use bramble_api::view::{self, Condition};
use bramble_wire::report::NodeFacts;
use serde_json::{Map, Value, json};

use crate::conditions;
pub use taints::condition_taints;
pub use told::{another_board, board_changed, future, notes};

/// Annotation with the platforms of images that run on the node, best first, with commas between.
pub const PLATFORMS: &str = "bramble.dev/platforms";
/// Taint of a node that can't be reached.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Taint of a node that says that it is not ready.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Condition of a node that keeps what its document lacks.
pub const UNCONFIRMED: &str = "Unconfirmed";
/// Another board with the node's identity is there, and refused.
pub const DUPLICATE: &str = "Duplicate";

/// Why a node is not ready whose agent said good-bye.
pub const AGENT_STOPPED: &str = "AgentStopped";

/// A Node for a board that joined. It is not ready until it is heard.
pub fn create(name: &str, pod_cidr: &str, facts: &NodeFacts, now: Timestamp) -> Value {
    let annotations = facts::annotations(facts);
    let mut node = json!({
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": facts::labels(name, facts)},
        "spec": {
            "podCIDR": pod_cidr,
            "podCIDRs": [pod_cidr],
            "providerID": format!("bramble://{name}"),
            "taints": [taint(NOT_READY, "NoSchedule", now)],
        },
    });
    let never = ready(
        "Unknown",
        "NodeStatusNeverUpdated",
        "The agent was not heard yet.",
        now,
    );
    let list = facts::conditions(&[never], facts, now);
    if !annotations.is_empty() {
        node["metadata"]["annotations"] = annotations.into();
    }
    let mut status = facts::status(name, facts);
    status.retain(|_, value| !value.is_null());
    status.insert("conditions".into(), conditions_json(&list));
    node["status"] = Value::Object(status);
    node
}

/// The node answered: Ready, without the taints of an absent one, with its newest facts.
pub fn heartbeat(node: &view::Node, facts: Option<&NodeFacts>, now: Timestamp) -> Option<Value> {
    let mut patch = Map::new();
    let mut status = Map::new();
    let mut list = node.status.conditions.clone();
    if !is(node, "True", "KubeletReady") {
        let message = "the agent is connected and posting status";
        list = replaced(node, ready("True", "KubeletReady", message, now));
    }
    if let Some(facts) = facts {
        let name = &node.metadata.name;
        list = facts::conditions(&list, facts, now);
        status.extend(facts::status(name, facts));
        let metadata = &node.metadata;
        let mut changed = Map::new();
        for (field, new, old) in [
            ("labels", facts::labels(name, facts), &metadata.labels),
            (
                "annotations",
                facts::annotations(facts),
                &metadata.annotations,
            ),
        ] {
            let has = |key: &String| old.get(key).map(String::as_str);
            if new.iter().any(|(key, value)| has(key) != value.as_str()) {
                changed.insert(field.into(), Value::Object(new));
            }
        }
        if !changed.is_empty() {
            patch.insert("metadata".into(), Value::Object(changed));
        }
    }
    if list != node.status.conditions {
        status.insert("conditions".into(), conditions_json(&list));
    }
    if !status.is_empty() {
        patch.insert("status".into(), Value::Object(status));
    }
    let ours = |taint: &view::Taint| taint.key == UNREACHABLE || taint.key == NOT_READY;
    if node.spec.taints.iter().any(ours) {
        let rest = node.spec.taints.iter().filter(|taint| !ours(taint));
        patch.insert("spec".into(), json!({"taints": taint_list(rest)}));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Whether the node keeps what its document lacks, because the store was set back and no person has
/// confirmed the difference.
pub fn unconfirmed(node: &view::Node, is: bool, now: Timestamp) -> Option<Value> {
    let mut list = node.status.conditions.clone();
    if is {
        let message = "the store was set back: the node keeps what it lacks until a person decides (bramble status)";
        let new = Condition {
            last_heartbeat_time: Some(now),
            ..conditions::now(UNCONFIRMED, "True", "StoreSetBack", message, now)
        };
        conditions::set(&mut list, new);
    } else {
        conditions::remove(&mut list, UNCONFIRMED);
    }
    (list != node.status.conditions)
        .then(|| json!({"status": {"conditions": conditions_json(&list)}}))
}

/// Whether another board with the node's identity is there, and refused.
pub fn duplicate(node: &view::Node, other: Option<&str>, now: Timestamp) -> Option<Value> {
    let mut list = node.status.conditions.clone();
    if let Some(other) = other {
        let message = format!(
            "{other} has this node's identity, too, and is refused: its card is a copy, or was moved while \
             the node went on (bramble status)"
        );
        let new = Condition {
            last_heartbeat_time: Some(now),
            ..conditions::now(DUPLICATE, "True", "AnotherBoard", &message, now)
        };
        let known = conditions::find(&list, DUPLICATE);
        if known.is_none_or(|known| known.message != new.message) {
            conditions::remove(&mut list, DUPLICATE);
            conditions::set(&mut list, new);
        }
    } else {
        conditions::remove(&mut list, DUPLICATE);
    }
    (list != node.status.conditions)
        .then(|| json!({"status": {"conditions": conditions_json(&list)}}))
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
        let mut list = taint_list(kept);
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

fn taint_list<'a>(list: impl Iterator<Item = &'a view::Taint>) -> Value {
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

#[cfg(test)]
mod tests;
