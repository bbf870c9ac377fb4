//! Taints that say what a node's conditions say, so that nothing new goes where it would suffer.
//!
//! In: the stored Node. Out: its taints, when they are not those of its conditions and of being
//! cordoned. Those of a node that does not answer are set with its presence. Upstream's counterpart is
//! `doNoScheduleTaintingPass` of the node lifecycle controller.

use bramble_api::time::Timestamp;
use bramble_api::view::{Condition, Node, Taint};
use serde_json::{Value, json};

use super::{taint, taint_list};
use crate::conditions;

/// Taint of a cordoned node.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that are bad when true, and their taints.
const OF_CONDITIONS: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    (
        "NetworkUnavailable",
        "node.kubernetes.io/network-unavailable",
    ),
];
const EFFECT: &str = "NoSchedule";

/// The patch that gives a node the taints of its conditions; none when it has them.
pub fn condition_taints(node: &Node, now: Timestamp) -> Option<Value> {
    let is = |kind: &str| {
        let condition = conditions::find(&node.status.conditions, kind);
        condition.is_some_and(Condition::is_true)
    };
    let wanted: Vec<&str> = OF_CONDITIONS
        .iter()
        .filter(|(kind, _)| is(kind))
        .map(|(_, key)| *key)
        .chain(node.spec.unschedulable.then_some(UNSCHEDULABLE))
        .collect();
    let ours = |taint: &&Taint| {
        let known = OF_CONDITIONS.iter().map(|(_, key)| *key);
        let known = known.chain([UNSCHEDULABLE]);
        taint.effect == EFFECT && known.into_iter().any(|key| key == taint.key)
    };
    let taints = &node.spec.taints;
    let has = |key: &str| taints.iter().filter(ours).any(|taint| taint.key == key);
    let surplus = |taint: &Taint| !wanted.contains(&taint.key.as_str());
    if wanted.iter().all(|key| has(key)) && !taints.iter().filter(ours).any(surplus) {
        return None;
    }
    let kept = taints
        .iter()
        .filter(|taint| !ours(taint) || !surplus(taint));
    let mut list = taint_list(kept);
    if let Value::Array(list) = &mut list {
        let new = wanted.iter().filter(|key| !has(key));
        list.extend(new.map(|key| taint(key, EFFECT, now)));
    }
    Some(json!({"spec": {"taints": list}}))
}
