use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn seconds_ago(seconds: i64) -> String {
    Timestamp::from_seconds(NOW.seconds - seconds).rfc3339()
}

fn set(replicas: i32, extra: Value) -> Observed<ReplicaSet> {
    let mut object = json!({
        "metadata": {"name": "web", "namespace": "d", "uid": "R", "generation": 2},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}},
                "spec": {"containers": []},
            },
        },
        "status": {},
    });
    for (key, value) in extra.as_object().into_iter().flatten() {
        for (field, value) in value.as_object().into_iter().flatten() {
            object[key][field] = value.clone();
        }
    }
    Observed {
        revision: 7,
        object: serde_json::from_str(&object.to_string()).unwrap(),
    }
}

/// A running, ready pod of the set on node `n`, an hour old; with changes by JSON pointer.
fn pod(name: &str, changes: &[(&str, Value)]) -> Observed<Pod> {
    let mut object = json!({
        "metadata": {
            "name": name, "namespace": "d", "uid": name, "labels": {"app": "web"},
            "creationTimestamp": seconds_ago(3600), "annotations": {},
            "ownerReferences": [{"uid": "R", "kind": "ReplicaSet", "controller": true}],
            "deletionTimestamp": null,
        },
        "spec": {"nodeName": "n"},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True",
                "lastTransitionTime": seconds_ago(3600)}],
            "containerStatuses": [{"restartCount": 0}],
        },
    });
    for (pointer, value) in changes {
        *object.pointer_mut(pointer).unwrap() = value.clone();
    }
    Observed {
        revision: 3,
        object: serde_json::from_str(&object.to_string()).unwrap(),
    }
}

fn plan_of(set: &Observed<ReplicaSet>, pods: &[Observed<Pod>], failure: Option<&Failure>) -> Plan {
    let pods: Vec<_> = pods.iter().collect();
    let related = BTreeMap::new();
    plan(
        &Input {
            kind: kinds::replica_set(),
            replica_set: set,
            pods: &pods,
            related_on_node: &related,
            failure,
        },
        NOW,
    )
}

/// A plan in one line: `+3` creations, `-name` deletions, `~name patch`.
fn check(set: &Observed<ReplicaSet>, pods: &[Observed<Pod>], want: &[&str]) {
    let mut got = Vec::new();
    let mut created = 0;
    for action in plan_of(set, pods, None).actions {
        match action {
            Action::Create { .. } => created += 1,
            Action::Delete { target, .. } => got.push(format!("-{}", target.name)),
            Action::Patch { patch, .. } if !patch["status"].is_null() => {
                got.push(format!("status {}", patch["status"]["replicas"]));
            }
            Action::Patch { target, patch, .. } => {
                got.push(format!(
                    "~{} {}",
                    target.name, patch["metadata"]["ownerReferences"]
                ));
            }
            other => panic!("{other:?}"),
        }
    }
    if created > 0 {
        got.insert(0, format!("+{created}"));
    }
    assert_eq!(got, want);
}

#[test]
fn pods_are_made_until_there_are_enough() {
    check(&set(3, json!({})), &[], &["+3", "status 0"]);
    check(&set(3, json!({})), &[pod("a", &[])], &["+2", "status 1"]);
    check(&set(1, json!({})), &[pod("a", &[])], &["status 1"]);
    check(&set(2000, json!({})), &[], &["+500", "status 0"]);
    check(&set(0, json!({})), &[], &["status 0"]);
}

#[test]
fn what_has_ended_or_is_being_deleted_does_not_count() {
    let ended = pod("a", &[("/status/phase", json!("Failed"))]);
    let leaving = pod(
        "b",
        &[("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"))],
    );
    check(
        &set(2, json!({})),
        &[ended, leaving, pod("c", &[])],
        &["+1", "status 1"],
    );
}

#[test]
fn a_set_that_is_being_deleted_makes_nothing() {
    let set = set(
        2,
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
    );
    check(&set, &[], &["status 0"]);
}

#[test]
fn a_pod_is_the_template_with_an_owner() {
    let plan = plan_of(&set(1, json!({})), &[], None);
    let Some(Action::Create {
        object,
        note,
        namespace,
        ..
    }) = plan.actions.first()
    else {
        panic!("{plan:?}")
    };
    assert_eq!(namespace, "d");
    assert_eq!(
        object,
        &json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {
                "generateName": "web-", "namespace": "d",
                "labels": {"app": "web"}, "annotations": {"a": "b"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web",
                    "uid": "R", "controller": true, "blockOwnerDeletion": true}],
            },
            "spec": {"containers": []},
        })
    );
    let note = note.as_ref().unwrap();
    assert_eq!(
        (note.reason.as_ref(), note.message.as_str()),
        ("SuccessfulCreate", "Created pod: {}")
    );
}

