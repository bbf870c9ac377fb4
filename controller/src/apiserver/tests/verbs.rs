//! Verbs by upstream's rules: which code and which words, case by case. The sources are named where
//! the rules are.

mod writes;

use base64::Engine as _;

use super::*;

const NAMESPACES: &str = "/api/v1/namespaces";

#[tokio::test]
async fn a_continued_list_shows_the_first_pages_state() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c"] {
        cluster
            .post(CONFIG_MAPS, &config_map(name))
            .await
            .expect(201);
    }
    let first = cluster
        .get(&format!("{CONFIG_MAPS}?limit=2"))
        .await
        .expect(200)
        .json();
    assert_eq!(first["kind"], "ConfigMapList");
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    let item = first["items"][0].as_object().unwrap();
    assert!(
        !item.contains_key("kind") && !item.contains_key("apiVersion"),
        "items of a typed list don't say their type: {item:?}"
    );
    cluster
        .delete(&format!("{CONFIG_MAPS}/c"), &json!({}))
        .await
        .expect(200);
    cluster.has_config_map("d").await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let path = format!("{CONFIG_MAPS}?limit=2&continue={token}");
    let second = cluster.get(&path).await.expect(200).json();
    let names: Vec<_> = second["items"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(names[0]["metadata"]["name"], "c", "as it was");
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    assert!(second["metadata"]["continue"].is_null());
    // Together with a selector nobody knows how many remain.
    let selected = cluster
        .get(&format!(
            "{CONFIG_MAPS}?limit=1&fieldSelector=metadata.name!%3Da"
        ))
        .await
        .expect(200)
        .json();
    assert!(selected["metadata"]["continue"].is_string());
    assert!(selected["metadata"]["remainingItemCount"].is_null());
}

#[tokio::test]
async fn an_old_continuation_is_410_and_offers_another() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c"] {
        cluster
            .post(CONFIG_MAPS, &config_map(name))
            .await
            .expect(201);
    }
    let json = json!({"v": "bramble.dev/v1", "rv": 5, "ns": "default", "start": "b"});
    let encode =
        |json: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json.to_string());
    let path = |token: &str| format!("{CONFIG_MAPS}?limit=1&continue={token}");
    let gone = cluster.get(&path(&encode(&json))).await.expect(410).json();
    assert_eq!(gone["reason"], "Expired");
    assert!(
        gone["message"]
            .as_str()
            .unwrap()
            .starts_with("The provided continue parameter is too old to display a consistent list")
    );
    let token = gone["metadata"]["continue"].as_str().unwrap();
    let rest = cluster.get(&path(token)).await.expect(200).json();
    assert_eq!(rest["items"][0]["metadata"]["name"], "b");
    // From here on it is consistent again.
    let token = rest["metadata"]["continue"].as_str().unwrap();
    let rest = cluster.get(&path(token)).await.expect(200).json();
    assert_eq!(rest["items"][0]["metadata"]["name"], "c");
    for bad in [
        json!({"v": "meta.k8s.io/v1", "rv": 5, "ns": "", "start": ""}),
        json!({"v": "bramble.dev/v1", "rv": 0, "ns": "", "start": ""}),
        json!({"v": "bramble.dev/v1", "rv": -7, "ns": "", "start": ""}),
        json!([]),
    ] {
        let reply = cluster.get(&path(&encode(&bad))).await.expect(400);
        assert!(reply.message().starts_with("continue key is not valid"));
    }
    // A token can't lead out of the namespace that was asked for.
    let other = json!({"v": "bramble.dev/v1", "rv": -1, "ns": "", "start": ""});
    let other = cluster.get(&path(&encode(&other))).await.expect(200).json();
    assert_eq!(other["items"][0]["metadata"]["namespace"], "default");
}

#[tokio::test]
async fn options_of_a_list_that_contradict_each_other_are_all_named() {
    let cluster = Cluster::start().await;
    for (query, causes) in [
        ("resourceVersionMatch=Exact&continue=x", 2),
        ("resourceVersionMatch=Often&sendInitialEvents=true", 3),
        ("watch=true&resourceVersionMatch=Exact", 2),
        ("watch=true&sendInitialEvents=true", 1),
        ("resourceVersion=0&resourceVersionMatch=Exact", 1),
    ] {
        let reply = cluster.get(&format!("{PODS}?{query}")).await.expect(422);
        let reply = reply.json();
        let found = reply["details"]["causes"].as_array().unwrap().len();
        assert_eq!(found, causes, "{query}: {reply}");
        assert_eq!(reply["details"]["kind"], "ListOptions");
    }
}

