//! What may change about objects that are there.

use super::*;

#[test]
fn generation_counts_changes_of_the_spec() {
    let new = updated("deployments", deployment(), |d| {
        d["spec"]["replicas"] = 3.into()
    })
    .unwrap();
    assert_eq!(new["metadata"]["generation"], 2);
    let new = updated("deployments", deployment(), |d| {
        d["metadata"]["labels"] = json!({"a": "b"});
        d["status"] = json!({"replicas": 9});
        d["metadata"]["generation"] = 77.into();
    })
    .unwrap();
    assert_eq!(new["metadata"]["generation"], 1);
    assert_eq!(new["status"], json!({}));
}

#[test]
fn the_status_subresource_moves_only_the_status() {
    let (old, _) = created("deployments", deployment()).unwrap();
    let mut new = old.clone();
    new["spec"]["replicas"] = 5.into();
    new["status"] = json!({"replicas": 1});
    let ctx = Update {
        now: Timestamp::default(),
        subresource: Some("status"),
    };
    update(kind("deployments"), &old, &mut new, &ctx).unwrap();
    assert_eq!(new, with(old, "/status", json!({"replicas": 1})));
}

#[test]
fn the_scale_subresource_moves_only_the_replicas() {
    let (old, _) = created("deployments", deployment()).unwrap();
    let ctx = Update {
        now: Timestamp::default(),
        subresource: Some("scale"),
    };
    let mut new = old.clone();
    new["spec"]["replicas"] = 5.into();
    new["spec"]["paused"] = true.into();
    update(kind("deployments"), &old, &mut new, &ctx).unwrap();
    let want = with(old.clone(), "/spec/replicas", json!(5));
    assert_eq!(new, with(want, "/metadata/generation", json!(2)));
    let mut bad = with(old.clone(), "/spec/replicas", json!(-1));
    assert_eq!(
        update(kind("deployments"), &old, &mut bad, &ctx)
            .unwrap_err()
            .code(),
        422
    );
}

#[test]
fn a_warning_comes_once_per_change() {
    let mut spec = container(json!({}));
    spec["subdomain"] = "sub".into();
    let (old, warnings) = created("pods", pod(spec)).unwrap();
    assert_eq!(warnings.len(), 1);
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    let ctx = Update {
        now: Timestamp::default(),
        subresource: None,
    };
    assert_eq!(update(kind("pods"), &old, &mut new, &ctx).unwrap(), []);
}

#[test]
fn immutable_things() {
    let status = updated("deployments", deployment(), |d| {
        d["spec"]["selector"] = json!({"matchLabels": {"app": "x"}});
        d["spec"]["template"]["metadata"]["labels"] = json!({"app": "x"});
    })
    .unwrap_err();
    assert_eq!(
        status.message(),
        "Deployment.apps \"web\" is invalid: spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"x\"}}: field is immutable"
    );
    let map = json!({"metadata": {"name": "c"}, "immutable": true, "data": {"a": "1"}});
    let status = updated("configmaps", map, |c| c["data"]["a"] = "2".into()).unwrap_err();
    assert!(
        status
            .message()
            .ends_with("data: Forbidden: field is immutable when `immutable` is set")
    );
    let secret = json!({"metadata": {"name": "s"}});
    assert!(
        updated("secrets", secret, |s| s["type"] = "x".into())
            .unwrap_err()
            .message()
            .contains("type: Invalid value: \"x\": field is immutable")
    );
    let status = updated("configmaps", json!({"metadata": {"name": "c"}}), |c| {
        c["metadata"]["uid"] = "other".into()
    })
    .unwrap_err();
    assert_eq!(status.code(), 409);
}

#[test]
fn a_running_pod_changes_its_image_and_little_else() {
    let object = || pod(container(json!({})));
    let new = updated("pods", object(), |p| {
        p["spec"]["containers"][0]["image"] = "x:2".into()
    })
    .unwrap();
    assert_eq!(new["metadata"]["generation"], 2);
    updated("pods", object(), |p| {
        p["spec"]["tolerations"] = json!([{"operator": "Exists"}])
    })
    .unwrap();
    let status = updated("pods", object(), |p| p["spec"]["nodeName"] = "n1".into()).unwrap_err();
    assert!(status.message().starts_with("Pod \"p\" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"));
    assert!(status.message().ends_with("changed: spec.nodeName"));
    let status =
        updated(
            "pods",
            object(),
            |p| {
                p["spec"]["containers"] =
                    json!([{"name": "a", "image": "x:1"}, {"name": "b", "image": "y"}])
            },
        )
        .unwrap_err();
    assert!(
        status
            .message()
            .ends_with("spec.containers: Forbidden: pod updates may not add or remove containers")
    );
}

#[test]
fn metadata_rules() {
    let meta = |meta: Value| refused("configmaps", json!({"metadata": meta}));
    assert!(
        meta(json!({"name": "a", "labels": {"a b": "c"}}))
            .starts_with("metadata.labels: Invalid value: \"a b\": name part must consist of")
    );
    assert!(
        meta(json!({"name": "a", "labels": {"a": "-"}}))
            .starts_with("metadata.labels: Invalid value: \"-\": a valid label must be")
    );
    assert_eq!(
        meta(json!({"name": "a", "finalizers": ["mine"]})),
        "metadata.finalizers: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified"
    );
    assert_eq!(
        meta(json!({"name": "a", "annotations": {"a": "x".repeat(300_000)}})),
        "metadata.annotations: Too long: may not be more than 262144 bytes"
    );
    assert!(
        meta(json!({"name": "a", "ownerReferences": [{}]}))
            .contains("metadata.ownerReferences[0].uid: Invalid value: \"\": must not be empty")
    );
}

#[test]
fn nothing_new_holds_a_deletion() {
    let (mut old, _) = created(
        "configmaps",
        json!({"metadata": {"name": "c", "finalizers": ["a/b"]}}),
    )
    .unwrap();
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!(["a/b", "c/d"]);
    let ctx = Update {
        now: Timestamp::default(),
        subresource: None,
    };
    let status = update(kind("configmaps"), &old, &mut new, &ctx).unwrap_err();
    assert!(
        status
            .message()
            .ends_with("found new finalizers []string{\"c/d\"}")
    );
}
