use super::*;
use crate::kind::find;
use proptest::prelude::*;
use serde_json::json;

fn deployment() -> &'static Kind {
    find("apps", "v1", "deployments").unwrap()
}

fn pod() -> &'static Kind {
    find("", "v1", "pods").unwrap()
}

#[track_caller]
fn check(kind: &'static Kind, current: Value, patch: Value, want: Value) {
    assert_eq!(strategic(kind, &current, &patch).unwrap(), want);
}

fn containers(list: Value) -> Value {
    json!({"spec": {"containers": list}})
}

#[test]
fn items_merge_by_key_and_keep_their_place() {
    check(
        pod(),
        containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1", "tty": true}])),
        containers(json!([{"name": "b", "image": "2"}])),
        containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2", "tty": true}])),
    );
}

#[test]
fn apply_of_a_removed_variable() {
    // The patch that kubectl sends when one of three variables is removed and one changes.
    check(
        pod(),
        containers(json!([{"name": "a", "env": [
            {"name": "ONE", "value": "1"}, {"name": "TWO", "value": "2"}, {"name": "THREE", "value": "3"}]}])),
        json!({"spec": {
            "$setElementOrder/containers": [{"name": "a"}],
            "containers": [{"name": "a",
                "$setElementOrder/env": [{"name": "THREE"}, {"name": "ONE"}],
                "env": [{"name": "THREE", "value": "33"}, {"$patch": "delete", "name": "TWO"}]}]}}),
        containers(json!([{"name": "a", "env": [
            {"name": "THREE", "value": "33"}, {"name": "ONE", "value": "1"}]}])),
    );
}

#[test]
fn order_directive_keeps_what_only_the_server_has() {
    check(
        pod(),
        containers(json!([{"name": "mine"}, {"name": "sidecar"}])),
        json!({"spec": {"$setElementOrder/containers": [{"name": "new"}, {"name": "mine"}],
                        "containers": [{"name": "new"}]}}),
        containers(json!([{"name": "sidecar"}, {"name": "new"}, {"name": "mine"}])),
    );
}

#[test]
fn order_directive_alone_reorders() {
    check(
        pod(),
        containers(json!([{"name": "a"}, {"name": "b"}])),
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
        containers(json!([{"name": "b"}, {"name": "a"}])),
    );
}

#[test]
fn atomic_lists_are_replaced() {
    check(
        pod(),
        json!({"spec": {"tolerations": [{"key": "a"}], "containers": []}}),
        json!({"spec": {"tolerations": [{"key": "b"}]}}),
        json!({"spec": {"tolerations": [{"key": "b"}], "containers": []}}),
    );
}

#[test]
fn ports_merge_by_container_port() {
    check(
        pod(),
        containers(json!([{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}]}])),
        containers(
            json!([{"name": "a", "ports": [{"containerPort": 80, "name": "web"}, {"containerPort": 81}]}]),
        ),
        containers(json!([{"name": "a", "ports": [
            {"containerPort": 80, "protocol": "TCP", "name": "web"}, {"containerPort": 81}]}])),
    );
}

#[test]
fn directives_on_objects_and_lists() {
    check(
        pod(),
        json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
        json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}),
        json!({"metadata": {"labels": {"c": "3"}}}),
    );
    check(
        pod(),
        json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
        json!({"metadata": {"labels": {"a": null}}}),
        json!({"metadata": {"labels": {"b": "2"}}}),
    );
    check(
        pod(),
        containers(json!([{"name": "a"}, {"name": "b"}])),
        containers(json!([{"$patch": "replace"}, {"name": "c"}])),
        containers(json!([{"name": "c"}])),
    );
    check(
        pod(),
        json!({"spec": {"securityContext": {"runAsUser": 1}}}),
        json!({"spec": {"securityContext": {"$patch": "delete"}}}),
        json!({"spec": {"securityContext": {}}}),
    );
}

#[test]
fn retain_keys_clears_the_other_strategy() {
    check(
        deployment(),
        json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
        json!({"spec": {"strategy": {"type": "Recreate"}}}),
    );
    let bad = json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}});
    let current = json!({"spec": {"strategy": {"type": "RollingUpdate"}}});
    assert_eq!(
        strategic(deployment(), &current, &bad).unwrap_err().code(),
        400
    );
}

