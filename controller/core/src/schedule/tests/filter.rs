//! Which nodes may have a pod, and what is said of the others.

use super::*;

#[test]
fn a_pod_goes_only_where_it_may() {
    let taint = |key: &str, effect: &str| json!({"spec": {"taints": [{"key": key, "value": "x", "effect": effect}]}});
    let tolerate = |toleration: Value| json!({"spec": {"tolerations": [toleration]}});
    let terms = |terms: Value| {
        json!({"spec": {"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}})
    };
    let zone = json!({"metadata": {"labels": {"zone": "a", "slots": "5"}}});
    let cordoned = json!({"spec": {"unschedulable": true}});
    let selector = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
    let tainted = "0/1 nodes are available: 1 node(s) had untolerated taint {k: x}.";
    let closed = "0/1 nodes are available: 1 node(s) were unschedulable.";
    let on = |operator: &str, values: Value| {
        terms(
            json!([{"matchExpressions": [{"key": "zone", "operator": operator, "values": values}]}]),
        )
    };
    for (of_node, of_pod, want) in [
        (json!({}), json!({}), "→ n"),
        // Cordon.
        (cordoned.clone(), json!({}), closed),
        (
            cordoned.clone(),
            tolerate(json!({"key": "node.kubernetes.io/unschedulable", "operator": "Exists"})),
            "→ n",
        ),
        (cordoned, tolerate(json!({"operator": "Exists"})), "→ n"),
        // Taints.
        (taint("k", "NoSchedule"), json!({}), tainted),
        (taint("k", "NoExecute"), json!({}), tainted),
        (taint("k", "PreferNoSchedule"), json!({}), "→ n"),
        (
            taint("k", "NoSchedule"),
            tolerate(json!({"key": "k", "value": "x"})),
            "→ n",
        ),
        (
            taint("k", "NoSchedule"),
            tolerate(json!({"key": "k", "value": "y"})),
            tainted,
        ),
        (
            taint("k", "NoSchedule"),
            tolerate(json!({"key": "j", "operator": "Exists"})),
            tainted,
        ),
        (
            taint("k", "NoSchedule"),
            tolerate(json!({"key": "k", "operator": "Exists"})),
            "→ n",
        ),
        (
            taint("k", "NoSchedule"),
            tolerate(json!({"operator": "Exists"})),
            "→ n",
        ),
        (
            taint("k", "NoExecute"),
            tolerate(json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"})),
            tainted,
        ),
        // Node selector: every label.
        (
            zone.clone(),
            json!({"spec": {"nodeSelector": {"zone": "a"}}}),
            "→ n",
        ),
        (
            zone.clone(),
            json!({"spec": {"nodeSelector": {"zone": "b"}}}),
            selector,
        ),
        (
            zone.clone(),
            json!({"spec": {"nodeSelector": {"zone": "a", "disk": "ssd"}}}),
            selector,
        ),
        // Required affinity: any term, every expression of it.
        (zone.clone(), on("In", json!(["a", "b"])), "→ n"),
        (zone.clone(), on("NotIn", json!(["a"])), selector),
        (zone.clone(), on("Exists", json!([])), "→ n"),
        (json!({}), on("DoesNotExist", json!([])), "→ n"),
        (json!({}), on("NotIn", json!(["a"])), "→ n"),
        (
            zone.clone(),
            terms(
                json!([{"matchExpressions": [{"key": "slots", "operator": "Gt", "values": ["4"]}]}]),
            ),
            "→ n",
        ),
        (
            zone.clone(),
            terms(
                json!([{"matchExpressions": [{"key": "slots", "operator": "Lt", "values": ["5"]}]}]),
            ),
            selector,
        ),
        (
            zone.clone(),
            terms(json!([
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]},
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]},
            ])),
            "→ n",
        ),
        (zone.clone(), terms(json!([{}])), selector),
        (zone.clone(), terms(json!([])), selector),
        // Both the selector and the affinity.
        (
            zone,
            json!({"spec": {"nodeSelector": {"zone": "a"}, "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["m"]}]}]}}}}}),
            selector,
        ),
    ] {
        check(&[node("n", of_node)], &[], &pod("p", of_pod), want);
    }
}

#[test]
fn a_pod_goes_only_where_there_is_room() {
    let full = "0/1 nodes are available: ";
    for (used, wants, want) in [
        (asks("600m", "0"), asks("400m", "0"), "→ n"),
        (asks("600m", "0"), asks("401m", "0"), "1 Insufficient cpu."),
        (asks("0", "512Mi"), asks("0", "512Mi"), "→ n"),
        (
            asks("0", "512Mi"),
            asks("0", "536870913"),
            "1 Insufficient memory.",
        ),
        (
            asks("1", "1Gi"),
            asks("1m", "1"),
            "1 Insufficient cpu, 1 Insufficient memory.",
        ),
        // Who asks for nothing of a resource is not kept out by its lack.
        (
            asks("1", "1Gi"),
            json!({"containers": [{"name": "c"}]}),
            "→ n",
        ),
        (asks("1", "0"), asks("0", "1Gi"), "→ n"),
    ] {
        let used = pod(
            "used",
            json!({"spec": used, "status": {"phase": "Running"}}),
        );
        let mut used = used;
        used.spec.node_name = "n".into();
        let want = if want.starts_with('→') {
            want.to_owned()
        } else {
            format!("{full}{want}")
        };
        check(
            &[node("n", json!({}))],
            &[used],
            &pod("p", json!({"spec": wants})),
            &want,
        );
    }
}

#[test]
fn disk_is_room_too_and_sidecars_stay() {
    let disk = json!({"status": {"allocatable": {"ephemeral-storage": "10Gi"}}});
    let container = |name: &str, resource: &str, amount: &str, restart: Value| {
        json!({"name": name, "restartPolicy": restart,
               "resources": {"requests": {resource: amount}}})
    };
    let storage = |amount: &str| json!({"spec": {"containers": [container("c", "ephemeral-storage", amount, Value::Null)]}});
    let nodes = [node("n", disk)];
    check(&nodes, &[], &pod("p", storage("10Gi")), "→ n");
    let want = "0/1 nodes are available: 1 Insufficient ephemeral-storage.";
    check(&nodes, &[], &pod("p", storage("10737418241")), want);
    // A sidecar is there beside the containers and beside what is started after it.
    let cpu = |sidecar: &str, init: &str, main: &str| {
        json!({"spec": {"containers": [container("c", "cpu", main, Value::Null)],
            "initContainers": [container("first", "cpu", "1", Value::Null),
                container("s", "cpu", sidecar, "Always".into()), container("i", "cpu", init, Value::Null)]}})
    };
    let want = "0/1 nodes are available: 1 Insufficient cpu.";
    check(&nodes, &[], &pod("p", cpu("400m", "600m", "600m")), "→ n");
    check(&nodes, &[], &pod("p", cpu("400m", "601m", "100m")), want);
    check(&nodes, &[], &pod("p", cpu("400m", "100m", "601m")), want);
}

#[test]
fn a_pod_holds_its_room_until_it_has_ended() {
    let bound = json!({"nodeName": "n", "containers": asks("1", "0")["containers"]});
    let newcomer = pod("p", json!({"spec": asks("1", "0")}));
    let deleting = json!({"deletionTimestamp": "2027-01-01T00:00:00Z"});
    let full = "0/1 nodes are available: 1 Insufficient cpu.";
    for (other, want) in [
        (json!({"spec": bound}), full),
        (json!({"spec": bound, "status": {"phase": "Running"}}), full),
        (json!({"spec": bound, "metadata": deleting}), full),
        (
            json!({"spec": bound, "status": {"phase": "Succeeded"}}),
            "→ n",
        ),
        (json!({"spec": bound, "status": {"phase": "Failed"}}), "→ n"),
        (json!({"spec": asks("1", "0")}), "→ n"),
    ] {
        check(
            &[node("n", json!({}))],
            &[pod("other", other)],
            &newcomer,
            want,
        );
    }
}

#[test]
fn the_reasons_are_counted_and_sorted_as_text() {
    let allocatable = |of: Value| json!({"status": {"allocatable": of}});
    let nodes = [
        node("a", allocatable(json!({"cpu": "100m", "memory": "1Mi"}))),
        node("b", allocatable(json!({"cpu": "100m"}))),
        node("c", allocatable(json!({"pods": "0"}))),
        node("d", json!({"spec": {"unschedulable": true}})),
        node(
            "e",
            json!({"spec": {"unschedulable": true, "taints": [{"key": "k", "effect": "NoExecute"}]}}),
        ),
        node(
            "f",
            json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}}),
        ),
    ];
    let want = "0/6 nodes are available: 1 Insufficient memory, 1 Too many pods, \
        1 node(s) had untolerated taint {k: }, 2 Insufficient cpu, 2 node(s) were unschedulable.";
    check(
        &nodes,
        &[],
        &pod("p", json!({"spec": asks("200m", "2Mi")})),
        want,
    );
    check(
        &[],
        &[],
        &pod("p", json!({})),
        "no nodes available to schedule pods",
    );
}
