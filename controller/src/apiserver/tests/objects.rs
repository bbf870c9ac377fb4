//! Objects: made, read, changed, removed, with upstream's codes.

mod endings;

use super::*;

#[tokio::test]
async fn an_object_lives_and_dies() {
    let cluster = Cluster::start().await;
    let made = cluster.has_config_map("a").await;
    let (uid, version) = (
        &made["metadata"]["uid"],
        &made["metadata"]["resourceVersion"],
    );
    assert_eq!(uid.as_str().unwrap().len(), 36);
    assert_eq!(made["metadata"]["namespace"], "default");

    let path = format!("{CONFIG_MAPS}/a");
    assert_eq!(cluster.get(&path).await.expect(200).json(), made);
    cluster
        .post(CONFIG_MAPS, &config_map("a"))
        .await
        .expect(409);

    // A write that changes nothing keeps the revision.
    assert_eq!(cluster.put(&path, &made).await.expect(200).json(), made);
    let mut next = made.clone();
    next["data"]["a"] = "2".into();
    let changed = cluster.put(&path, &next).await.expect(200).json();
    assert_ne!(&changed["metadata"]["resourceVersion"], version);
    // `next` carries the old revision.
    next["data"]["a"] = "3".into();
    let conflict = cluster.put(&path, &next).await.expect(409);
    assert!(
        conflict.message().contains("the object has been modified"),
        "{}",
        conflict.message()
    );

    let gone = cluster.delete(&path, &json!({})).await.expect(200).json();
    assert_eq!(gone["status"], "Success");
    assert_eq!(&gone["details"]["uid"], uid);
    assert_eq!(
        cluster.get(&path).await.expect(404).message(),
        "configmaps \"a\" not found"
    );
    cluster.delete(&path, &json!({})).await.expect(404);
}

#[tokio::test]
async fn patches_of_all_three_kinds() {
    let cluster = Cluster::start().await;
    cluster
        .post(DEPLOYMENTS, &deployment("d"))
        .await
        .expect(201);
    let path = format!("{DEPLOYMENTS}/d");
    let strategic = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "c", "env": [{"name": "A", "value": "1"}]}]}}}});
    let new = cluster
        .patch(&path, "strategic-merge-patch", &strategic)
        .await
        .expect(200)
        .json();
    let container = &new["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "i:1");
    assert_eq!(container["env"][0]["name"], "A");
    assert_eq!(new["metadata"]["generation"], 2);

    let json_patch = json!([{"op": "replace", "path": "/spec/replicas", "value": 3}]);
    let new = cluster
        .patch(&path, "json-patch", &json_patch)
        .await
        .expect(200)
        .json();
    assert_eq!(new["spec"]["replicas"], 3);

    let merge = json!({"metadata": {"labels": {"x": "y"}}});
    let new = cluster
        .patch(&path, "merge-patch", &merge)
        .await
        .expect(200)
        .json();
    assert_eq!(new["metadata"]["labels"]["x"], "y");
    assert_eq!(new["metadata"]["generation"], 3, "labels are not the spec");

    let stale = json!({"metadata": {"resourceVersion": "1", "labels": {"x": "z"}}});
    cluster
        .patch(&path, "merge-patch", &stale)
        .await
        .expect(409);
    cluster
        .patch(&format!("{DEPLOYMENTS}/no"), "merge-patch", &merge)
        .await
        .expect(404);
    let apply = cluster
        .patch(&path, "apply-patch", &merge)
        .await
        .expect(415);
    assert_eq!(apply.json()["reason"], "UnsupportedMediaType");
}

#[tokio::test]
async fn patches_that_meet_are_tried_again() {
    let cluster = Cluster::start().await;
    cluster.has_config_map("a").await;
    let path = format!("{CONFIG_MAPS}/a");
    let one = json!({"data": {"x": "1"}});
    let two = json!({"data": {"y": "2"}});
    let (a, b) = tokio::join!(
        cluster.patch(&path, "merge-patch", &one),
        cluster.patch(&path, "merge-patch", &two),
    );
    a.expect(200);
    b.expect(200);
    let data = cluster.get(&path).await.json()["data"].clone();
    assert_eq!(data, json!({"a": "1", "x": "1", "y": "2"}));
}