#[test]
fn sets_of_scalars() {
    check(
        pod(),
        json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["d", "a"],
                            "finalizers": ["d"]}}),
        json!({"metadata": {"finalizers": ["c", "d", "a"]}}),
    );
}

#[test]
fn owners_merge_by_uid() {
    check(
        pod(),
        json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "x"}, {"uid": "2"}]}}),
        json!({"metadata": {"ownerReferences": [{"$patch": "delete", "uid": "1"}]}}),
        json!({"metadata": {"ownerReferences": [{"uid": "2"}]}}),
    );
}

#[test]
fn new_values_lose_their_directives_and_nulls() {
    check(
        deployment(),
        json!({}),
        json!({"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "a"}],
            "containers": [{"name": "a", "image": null, "env": [{"$patch": "delete", "name": "x"}]}]}}}}),
        json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "env": []}]}}}}),
    );
}

#[test]
fn mistakes_are_bad_requests() {
    let current = containers(json!([{"name": "a"}]));
    for (patch, want) in [
        (
            containers(json!([{"image": "x"}])),
            "map: {\"image\":\"x\"} does not contain declared merge key: name",
        ),
        (
            json!({"spec": {"$patch": "explode"}}),
            "unknown patch type found: \"explode\"",
        ),
        (
            json!({"spec": {"$setElementOrder/containers": 1}}),
            "$setElementOrder/containers must be a list",
        ),
    ] {
        let status = strategic(pod(), &current, &patch).unwrap_err();
        assert_eq!((status.code(), status.message()), (400, want));
    }
    assert_eq!(merge(pod(), &current, &json!([])).unwrap_err().code(), 400);
    assert_eq!(
        json(pod(), &current, &json!({"op": "add"}))
            .unwrap_err()
            .code(),
        400
    );
}

#[test]
fn json_patches() {
    let current = json!({"spec": {"replicas": 1, "template": {"a": 1}}});
    let patch = json!([{"op": "test", "path": "/spec/replicas", "value": 1},
                       {"op": "replace", "path": "/spec/template", "value": {"b": 2}}]);
    assert_eq!(
        json(deployment(), &current, &patch).unwrap(),
        json!({"spec": {"replicas": 1, "template": {"b": 2}}})
    );
    let failing = json!([{"op": "test", "path": "/spec/replicas", "value": 2}]);
    let status = json(deployment(), &current, &failing).unwrap_err();
    assert_eq!((status.code(), status.reason()), (422, "Invalid"));
}

