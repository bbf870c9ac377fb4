use bramble_api::view::Labels;
use serde_json::Value;

use super::*;

mod filter;
mod peers;
mod plan;
mod preempt;
mod properties;
mod score;
mod terms;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const GI: u64 = 1 << 30;

/// A node of 1 core, 1 GiB and 10 pods, changed by `patch`.
fn node(name: &str, patch: Value) -> Node {
    let mut object = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}},
    });
    merge(&mut object, patch);
    serde_json::from_value(object).unwrap()
}

/// A pod without requests, changed by `patch`.
fn pod(name: &str, patch: Value) -> Pod {
    let mut object = json!({
        "metadata": {"name": name, "namespace": "d", "uid": name},
        "spec": {"containers": [{"name": "c"}]},
    });
    merge(&mut object, patch);
    serde_json::from_value(object).unwrap()
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

fn asks(cpu: &str, memory: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]})
}

fn observed(object: Pod) -> Observed<Pod> {
    Observed {
        revision: 7,
        object,
    }
}

fn cluster(nodes: &[Node], pods: &[Pod]) -> Cluster {
    let mut cluster = Cluster::default();
    for node in nodes {
        cluster.handle_node(&node.metadata.name, Some(node));
    }
    for pod in pods {
        cluster.handle_pod(None, Some(pod));
    }
    cluster
}

/// `want` is `→ node`, or the refusal.
#[track_caller]
fn check(nodes: &[Node], pods: &[Pod], newcomer: &Pod, want: &str) {
    let got = match place(&cluster(nodes, pods), newcomer) {
        Verdict::Bind(node) => format!("→ {node}"),
        Verdict::Preempt(_, _, message) => message,
        // What preemption says is tested with preemption.
        Verdict::Unschedulable(message) => match message.split_once(" preemption: ") {
            Some((message, _)) => message.to_owned(),
            None => message,
        },
    };
    assert_eq!(got, want);
}

#[test]
fn requests_are_summed_and_the_largest_init_container_counts() {
    let resources =
        |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": cpu}}});
    for (spec, cpu_milli, memory) in [
        (json!({"containers": [{"name": "c"}]}), 0, 0),
        (
            json!({"containers": [resources("1"), resources("2")]}),
            3000,
            3,
        ),
        (
            json!({"containers": [resources("1")], "initContainers": [resources("2"), resources("3")]}),
            3000,
            3,
        ),
        (
            json!({"containers": [resources("4")], "initContainers": [resources("3")]}),
            4000,
            4,
        ),
        // A limit alone is the request too.
        (
            json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "100m", "memory": "1Gi"}}}]}),
            100,
            GI,
        ),
        (
            json!({"containers": [{"name": "c", "resources": {
                "limits": {"cpu": "2", "memory": "2Gi"}, "requests": {"cpu": "0.1", "memory": "1Gi"}}}]}),
            100,
            GI,
        ),
    ] {
        let got = Amount::of(&pod("p", json!({"spec": spec})));
        assert_eq!(
            got,
            Amount {
                cpu_milli,
                memory,
                pods: 1,
                storage: 0,
            },
            "{spec}"
        );
    }
}

#[test]
fn only_pods_of_this_scheduler_that_are_neither_bound_nor_ended_wait() {
    for (patch, want) in [
        (json!({}), true),
        (
            json!({"spec": {"schedulerName": "default-scheduler"}}),
            true,
        ),
        (json!({"spec": {"schedulerName": "mine"}}), false),
        (json!({"spec": {"nodeName": "n"}}), false),
        (
            json!({"spec": {"schedulingGates": [{"name": "a/b"}]}}),
            false,
        ),
        (
            json!({"metadata": {"deletionTimestamp": "2027-01-01T00:00:00Z"}}),
            false,
        ),
        (json!({"status": {"phase": "Pending"}}), true),
        (json!({"status": {"phase": "Failed"}}), false),
    ] {
        assert_eq!(is_pending(&pod("p", patch.clone())), want, "{patch}");
    }
}

#[test]
fn what_a_node_had_outlives_it_and_goes_with_its_pods() {
    let n = node("n", json!({}));
    let bound = pod(
        "b",
        json!({"spec": {"nodeName": "n", "containers": asks("1", "0")["containers"]}}),
    );
    let newcomer = pod("p", json!({"spec": asks("1", "0")}));
    // The pods may come first, and the node may go and come back.
    let mut cluster = Cluster::default();
    cluster.handle_pod(None, Some(&bound));
    assert!(!cluster.has_node("n"));
    cluster.handle_node("n", Some(&n));
    assert!(cluster.has_node("n"));
    assert_ne!(place(&cluster, &newcomer), Verdict::Bind("n".into()));
    cluster.handle_node("n", None);
    assert_eq!(
        place(&cluster, &newcomer),
        Verdict::Unschedulable("no nodes available to schedule pods".into())
    );
    cluster.handle_node("n", Some(&n));
    assert_ne!(place(&cluster, &newcomer), Verdict::Bind("n".into()));
    cluster.handle_pod(Some(&bound), None);
    assert_eq!(place(&cluster, &newcomer), Verdict::Bind("n".into()));
    cluster.handle_node("n", None);
    assert_eq!(cluster, Cluster::default(), "nothing is left");
}
