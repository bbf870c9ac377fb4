//! Objects that go, at once or in time.

use super::*;

#[tokio::test]
async fn pods_that_run_are_given_time() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, &pod("free")).await.expect(201);
    let mut bound = pod("bound");
    bound["spec"]["nodeName"] = "pi-1".into();
    cluster.post(PODS, &bound).await.expect(201);

    let gone = cluster
        .delete(&format!("{PODS}/free"), &json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!(gone["kind"], "Pod");
    cluster.get(&format!("{PODS}/free")).await.expect(404);

    let path = format!("{PODS}/bound");
    let marked = cluster.delete(&path, &json!({})).await.expect(200).json();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let longer = cluster
        .delete(&path, &json!({"gracePeriodSeconds": 60}))
        .await
        .json();
    assert_eq!(
        longer["metadata"]["deletionGracePeriodSeconds"], 30,
        "only ever shorter"
    );
    let shorter = cluster
        .delete(&path, &json!({"gracePeriodSeconds": 5}))
        .await
        .json();
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    cluster
        .delete(&path, &json!({"gracePeriodSeconds": 0}))
        .await
        .expect(200);
    cluster.get(&path).await.expect(404);
}

#[tokio::test]
async fn owners_wait_for_the_garbage_collector() {
    let cluster = Cluster::start().await;
    for (name, options, finalizer, code) in [
        ("a", json!({"propagationPolicy": "Orphan"}), "orphan", 200),
        ("b", json!({"orphanDependents": true}), "orphan", 200),
        (
            "c",
            json!({"propagationPolicy": "Foreground"}),
            "foregroundDeletion",
            200,
        ),
    ] {
        let path = format!("{DEPLOYMENTS}/{name}");
        cluster
            .post(DEPLOYMENTS, &deployment(name))
            .await
            .expect(201);
        let marked = cluster.delete(&path, &options).await.expect(code).json();
        let meta = &marked["metadata"];
        assert_eq!(meta["finalizers"], json!([finalizer]));
        assert_eq!(meta["deletionGracePeriodSeconds"], 0);
        assert_eq!(meta["generation"], 2);
        let again = cluster.delete(&path, &json!({})).await.expect(200).json();
        assert_eq!(again, marked, "nothing is marked twice");
        let done = json!({"metadata": {"finalizers": null}});
        cluster.patch(&path, "merge-patch", &done).await.expect(200);
        cluster.get(&path).await.expect(404);
    }
    let both = json!({"propagationPolicy": "Orphan", "orphanDependents": true});
    cluster
        .delete(&format!("{DEPLOYMENTS}/a"), &both)
        .await
        .expect(422);
    // The old way to ask for the cascade is told when something stays.
    let mut held = config_map("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.post(CONFIG_MAPS, &held).await.expect(201);
    let path = format!("{CONFIG_MAPS}/held?orphanDependents=false");
    cluster.send("DELETE", &path, &[], "").await.expect(202);
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.post(PODS, &pod(name)).await.expect(201);
    }
    let path = format!("{PODS}?labelSelector=app%3Da");
    let list = cluster.delete(&path, &json!({})).await.expect(200).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    cluster.get(&format!("{PODS}/a")).await.expect(404);
    cluster.get(&format!("{PODS}/b")).await.expect(200);
    cluster
        .delete(&format!("{PODS}?labelSelector=!!"), &json!({}))
        .await
        .expect(400);
    cluster.get(&format!("{PODS}/b")).await.expect(200);
}
