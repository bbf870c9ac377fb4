//! Writes that change nothing, or not here.

use super::*;

#[tokio::test]
async fn a_put_may_create_what_upstream_lets_it() {
    let cluster = Cluster::start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let mut lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                           "metadata": {"name": "a"}, "spec": {"holderIdentity": "x"}});
    let path = format!("{leases}/a");
    let made = cluster.put(&path, &lease).await.expect(201).json();
    lease["spec"]["holderIdentity"] = "y".into();
    let refused = cluster.put(&path, &lease).await.expect(422);
    assert!(
        refused.message().contains(
            "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
        ),
        "{}",
        refused.message()
    );
    lease["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone();
    cluster.put(&path, &lease).await.expect(200);
    let stale = cluster.put(&path, &lease).await.expect(409);
    assert_eq!(
        stale.message(),
        "Operation cannot be fulfilled on leases.coordination.k8s.io \"a\": the object has been \
         modified; please apply your changes to the latest version and try again"
    );
    // A uid says which object is meant; that one is not there.
    lease["metadata"] = json!({"name": "b", "uid": "u"});
    cluster
        .put(&format!("{leases}/b"), &lease)
        .await
        .expect(409);
    let maps = format!("{CONFIG_MAPS}/a");
    cluster.put(&maps, &config_map("a")).await.expect(404);
    let mut unnamed = config_map("a");
    unnamed["metadata"] = json!({});
    let reply = cluster.put(&maps, &unnamed).await.expect(400);
    assert_eq!(
        reply.message(),
        "the name of the object (a based on URL) was undeterminable: name must be provided"
    );
}

#[tokio::test]
async fn a_write_that_changes_nothing_is_none() {
    let cluster = Cluster::start().await;
    let made = cluster.has_config_map("a").await;
    let before = cluster.objects();
    let path = format!("{CONFIG_MAPS}/a");
    for _ in 0..2 {
        let same = cluster.put(&path, &config_map("a")).await.expect(200);
        assert_eq!(same.json(), made);
    }
    let patch = json!({"data": {"a": "1"}});
    for kind in ["merge-patch", "strategic-merge-patch"] {
        let same = cluster.patch(&path, kind, &patch).await.expect(200);
        assert_eq!(same.json(), made);
    }
    let test = json!([{"op": "test", "path": "/data/a", "value": "1"}]);
    cluster.patch(&path, "json-patch", &test).await.expect(200);
    assert_eq!(cluster.objects(), before);
}

#[tokio::test]
async fn patches_that_don_t_apply() {
    let cluster = Cluster::start().await;
    cluster.has_config_map("a").await;
    let path = format!("{CONFIG_MAPS}/a");
    let test = json!([{"op": "test", "path": "/data/a", "value": "2"}]);
    let failed = cluster.patch(&path, "json-patch", &test).await.expect(422);
    assert_eq!(failed.json()["reason"], "Invalid");
    assert_eq!(
        failed.message(),
        "the server rejected our request due to an error in our request"
    );
    let many: Vec<Value> = (0..10_001)
        .map(|_| json!({"op": "test", "path": "/data/a", "value": "1"}))
        .collect();
    let many = cluster
        .patch(&path, "json-patch", &many.into())
        .await
        .expect(413);
    assert_eq!(
        many.message(),
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got \
         10001"
    );
    let unknown = [("content-type", "application/json")];
    let unknown = cluster.send("PATCH", &path, &unknown, "{}").await;
    let unknown = unknown.expect(415);
    assert!(
        unknown.message().starts_with(
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, \
             application/strategic-merge-patch+json"
        ),
        "{}",
        unknown.message()
    );
    let forced = format!("{path}?force=true");
    let forced = cluster
        .patch(&forced, "merge-patch", &json!({}))
        .await
        .expect(422);
    assert!(forced.message().contains("force: Forbidden"));
    let stale = json!({"metadata": {"resourceVersion": "1"}, "data": {"a": "3"}});
    for kind in ["merge-patch", "strategic-merge-patch"] {
        cluster.patch(&path, kind, &stale).await.expect(409);
    }
    let bad = json!({"data": {"$patch": "nonsense"}});
    cluster
        .patch(&path, "strategic-merge-patch", &bad)
        .await
        .expect(400);
    cluster
        .patch(&path, "merge-patch", &json!([]))
        .await
        .expect(400);
}

