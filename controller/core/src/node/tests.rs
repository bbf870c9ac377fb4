use bramble_wire::report::NodeImage;
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const BEFORE: &str = "2020-01-01T00:00:00Z";

fn facts() -> NodeFacts {
    NodeFacts {
        architecture: "arm64".into(),
        kernel: "6.12.1".into(),
        os_image: "Debian".into(),
        machine_id: "m".into(),
        boot_id: "b".into(),
        agent_version: "v1.34.0-bramble".into(),
        runtime_version: "bramble://0.1".into(),
        address: Some([192, 0, 2, 7]),
        hostname: "n".into(),
        cpu_milli: 4000,
        memory_bytes: (1 << 30) + 1023,
        pods: 110,
        storage_bytes: 1 << 34,
        ..NodeFacts::default()
    }
}

fn pressure(kind: &str, is: bool) -> bramble_wire::report::Condition {
    bramble_wire::report::Condition {
        kind: kind.into(),
        status: Some(is),
        reason: format!("{kind}Is{is}"),
        message: "m".into(),
    }
}

fn view(node: &Value) -> view::Node {
    serde_json::from_value(node.clone()).unwrap()
}

/// RFC 7396, as the edge carries patches out.
fn apply(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let into = into.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            into.remove(key);
        } else {
            apply(into.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Heard {
    Beat,
    Facts,
    Stopped,
    Lost,
}

fn hear(node: &Value, heard: Heard, now: Timestamp) -> Option<Value> {
    let node = view(node);
    match heard {
        Heard::Beat => heartbeat(&node, None, now),
        Heard::Facts => heartbeat(&node, Some(&facts()), now),
        Heard::Stopped => lost(&node, Absence::Stopped, now),
        Heard::Lost => lost(&node, Absence::Lost, now),
    }
}

/// Carries out what a word calls for, which must be something.
#[track_caller]
fn told(node: &mut Value, heard: Heard, now: Timestamp) {
    let patch = hear(node, heard, now).unwrap();
    apply(node, &patch);
}

/// A new node after all of `heard`: its Ready condition as `Status/Reason`, and its taints.
#[track_caller]
fn check(heard: &[Heard], ready: &str, taints: &[&str]) {
    let mut node = create("n", "10.42.1.0/24", &facts(), NOW);
    for heard in heard {
        if let Some(patch) = hear(&node, *heard, NOW) {
            apply(&mut node, &patch);
        }
    }
    let node = view(&node);
    let condition = conditions::find(&node.status.conditions, "Ready").unwrap();
    assert_eq!(
        format!("{}/{}", condition.status, condition.reason),
        ready,
        "{heard:?}"
    );
    let got: Vec<_> = node
        .spec
        .taints
        .iter()
        .map(|t| format!("{}:{}", t.key, t.effect))
        .collect();
    assert_eq!(got, taints, "{heard:?}");
}

#[test]
fn a_node_is_ready_while_it_answers_and_tainted_while_it_does_not() {
    use Heard::{Beat, Facts, Lost, Stopped};
    let new = ["node.kubernetes.io/not-ready:NoSchedule"];
    let unreachable = [
        "node.kubernetes.io/unreachable:NoSchedule",
        "node.kubernetes.io/unreachable:NoExecute",
    ];
    let not_ready = [
        "node.kubernetes.io/not-ready:NoSchedule",
        "node.kubernetes.io/not-ready:NoExecute",
    ];
    check(&[], "Unknown/NodeStatusNeverUpdated", &new);
    check(&[Beat], "True/KubeletReady", &[]);
    check(&[Facts], "True/KubeletReady", &[]);
    check(&[Beat, Lost], "Unknown/NodeStatusUnknown", &unreachable);
    check(&[Beat, Stopped], "False/AgentStopped", &not_ready);
    check(
        &[Beat, Stopped, Lost],
        "Unknown/NodeStatusUnknown",
        &unreachable,
    );
    check(&[Beat, Lost, Stopped], "False/AgentStopped", &not_ready);
    check(&[Lost], "Unknown/NodeStatusUnknown", &unreachable);
    check(&[Beat, Lost, Beat], "True/KubeletReady", &[]);
    check(&[Beat, Stopped, Beat], "True/KubeletReady", &[]);
}

#[test]
fn a_board_that_joined_is_a_node_that_nothing_goes_to_yet() {
    let node = create("n", "10.42.1.0/24", &facts(), NOW);
    let amounts = json!({"cpu": "4", "memory": "1048576Ki", "ephemeral-storage": "16777216Ki", "pods": "110"});
    let at = NOW.rfc3339();
    assert_eq!(
        node,
        json!({
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {"name": "n", "labels": {
                "kubernetes.io/hostname": "n", "kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"}},
            "spec": {
                "podCIDR": "10.42.1.0/24",
                "podCIDRs": ["10.42.1.0/24"],
                "providerID": "bramble://n",
                "taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule", "timeAdded": at}],
            },
            "status": {
                "capacity": amounts,
                "allocatable": amounts,
                "addresses": [{"type": "InternalIP", "address": "192.0.2.7"}, {"type": "Hostname", "address": "n"}],
                "conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusNeverUpdated",
                    "message": "The agent was not heard yet.", "lastTransitionTime": at, "lastHeartbeatTime": at}],
                "nodeInfo": {
                    "architecture": "arm64", "bootID": "b", "containerRuntimeVersion": "bramble://0.1",
                    "kernelVersion": "6.12.1", "kubeProxyVersion": "", "kubeletVersion": "v1.34.0-bramble",
                    "machineID": "m", "operatingSystem": "linux", "osImage": "Debian", "systemUUID": "m",
                },
            },
        })
    );
}

