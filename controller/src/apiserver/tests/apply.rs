//! Server-side apply, as clients see it.

use super::*;

/// The path with the parameters of an apply.
fn query(path: &str, manager: &str, more: &str) -> String {
    format!("{path}?fieldManager={manager}{more}")
}

async fn send(cluster: &Cluster, path: &str, body: &str) -> Reply {
    let headers = [("content-type", "application/apply-patch+yaml")];
    cluster.send("PATCH", path, &headers, body.to_owned()).await
}

/// Applies as a manager.
async fn apply(cluster: &Cluster, path: &str, manager: &str, config: &Value) -> Reply {
    send(cluster, &query(path, manager, ""), &config.to_string()).await
}

async fn force(cluster: &Cluster, path: &str, manager: &str, config: &Value) -> Reply {
    let path = query(path, manager, "&force=true");
    send(cluster, &path, &config.to_string()).await
}

fn managers(object: &Value) -> Vec<String> {
    let list = object["metadata"]["managedFields"].as_array();
    list.into_iter()
        .flatten()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            let parts = [text("manager"), text("operation"), text("subresource")];
            parts.join(" ").trim_end().to_owned()
        })
        .collect()
}

const PATH: &str = "/api/v1/namespaces/default/configmaps/a";

#[tokio::test]
async fn an_apply_creates_and_then_changes() {
    let cluster = Cluster::start().await;
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: {l: v}\ndata:\n  a: '1'\n  b: '1'\n";
    let made = send(&cluster, &query(PATH, "me", ""), yaml)
        .await
        .expect(201)
        .json();
    let entry = &made["metadata"]["managedFields"][0];
    assert_eq!(
        entry["fieldsV1"],
        json!({"f:data": {"f:a": {}, "f:b": {}}, "f:metadata": {"f:labels": {"f:l": {}}}})
    );
    assert_eq!(
        (&entry["manager"], &entry["operation"], &entry["apiVersion"]),
        (&"me".into(), &"Apply".into(), &"v1".into())
    );
    assert_eq!(entry["fieldsType"], "FieldsV1");
    assert!(entry["time"].is_string() && made["metadata"]["uid"].is_string());
    assert_eq!(cluster.get(PATH).await.expect(200).json(), made);

    // The same again is no write.
    let again = send(&cluster, &query(PATH, "me", ""), yaml)
        .await
        .expect(200);
    assert_eq!(again.json(), made);

    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"},
                        "data": {"a": "2"}});
    let next = apply(&cluster, PATH, "me", &config)
        .await
        .expect(200)
        .json();
    assert_eq!(next["data"], json!({"a": "2"}));
    assert_eq!(next["metadata"].get("labels"), None);
    assert_eq!(next["metadata"]["uid"], made["metadata"]["uid"]);
    assert_ne!(
        next["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
}

#[tokio::test]
async fn a_conflict_names_field_and_owner() {
    let cluster = Cluster::start().await;
    let path = format!("{DEPLOYMENTS}/d");
    let mut config = deployment("d");
    apply(&cluster, &path, "me", &config).await.expect(201);
    let patch = json!({"spec": {"replicas": 5}});
    let edited = cluster
        .patch(&query(&path, "kubectl-edit", ""), "merge-patch", &patch)
        .await
        .expect(200)
        .json();
    assert_eq!(managers(&edited), ["me Apply", "kubectl-edit Update"]);
    assert_eq!(edited["metadata"]["generation"], 2);

    config["spec"]["replicas"] = 3.into();
    let refused = apply(&cluster, &path, "me", &config)
        .await
        .expect(409)
        .json();
    assert_eq!(
        refused,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using apps/v1: .spec.replicas",
            "reason": "Conflict", "code": 409,
            "details": {"causes": [{"reason": "FieldManagerConflict", "field": ".spec.replicas",
                                    "message": "conflict with \"kubectl-edit\" using apps/v1"}]},
        })
    );
    let forced = force(&cluster, &path, "me", &config)
        .await
        .expect(200)
        .json();
    assert_eq!(forced["spec"]["replicas"], 3);
    assert_eq!(managers(&forced), ["me Apply"]);
    // Defaults are nobody's: whoever wants them may have them.
    config["spec"]["progressDeadlineSeconds"] = 30.into();
    apply(&cluster, &path, "me", &config).await.expect(200);
}