#[test]
fn json_patch_bombs_are_bounded() {
    let copies: Vec<Value> = (0..60)
        .map(|n| json!({"op": "copy", "from": "/a", "path": format!("/a/x{n}")}))
        .collect();
    let current = json!({"a": {"b": "x".repeat(1000)}});
    assert_eq!(
        json(pod(), &current, &Value::Array(copies))
            .unwrap_err()
            .code(),
        413
    );
    let deep = json!([{"op": "add", "path": "/a".repeat(5000), "value": 1}]);
    assert_eq!(json(pod(), &current, &deep).unwrap_err().code(), 422);
    let many: Vec<Value> = (0..=MAX_JSON_OPERATIONS)
        .map(|_| json!({"op": "test", "path": "", "value": {}}))
        .collect();
    assert_eq!(
        json(pod(), &current, &Value::Array(many))
            .unwrap_err()
            .code(),
        413
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let keys = prop_oneof![
        Just("name".to_owned()),
        Just("$patch".to_owned()),
        Just("$setElementOrder/containers".to_owned()),
        Just("containers".to_owned()),
        Just("spec".to_owned()),
        Just("env".to_owned()),
        Just("$retainKeys".to_owned()),
        Just("$deleteFromPrimitiveList/finalizers".to_owned()),
        Just("metadata".to_owned()),
        Just("finalizers".to_owned()),
        "[a-c]"
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..5).prop_map(Value::from),
        prop_oneof![
            Just("delete"),
            Just("replace"),
            Just("merge"),
            Just("a"),
            Just("b")
        ]
        .prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(keys.clone(), inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn no_directives(value: &Value) -> bool {
    match value {
        Value::Object(map) => map
            .iter()
            .all(|(k, v)| !k.starts_with('$') && no_directives(v)),
        Value::Array(items) => items.iter().all(no_directives),
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn strategic_never_panics_and_leaves_no_directive(current in any_json(), patch in any_json()) {
        // What is stored never holds directives, so the start must not either.
        prop_assume!(no_directives(&current));
        if let Ok(out) = strategic(pod(), &current, &patch) {
            prop_assert!(no_directives(&out), "{out}");
        }
    }

    #[test]
    fn an_empty_patch_changes_nothing(names in prop::collection::hash_set("[a-z]{1,3}", 0..5)) {
        let current = containers(names.iter().map(|n| json!({"name": n})).collect());
        prop_assert_eq!(strategic(pod(), &current, &json!({})).unwrap(), current);
    }

    #[test]
    fn applying_twice_is_applying_once(
        old in prop::collection::vec(("[a-d]", 0..3), 0..5),
        new in prop::collection::vec(("[a-d]", 0..3), 0..5),
    ) {
        let list = |items: &[(String, i32)]| -> Value {
            let map: std::collections::BTreeMap<_, _> = items.iter().cloned().collect();
            map.iter().map(|(name, image)| json!({"name": name, "image": image.to_string()})).collect()
        };
        let (current, patch) = (containers(list(&old)), containers(list(&new)));
        let once = strategic(pod(), &current, &patch).unwrap();
        prop_assert_eq!(strategic(pod(), &once, &patch).unwrap(), once.clone());
        // Every item of both sides is there, once.
        let names: Vec<&str> = once["spec"]["containers"].as_array().unwrap().iter()
            .map(|c| c["name"].as_str().unwrap()).collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        prop_assert_eq!(names.len(), unique.len());
    }
}

#[test]
fn items_in_no_order_are_put_into_one() {
    // What the client puts nowhere, half of it known to the server: an order that contradicts itself
    // makes a sort panic.
    const SIZE: usize = 20;
    let kind = crate::kind::find("", "v1", "configmaps").unwrap();
    let known: Vec<String> = (0..SIZE).map(|n| format!("k.io/s{n}")).collect();
    let current = json!({"metadata": {"name": "a", "finalizers": known}});
    let mut seed = 7u32;
    for _ in 0..200 {
        let mut items: Vec<String> = (0..SIZE)
            .flat_map(|n| [format!("k.io/s{n}"), format!("k.io/n{n}")])
            .collect();
        for at in (1..items.len()).rev() {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            items.swap(at, (seed >> 8) as usize % (at + 1));
        }
        let patch = json!({"metadata": {"finalizers": items, "$setElementOrder/finalizers": []}});
        let out = strategic(kind, &current, &patch).unwrap();
        assert_eq!(
            out["metadata"]["finalizers"].as_array().unwrap().len(),
            2 * SIZE
        );
    }
}

#[test]
fn long_lists_cost_no_more_than_long_bodies() {
    let kind = crate::kind::find("", "v1", "configmaps").unwrap();
    let long: Vec<String> = (0..10_000).map(|n| format!("k.io/{n}")).collect();
    let owners: Vec<Value> = long.iter().map(|n| json!({"uid": n})).collect();
    let reversed: Vec<&String> = long.iter().rev().collect();
    let current = json!({"metadata": {"name": "a", "finalizers": long, "ownerReferences": owners}});
    let deleted: Vec<Value> = (long.iter().rev())
        .map(|n| json!({"uid": n, "$patch": "delete"}))
        .collect();
    let started = std::time::Instant::now();
    for patch in [
        json!({"metadata": {"finalizers": reversed, "$setElementOrder/finalizers": long}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": reversed}}),
        json!({"metadata": {"ownerReferences": owners}}),
        json!({"metadata": {"ownerReferences": deleted}}),
    ] {
        strategic(kind, &current, &patch).unwrap();
    }
    let mut operations = vec![json!({"op": "add", "path": "/data", "value": vec![1; 200_000]})];
    operations.extend(vec![
        json!({"op": "add", "path": "/data/0", "value": 1});
        9_999
    ]);
    let refused = super::json(kind, &current, &operations.into()).unwrap_err();
    assert_eq!(refused.code(), 413);
    // Minutes, when each item was looked for among all others.
    assert!(
        started.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}