#[test]
fn what_a_board_does_not_know_is_left_out() {
    let node = create(
        "n",
        "10.42.1.0/24",
        &NodeFacts {
            cpu_milli: 1500,
            ..NodeFacts::default()
        },
        NOW,
    );
    assert_eq!(node["metadata"]["labels"].get("kubernetes.io/arch"), None);
    assert_eq!(
        node["status"]["addresses"],
        json!([{"type": "Hostname", "address": "n"}])
    );
    assert_eq!(node["status"]["capacity"]["cpu"], "1500m");
}

#[test]
fn pods_may_use_what_the_board_does_not_keep() {
    let facts = NodeFacts {
        reserved_cpu_milli: 100,
        reserved_memory_bytes: 1 << 28,
        reserved_storage_bytes: 1 << 33,
        platforms: vec!["linux/arm64/v8".into(), "linux/arm/v7".into()],
        addresses: vec![[192, 0, 2, 7], [10, 8, 0, 2]],
        images: vec![NodeImage {
            names: vec!["docker.io/library/app:1".into()],
            size_bytes: 77,
        }],
        conditions: vec![
            pressure("DiskPressure", false),
            pressure("MemoryPressure", true),
        ],
        ..facts()
    };
    let node = create("n", "10.42.1.0/24", &facts, NOW);
    assert_eq!(
        node["status"]["allocatable"],
        json!({"cpu": "3900m", "memory": "786432Ki", "ephemeral-storage": "8388608Ki", "pods": "110"})
    );
    assert_eq!(
        node["metadata"]["annotations"],
        json!({PLATFORMS: "linux/arm64/v8,linux/arm/v7"})
    );
    assert_eq!(
        node["status"]["addresses"],
        json!([{"type": "InternalIP", "address": "192.0.2.7"},
            {"type": "InternalIP", "address": "10.8.0.2"}, {"type": "Hostname", "address": "n"}])
    );
    assert_eq!(
        node["status"]["images"],
        json!([{"names": ["docker.io/library/app:1"], "sizeBytes": 77}])
    );
    let kinds: Vec<_> = view(&node)
        .status
        .conditions
        .into_iter()
        .map(|c| c.kind)
        .collect();
    assert_eq!(kinds, ["MemoryPressure", "DiskPressure", "Ready"]);
}

/// Reasons of what is told of a node when it answers.
fn reasons(node: &Value, facts: Option<&NodeFacts>) -> Vec<String> {
    let notes = notes(&view(node), facts);
    assert!(
        notes
            .iter()
            .all(|note| note.component == "kubelet" && note.host == "n")
    );
    notes.iter().map(|note| note.reason.to_string()).collect()
}

#[test]
fn what_changes_on_a_node_is_told_once() {
    let with = |conditions: Vec<bramble_wire::report::Condition>, boot: &str| NodeFacts {
        conditions,
        boot_id: boot.into(),
        ..facts()
    };
    let mut node = create("n", "10.42.1.0/24", &facts(), NOW);
    let calm = with(vec![pressure("MemoryPressure", false)], "b");
    let short = with(vec![pressure("MemoryPressure", true)], "b");
    for (facts, want) in [
        (&calm, &["NodeHasSufficientMemory", "NodeReady"][..]),
        (&calm, &[]),
        (&short, &["NodeHasInsufficientMemory"]),
        (&short, &[]),
        (
            &with(vec![pressure("MemoryPressure", true)], "b2"),
            &["Rebooted"],
        ),
        (
            &with(vec![pressure("MemoryPressure", false)], "b2"),
            &["NodeHasSufficientMemory"],
        ),
    ] {
        assert_eq!(reasons(&node, Some(facts)), want);
        if let Some(patch) = heartbeat(&view(&node), Some(facts), NOW) {
            apply(&mut node, &patch);
        }
    }
    told(&mut node, Heard::Lost, NOW);
    assert_eq!(reasons(&node, None), ["NodeReady"]);
}

