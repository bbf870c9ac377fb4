//! A field that is not carried out is never passed over in silence: whichever way it comes, the
//! answer has a warning or names it.

use super::*;

const UNSUPPORTED: &str = "not supported by this release";

async fn apply_as(cluster: &Cluster, path: &str, object: &Value) -> Reply {
    let headers = [("content-type", "application/apply-patch+yaml")];
    cluster
        .send("PATCH", path, &headers, object.to_string())
        .await
}

fn warned_of(reply: &Reply, path: &str) {
    let found = reply
        .warnings()
        .iter()
        .any(|w| w.starts_with(&format!("299 - \"{path}: {UNSUPPORTED}")));
    assert!(found, "no warning of {path} in {:?}", reply.warnings());
}

/// What is warned about in a container and in a pod, with a value that warns.
fn warned_fields() -> Value {
    json!({
        "subdomain": "s", "setHostnameAsFQDN": true, "dnsPolicy": "ClusterFirstWithHostNet",
        "securityContext": {"seLinuxChangePolicy": "Recursive"},
        "containers": [{
            "name": "c", "image": "i:1",
            "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}],
        }],
    })
}

const WARNED: [&str; 5] = [
    "subdomain",
    "setHostnameAsFQDN",
    "dnsPolicy",
    "securityContext.seLinuxChangePolicy",
    "containers[0].resizePolicy",
];

fn all_warned(reply: &Reply, prefix: &str) {
    for path in WARNED {
        warned_of(reply, &format!("{prefix}.{path}"));
    }
}

#[tokio::test]
async fn every_warned_field_warns_in_pods_and_templates_however_it_comes() {
    let cluster = Cluster::start().await;
    let mut object = pod("p");
    object["spec"] = warned_fields();
    all_warned(&cluster.post(PODS, &object).await.expect(201), "spec");

    let mut template = deployment("d");
    template["spec"]["template"]["spec"] = warned_fields();
    let reply = cluster.post(DEPLOYMENTS, &template).await.expect(201);
    all_warned(&reply, "spec.template.spec");
    let replica_sets = "/apis/apps/v1/namespaces/default/replicasets";
    template["kind"] = "ReplicaSet".into();
    let reply = cluster.post(replica_sets, &template).await.expect(201);
    all_warned(&reply, "spec.template.spec");
    let templates = "/api/v1/namespaces/default/podtemplates";
    let kept = json!({"kind": "PodTemplate", "apiVersion": "v1", "metadata": {"name": "t"},
        "template": {"spec": warned_fields()}});
    all_warned(
        &cluster.post(templates, &kept).await.expect(201),
        "template.spec",
    );

    // Each kind of patch, and a whole object.
    let path = format!("{DEPLOYMENTS}/e");
    cluster
        .post(DEPLOYMENTS, &deployment("e"))
        .await
        .expect(201);
    let spec = warned_fields();
    let patch = |spec: &Value| json!({"spec": {"template": {"spec": spec}}});
    let dry = format!("{path}?dryRun=All");
    for kind in ["strategic-merge-patch", "merge-patch"] {
        let reply = cluster.patch(&dry, kind, &patch(&spec)).await.expect(200);
        all_warned(&reply, "spec.template.spec");
    }
    let replace = json!([{"op": "replace", "path": "/spec/template/spec", "value": spec}]);
    let reply = cluster
        .patch(&dry, "json-patch", &replace)
        .await
        .expect(200);
    all_warned(&reply, "spec.template.spec");
    let mut applied = deployment("e");
    applied["spec"]["template"]["spec"] = spec.clone();
    let apply = format!("{dry}&fieldManager=me&force=true");
    let reply = apply_as(&cluster, &apply, &applied).await.expect(200);
    all_warned(&reply, "spec.template.spec");
    let fresh = format!("{DEPLOYMENTS}/f?fieldManager=me");
    applied["metadata"]["name"] = "f".into();
    let reply = apply_as(&cluster, &fresh, &applied).await.expect(201);
    all_warned(&reply, "spec.template.spec");

    // What was warned of is not said again with every other change; what is new is.
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let reply = cluster
        .patch(&format!("{DEPLOYMENTS}/f"), "merge-patch", &labels)
        .await
        .expect(200);
    assert_eq!(reply.warnings(), [""; 0]);
}

#[tokio::test]
async fn a_refused_field_is_refused_however_it_comes() {
    let cluster = Cluster::start().await;
    cluster
        .post(DEPLOYMENTS, &deployment("d"))
        .await
        .expect(201);
    let path = format!("{DEPLOYMENTS}/d");
    let want = format!("spec.template.spec.runtimeClassName: Forbidden: {UNSUPPORTED}");
    let merge = json!({"spec": {"template": {"spec": {"runtimeClassName": "kata"}}}});
    let add =
        json!([{"op": "add", "path": "/spec/template/spec/runtimeClassName", "value": "kata"}]);
    let mut whole = deployment("d");
    whole["spec"]["template"]["spec"]["runtimeClassName"] = "kata".into();
    for (kind, body) in [
        ("merge-patch", &merge),
        ("strategic-merge-patch", &merge),
        ("json-patch", &add),
    ] {
        let reply = cluster.patch(&path, kind, body).await.expect(422);
        assert!(reply.message().contains(&want), "{}", reply.message());
    }
    let apply = format!("{path}?fieldManager=me&force=true");
    let reply = apply_as(&cluster, &apply, &whole).await;
    assert!(reply.expect(422).message().contains(&want));
    whole["metadata"]["name"] = "e".into();
    let reply = cluster.post(DEPLOYMENTS, &whole).await.expect(422);
    assert!(reply.message().contains(&want));
    // Nothing of it was kept.
    let kept = cluster.get(&path).await.expect(200).json();
    assert_eq!(
        kept["spec"]["template"]["spec"].get("runtimeClassName"),
        None
    );
}

#[tokio::test]
async fn missing_roles_are_told_by_a_review() {
    let cluster = Cluster::start().await;
    let binding = json!({"kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "nothing"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    cluster.post(bindings, &binding).await.expect(201);
    let review = json!({"kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1",
        "spec": {"namespace": "default"}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let reply = cluster.post(path, &review).await.expect(201).json();
    let error = reply["status"]["evaluationError"].as_str();
    assert!(
        error.is_some_and(|e| e.contains("\"nothing\" not found")),
        "{reply:#}"
    );
}

#[tokio::test]
async fn ephemeral_containers_come_only_through_their_subresource() {
    let cluster = Cluster::start().await;
    let mut object = pod("p");
    cluster.post(PODS, &object).await.expect(201);
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "i:1"}]}});
    let path = format!("{PODS}/p");
    let reply = cluster
        .patch(&path, "strategic-merge-patch", &debug)
        .await
        .expect(422);
    assert!(
        reply
            .message()
            .contains("changed: spec.ephemeralContainers"),
        "{}",
        reply.message()
    );
    object["metadata"]["name"] = "q".into();
    object["spec"]["ephemeralContainers"] = debug["spec"]["ephemeralContainers"].clone();
    let reply = cluster.post(PODS, &object).await.expect(422);
    assert!(
        reply
            .message()
            .contains("spec.ephemeralContainers: Forbidden: cannot be set on create"),
        "{}",
        reply.message()
    );
}
