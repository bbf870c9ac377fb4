//! Ways around: what somebody may not do in one way, they may not do in another either, and nobody takes
//! everything.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::AsyncWriteExt as _;

use super::rbac::{RBAC, binding, board, on, person, role};
use super::*;
use crate::apiserver::{Limits, NoLogs};
use crate::store::MemoryStore;

const APPLY: &[(&str, &str)] = &[("content-type", "application/apply-patch+yaml")];
const JSON_PATCH: &[(&str, &str)] = &[("content-type", "application/json-patch+json")];
const OPTIONS: &str = "?fieldManager=x&force=true";

#[tokio::test]
async fn a_board_is_no_member_once_its_node_is_deleted_however_that_ends() {
    let cluster = Cluster::start().await;
    let pi = board(&cluster, "pi-1");
    let path = "/api/v1/nodes/pi-1";
    let node = json!({"kind": "Node", "apiVersion": "v1",
        "metadata": {"name": "pi-1", "finalizers": ["example.com/hold"]}});
    cluster.post("/api/v1/nodes", &node).await.expect(201);
    cluster.get_as(&pi, path).await.expect(200);
    // Held by a finalizer, which the board may have set itself.
    cluster.delete(path, &json!({})).await.expect(200);
    cluster.get(path).await.expect(200);
    cluster.get_as(&pi, path).await.expect(401);

    // Rejoined while the Node is on its way out: its end is the end of that too.
    let pi = board(&cluster, "pi-1");
    cluster.get_as(&pi, path).await.expect(200);
    let free = json!({"metadata": {"finalizers": null}});
    cluster.patch(path, "merge-patch", &free).await.expect(200);
    cluster.get(path).await.expect(404);
    cluster.get_as(&pi, path).await.expect(401);
}

#[tokio::test]
async fn one_user_leaves_room_for_others() {
    let limits = Limits {
        requests: 16,
        requests_per_user: 4,
        watches: 16,
        watches_per_user: 4,
        ..Limits::default()
    };
    let store = MemoryStore::default();
    let cluster = Cluster::with(store, limits, std::sync::Arc::new(NoLogs)).await;
    let (ann, bob) = (person(&cluster, "ann", &[]), person(&cluster, "bob", &[]));
    cluster.bind("default", "admin", "ann").await;
    cluster.bind("default", "admin", "bob").await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = cluster.connect(Some(ann.clone())).await;
        let head = format!("POST {CONFIG_MAPS} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        held.push(stream);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while cluster.get_as(&ann, CONFIG_MAPS).await.code != 429 {
        assert!(
            Instant::now() < deadline,
            "ann has every request to herself"
        );
    }
    cluster.get_as(&bob, CONFIG_MAPS).await.expect(200);
    cluster.get(CONFIG_MAPS).await.expect(200);

    let path = format!("{CONFIG_MAPS}?watch=true");
    let mut watches = Vec::new();
    for want in [200, 200, 200, 200, 429] {
        let answer = cluster.open(Some(ann.clone()), "GET", &path, &[], "").await;
        assert_eq!(answer.status().as_u16(), want);
        watches.push(answer);
    }
    let answer = cluster.open(Some(bob), "GET", &path, &[], "").await;
    assert_eq!(answer.status().as_u16(), 200);
}