#[test]
fn a_condition_that_says_the_same_is_not_written() {
    let short = NodeFacts {
        conditions: vec![pressure("MemoryPressure", true)],
        ..facts()
    };
    let mut node = create("n", "10.42.1.0/24", &short, NOW);
    told(&mut node, Heard::Beat, NOW);
    let later = Timestamp::from_seconds(NOW.seconds + 60);
    let patch = heartbeat(&view(&node), Some(&short), later).unwrap();
    assert_eq!(patch["status"].get("conditions"), None);
    // Nobody but the link says whether the node is ready.
    let lying = NodeFacts {
        conditions: vec![pressure("Ready", false)],
        ..facts()
    };
    let patch = heartbeat(&view(&node), Some(&lying), later).unwrap();
    assert_eq!(patch["status"].get("conditions"), None);
}

/// Taints of a node with some conditions, after the pass; `None` when they stay as they are.
fn tainted(conditions: &[(&str, &str)], cordoned: bool, taints: &[&str]) -> Option<Vec<String>> {
    let conditions: Vec<_> = (conditions.iter())
        .map(|(kind, status)| json!({"type": kind, "status": status}))
        .collect();
    let taints: Vec<_> = (taints.iter())
        .map(|key| json!({"key": format!("node.kubernetes.io/{key}"), "effect": "NoSchedule"}))
        .collect();
    let node = json!({"spec": {"unschedulable": cordoned, "taints": taints},
        "status": {"conditions": conditions}});
    let patch = condition_taints(&view(&node), NOW)?;
    let list: Vec<view::Taint> = serde_json::from_value(patch["spec"]["taints"].clone()).unwrap();
    assert!(list.iter().all(|taint| taint.effect == "NoSchedule"));
    let short = |key: &str| key.rsplit('/').next().unwrap().to_owned();
    Some(list.iter().map(|taint| short(&taint.key)).collect())
}

#[test]
fn conditions_and_cordons_are_taints() {
    let some = |keys: &[&str]| Some(keys.iter().map(|key| (*key).to_owned()).collect());
    let short = ("MemoryPressure", "True");
    for (conditions, cordoned, taints, want) in [
        (&[][..], false, &[][..], None),
        (&[], true, &[], some(&["unschedulable"])),
        (&[], true, &["unschedulable"], None),
        (&[], false, &["unschedulable"], some(&[])),
        (&[short], false, &[], some(&["memory-pressure"])),
        (
            &[("MemoryPressure", "False")],
            false,
            &["memory-pressure"],
            some(&[]),
        ),
        (
            &[
                ("PIDPressure", "True"),
                ("DiskPressure", "True"),
                ("NetworkUnavailable", "True"),
            ],
            true,
            &["not-ready", "pid-pressure"],
            some(&[
                "not-ready",
                "pid-pressure",
                "disk-pressure",
                "network-unavailable",
                "unschedulable",
            ]),
        ),
        // A node that does not answer is tainted elsewhere.
        (&[("Ready", "Unknown")], false, &["unreachable"], None),
    ] {
        assert_eq!(
            tainted(conditions, cordoned, taints),
            want,
            "{conditions:?} {cordoned}"
        );
    }
}

#[test]
fn the_labels_and_taints_of_others_stay() {
    let mut node = create("n", "10.42.1.0/24", &facts(), NOW);
    let mine = json!({"key": "example.org/mine", "value": "v", "effect": "NoSchedule", "timeAdded": BEFORE});
    node["metadata"]["labels"]["zone"] = "a".into();
    node["metadata"]["labels"]["kubernetes.io/arch"] = "arm".into();
    node["spec"]["taints"]
        .as_array_mut()
        .unwrap()
        .insert(0, mine.clone());
    told(&mut node, Heard::Facts, NOW);
    assert_eq!(node["spec"]["taints"], json!([mine]));
    assert_eq!(
        node["metadata"]["labels"],
        json!({"zone": "a", "kubernetes.io/hostname": "n",
        "kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"})
    );
    told(&mut node, Heard::Lost, NOW);
    assert_eq!(node["spec"]["taints"][0], mine);
    assert_eq!(node["spec"]["taints"].as_array().unwrap().len(), 3);
}