#[tokio::test]
async fn dry_runs_change_nothing() {
    let cluster = Cluster::start().await;
    let revision = cluster.objects();
    let made = cluster
        .post(&format!("{CONFIG_MAPS}?dryRun=All"), &config_map("a"))
        .await;
    assert_eq!(made.expect(201).json()["data"]["a"], "1");
    cluster.get(&format!("{CONFIG_MAPS}/a")).await.expect(404);
    assert_eq!(cluster.objects(), revision);
    cluster
        .post(&format!("{CONFIG_MAPS}?dryRun=Some"), &config_map("a"))
        .await
        .expect(422);

    cluster.has_config_map("a").await;
    let path = format!("{CONFIG_MAPS}/a");
    let patch = json!({"data": {"a": "2"}});
    let dry = cluster
        .patch(&format!("{path}?dryRun=All"), "merge-patch", &patch)
        .await;
    assert_eq!(dry.expect(200).json()["data"]["a"], "2");
    cluster
        .delete(&path, &json!({"dryRun": ["All"]}))
        .await
        .expect(200);
    assert_eq!(
        cluster.get(&path).await.expect(200).json()["data"]["a"],
        "1"
    );
}

#[tokio::test]
async fn lists_are_selected_paged_and_exact() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c"] {
        cluster.post(PODS, &pod(name)).await.expect(201);
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .map(|i| i["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = cluster
        .get(&format!("{PODS}?limit=2"))
        .await
        .expect(200)
        .json();
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    let token = first["metadata"]["continue"].as_str().unwrap();
    cluster
        .delete(&format!("{PODS}/c"), &json!({}))
        .await
        .expect(200);
    // The second page is of the same moment as the first.
    let second = cluster
        .get(&format!("{PODS}?limit=2&continue={token}"))
        .await
        .expect(200)
        .json();
    assert_eq!(names(&second), ["c"]);
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );

    let all = "/api/v1/pods";
    let some = cluster
        .get(&format!("{all}?labelSelector=app%20in%20(b,c)"))
        .await
        .json();
    assert_eq!(names(&some), ["b"]);
    let some = cluster
        .get(&format!("{all}?fieldSelector=metadata.name%3Da"))
        .await
        .json();
    assert_eq!(names(&some), ["a"]);
    let some = cluster
        .get(&format!("{all}?labelSelector=app&limit=1"))
        .await
        .json();
    assert_eq!(names(&some), ["a"]);
    assert!(some["metadata"]["remainingItemCount"].is_null());
    let token = some["metadata"]["continue"].as_str().unwrap();
    let rest = cluster
        .get(&format!("{all}?labelSelector=app&limit=1&continue={token}"))
        .await;
    assert_eq!(names(&rest.json()), ["b"]);
}

#[tokio::test]
async fn tables_have_upstreams_columns() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, &pod("a")).await.expect(201);
    let accept = [(
        "accept",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    )];
    for path in [PODS.to_owned(), format!("{PODS}/a")] {
        let table = cluster
            .send("GET", &path, &accept, "")
            .await
            .expect(200)
            .json();
        assert_eq!(table["kind"], "Table");
        assert_eq!(table["columnDefinitions"][0]["name"], "Name");
        assert_eq!(table["rows"][0]["cells"][0], "a");
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    }
}

#[tokio::test]
async fn preconditions_and_finalizers_hold_a_deletion_back() {
    let cluster = Cluster::start().await;
    let mut object = config_map("a");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.post(CONFIG_MAPS, &object).await.expect(201);
    let path = format!("{CONFIG_MAPS}/a");
    let wrong = json!({"preconditions": {"uid": "00000000-0000-4000-8000-000000000000"}});
    let refused = cluster.delete(&path, &wrong).await.expect(409);
    assert!(
        refused.message().starts_with(
            "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition"
        ),
        "{}",
        refused.message()
    );

    let marked = cluster.delete(&path, &json!({})).await.expect(200).json();
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    cluster.get(&path).await.expect(200);
    let release = json!({"metadata": {"finalizers": null}});
    cluster
        .patch(&path, "merge-patch", &release)
        .await
        .expect(200);
    cluster.get(&path).await.expect(404);
}