#[tokio::test]
async fn roles_grow_by_no_kind_of_write() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &[]);
    cluster.bind("default", "admin", "ann").await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    let wide = json!([on(&["get"], &["nodes"])]);
    let small = role("Role", "r", json!([on(&["get"], &["pods"])]));
    cluster.post_as(&ann, &roles, &small).await.expect(201);
    let (own, new) = (format!("{roles}/r"), format!("{roles}/new{OPTIONS}"));
    let more = role("Role", "r", wide.clone());
    cluster.put_as(&ann, &own, &more).await.expect(403);
    cluster
        .put_as(
            &ann,
            &format!("{roles}/new"),
            &role("Role", "new", wide.clone()),
        )
        .await
        .expect(403);
    cluster
        .patch_as(&ann, &own, &json!({"rules": wide}))
        .await
        .expect(403);
    let send = |path: String, headers: &'static [(&str, &str)], body: Value| {
        cluster.send_as(
            Some(ann.clone()),
            "PATCH",
            Box::leak(path.into_boxed_str()),
            headers,
            body.to_string(),
        )
    };
    send(new, APPLY, role("Role", "new", wide.clone()))
        .await
        .expect(403);
    send(format!("{own}{OPTIONS}"), APPLY, more)
        .await
        .expect(403);
    let operation = json!([{"op": "add", "path": "/rules/-", "value": wide[0]}]);
    send(own.clone(), JSON_PATCH, operation).await.expect(403);
    let operation = json!([{"op": "replace", "path": "/rules/0/resources/0", "value": "*"}]);
    send(own, JSON_PATCH, operation).await.expect(403);

    let list = format!("{RBAC}/namespaces/default/rolebindings");
    let all = |name: &str| binding("RoleBinding", name, "ClusterRole", "cluster-admin", "ann");
    cluster.post_as(&ann, &list, &all("b")).await.expect(403);
    cluster
        .put_as(&ann, &format!("{list}/b"), &all("b"))
        .await
        .expect(403);
    send(format!("{list}/b{OPTIONS}"), APPLY, all("b"))
        .await
        .expect(403);
    let of_bob = binding("RoleBinding", "bob", "ClusterRole", "cluster-admin", "bob");
    cluster.post(&list, &of_bob).await.expect(201);
    let subjects = json!({"subjects": [{"kind": "User", "name": "ann"}]});
    cluster
        .patch_as(&ann, &format!("{list}/bob"), &subjects)
        .await
        .expect(403);
    send(format!("{list}/bob{OPTIONS}"), APPLY, all("bob"))
        .await
        .expect(403);
    // The reference never changes, so a harmless binding does not become another.
    let harmless = binding("RoleBinding", "c", "Role", "r", "ann");
    cluster.post_as(&ann, &list, &harmless).await.expect(201);
    let code = cluster
        .put_as(&ann, &format!("{list}/c"), &all("c"))
        .await
        .code;
    assert!([403, 422].contains(&code), "{code}");
}