#[test]
fn orphans_are_adopted_and_strangers_let_go() {
    let orphan = pod("a", &[("/metadata/ownerReferences", json!([]))]);
    let adopted = json!([{"apiVersion": "apps/v1", "blockOwnerDeletion": true, "controller": true,
        "kind": "ReplicaSet", "name": "web", "uid": "R"}]);
    check(
        &set(1, json!({})),
        std::slice::from_ref(&orphan),
        &[&format!("~a {adopted}"), "status 1"],
    );
    let stranger = pod("b", &[("/metadata/labels", json!({"app": "other"}))]);
    check(
        &set(1, json!({})),
        &[stranger],
        &["+1", "~b null", "status 0"],
    );
    let leaving = set(
        1,
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
    );
    check(&leaving, &[orphan], &["status 0"]);
}

/// Deletes one of two pods; the first must go, in whatever order they come.
fn check_preference(victim: Observed<Pod>, other: Observed<Pod>) {
    for pods in [[&victim, &other], [&other, &victim]] {
        let related = BTreeMap::from([("n".to_owned(), 1), ("crowded".to_owned(), 5)]);
        let got = victims(&pods, &related, 1, NOW);
        assert_eq!(got[0].metadata.name, victim.metadata.name);
    }
}

#[test]
fn deletion_prefers_as_upstream() {
    let ready = "/status/conditions/0/status";
    let ready_since = "/status/conditions/0/lastTransitionTime";
    let created = "/metadata/creationTimestamp";
    let cost = "/metadata/annotations";
    type Patches<'a> = &'a [(&'a str, Value)];
    let table: &[(Patches<'_>, Patches<'_>)] = &[
        // Not bound before everything else.
        (
            &[("/spec/nodeName", json!(""))],
            &[("/status/phase", json!("Pending"))],
        ),
        (
            &[("/status/phase", json!("Pending"))],
            &[("/status/phase", json!("Unknown"))],
        ),
        (
            &[("/status/phase", json!("Unknown")), (ready, json!("True"))],
            &[(ready, json!("False"))],
        ),
        (
            &[(ready, json!("False"))],
            &[(cost, json!({DELETION_COST: "-5"}))],
        ),
        (
            &[(cost, json!({DELETION_COST: "-1"}))],
            &[("/spec/nodeName", json!("crowded"))],
        ),
        (
            &[(cost, json!({}))],
            &[(cost, json!({DELETION_COST: "10"}))],
        ),
        (
            &[("/spec/nodeName", json!("crowded"))],
            &[(ready_since, json!(seconds_ago(1)))],
        ),
        (
            &[(ready_since, json!(seconds_ago(10)))],
            &[("/status/containerStatuses/0/restartCount", json!(9))],
        ),
        (
            &[("/status/containerStatuses/0/restartCount", json!(1))],
            &[(created, json!(seconds_ago(1)))],
        ),
        (&[(created, json!(seconds_ago(60)))], &[]),
    ];
    for (victim, other) in table {
        check_preference(pod("victim", victim), pod("other", other));
    }
    // About the same age: the UID decides, so that ages a second apart don't.
    check_preference(
        pod("a", &[(created, json!(seconds_ago(3590)))]),
        pod("b", &[(created, json!(seconds_ago(3599)))]),
    );
    check_preference(
        pod("a", &[(created, json!(seconds_ago(3599)))]),
        pod("b", &[(created, json!(seconds_ago(3590)))]),
    );
}

#[test]
fn a_pod_is_available_after_it_was_ready_for_long_enough() {
    let set = set(1, json!({"spec": {"minReadySeconds": 30}}));
    let since = |seconds| {
        pod(
            "a",
            &[(
                "/status/conditions/0/lastTransitionTime",
                json!(seconds_ago(seconds)),
            )],
        )
    };
    let status = |plan: &Plan| match plan.actions.last() {
        Some(Action::Patch { patch, .. }) => patch["status"].clone(),
        other => panic!("{other:?}"),
    };
    let early = plan_of(&set, &[since(10)], None);
    assert_eq!(
        early.next_wake,
        Some(Timestamp::from_seconds(NOW.seconds + 20))
    );
    assert_eq!(status(&early)["readyReplicas"], 1);
    assert_eq!(status(&early)["fullyLabeledReplicas"], 1);
    assert_eq!(status(&early)["availableReplicas"], Value::Null);
    let due = plan_of(&set, &[since(30)], None);
    assert_eq!(due.next_wake, None);
    assert_eq!(status(&due)["availableReplicas"], 1);
}

#[test]
fn a_failure_shows_until_it_is_over() {
    let failure = Failure {
        creating: true,
        message: "no room".into(),
    };
    let failing = plan_of(&set(0, json!({})), &[], Some(&failure));
    let Some(Action::Patch { patch, .. }) = failing.actions.first() else {
        panic!("{failing:?}")
    };
    let condition = &patch["status"]["conditions"][0];
    assert_eq!(condition["type"], "ReplicaFailure");
    assert_eq!(
        (&condition["reason"], &condition["message"]),
        (&json!("FailedCreate"), &json!("no room"))
    );
    let set = set(
        0,
        json!({"status": {"observedGeneration": 2, "terminatingReplicas": 0, "conditions": [condition]}}),
    );
    assert_eq!(
        plan_of(&set, &[], Some(&failure)).actions,
        [],
        "said already"
    );
    let Some(Action::Patch { patch, .. }) = plan_of(&set, &[], None).actions.pop() else {
        panic!("the condition stays")
    };
    assert_eq!(patch["status"]["conditions"], Value::Null);
    let note = failure_note(
        &Input {
            kind: kinds::replica_set(),
            replica_set: &set,
            pods: &[],
            related_on_node: &BTreeMap::new(),
            failure: None,
        },
        &failure,
    );
    assert_eq!(
        (note.warning, note.reason.as_ref(), note.message.as_str()),
        (true, "FailedCreate", "Error creating: no room")
    );
}

#[test]
fn those_that_go_are_counted_and_a_replication_controller_speaks_for_itself() {
    let leaving = pod(
        "b",
        &[("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"))],
    );
    let plan = plan_of(&set(1, json!({})), &[pod("a", &[]), leaving.clone()], None);
    let Some(Action::Patch { patch, .. }) = plan.actions.last() else {
        panic!("{plan:?}")
    };
    assert_eq!(patch["status"]["terminatingReplicas"], 1);

    let controller = json!({
        "metadata": {"name": "web", "namespace": "d", "uid": "R", "generation": 2},
        "spec": {"replicas": 2, "selector": {"app": "web"},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}},
    });
    let controller: bramble_api::view::ReplicationController =
        serde_json::from_str(&controller.to_string()).unwrap();
    let controller = Observed {
        revision: 1,
        object: controller.into(),
    };
    let input = Input {
        kind: kinds::replication_controller(),
        replica_set: &controller,
        pods: &[&pod("a", &[]), &leaving],
        related_on_node: &BTreeMap::new(),
        failure: None,
    };
    let plan = super::plan(&input, NOW);
    let [
        Action::Create { object, note, .. },
        Action::Patch { target, patch, .. },
    ] = &plan.actions[..]
    else {
        panic!("{plan:?}")
    };
    let owner = &object["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["apiVersion"]),
        (&json!("ReplicationController"), &json!("v1"))
    );
    assert_eq!(note.as_ref().unwrap().component, "replication-controller");
    assert_eq!(target.kind.kind, "ReplicationController");
    assert_eq!(patch["status"]["terminatingReplicas"], Value::Null);
}