#[tokio::test]
async fn what_is_not_applied_by_the_rules_is_refused() {
    let cluster = Cluster::start().await;
    let config = config_map("a");
    let text = config.to_string();
    let said = |reply: Reply| reply.message();

    let reply = send(&cluster, PATH, &text).await.expect(422);
    assert_eq!(
        said(reply),
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    let reply = cluster
        .patch(&format!("{PATH}?force=true"), "merge-patch", &json!({}))
        .await
        .expect(422);
    assert_eq!(
        said(reply),
        "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch"
    );
    let cbor = [("content-type", "application/apply-patch+cbor")];
    let reply = cluster
        .send("PATCH", &query(PATH, "me", ""), &cbor, text.clone())
        .await
        .expect(415);
    assert!(
        reply.message().ends_with("application/apply-patch+yaml"),
        "{}",
        reply.message()
    );
    for (body, want) in [
        ("{", "error decoding YAML: "),
        (
            "[1]",
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        ("", "invalid object type: /, Kind="),
        (
            "{apiVersion: v1, kind: Pod}",
            "invalid object type: /v1, Kind=Pod",
        ),
        (
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, managedFields: []}}",
            "metadata.managedFields must be nil",
        ),
        (
            "{apiVersion: v1, kind: ConfigMap}",
            "the name of the object (a based on URL) was undeterminable: name must be provided",
        ),
        (
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}",
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: other}}",
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ] {
        let reply = send(&cluster, &query(PATH, "me", ""), body)
            .await
            .expect(400);
        assert!(
            reply.message().starts_with(want),
            "{body}: {}",
            reply.message()
        );
    }
    let unknown = json!({"apiVersion": "v1", "kind": "ConfigMap", "foo": 1,
                         "metadata": {"name": "a", "namespace": "default"}});
    let reply = apply(&cluster, PATH, "me", &unknown).await.expect(500);
    assert_eq!(
        said(reply),
        "failed to create typed patch object (default/a; /v1, Kind=ConfigMap): .foo: field not declared in schema"
    );
    // Validation as on any other way in.
    let bad = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"},
                     "data": {"..": "1"}});
    apply(&cluster, PATH, "me", &bad).await.expect(422);
    cluster.get(PATH).await.expect(404);

    let mut other = config.clone();
    other["metadata"]["uid"] = "u".into();
    let reply = apply(&cluster, PATH, "me", &other).await.expect(409);
    assert!(
        reply
            .message()
            .contains("uid mismatch: the provided object specified uid u")
    );
    apply(&cluster, PATH, "me", &config).await.expect(201);
    let mut stale = config.clone();
    stale["metadata"]["resourceVersion"] = "1".into();
    let reply = apply(&cluster, PATH, "me", &stale).await.expect(409);
    assert!(reply.message().contains("the object has been modified"));
    let absent = "/api/v1/namespaces/nowhere/configmaps/a";
    apply(&cluster, absent, "me", &config).await.expect(404);
}

#[tokio::test]
async fn fields_that_come_twice_warn_or_are_refused() {
    let cluster = Cluster::start().await;
    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: '1', a: '2'}\n";
    let strict = query(PATH, "me", "&fieldValidation=Strict");
    let reply = send(&cluster, &strict, twice).await.expect(400);
    assert_eq!(
        reply.message(),
        "error strict decoding YAML: duplicate field \"data.a\""
    );
    let reply = send(&cluster, &query(PATH, "me", ""), twice)
        .await
        .expect(201);
    assert!(
        reply
            .warnings()
            .iter()
            .any(|w| w.contains("duplicate field")),
        "{:?}",
        reply.warnings()
    );
    let ignored = query(PATH, "me", "&fieldValidation=Ignore");
    let reply = send(&cluster, &ignored, twice).await.expect(200);
    assert!(reply.warnings().is_empty());
}