#[tokio::test]
async fn a_trial_changes_nothing_wherever_it_is_asked_for() {
    let cluster = Cluster::start().await;
    let mut free = pod("free");
    free["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.post(PODS, &free).await.expect(201);
    cluster
        .post(DEPLOYMENTS, &deployment("d"))
        .await
        .expect(201);
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}});
    cluster.post(NAMESPACES, &space).await.expect(201);
    let before = cluster.objects();
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "free"},
                         "target": {"kind": "Node", "name": "pi-1"}});
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
                          "metadata": {"name": "free"}});
    let scale = json!({"spec": {"replicas": 9}});
    let finalize = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"},
                          "spec": {"finalizers": []}});
    let json = [("content-type", "application/json")];
    let merge = [("content-type", "application/merge-patch+json")];
    let pods = format!("{PODS}/free");
    let deployments = format!("{DEPLOYMENTS}/d");
    let maps = CONFIG_MAPS.to_owned();
    let spaces = format!("{NAMESPACES}/x");
    type Case<'a> = (&'a str, String, &'a [(&'a str, &'a str)], String, u16);
    let cases: [Case<'_>; 11] = [
        ("POST", maps, &json, config_map("a").to_string(), 201),
        (
            "PATCH",
            pods.clone(),
            &merge,
            r#"{"metadata":{"labels":{"a":"b"}}}"#.into(),
            200,
        ),
        ("DELETE", pods.clone(), &[], String::new(), 200),
        (
            "DELETE",
            pods.clone(),
            &json,
            r#"{"gracePeriodSeconds":0}"#.into(),
            200,
        ),
        ("DELETE", PODS.to_owned(), &[], String::new(), 200),
        (
            "POST",
            format!("{pods}/binding"),
            &json,
            binding.to_string(),
            201,
        ),
        (
            "POST",
            format!("{pods}/eviction"),
            &json,
            eviction.to_string(),
            201,
        ),
        (
            "PATCH",
            format!("{pods}/status"),
            &merge,
            r#"{"status":{"phase":"Running"}}"#.into(),
            200,
        ),
        (
            "PATCH",
            format!("{deployments}/scale"),
            &merge,
            scale.to_string(),
            200,
        ),
        (
            "PUT",
            format!("{spaces}/finalize"),
            &json,
            finalize.to_string(),
            200,
        ),
        ("DELETE", spaces.clone(), &[], String::new(), 200),
    ];
    for (method, path, headers, body, code) in cases {
        let path = format!("{path}?dryRun=All");
        let reply = cluster.send(method, &path, headers, body).await;
        assert_eq!(reply.code, code, "{method} {path}: {:?}", reply.body);
        assert_eq!(cluster.objects(), before, "{method} {path}");
    }
    for wrong in ["dryRun=Some", "dryRun=All&dryRun=Some"] {
        let path = format!("{CONFIG_MAPS}?{wrong}");
        let reply = cluster.post(&path, &config_map("a")).await.expect(422);
        assert!(reply.message().contains("dryRun: Unsupported value"));
        let path = format!("{pods}?{wrong}");
        let reply = cluster.send("DELETE", &path, &[], "").await.expect(422);
        assert!(reply.message().contains("supported values: \"All\""));
    }
    let mut wrong = eviction;
    wrong["metadata"]["name"] = "other".into();
    cluster
        .post(&format!("{pods}/eviction"), &wrong)
        .await
        .expect(400);
}