proptest! {
    #[test]
    fn the_plan_reaches_the_size_and_input_order_never_matters(
        wanted in 0usize..12,
        kinds in prop::collection::vec(0usize..5, 0..12),
        turn in 0usize..12,
    ) {
        let pods: Vec<_> = kinds.iter().enumerate().map(|(at, kind)| {
            let name = format!("p{at}");
            let changes: &[(&str, Value)] = &match kind {
                0 => vec![],
                1 => vec![("/status/phase", json!("Pending"))],
                2 => vec![("/status/conditions/0/status", json!("False"))],
                3 => vec![("/spec/nodeName", json!(""))],
                _ => vec![("/status/phase", json!("Succeeded"))],
            };
            pod(&name, changes)
        }).collect();
        let mut turned = pods.clone();
        turned.rotate_left(turn.min(pods.len()));
        let set = set(i32::try_from(wanted).unwrap(), json!({}));
        let count = |pods: &[Observed<Pod>]| {
            let actions = plan_of(&set, pods, None).actions;
            let created = actions.iter().filter(|a| matches!(a, Action::Create { .. })).count();
            let mut deleted: Vec<String> = actions.iter().filter_map(|action| match action {
                Action::Delete { uid, .. } => Some(uid.clone()),
                _ => None,
            }).collect();
            deleted.sort();
            (created, deleted)
        };
        let (created, deleted) = count(&pods);
        prop_assert_eq!(&(created, deleted.clone()), &count(&turned));
        let active = pods.iter().filter(|pod| pod.is_active()).count();
        prop_assert_eq!(active + created - deleted.len(), wanted);
        let rest: Vec<_> =
            pods.iter().filter(|p| !deleted.contains(&p.metadata.uid)).cloned().collect();
        if created == 0 {
            prop_assert_eq!(count(&rest), (0, vec![]), "a satisfied set plans nothing");
        }
    }
}