#[tokio::test]
async fn forms_fit_what_is_asked_for() {
    let cluster = Cluster::start().await;
    cluster.has_config_map("a").await;
    let one = format!("{CONFIG_MAPS}/a");
    let accept = |kind: &str| format!("application/json;as={kind};g=meta.k8s.io;v=v1");
    for (path, kind, code) in [
        (one.as_str(), "PartialObjectMetadata", 200),
        (one.as_str(), "PartialObjectMetadataList", 406),
        (CONFIG_MAPS, "PartialObjectMetadataList", 200),
        (CONFIG_MAPS, "PartialObjectMetadata", 406),
    ] {
        let headers = [("accept", accept(kind))];
        let headers = headers.each_ref().map(|(k, v)| (*k, v.as_str()));
        let reply = cluster.send("GET", path, &headers, "").await.expect(code);
        if code == 200 {
            assert_eq!(reply.json()["kind"], kind);
            assert!(reply.json()["data"].is_null());
        }
    }
    let watched = cluster
        .watch_with(
            &format!("{CONFIG_MAPS}?watch=true&resourceVersion=0"),
            &[("accept", &accept("PartialObjectMetadata"))],
        )
        .await
        .next()
        .await
        .unwrap();
    assert_eq!(watched["object"]["kind"], "PartialObjectMetadata");
    cluster.get(&format!("{one}?watch=true")).await.expect(200);
}

#[tokio::test]
async fn nothing_new_comes_into_a_namespace_that_goes() {
    let cluster = Cluster::start().await;
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}});
    cluster.post(NAMESPACES, &space).await.expect(201);
    let path = format!("{NAMESPACES}/x");
    let marked = cluster.delete(&path, &json!({})).await.expect(200).json();
    assert_eq!(marked["status"]["phase"], "Terminating");
    let maps = format!("{path}/configmaps");
    let refused = cluster.post(&maps, &config_map("a")).await.expect(403);
    assert_eq!(
        refused.message(),
        "configmaps \"a\" is forbidden: unable to create new content in namespace x because it is \
         being terminated"
    );
    let cause = &refused.json()["details"]["causes"][0];
    assert_eq!(cause["reason"], "NamespaceTerminating");
    assert_eq!(cause["message"], "namespace x is being terminated");
    let done = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"},
                      "spec": {"finalizers": []}});
    cluster
        .put(&format!("{path}/finalize"), &done)
        .await
        .expect(200);
    cluster.get(&path).await.expect(404);
}

#[tokio::test]
async fn what_creates_and_what_ends_a_namespace_never_both_win() {
    use crate::store::Store;
    let cluster = Cluster::start().await;
    // The namespace moves between the look at it and the commit, again and again.
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}});
    cluster.post(NAMESPACES, &space).await.expect(201);
    let path = format!("{NAMESPACES}/x");
    let maps = format!("{path}/configmaps");
    let names: Vec<String> = (0..24).map(|n| format!("m{n}")).collect();
    let create = names
        .iter()
        .map(|name| async { cluster.post(&maps, &config_map(name)).await });
    let ((), replies) = tokio::join!(
        async {
            for n in 0..8 {
                let label = json!({"metadata": {"labels": {"n": n.to_string()}}});
                cluster
                    .patch(&path, "merge-patch", &label)
                    .await
                    .expect(200);
            }
            cluster.delete(&path, &json!({})).await.expect(200);
        },
        futures_util::future::join_all(create)
    );
    let deleted = crate::store::Key::new("", "namespaces", "", "x");
    let marked_at = cluster.store.get(&deleted).unwrap().modified;
    let scope = crate::store::Scope::namespaced("", "configmaps", "x");
    let there = cluster.store.list(&scope, &Default::default()).unwrap();
    let made = replies.iter().filter(|reply| reply.code == 201).count();
    assert_eq!(there.entries.len(), made);
    for reply in &replies {
        assert!(matches!(reply.code, 201 | 403), "{:?}", reply.body);
    }
    for entry in there.entries {
        assert!(entry.created < marked_at, "{} came afterwards", entry.key);
    }
}