#[test]
fn the_transition_time_moves_with_the_status() {
    let mut node = create("n", "10.42.1.0/24", &facts(), NOW);
    let at = |node: &Value| node["status"]["conditions"][0]["lastTransitionTime"].clone();
    let later = Timestamp::from_seconds(NOW.seconds + 60);
    told(&mut node, Heard::Lost, later);
    assert_eq!(at(&node), NOW.rfc3339(), "it was unknown before");
    told(&mut node, Heard::Beat, later);
    assert_eq!(at(&node), later.rfc3339());
}

#[test]
fn only_what_differs_is_written() {
    let mut node = create("n", "10.42.1.0/24", &facts(), NOW);
    told(&mut node, Heard::Beat, NOW);
    // Somebody else's taint alone is no reason to write.
    node["spec"]["taints"] = json!([{"key": "k", "effect": "NoExecute"}]);
    assert_eq!(hear(&node, Heard::Beat, NOW), None);
    // Of the absent one's taints one was taken away by hand: both come back, the condition stays.
    told(&mut node, Heard::Lost, NOW);
    node["spec"]["taints"].as_array_mut().unwrap().pop();
    let patch = hear(&node, Heard::Lost, NOW).unwrap();
    assert_eq!(patch.get("status"), None);
    assert_eq!(patch["spec"]["taints"].as_array().unwrap().len(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_written_no_more_and_the_last_word_counts(
        heard in prop::collection::vec(
            prop::sample::select(vec![Heard::Beat, Heard::Facts, Heard::Stopped, Heard::Lost]), 1..8),
    ) {
        let mut node = create("n", "10.42.1.0/24", &facts(), NOW);
        for heard in &heard {
            if let Some(patch) = hear(&node, *heard, NOW) {
                apply(&mut node, &patch);
            }
            let quiet = if matches!(heard, Heard::Facts) { Heard::Beat } else { *heard };
            let later = Timestamp::from_seconds(NOW.seconds + 60);
            prop_assert_eq!(hear(&node, quiet, later), None, "{:?}", heard);
        }
        let present = matches!(heard.last(), Some(Heard::Beat | Heard::Facts));
        prop_assert_eq!(view(&node).is_ready(), present);
        prop_assert_eq!(view(&node).spec.taints.is_empty(), present);
    }
}

#[test]
fn a_node_says_that_another_board_has_its_identity_until_that_is_gone() {
    let mut node = create("n", "10.42.0.0/24", &facts(), NOW);
    let of = |node: &Value| {
        let view = view(node);
        let condition = conditions::find(&view.status.conditions, DUPLICATE).cloned();
        condition.map(|condition| condition.message)
    };
    assert_eq!(duplicate(&view(&node), None, NOW), None);
    for (other, again) in [("board a", false), ("board a", true), ("board b", false)] {
        let patch = duplicate(&view(&node), Some(other), NOW);
        assert_eq!(patch.is_none(), again, "{other}");
        if let Some(patch) = patch {
            apply(&mut node, &patch);
        }
        assert!(of(&node).unwrap().starts_with(other));
    }
    let patch = duplicate(&view(&node), None, NOW).unwrap();
    apply(&mut node, &patch);
    assert_eq!(of(&node), None);
    let note = another_board(&view(&node), "board a");
    assert_eq!((note.warning, &*note.reason), (true, "DuplicateBoard"));
    assert_eq!(
        &*board_changed(&view(&node), "board a").reason,
        "BoardChanged"
    );
}

#[test]
fn a_node_that_keeps_what_its_document_lacks_says_so_until_a_person_decides() {
    let mut node = create("n", "10.42.0.0/24", &facts(), NOW);
    let of = |node: &Value| {
        let view = view(node);
        let condition = conditions::find(&view.status.conditions, UNCONFIRMED).cloned();
        condition.map(|condition| (condition.status, condition.reason))
    };
    assert_eq!(unconfirmed(&view(&node), false, NOW), None);
    let patch = unconfirmed(&view(&node), true, NOW).unwrap();
    apply(&mut node, &patch);
    assert_eq!(of(&node), Some(("True".into(), "StoreSetBack".into())));
    assert_eq!(unconfirmed(&view(&node), true, NOW), None, "said once");
    told(&mut node, Heard::Facts, NOW);
    assert!(of(&node).is_some(), "what the board says leaves it");
    let patch = unconfirmed(&view(&node), false, NOW).unwrap();
    apply(&mut node, &patch);
    assert_eq!(of(&node), None);
    let note = future(&view(&node), 8);
    assert_eq!((note.warning, &*note.reason), (true, "UnknownFuture"));
    assert!(note.message.contains("epoch 8"), "{}", note.message);
}
