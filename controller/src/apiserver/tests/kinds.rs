//! The kinds beside pods: each is made, read, listed, printed, changed and removed by the same
//! pipeline; events in both groups are the same objects.

use super::*;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Collection, object, and the merge patch that changes it.
fn samples() -> Vec<(&'static str, Value, Value)> {
    let rbac = "rbac.authorization.k8s.io/v1";
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    vec![
        (
            "/api/v1/namespaces/default/services",
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"ports": [{"port": 80}]}}),
            json!({"spec": {"selector": {"a": "b"}}}),
        ),
        (
            "/api/v1/namespaces/default/endpoints",
            json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "y"},
                "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}),
            json!({"subsets": []}),
        ),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "x"},
                "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]}),
            json!({"endpoints": []}),
        ),
        (
            "/api/v1/namespaces/default/serviceaccounts",
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}}),
            json!({"automountServiceAccountToken": false}),
        ),
        (
            "/api/v1/namespaces/default/limitranges",
            json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "x"},
                "spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}}),
            label.clone(),
        ),
        (
            "/api/v1/namespaces/default/resourcequotas",
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "x"}, "spec": {"hard": {"pods": "9"}}}),
            json!({"spec": {"hard": {"pods": "10"}}}),
        ),
        (
            "/api/v1/namespaces/default/podtemplates",
            json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"},
                "template": {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}}),
            label.clone(),
        ),
        (
            "/api/v1/namespaces/default/replicationcontrollers",
            json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "x"},
                "spec": {"replicas": 0, "template": {"metadata": {"labels": {"a": "b"}},
                    "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}}),
            json!({"spec": {"minReadySeconds": 1}}),
        ),
        (
            "/apis/apps/v1/namespaces/default/controllerrevisions",
            json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "x"}, "data": {"a": 1}, "revision": 1}),
            json!({"revision": 2}),
        ),
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "x"}, "spec": {"holderIdentity": "a"}}),
            json!({"spec": {"holderIdentity": "b"}}),
        ),
        (
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "x"}, "value": 1}),
            json!({"description": "d"}),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
            json!({"apiVersion": rbac, "kind": "Role", "metadata": {"name": "x:y"},
                "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
            json!({"rules": []}),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            json!({"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": "x"}, "rules": []}),
            label.clone(),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
            json!({"apiVersion": rbac, "kind": "RoleBinding", "metadata": {"name": "x"},
                "roleRef": {"kind": "ClusterRole", "name": "x"}, "subjects": [{"kind": "User", "name": "jo"}]}),
            json!({"subjects": []}),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            json!({"apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": {"name": "x"},
                "roleRef": {"kind": "ClusterRole", "name": "x"}, "subjects": []}),
            label,
        ),
    ]
}

#[tokio::test]
async fn every_kind_goes_the_whole_way() {
    let cluster = Cluster::start().await;
    for (collection, object, patch) in samples() {
        let name = object["metadata"]["name"].as_str().unwrap();
        let made = cluster.post(collection, &object).await.expect(201).json();
        let path = format!("{collection}/{name}");
        assert_eq!(made["kind"], object["kind"]);
        let list = cluster.get(collection).await.expect(200).json();
        assert_eq!(
            list["kind"],
            format!("{}List", object["kind"].as_str().unwrap())
        );
        let names: Vec<&Value> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| &item["metadata"]["name"])
            .collect();
        assert!(names.contains(&&object["metadata"]["name"]), "{collection}");
        let table = cluster
            .send("GET", &path, &[("accept", TABLE)], "")
            .await
            .expect(200)
            .json();
        assert_eq!(table["kind"], "Table", "{collection}");
        assert_eq!(table["rows"][0]["cells"][0], name, "{collection}");
        let changed = cluster.patch(&path, "merge-patch", &patch).await;
        let changed = changed.expect(200).json();
        assert_ne!(
            changed["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"],
            "{collection}"
        );
        // ReplicationControllers leave their pods behind unless told otherwise, as upstream's do.
        let options = json!({"propagationPolicy": "Background"});
        cluster.delete(&path, &options).await.expect(200);
        cluster.get(&path).await.expect(404);
    }
}

