//! Verbs by upstream's rules: which code and which words, case by case. The sources are named where
//! the rules are.

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
    cluster
        .post(CONFIG_MAPS, &config_map("d"))
        .await
        .expect(201);
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
    cluster
        .post(CONFIG_MAPS, &config_map("a"))
        .await
        .expect(201);
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
    let made = cluster
        .post(CONFIG_MAPS, &config_map("a"))
        .await
        .expect(201)
        .json();
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
    cluster
        .post(CONFIG_MAPS, &config_map("a"))
        .await
        .expect(201);
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
    let cells = |table: Value| table["rows"][0]["cells"].clone();
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