#[tokio::test]
async fn events_of_both_groups_are_the_same_objects() {
    let cluster = Cluster::start().await;
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
                       "involvedObject": {"kind": "Pod", "namespace": "default", "name": "a"},
                       "message": "it runs", "reason": "Started", "type": "Normal"});
    let core = "/api/v1/namespaces/default/events";
    let own = "/apis/events.k8s.io/v1/namespaces/default/events";
    cluster.post(core, &event).await.expect(201);
    let query = "fieldSelector=regarding.name%3Da";
    let list = cluster.get(&format!("{own}?{query}")).await.expect(200);
    let list = list.json();
    let item = &list["items"][0];
    assert_eq!(item["regarding"]["name"], "a", "{list}");
    assert_eq!(item["note"], "it runs");
    assert!(item["message"].is_null() && item["involvedObject"].is_null());
    let one = cluster.get(&format!("{own}/e")).await.expect(200).json();
    assert_eq!(one["apiVersion"], "events.k8s.io/v1");
    assert_eq!(one["note"], "it runs");
    let mut watch = cluster.watch(&format!("{own}?watch=true&{query}")).await;
    let seen = watch.next().await.unwrap();
    assert_eq!(seen["object"]["note"], "it runs");
    let accept = "application/json;as=Table;g=meta.k8s.io;v=v1";
    // All of a row but the event's age, which goes on.
    let cells = |table: Value| {
        let mut cells = table["rows"][0]["cells"].as_array().unwrap().clone();
        let age = |text: &str| {
            text.strip_suffix('s')
                .is_some_and(|n| n.parse::<u8>().is_ok())
        };
        cells.retain(|cell| !cell.as_str().is_some_and(age));
        json!(cells)
    };
    let table = cluster.send("GET", own, &[("accept", accept)], "").await;
    let same = cluster.send("GET", core, &[("accept", accept)], "").await;
    let table = cells(table.expect(200).json());
    assert!(table.to_string().contains("it runs"), "{table}");
    assert_eq!(table, cells(same.expect(200).json()));
}

#[tokio::test]
async fn ephemeral_containers_come_through_their_subresource() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, &pod("a")).await.expect(201);
    let path = format!("{PODS}/a/ephemeralcontainers");
    let read = cluster.get(&path).await.expect(200).json();
    assert_eq!(read["kind"], "Pod");
    let debug =
        |name: &str| json!({"spec": {"ephemeralContainers": [{"name": name, "image": "i:1"}]}});
    let reply = cluster
        .patch(&path, "strategic-merge-patch", &debug("d"))
        .await;
    let pod = reply.expect(200).json();
    assert_eq!(
        pod["spec"]["ephemeralContainers"][0]["imagePullPolicy"],
        "IfNotPresent"
    );
    // Another comes beside it; a PUT of what was read changes nothing.
    let reply = cluster
        .patch(&path, "strategic-merge-patch", &debug("e"))
        .await;
    let pod = reply.expect(200).json();
    assert_eq!(
        pod["spec"]["ephemeralContainers"].as_array().map(Vec::len),
        Some(2)
    );
    let same = cluster.put(&path, &pod).await.expect(200).json();
    assert_eq!(
        same["metadata"]["resourceVersion"],
        pod["metadata"]["resourceVersion"]
    );
    let reply = cluster.patch(&path, "merge-patch", &debug("e")).await;
    let message = reply.expect(422).message().to_owned();
    assert!(
        message.contains("existing ephemeral containers \"d\" may not be removed"),
        "{message}"
    );
}

#[tokio::test]
async fn streams_need_a_node_an_upgrade_and_something_to_do() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, &pod("a")).await.expect(201);
    for (stream, why) in [
        (
            "exec?stdout=1",
            "you must specify at least one command for the container",
        ),
        (
            "exec?command=a",
            "you must specify at least 1 of stdin, stdout, stderr",
        ),
        (
            "attach?stdout=1&container=x",
            "container x is not valid for pod a",
        ),
        ("portforward", "pod a does not have a host assigned"),
    ] {
        let reply = cluster.get(&format!("{PODS}/a/{stream}")).await;
        assert_eq!(reply.expect(400).message(), why);
    }
    let binding = json!({"target": {"kind": "Node", "name": "n1"}});
    let bound = cluster.post(&format!("{PODS}/a/binding"), &binding).await;
    bound.expect(201);
    let reply = cluster.get(&format!("{PODS}/a/portforward")).await;
    assert_eq!(reply.expect(400).message(), "Upgrade request required");
    let missing = cluster.get(&format!("{PODS}/b/portforward")).await;
    missing.expect(404);
}

#[tokio::test]
async fn clients_that_look_for_definitions_of_kinds_find_none() {
    let cluster = Cluster::start().await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let list = cluster.get(path).await.expect(200).json();
    assert_eq!(list["kind"], "CustomResourceDefinitionList");
    assert_eq!(list["items"], json!([]));
    cluster.post(path, &json!({})).await.expect(404);
    let nobody = cluster.send_as(None, "GET", path, &[], "").await;
    nobody.expect(401);
}