#[tokio::test]
async fn a_trial_writes_nothing() {
    let cluster = Cluster::start().await;
    let mut config = config_map("a");
    let trial = query(PATH, "me", "&dryRun=All");
    let reply = send(&cluster, &trial, &config.to_string())
        .await
        .expect(201);
    assert_eq!(managers(&reply.json()), ["me Apply"]);
    cluster.get(PATH).await.expect(404);
    let made = apply(&cluster, PATH, "me", &config)
        .await
        .expect(201)
        .json();
    config["data"]["a"] = "2".into();
    let reply = send(&cluster, &trial, &config.to_string())
        .await
        .expect(200);
    assert_eq!(reply.json()["data"]["a"], "2");
    assert_eq!(cluster.get(PATH).await.expect(200).json(), made);
}

#[tokio::test]
async fn objects_that_nobody_applied_have_no_managed_fields() {
    let cluster = Cluster::start().await;
    let made = cluster
        .post(CONFIG_MAPS, &config_map("a"))
        .await
        .expect(201);
    assert_eq!(managers(&made.json()), [""; 0]);
    let patch = json!({"data": {"b": "1"}});
    let patched = cluster.patch(PATH, "merge-patch", &patch).await.expect(200);
    assert_eq!(managers(&patched.json()), [""; 0]);

    let mut config = config_map("a");
    config["data"] = json!({"b": "2"});
    let refused = apply(&cluster, PATH, "me", &config).await.expect(409);
    assert_eq!(
        refused.message(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.b"
    );
    let forced = force(&cluster, PATH, "me", &config)
        .await
        .expect(200)
        .json();
    assert_eq!(forced["data"], json!({"a": "1", "b": "2"}));
    assert_eq!(managers(&forced), ["me Apply", "before-first-apply Update"]);

    // From now on updates count, by the name of the program when it gives none.
    let headers = [
        ("content-type", "application/merge-patch+json"),
        ("user-agent", "thing/1.2 (linux)"),
    ];
    let patch = json!({"data": {"c": "1"}}).to_string();
    let patched = cluster
        .send("PATCH", PATH, &headers, patch)
        .await
        .expect(200);
    assert_eq!(
        managers(&patched.json()),
        ["me Apply", "before-first-apply Update", "thing Update"]
    );
}

#[tokio::test]
async fn managed_fields_are_rewritten_and_forgotten_on_request() {
    let cluster = Cluster::start().await;
    let made = apply(&cluster, PATH, "me", &config_map("a"))
        .await
        .expect(201)
        .json();
    // As kubectl migrates: the list, and the revision it was read at.
    let mut list = made["metadata"]["managedFields"].clone();
    list[0]["manager"] = "kubectl".into();
    let migrate = json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": list},
        {"op": "replace", "path": "/metadata/resourceVersion",
         "value": made["metadata"]["resourceVersion"]},
    ]);
    let moved = cluster
        .patch(PATH, "json-patch", &migrate)
        .await
        .expect(200)
        .json();
    assert_eq!(managers(&moved), ["kubectl Apply"]);
    assert_ne!(
        moved["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    cluster
        .patch(PATH, "json-patch", &migrate)
        .await
        .expect(409);

    // A client that does not know them does not lose them.
    let mut plain = moved.clone();
    plain["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("managedFields");
    assert_eq!(cluster.put(PATH, &plain).await.expect(200).json(), moved);
    for reset in [json!([]), json!([{}])] {
        let mut asks = cluster.get(PATH).await.expect(200).json();
        asks["metadata"]["managedFields"] = reset;
        let kept = cluster.put(PATH, &asks).await.expect(200).json();
        assert_eq!(kept["metadata"].get("managedFields"), None);
        let config = config_map("a");
        apply(&cluster, PATH, "me", &config).await.expect(200);
    }
    let reset = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]);
    let kept = cluster
        .patch(PATH, "json-patch", &reset)
        .await
        .expect(200)
        .json();
    assert_eq!(managers(&kept), [""; 0]);
    let reset = json!({"metadata": {"managedFields": null, "labels": {"a": "b"}}});
    apply(&cluster, PATH, "me", &config_map("a"))
        .await
        .expect(200);
    let kept = cluster
        .patch(&query(PATH, "u", ""), "merge-patch", &reset)
        .await
        .expect(200)
        .json();
    assert_eq!(
        managers(&kept),
        ["me Apply", "before-first-apply Update", "u Update"]
    );
}

