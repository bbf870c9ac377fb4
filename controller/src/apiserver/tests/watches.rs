//! Watches: order, bookmarks, selectors, revisions that are gone.

use super::*;

#[tokio::test]
async fn a_watch_goes_on_where_the_list_ended() {
    let cluster = Cluster::start().await;
    cluster.has_config_map("before").await;
    let list = cluster.get(CONFIG_MAPS).await.json();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    cluster.has_config_map("a").await;
    let mut events = cluster
        .watch(&format!(
            "{CONFIG_MAPS}?watch=true&resourceVersion={version}"
        ))
        .await;
    assert_eq!(events.brief().await, "ADDED a");
    let patch = json!({"data": {"a": "2"}});
    let path = format!("{CONFIG_MAPS}/a");
    cluster
        .patch(&path, "merge-patch", &patch)
        .await
        .expect(200);
    assert_eq!(events.brief().await, "MODIFIED a");
    cluster.delete(&path, &json!({})).await.expect(200);
    let gone = events.next().await.unwrap();
    assert_eq!(gone["type"], "DELETED");
    assert_eq!(gone["object"]["data"]["a"], "2", "the last state");
}

#[tokio::test]
async fn a_watch_list_says_when_the_state_is_complete() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster
            .post(CONFIG_MAPS, &config_map(name))
            .await
            .expect(201);
    }
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = cluster.watch(&format!("{CONFIG_MAPS}?{query}")).await;
    assert_eq!(events.brief().await, "ADDED a");
    assert_eq!(events.brief().await, "ADDED b");
    assert_eq!(events.brief().await, "BOOKMARK true");
    cluster.has_config_map("c").await;
    assert_eq!(events.brief().await, "ADDED c");

    let mut none = cluster
        .watch(&format!("{PODS}?{query}&fieldSelector=metadata.name%3Dx"))
        .await;
    assert_eq!(
        none.brief().await,
        "BOOKMARK true",
        "also when there is nothing"
    );
}

#[tokio::test]
async fn a_watch_without_a_revision_starts_with_what_is() {
    let cluster = Cluster::start().await;
    cluster.has_config_map("a").await;
    for query in ["watch=true", "watch=true&resourceVersion=0"] {
        let mut events = cluster.watch(&format!("{CONFIG_MAPS}?{query}")).await;
        assert_eq!(events.brief().await, "ADDED a");
    }
}

#[tokio::test]
async fn objects_enter_and_leave_a_selection() {
    let cluster = Cluster::start().await;
    let mut events = cluster
        .watch(&format!("{PODS}?watch=true&labelSelector=on%3Dyes"))
        .await;
    cluster.post(PODS, &pod("a")).await.expect(201);
    let path = format!("{PODS}/a");
    let label = |value: Value| json!({"metadata": {"labels": {"on": value}}});
    cluster
        .patch(&path, "merge-patch", &label("yes".into()))
        .await
        .expect(200);
    assert_eq!(events.brief().await, "ADDED a");
    let left = cluster
        .patch(&path, "merge-patch", &label(Value::Null))
        .await
        .expect(200)
        .json();
    let event = events.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    let meta = &event["object"]["metadata"];
    assert_eq!(meta["labels"]["on"], "yes", "what the client knew");
    assert_eq!(meta["resourceVersion"], left["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn revisions_that_are_gone_or_to_come() {
    let cluster = Cluster::start().await;
    let mut events = cluster
        .watch(&format!("{PODS}?watch=true&resourceVersion=1"))
        .await;
    let event = events.next().await.unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["reason"]),
        (&"ERROR".into(), &"Expired".into())
    );
    assert_eq!(event["object"]["code"], 410);
    assert_eq!(events.brief().await, "END");

    let future = "9223372036854775807";
    for path in [
        format!("{PODS}?watch=true&resourceVersion={future}"),
        format!("{PODS}?resourceVersion={future}&resourceVersionMatch=NotOlderThan"),
    ] {
        let reply = cluster.get(&path).await.expect(504);
        assert!(
            reply.message().contains("Too large resource version"),
            "{}",
            reply.message()
        );
        assert_eq!(
            reply.json()["details"]["causes"][0]["reason"],
            "ResourceVersionTooLarge"
        );
    }
    let old = format!("{PODS}?resourceVersion=1&resourceVersionMatch=Exact");
    cluster.get(&old).await.expect(410);
}

#[tokio::test]
async fn watches_end_when_their_time_is_up() {
    let cluster = Cluster::start().await;
    let query = "watch=true&timeoutSeconds=1&allowWatchBookmarks=true";
    let mut events = cluster.watch(&format!("{PODS}?{query}")).await;
    assert_eq!(events.brief().await, "BOOKMARK -");
    assert_eq!(events.brief().await, "END");
}

#[tokio::test]
async fn table_watches_carry_the_columns_once() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.post(PODS, &pod(name)).await.expect(201);
    }
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let mut events = cluster
        .watch_with(&format!("{PODS}?watch=true"), &accept)
        .await;
    let first = events.next().await.unwrap();
    assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
    let second = events.next().await.unwrap();
    assert!(second["object"]["columnDefinitions"].is_null());
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
}