#[tokio::test]
async fn scale_and_binding_change_the_object() {
    let cluster = Cluster::start().await;
    cluster
        .post(DEPLOYMENTS, &deployment("d"))
        .await
        .expect(201);
    let path = format!("{DEPLOYMENTS}/d/scale");
    let mut scale = cluster.get(&path).await.expect(200).json();
    assert_eq!(scale["apiVersion"], "autoscaling/v1");
    assert_eq!(scale["status"]["selector"], "app=d");
    scale["spec"]["replicas"] = 4.into();
    cluster.put(&path, &scale).await.expect(200);
    cluster.put(&path, &scale).await.expect(409);
    let patch = json!({"spec": {"replicas": 5}});
    assert_eq!(
        cluster
            .patch(&path, "merge-patch", &patch)
            .await
            .expect(200)
            .json()["spec"]["replicas"],
        5
    );
    let bad = json!({"spec": {"replicas": -1}});
    cluster.patch(&path, "merge-patch", &bad).await.expect(422);
    let object = cluster.get(&format!("{DEPLOYMENTS}/d")).await.json();
    assert_eq!(
        (
            &object["spec"]["replicas"],
            &object["metadata"]["generation"]
        ),
        (&5.into(), &3.into())
    );

    cluster.post(PODS, &pod("p")).await.expect(201);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
                         "target": {"kind": "Node", "name": "pi-1"}});
    cluster
        .post(&format!("{PODS}/p/binding"), &binding)
        .await
        .expect(201);
    cluster
        .post(&format!("{PODS}/p/binding"), &binding)
        .await
        .expect(409);
    let bound = cluster.get(&format!("{PODS}/p")).await.json();
    assert_eq!(bound["spec"]["nodeName"], "pi-1");
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"},
                          "deleteOptions": {"gracePeriodSeconds": 0}});
    cluster
        .post(&format!("{PODS}/p/eviction"), &eviction)
        .await
        .expect(201);
    cluster.get(&format!("{PODS}/p")).await.expect(404);
}

#[tokio::test]
async fn generated_names_and_status_updates() {
    let cluster = Cluster::start().await;
    let mut object = pod("x");
    object["metadata"] = json!({"generateName": "web-"});
    let made = cluster.post(PODS, &object).await.expect(201).json();
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");

    let path = format!("{PODS}/{name}/status");
    let patch = json!({"status": {"phase": "Running"}, "spec": {"nodeName": "ignored"}});
    let new = cluster
        .patch(&path, "merge-patch", &patch)
        .await
        .expect(200)
        .json();
    assert_eq!(new["status"]["phase"], "Running");
    assert!(
        new["spec"]["nodeName"].is_null(),
        "the status subresource moves the status only"
    );
}

#[tokio::test]
async fn protobuf_and_yaml_bodies_are_taken() {
    let cluster = Cluster::start().await;
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: yaml\ndata: {a: b}\n";
    let headers = [("content-type", "application/yaml")];
    cluster
        .send("POST", CONFIG_MAPS, &headers, yaml)
        .await
        .expect(201);
    // Unknown{typeMeta{v1, ConfigMap}, raw{metadata{name: p}, data{a: b}}}, as kubectl sends it.
    let mut body = b"k8s\0".to_vec();
    body.extend_from_slice(
        b"\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0d\x0a\x03\x0a\x01p\x12\x06\x0a\x01a\x12\x01b",
    );
    let headers = [("content-type", "application/vnd.kubernetes.protobuf")];
    let made = cluster
        .send("POST", CONFIG_MAPS, &headers, body)
        .await
        .expect(201)
        .json();
    assert_eq!(
        (&made["metadata"]["name"], &made["data"]["a"]),
        (&"p".into(), &"b".into())
    );
}

#[tokio::test]
async fn discovery_in_both_forms_and_openapi() {
    let cluster = Cluster::start().await;
    let accept =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    for path in ["/api", "/apis"] {
        let new = cluster
            .send("GET", path, &[("accept", accept)], "")
            .await
            .expect(200);
        assert_eq!(
            new.headers["content-type"],
            bramble_api::discovery::AGGREGATED_V2
        );
        assert_eq!(new.json()["kind"], "APIGroupDiscoveryList");
        let old = cluster
            .send("GET", path, &[("accept", "application/json")], "")
            .await
            .expect(200);
        assert_ne!(old.json()["kind"], "APIGroupDiscoveryList");
    }
    assert_eq!(
        cluster.get("/apis/apps/v1").await.expect(200).json()["kind"],
        "APIResourceList"
    );
    cluster.get("/apis/nope/v1").await.expect(404);

    let index = cluster.get("/openapi/v3").await.expect(200).json();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap()
        .to_owned();
    let plain = cluster.get(&url).await.expect(200);
    assert!(plain.json()["components"]["schemas"].is_object());
    let zipped = cluster
        .send("GET", &url, &[("accept-encoding", "gzip")], "")
        .await
        .expect(200);
    assert_eq!(zipped.headers["content-encoding"], "gzip");
    assert!(zipped.body.len() * 4 < plain.body.len());
    // Older clients ask for it; empty is what makes them send what they have.
    assert_eq!(
        cluster.get("/openapi/v2").await.expect(200).json()["swagger"],
        "2.0"
    );
}
