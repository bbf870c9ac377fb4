use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(NOW.seconds - seconds)
}

fn pod(tolerations: Value, owner: &str, conditions: Value) -> Observed<Pod> {
    let object = json!({
        "metadata": {"name": "p", "namespace": "d", "uid": "u",
            "ownerReferences": [{"kind": owner, "controller": true}]},
        "spec": {"nodeName": "n", "tolerations": tolerations},
        "status": {"phase": "Running", "conditions": conditions},
    });
    Observed {
        revision: 1,
        object: serde_json::from_value(object).unwrap(),
    }
}

fn node(ready: &str, reason: &str, since: i64, taints: Value) -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": "n"},
        "spec": {"taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": ready, "reason": reason,
            "lastTransitionTime": ago(since).rfc3339()}]},
    }))
    .unwrap()
}

fn lost(since: i64) -> Node {
    let taints = json!([{"key": UNREACHABLE, "effect": "NoExecute",
        "timeAdded": ago(since).rfc3339()}]);
    node("Unknown", "NodeStatusUnknown", since, taints)
}

fn tolerates(seconds: i64) -> Value {
    json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute",
        "tolerationSeconds": seconds}])
}

/// A plan in a line: `+n` is when to look again.
#[track_caller]
fn check_in(pod: &Observed<Pod>, node: &Node, mass_loss: bool, calm: i64, want: &[&str]) {
    let input = Input {
        pod,
        node,
        mass_loss,
        calm_since: ago(calm),
        tainted_since: &|_| ago(5),
    };
    let plan = plan(&input, NOW);
    let mut said: Vec<String> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::Delete { note, .. } => note.as_ref().unwrap().message.clone(),
            Action::Event(note) => note.reason.to_string(),
            Action::Patch { patch, .. } => {
                let condition = &patch["status"]["conditions"][0];
                format!("{} {}", condition["status"], condition["reason"])
            }
            other => panic!("{other:?}"),
        })
        .collect();
    said.extend(plan.next_wake.map(|at| format!("+{}", at.since(NOW))));
    assert_eq!(said, want);
}

#[track_caller]
fn check(pod: &Observed<Pod>, node: &Node, want: &[&str]) {
    check_in(pod, node, false, 10_000, want);
}

const MARKED: &str = "Marking for deletion Pod d/p";

#[test]
fn a_pod_is_marked_when_it_has_borne_the_taint_for_long_enough() {
    let plain = |tolerations| pod(tolerations, "ReplicaSet", json!([]));
    check(&plain(json!([])), &lost(1), &[MARKED]);
    check(&plain(tolerates(30)), &lost(10), &["+20"]);
    check(&plain(tolerates(30)), &lost(30), &[MARKED]);
    check(&plain(tolerates(-1)), &lost(0), &[MARKED]);
    check(&plain(json!([{"operator": "Exists"}])), &lost(1000), &[]);
    let both = json!([tolerates(30)[0], tolerates(300)[0]]);
    check(&plain(both), &lost(29), &["+1"]);
    check(
        &plain(json!([])),
        &node("True", "KubeletReady", 1, json!([])),
        &[],
    );
    let schedule = json!([{"key": UNREACHABLE, "effect": "NoSchedule"}]);
    check(
        &plain(json!([])),
        &node("True", "KubeletReady", 1, schedule),
        &[],
    );
    let mut leaving = plain(json!([]));
    leaving.object.metadata.deletion_timestamp = Some(NOW);
    check(&leaving, &lost(1000), &[]);
    let mut ended = plain(json!([]));
    ended.object.status.phase = "Succeeded".into();
    check(&ended, &lost(1000), &[]);
}

#[test]
fn a_persons_taint_counts_from_when_it_was_seen() {
    let own = json!([{"key": "mine", "value": "x", "effect": "NoExecute"}]);
    let node = node("True", "KubeletReady", 1, own);
    let bears = json!([{"key": "mine", "value": "x", "tolerationSeconds": 8}]);
    check_in(&pod(bears, "", json!([])), &node, true, 0, &["+3"]);
    check_in(&pod(json!([]), "", json!([])), &node, true, 0, &[MARKED]);
}

#[test]
fn nothing_is_evicted_where_most_are_lost_or_the_controller_just_came_back() {
    let plain = pod(tolerates(30), "ReplicaSet", json!([]));
    check_in(&plain, &lost(1000), true, 10_000, &[]);
    check_in(&plain, &lost(1000), false, 10, &["+20"]);
    for (ready, lost, held) in [
        (1, 0, false),
        (0, 1, true),
        (0, 9, true),
        (1, 1, false),
        (1, 2, false),
        (2, 3, true),
        (3, 3, false),
        (45, 55, true),
        (46, 54, false),
    ] {
        assert_eq!(is_mass_loss(ready, lost), held, "{ready} {lost}");
    }
}

#[test]
fn what_must_not_run_twice_stays() {
    check(
        &pod(json!([]), "StatefulSet", json!([])),
        &lost(1000),
        &["NotEvicted"],
    );
}

#[test]
fn pods_are_as_ready_as_their_node() {
    let bears = json!([{"operator": "Exists"}]);
    let with = |ready: Value, contained: &str| {
        pod(
            bears.clone(),
            "",
            json!([ready, {"type": "ContainersReady", "status": contained}]),
        )
    };
    let ready = json!({"type": "Ready", "status": "True"});
    let marked = json!({"type": "Ready", "status": "False", "reason": "NodeNotReady"});
    let own = json!({"type": "Ready", "status": "False", "reason": "ContainersNotReady"});
    let here = node("True", "KubeletReady", 1, json!([]));
    let stopped = |since| node("False", AGENT_STOPPED, since, json!([]));
    check(
        &with(ready.clone(), "True"),
        &lost(1),
        &["\"False\" \"NodeNotReady\""],
    );
    check(&with(ready.clone(), "True"), &here, &[]);
    check(&with(marked.clone(), "True"), &lost(1), &[]);
    check(&with(marked.clone(), "True"), &here, &["\"True\" null"]);
    check(&with(marked, "False"), &here, &[]);
    check(&with(own, "True"), &here, &[]);
    check(&with(ready.clone(), "True"), &stopped(10), &["+30"]);
    check(
        &with(ready, "True"),
        &stopped(40),
        &["\"False\" \"NodeNotReady\""],
    );
}
