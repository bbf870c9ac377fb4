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
