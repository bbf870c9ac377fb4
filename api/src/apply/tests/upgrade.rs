//! Objects that were not applied before, that kubectl applied client-side, and clients that write
//! managed fields themselves.

use super::*;

#[test]
fn before_the_first_apply_everything_is_one_updaters() {
    let mut server = Server::with(
        "configmaps",
        "{data: {x: '1', p: '1'}, metadata: {labels: {l: v}}}",
    );
    assert_eq!(
        server.conflicts("a", "{data: {x: '2'}}"),
        ["conflict with \"before-first-apply\" using v1: .data.x"]
    );
    server
        .apply("a", "{data: {x: '1', z: '1'}}")
        .is("{data: {x: '1', p: '1', z: '1'}, metadata: {labels: {l: v}}}")
        .owns("a", &[".data.x", ".data.z"])
        .owns(
            "before-first-apply",
            &[
                ".data",
                ".data.x",
                ".data.p",
                ".metadata.labels",
                ".metadata.labels.l",
            ],
        )
        .force("a", "{data: {x: '2'}}")
        .is("{data: {x: '2', p: '1'}, metadata: {labels: {l: v}}}");
}

#[test]
fn nothing_is_tracked_before_the_first_apply() {
    let mut server = Server::with("configmaps", "{data: {x: '1'}}");
    server.replace("b", "{data: {x: '2'}}");
    assert_eq!(live_managers(server.live()), None);
}

/// A Deployment that kubectl applied client-side, somebody scaled and somebody labelled.
fn client_side() -> Server {
    let config = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"annotations": {}, "labels": {"a": "b"}, "name": "x"},
        "spec": {"paused": true, "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}}},
    });
    let mut server = Server::of("deployments");
    let mut object = config.clone();
    object["metadata"]["annotations"] = json!({LAST_APPLIED: format!("{config}\n"), "other": "o"});
    object["metadata"]["labels"]["mine"] = "m".into();
    object["metadata"]["uid"] = "u".into();
    let mut object = server.stored(object);
    crate::admit::defaulted(server.kind, object.as_object_mut().unwrap());
    object["spec"]["replicas"] = 5.into();
    server.object = Some(object);
    server
}

const SAME: &str = "{metadata: {labels: {a: b}}, spec: {paused: true, selector: {matchLabels: {a: b}}, template: {
    metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i, ports: [{containerPort: 80}]}]}}}}";

#[test]
fn what_was_applied_client_side_is_told_apart() {
    let mut server = client_side();
    server.apply("kubectl", SAME);
    assert_eq!(
        server.managers(),
        [
            "kubectl Apply",
            "before-first-apply Update",
            "kubectl-client-side-apply Update"
        ]
    );
    let mine = server.owned("before-first-apply");
    for field in [
        ".spec.replicas",
        ".metadata.labels.mine",
        ".metadata.annotations.other",
    ] {
        assert!(mine.contains(&field.to_owned()), "{field} {mine:?}");
    }
    let csa = server.owned("kubectl-client-side-apply");
    // Defaults belong to who wrote the object.
    for field in [
        ".metadata.annotations.kubectl.kubernetes.io/last-applied-configuration",
        ".spec.paused",
        ".spec.progressDeadlineSeconds",
        ".spec.template.spec.containers[name=\"c\"].image",
    ] {
        assert!(csa.contains(&field.to_owned()), "{field} {csa:?}");
        assert!(!mine.contains(&field.to_owned()), "{field} {mine:?}");
    }
}

#[test]
fn kubectl_is_not_in_conflict_with_its_own_past() {
    let mut server = client_side();
    let other = SAME
        .replace("image: i", "image: j")
        .replace("paused: true", "paused: false");
    // Another manager is.
    assert_eq!(
        server.conflicts("argo", &other),
        [
            "conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.paused",
            "conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.template.spec.containers[name=\"c\"].image",
        ]
    );
    server.apply("kubectl", &other);
    assert_eq!(
        server.live()["spec"]["template"]["spec"]["containers"][0]["image"],
        "j"
    );
    // What somebody else changed stays a conflict.
    let mut server = client_side();
    let scaled = SAME.replace("paused: true", "paused: true, replicas: 1");
    assert_eq!(
        server.conflicts("kubectl", &scaled),
        ["conflict with \"before-first-apply\" using apps/v1: .spec.replicas"]
    );
}