#[tokio::test]
async fn an_event_is_one_object_in_two_groups() {
    let cluster = Cluster::start().await;
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    let old = "/api/v1/namespaces/default/events";
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c", "reportingInstance": "i",
        "action": "Try", "reason": "Tried", "type": "Normal", "note": "hello",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"}});
    let mut watch = cluster.watch(&format!("{old}?watch=true")).await;
    let made = cluster.post(new, &event).await.expect(201).json();
    assert_eq!(made["apiVersion"], "events.k8s.io/v1");
    assert_eq!(made["note"], "hello");

    let seen = loop {
        let seen = watch.next().await.unwrap();
        if seen["object"]["metadata"]["name"] == "e" {
            break seen;
        }
    };
    assert_eq!(seen["object"]["apiVersion"], "v1");
    assert_eq!(seen["object"]["message"], "hello");
    assert_eq!(seen["object"]["involvedObject"]["name"], "p");

    let core = cluster.get(&format!("{old}/e")).await.expect(200).json();
    assert_eq!(core["reportingComponent"], "c");
    assert_eq!(core["metadata"]["uid"], made["metadata"]["uid"]);
    let listed = format!("{new}?fieldSelector=regarding.name%3Dp");
    let list = cluster.get(&listed).await.expect(200).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["note"], "hello");
    assert_eq!(list["items"][0]["apiVersion"], "events.k8s.io/v1");
    for path in [new, old] {
        let table = cluster
            .send("GET", &format!("{path}/e"), &[("accept", TABLE)], "")
            .await;
        assert_eq!(table.expect(200).json()["rows"][0]["cells"][6], "hello");
    }

    // The newer group lets nothing of it change but the series; the older one does.
    let refused = cluster
        .patch(&format!("{new}/e"), "merge-patch", &json!({"note": "bye"}))
        .await
        .expect(422);
    assert_eq!(
        refused.message(),
        "Event.events.k8s.io \"e\" is invalid: message: Invalid value: \"bye\": field is immutable"
    );
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:01:00.000000Z"}});
    let counted = cluster
        .patch(&format!("{new}/e"), "merge-patch", &series)
        .await
        .expect(200)
        .json();
    assert_eq!(counted["series"]["count"], 2);
    cluster
        .delete(&format!("{old}/e"), &json!({}))
        .await
        .expect(200);
    cluster.get(&format!("{new}/e")).await.expect(404);
}

#[tokio::test]
async fn the_systems_priority_classes_are_there_and_stay() {
    let cluster = Cluster::start().await;
    for (name, value) in [
        ("system-cluster-critical", 2_000_000_000),
        ("system-node-critical", 2_000_001_000),
    ] {
        let path = format!("/apis/scheduling.k8s.io/v1/priorityclasses/{name}");
        let class = cluster.get(&path).await.expect(200).json();
        assert_eq!(class["value"], value);
        let refused = cluster.delete(&path, &json!({})).await.expect(403);
        assert_eq!(
            refused.message(),
            format!(
                "priorityclasses.scheduling.k8s.io \"{name}\" is forbidden: this is a system priority class and cannot be deleted"
            )
        );
    }
}

#[tokio::test]
async fn openapi_v2_in_both_forms_gzipped_and_with_a_tag() {
    let cluster = Cluster::start().await;
    for (accept, content_type) in [
        ("application/json", "application/json"),
        (
            "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
            bramble_api::openapi::V2_PROTOBUF,
        ),
    ] {
        let ask = [("accept", accept), ("accept-encoding", "gzip")];
        let answer = cluster
            .send("GET", "/openapi/v2", &ask, "")
            .await
            .expect(200);
        assert_eq!(answer.headers["content-type"], content_type);
        assert_eq!(answer.headers["content-encoding"], "gzip");
        let tag = answer.headers["etag"].to_str().unwrap().to_owned();
        let ask = [("accept", accept), ("if-none-match", tag.as_str())];
        let again = cluster
            .send("GET", "/openapi/v2", &ask, "")
            .await
            .expect(304);
        assert!(again.body.is_empty());
    }
}

#[tokio::test]
async fn who_asks_for_endpoints_is_told_of_slices() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/endpoints";
    let told =
        ["299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\""];
    assert_eq!(cluster.get(path).await.expect(200).warnings(), told);
    let object = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "x"}});
    assert_eq!(
        cluster.post(path, &object).await.expect(201).warnings(),
        told
    );
    let others = "/api/v1/namespaces/default/services";
    assert!(cluster.get(others).await.expect(200).warnings().is_empty());
}