#[tokio::test]
async fn status_and_scale_have_owners_of_their_own() {
    let cluster = Cluster::start().await;
    let path = format!("{DEPLOYMENTS}/d");
    let head = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
    let mut status = head.clone();
    status["status"] = json!({"replicas": 3});
    let sub = format!("{path}/status");
    // A subresource creates nothing.
    apply(&cluster, &sub, "reporter", &status).await.expect(404);
    let mut config = deployment("d");
    config["status"] = json!({"replicas": 9});
    let made = apply(&cluster, &path, "me", &config)
        .await
        .expect(201)
        .json();
    assert_ne!(made["status"]["replicas"], 9);
    let told = apply(&cluster, &sub, "reporter", &status)
        .await
        .expect(200)
        .json();
    assert_eq!(told["status"]["replicas"], 3);
    assert_eq!(managers(&told), ["me Apply", "reporter Apply status"]);
    let fields = &told["metadata"]["managedFields"][1]["fieldsV1"];
    assert_eq!(*fields, json!({"f:status": {"f:replicas": {}}}));

    let scale = format!("{path}/scale");
    let patch = json!({"spec": {"replicas": 2}});
    let scaled = cluster
        .patch(&query(&scale, "kubectl", ""), "merge-patch", &patch)
        .await
        .expect(200)
        .json();
    assert_eq!(scaled["kind"], "Scale");
    let refused = apply(&cluster, &path, "me", &deployment("d"))
        .await
        .expect(409);
    assert_eq!(
        refused.message(),
        "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
    let wanted = json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
                        "metadata": {"name": "d"}, "spec": {"replicas": 4}});
    apply(&cluster, &scale, "hpa", &wanted).await.expect(409);
    let scaled = force(&cluster, &scale, "hpa", &wanted)
        .await
        .expect(200)
        .json();
    assert_eq!(scaled["spec"]["replicas"], 4);
    let now = cluster.get(&path).await.expect(200).json();
    assert_eq!(now["spec"]["replicas"], 4);
    // Appliers stand in the order of their seconds.
    let mut owners = managers(&now);
    owners.sort();
    assert_eq!(
        owners,
        ["hpa Apply scale", "me Apply", "reporter Apply status"]
    );
    let again = force(&cluster, &scale, "hpa", &wanted)
        .await
        .expect(200)
        .json();
    assert_eq!(again, scaled);
    let wrong = apply(&cluster, &scale, "hpa", &head).await.expect(400);
    assert_eq!(
        wrong.message(),
        "invalid object type: apps/v1, Kind=Deployment"
    );
}

#[tokio::test]
async fn appliers_at_the_same_time_all_get_through() {
    let cluster = Cluster::start().await;
    let one = |at: usize| {
        let cluster = &cluster;
        async move {
            let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"},
                                "data": {format!("k{at}"): "v"}});
            let reply = apply(cluster, PATH, &format!("m{at}"), &config).await;
            assert!(matches!(reply.code, 200 | 201), "{}", reply.message());
        }
    };
    tokio::join!(one(0), one(1), one(2), one(3));
    let object = cluster.get(PATH).await.expect(200).json();
    assert_eq!(
        object["data"],
        json!({"k0": "v", "k1": "v", "k2": "v", "k3": "v"})
    );
    assert_eq!(managers(&object).len(), 4);
}