#[tokio::test]
async fn comparing_roles_costs_little_however_long_they_are() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &[]);
    cluster.bind("default", "admin", "ann").await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    let names: Vec<String> = (0..60_000).map(|n| format!("n{n}")).collect();
    let rule = |names: Vec<String>, verb: &str| json!([{"verbs": [verb], "apiGroups": [""], "resources": ["pods"], "resourceNames": names}]);
    let long = role("Role", "long", rule(names.clone(), "get"));
    cluster.post_as(&ann, &roles, &long).await.expect(201);
    let list = format!("{RBAC}/namespaces/default/rolebindings");
    let own = binding("RoleBinding", "a", "Role", "long", "ann");
    cluster.post(&list, &own).await.expect(201);
    let reversed: Vec<String> = names.into_iter().rev().collect();
    let started = Instant::now();
    let again = role("Role", "again", rule(reversed.clone(), "get"));
    cluster.post_as(&ann, &roles, &again).await.expect(403);
    let foreign = role("Role", "foreign", rule(reversed, "fly"));
    cluster.post_as(&ann, &roles, &foreign).await.expect(403);
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn what_a_client_makes_up_shows_and_ends_nothing() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &[]);
    let secrets = |namespace: &str| format!("/api/v1/namespaces/{namespace}/secrets");
    for namespace in ["default", "kube-system"] {
        for name in ["a", "b"] {
            let secret = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name}});
            cluster.post(&secrets(namespace), &secret).await.expect(201);
        }
    }
    let rules = json!([{"verbs": ["get", "list", "watch", "deletecollection"], "apiGroups": [""],
        "resources": ["secrets"], "resourceNames": ["a"]}]);
    let roles = format!("{RBAC}/namespaces/default/roles");
    cluster
        .post(&roles, &role("Role", "one", rules))
        .await
        .expect(201);
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let one = binding("RoleBinding", "one", "Role", "one", "ann");
    cluster.post(&bindings, &one).await.expect(201);
    let path = secrets("default");
    cluster.get_as(&ann, &path).await.expect(403);
    cluster.get_as(&ann, &format!("{path}/b")).await.expect(403);
    for query in [
        "fieldSelector=metadata.name!%3Da",
        "fieldSelector=metadata.name%3Db",
        "fieldSelector=&fieldSelector=metadata.name%3Da",
        "labelSelector=metadata.name%3Da",
        "watch=1&fieldSelector=metadata.name%3Db",
    ] {
        cluster
            .get_as(&ann, &format!("{path}?{query}"))
            .await
            .expect(403);
    }
    let start = json!({"v": "bramble.dev/v1", "rv": -1, "ns": "kube-system", "start": ""});
    let from = URL_SAFE_NO_PAD.encode(start.to_string());
    let start = json!({"v": "bramble.dev/v1", "rv": -1, "ns": "", "start": "b"});
    let before = URL_SAFE_NO_PAD.encode(start.to_string());
    for query in [
        "fieldSelector=metadata.name%3Da".to_owned(),
        "fieldSelector=metadata.name%3Da%2Cmetadata.name%3Db".to_owned(),
        format!("fieldSelector=metadata.name%3Da&continue={from}"),
        format!("fieldSelector=metadata.name%3Da&continue={before}"),
    ] {
        let list = cluster
            .get_as(&ann, &format!("{path}?{query}"))
            .await
            .expect(200)
            .json();
        for item in list["items"].as_array().unwrap() {
            let at = (&item["metadata"]["namespace"], &item["metadata"]["name"]);
            assert_eq!(at, (&"default".into(), &"a".into()), "{query}");
        }
    }
    // The name of a selector is none of a deletion.
    let query = format!("{path}?fieldSelector=metadata.name%3Da");
    cluster
        .send_as(Some(ann.clone()), "DELETE", &query, &[], "")
        .await
        .expect(403);

    // Who may change, and not delete, ends nothing by a mark of their own; nor is anything begun so.
    let mut marked = pod("p");
    marked["metadata"]["deletionTimestamp"] = "2020-01-01T00:00:00Z".into();
    marked["metadata"]["deletionGracePeriodSeconds"] = 0.into();
    marked["status"] = json!({"phase": "Succeeded", "podIP": "10.0.0.1"});
    let made = cluster.post(PODS, &marked).await.expect(201).json();
    assert_eq!(made["status"]["phase"], "Pending");
    assert!(made["status"]["podIP"].is_null() && made["metadata"]["deletionTimestamp"].is_null());
    let path = format!("{PODS}/p");
    let end = json!({"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}});
    let left = cluster
        .patch(&path, "merge-patch", &end)
        .await
        .expect(200)
        .json();
    assert!(left["metadata"]["deletionTimestamp"].is_null(), "{left}");
    // Nor does a pod get a node but by its binding, or another place.
    let bound = json!({"spec": {"nodeName": "pi-1"}});
    cluster
        .patch(&path, "merge-patch", &bound)
        .await
        .expect(422);
    for (field, value) in [("name", "q"), ("namespace", "kube-system"), ("uid", "1")] {
        let moved = json!({"metadata": {field: value}});
        let code = cluster.patch(&path, "merge-patch", &moved).await.code;
        assert!([400, 409, 422].contains(&code), "{field}: {code}");
    }
}

#[tokio::test]
async fn patches_hold_no_more_values_than_objects() {
    let cluster = Cluster::start().await;
    cluster.has_config_map("a").await;
    let many = format!("{{\"data\":[{}0]}}", "0,".repeat(400_000));
    let headers = &[("content-type", "application/merge-patch+json")];
    let reply = cluster
        .send("PATCH", &format!("{CONFIG_MAPS}/a"), headers, many)
        .await;
    assert!(reply.expect(400).message().contains("too many values"));
}

#[tokio::test]
async fn pod_security_holds_for_every_kind_of_write() {
    let cluster = Cluster::start().await;
    let labels =
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
    let namespace = "/api/v1/namespaces/default";
    cluster
        .patch(namespace, "merge-patch", &labels)
        .await
        .expect(200);
    let mut bad = pod("bad");
    bad["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    let send = |path: String| {
        let body = bad.to_string();
        async {
            let path = path;
            cluster.send("PATCH", &path, APPLY, body).await
        }
    };
    cluster.post(PODS, &bad).await.expect(403);
    cluster
        .post(&format!("{PODS}?dryRun=All"), &bad)
        .await
        .expect(403);
    send(format!("{PODS}/bad{OPTIONS}")).await.expect(403);
    cluster.get(&format!("{PODS}/bad")).await.expect(404);
}
