//! Watches and lists at a revision: bookmarks, histories that end, and the rules of matching.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::apiserver::{Limits, NoLogs};
use crate::store::{self, Body, Durability, Expect, Key, MemoryStore, Op, Store};

fn version(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str().unwrap();
    text.parse().unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

/// A cluster with ConfigMap `a`, then `b`, and the list's revision between them.
async fn two() -> (Cluster, u64) {
    let cluster = Cluster::start().await;
    let a = cluster.post(CONFIG_MAPS, &config_map("a")).await;
    a.expect(201);
    let between = version(&cluster.get(CONFIG_MAPS).await.expect(200).json());
    let b = cluster.post(CONFIG_MAPS, &config_map("b")).await;
    b.expect(201);
    (cluster, between)
}

#[tokio::test]
async fn a_quiet_watch_is_told_how_far_it_has_come() {
    let limits = Limits {
        bookmark: Duration::from_millis(100),
        ..Limits::default()
    };
    let cluster = Cluster::with(MemoryStore::default(), limits, Arc::new(NoLogs)).await;
    let query = "watch=true&allowWatchBookmarks=true";
    let mut events = cluster.watch(&format!("{CONFIG_MAPS}?{query}")).await;
    let mut silent = cluster.watch(&format!("{CONFIG_MAPS}?watch=true")).await;
    let first = events.next().await.unwrap();
    assert_eq!(first["type"], "BOOKMARK");
    assert!(first["object"]["metadata"]["annotations"].is_null());
    let made = cluster.post(CONFIG_MAPS, &config_map("a")).await;
    let made = version(&made.expect(201).json());
    // Of another kind, which this watch does not see.
    let other = version(&cluster.post(PODS, &pod("p")).await.expect(201).json());
    let mut seen = Vec::new();
    loop {
        let event = events.next().await.unwrap();
        let at = version(&event["object"]);
        seen.push((event["type"].as_str().unwrap().to_owned(), at));
        if seen.last() == Some(&("BOOKMARK".to_owned(), at)) && at >= other {
            break;
        }
    }
    assert!(seen.contains(&("ADDED".to_owned(), made)), "{seen:?}");
    assert!(seen.is_sorted_by_key(|(_, at)| *at), "{seen:?}");
    // Who did not ask for them gets none.
    assert_eq!(silent.brief().await, "ADDED a");
}

#[tokio::test]
async fn a_watch_that_falls_behind_the_history_ends_with_410() {
    let limits = store::Limits {
        history_events: 8,
        ..store::Limits::default()
    };
    let store = MemoryStore::new(limits);
    let cluster = Cluster::with(store.clone(), Limits::default(), Arc::new(NoLogs)).await;
    let mut events = cluster.watch(&format!("{CONFIG_MAPS}?watch=true")).await;
    let made = cluster.post(CONFIG_MAPS, &config_map("a")).await;
    made.expect(201);
    assert_eq!(events.brief().await, "ADDED a");
    // At once, so that the watch has no turn in between.
    for n in 0..32 {
        let name = format!("m{n}");
        let text = json!({"kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": name, "namespace": "default", "uid": name}});
        let canonical = bramble_api::metadata::canonical(&text);
        let op = Op::Put {
            key: Key::new("", "configmaps", "default", name.as_str()),
            expect: Expect::Absent,
            body: Body {
                json: canonical.bytes,
                revision_at: canonical.revision_at,
            },
            durability: Durability::Hard,
        };
        let _ = store.commit(vec![op]).unwrap();
    }
    let last = events.next().await.unwrap();
    assert_eq!(
        (
            &last["type"],
            &last["object"]["code"],
            &last["object"]["reason"]
        ),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    assert_eq!(events.brief().await, "END");
}

#[tokio::test]
async fn lists_at_a_revision() {
    let (cluster, between) = two().await;
    let list = |query: String| {
        let path = format!("{CONFIG_MAPS}?{query}");
        let cluster = &cluster;
        async move { cluster.get(&path).await.expect(200).json() }
    };
    let exact = list(format!(
        "resourceVersion={between}&resourceVersionMatch=Exact"
    ))
    .await;
    assert_eq!((names(&exact), version(&exact)), (vec!["a"], between));
    let query = format!("resourceVersion={between}&resourceVersionMatch=NotOlderThan");
    let newer = list(query).await;
    assert_eq!(names(&newer), ["a", "b"]);
    assert!(version(&newer) > between);
    // Without a rule of matching a revision is the oldest that will do …
    assert_eq!(
        names(&list(format!("resourceVersion={between}")).await),
        ["a", "b"]
    );
    // … but of a list in pages it is the one that is meant.
    let page = list(format!("resourceVersion={between}&limit=1")).await;
    assert_eq!((names(&page), version(&page)), (vec!["a"], between));
    assert!(
        page["metadata"]["continue"]
            .as_str()
            .is_none_or(str::is_empty)
    );
    let any = list("resourceVersion=0&limit=1".to_owned()).await;
    assert_eq!(names(&any), ["a"]);
}

#[tokio::test]
async fn a_watch_may_leave_out_what_is_there() {
    let (cluster, between) = two().await;
    let query = "watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    let mut now = cluster.watch(&format!("{CONFIG_MAPS}?{query}")).await;
    let from = format!("{CONFIG_MAPS}?{query}&resourceVersion={between}");
    let mut since = cluster.watch(&from).await;
    assert_eq!(since.brief().await, "ADDED b");
    let c = cluster.post(CONFIG_MAPS, &config_map("c")).await;
    c.expect(201);
    assert_eq!(now.brief().await, "ADDED c");
    assert_eq!(since.brief().await, "ADDED c");
}

#[tokio::test]
async fn a_watch_list_is_at_least_as_new_as_its_revision() {
    let (cluster, between) = two().await;
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&\
                 allowWatchBookmarks=true";
    let path = format!("{CONFIG_MAPS}?{query}&resourceVersion={between}");
    let mut events = cluster.watch(&path).await;
    assert_eq!(events.brief().await, "ADDED a");
    assert_eq!(events.brief().await, "ADDED b");
    let end = events.next().await.unwrap();
    let annotations = &end["object"]["metadata"]["annotations"];
    assert_eq!(annotations["k8s.io/initial-events-end"], "true");
    assert!(version(&end["object"]) > between);
    let far = format!("{CONFIG_MAPS}?{query}&resourceVersion={}", u64::MAX >> 1);
    cluster.get(&far).await.expect(504);
}

#[tokio::test]
async fn watches_have_a_number_and_the_next_is_told_to_come_back() {
    const MOST: usize = 240;
    let limits = Limits {
        watches: MOST,
        watches_per_user: MOST,
        ..Limits::default()
    };
    let cluster = Cluster::with(MemoryStore::default(), limits, Arc::new(NoLogs)).await;
    let path = format!("{CONFIG_MAPS}?watch=true");
    let mut open = Vec::with_capacity(MOST);
    for _ in 0..MOST {
        open.push(cluster.watch(&path).await);
    }
    let reply = cluster.get(&path).await.expect(429);
    assert_eq!(reply.headers["retry-after"], "1");
    // Whoever asks for no watch is served, and those that are open go on.
    let made = cluster.post(CONFIG_MAPS, &config_map("a")).await;
    made.expect(201);
    for events in &mut open {
        assert_eq!(events.brief().await, "ADDED a");
    }
    // One that goes makes room.
    drop(open.pop());
    loop {
        let answer = cluster
            .open(Some(cluster.admin()), "GET", &path, &[], "")
            .await;
        match answer.status().as_u16() {
            200 => break,
            429 => tokio::task::yield_now().await,
            other => panic!("{other}"),
        }
    }
}
