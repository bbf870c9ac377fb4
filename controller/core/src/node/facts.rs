//! What a board says of itself, as the fields of its Node.
//!
//! In: facts. Out: labels, annotations, and the status: what there is, what pods may use of it, the
//! board's images, addresses and conditions, in upstream's words.

use bramble_api::quantity::Quantity;
use bramble_api::time::Timestamp;
use bramble_api::view::Condition;
use bramble_wire::limits::NODE_IMAGES_MAX;
use bramble_wire::report::NodeFacts;
use serde_json::{Map, Value, json};

use super::PLATFORMS;
use crate::conditions as list_of;

/// The order in which `kubectl describe node` shows conditions; others come before.
const ORDER: [&str; 5] = [
    "NetworkUnavailable",
    "MemoryPressure",
    "DiskPressure",
    "PIDPressure",
    "Ready",
];

/// Labels by which pods choose the node.
pub(super) fn labels(name: &str, facts: &NodeFacts) -> Map<String, Value> {
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

/// What the scheduler wants to know and upstream has no field for.
pub(super) fn annotations(facts: &NodeFacts) -> Map<String, Value> {
    let platforms = facts.platforms.join(",");
    let known = (!platforms.is_empty()).then(|| (PLATFORMS.to_owned(), platforms.into()));
    known.into_iter().collect()
}

/// The conditions with those that the board says, a few of some length; one that says the same stays
/// as it is.
pub(super) fn conditions(old: &[Condition], facts: &NodeFacts, now: Timestamp) -> Vec<Condition> {
    let mut list = old.to_vec();
    let told = facts.conditions.iter().filter(|told| told.kind != "Ready");
    for told in told.take(list_of::TOLD_MAX) {
        if let Some(new) = list_of::told(&list, told, now) {
            let new = Condition {
                last_update_time: None,
                last_heartbeat_time: Some(now),
                ..new
            };
            list_of::set(&mut list, new);
        }
    }
    let rank = |condition: &Condition| {
        let at = ORDER.iter().position(|kind| *kind == condition.kind);
        at.map_or(0, |at| at + 1)
    };
    list.sort_by_key(rank);
    list
}

/// Everything of the status but the conditions.
pub(super) fn status(name: &str, facts: &NodeFacts) -> Map<String, Value> {
    let of = |cpu: u64, memory: u64, storage: u64| {
        let cpu = Quantity::from_milli(i64::try_from(cpu).unwrap_or(i64::MAX));
        json!({
            "cpu": cpu.to_string(),
            "memory": kib(memory),
            "ephemeral-storage": kib(storage),
            "pods": facts.pods.to_string(),
        })
    };
    let capacity = of(facts.cpu_milli, facts.memory_bytes, facts.storage_bytes);
    let allocatable = of(
        facts.cpu_milli.saturating_sub(facts.reserved_cpu_milli),
        (facts.memory_bytes).saturating_sub(facts.reserved_memory_bytes),
        (facts.storage_bytes).saturating_sub(facts.reserved_storage_bytes),
    );
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
    let images = facts.images.iter().take(NODE_IMAGES_MAX);
    let images = images.map(|image| json!({"names": image.names, "sizeBytes": image.size_bytes}));
    let images: Vec<Value> = images.collect();
    // A patch with null takes the last ones away.
    let images = (!images.is_empty()).then_some(images);
    Map::from_iter([
        ("capacity".to_owned(), capacity),
        ("allocatable".to_owned(), allocatable),
        ("addresses".to_owned(), addresses(name, facts)),
        ("nodeInfo".to_owned(), info),
        ("images".to_owned(), images.into()),
    ])
}

/// The address towards the controller first, then the others, then the name.
fn addresses(name: &str, facts: &NodeFacts) -> Value {
    let others = facts.addresses.iter().copied();
    let others = others.filter(|other| Some(*other) != facts.address);
    let internal = facts.address.into_iter().chain(others);
    let internal = internal
        .map(|[a, b, c, d]| json!({"type": "InternalIP", "address": format!("{a}.{b}.{c}.{d}")}));
    // As the label `kubernetes.io/hostname`: what a board calls itself need not be unique.
    let name = json!({"type": "Hostname", "address": name});
    internal.chain([name]).collect()
}

/// As upstream prints memory: whole Ki.
fn kib(bytes: u64) -> Value {
    let kib = i64::try_from(bytes / 1024).unwrap_or(i64::MAX / 1024);
    format!("{kib}Ki").into()
}

#[cfg(test)]
mod tests {
    use bramble_wire::limits::TEXT_MAX;
    use bramble_wire::report::Condition as Told;

    use super::*;

    #[test]
    fn a_board_adds_a_few_conditions_of_some_length() {
        let now = Timestamp::from_seconds(1_800_000_000);
        let mut list = Vec::new();
        for n in 0..100 {
            let told = (0..100).map(|k| Told {
                kind: format!("Kind{n}-{k}"),
                status: Some(true),
                reason: String::new(),
                message: "x".repeat(1 << 20),
            });
            let facts = NodeFacts {
                conditions: told.collect(),
                ..NodeFacts::default()
            };
            list = conditions(&list, &facts, now);
        }
        assert_eq!(list.len(), list_of::CONDITIONS_MAX);
        assert!(list.iter().all(|c| c.message.len() <= TEXT_MAX));
    }
}