#[test]
fn the_annotation_follows_so_that_one_can_go_back() {
    let mut server = client_side();
    server.apply("kubectl", &SAME.replace("image: i", "image: \"a<b>&c\""));
    let text = server.live()["metadata"]["annotations"][LAST_APPLIED]
        .as_str()
        .unwrap();
    assert!(
        text.ends_with("}\n") && text.contains("a\\u003cb\\u003e\\u0026c"),
        "{text}"
    );
    let config: Value = serde_json::from_str(text).unwrap();
    assert_eq!(
        config["spec"]["template"]["spec"]["containers"][0]["image"],
        "a<b>&c"
    );
    assert_eq!(
        config["metadata"],
        json!({"name": "x", "labels": {"a": "b"}})
    );
    let before = server.object.clone();
    // Another manager leaves it alone.
    server.apply("argo", "{metadata: {labels: {z: z}}}");
    assert_eq!(
        server.live()["metadata"]["annotations"],
        before.unwrap()["metadata"]["annotations"]
    );
}

/// What `kubectl apply --server-side` does after a client-side apply: three applies and a patch of
/// the managed fields that joins what both managers own.
#[test]
fn kubectl_migrates() {
    let mut server = client_side();
    server.apply("kubectl", SAME);
    let text = server.live()["metadata"]["annotations"][LAST_APPLIED].clone();
    let config = server.full(json!({"metadata": {"annotations": {LAST_APPLIED: text}}}));
    let request = server.request("kubectl-last-applied", None);
    server.run(&request, &config).unwrap();
    server.write("kubectl", None, |live| {
        let list = live["metadata"]["managedFields"].as_array_mut().unwrap();
        let csa = list
            .iter()
            .position(|e| e["manager"] == "kubectl-client-side-apply")
            .unwrap();
        let csa = parse_fields(&list.remove(csa)["fieldsV1"]).unwrap();
        let ssa = list.iter_mut().find(|e| e["manager"] == "kubectl").unwrap();
        let joined = parse_fields(&ssa["fieldsV1"]).unwrap().union(&csa);
        ssa["fieldsV1"] = print_fields(&joined);
    });
    assert_eq!(
        server.managers(),
        [
            "kubectl Apply",
            "kubectl-last-applied Apply",
            "before-first-apply Update"
        ]
    );
    server.apply("kubectl", SAME);
    let live = server.live();
    // What others set is still there, and so is the annotation.
    assert_eq!(live["spec"]["replicas"], 5);
    assert_eq!(live["metadata"]["labels"], json!({"a": "b", "mine": "m"}));
    assert!(live["metadata"]["annotations"][LAST_APPLIED].is_string());
    // A field that the manifest drops goes; one that was a default can be set.
    server.apply(
        "kubectl",
        &SAME.replace("paused: true", "progressDeadlineSeconds: 5"),
    );
    assert_eq!(server.live()["spec"].get("paused"), None);
    assert_eq!(server.live()["spec"]["progressDeadlineSeconds"], 5);
}

#[test]
fn clients_reset_and_rewrite_managed_fields() {
    for reset in [json!([]), json!([{}])] {
        let mut server = Server::of("configmaps");
        server.apply("a", "{data: {x: '1'}}");
        server.write("b", None, |live| {
            live["metadata"]["managedFields"] = reset.clone()
        });
        assert_eq!(live_managers(server.live()), None);
        // From here on as if it had never been applied.
        server.write("b", None, |live| live["data"]["x"] = "2".into());
        assert_eq!(live_managers(server.live()), None);
    }
    let mut server = Server::of("configmaps");
    server.apply("a", "{data: {x: '1'}}");
    server.write("b", None, |live| {
        live["metadata"]["managedFields"][0]["manager"] = "renamed".into();
    });
    assert_eq!(server.managers(), ["renamed Apply"]);
}

#[test]
fn clients_that_do_not_know_managed_fields_do_not_lose_them() {
    for sent in [
        json!(null),
        json!([{"manager": "a", "operation": "Apply"}]),
        json!([{"manager": "a", "operation": "Other", "apiVersion": "v1", "fieldsType": "FieldsV1"}]),
        json!([{"manager": "a", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
                "fieldsV1": {"nonsense": {}}}]),
    ] {
        let mut server = Server::of("configmaps");
        server.apply("a", "{data: {x: '1'}}");
        server.write("b", None, |live| {
            live["metadata"]["managedFields"] = sent.clone();
            live["data"]["p"] = "2".into();
        });
        server.owns("a", &[".data.x"]).owns("b", &[".data.p"]);
    }
    // Through a subresource nobody sets them.
    let mut server = Server::of("deployments");
    server.apply("a", "{spec: {replicas: 1}}");
    server.write("b", Some("status"), |live| {
        live["metadata"]["managedFields"] = json!([])
    });
    server.owns("a", &[".spec.replicas"]);
}
