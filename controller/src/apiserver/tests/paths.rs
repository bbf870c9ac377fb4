//! Paths that are no resources, methods that don't fit, and documents that clients keep.

use super::*;

#[tokio::test]
async fn unknown_paths_and_methods() {
    let cluster = Cluster::start().await;
    for path in [
        "/nope",
        "/api/v2",
        "/apis/nope.example.com",
        "/apis/nope.example.com/v1/things",
        "/api/v1/nope",
        "/api/v1/namespaces/default/pods/a/nope",
        "/openapi/v3/apis/nope/v1",
        "/healthz/nope",
    ] {
        let reply = cluster.get(path).await.expect(404);
        assert_eq!(&reply.body[..], b"404 page not found\n", "{path}");
        assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8");
    }
    for (method, path) in [
        ("HEAD", PODS),
        ("OPTIONS", PODS),
        ("TRACE", PODS),
        ("PUT", PODS),
        ("POST", "/api/v1/pods"),
        ("POST", "/api/v1/nodes/a"),
        ("DELETE", "/api/v1/namespaces"),
    ] {
        let reply = cluster.send(method, path, &[], "").await.expect(405);
        if method != "HEAD" {
            let reply = reply.json();
            assert_eq!(reply["reason"], "MethodNotAllowed", "{method} {path}");
            assert_eq!(
                reply["message"],
                "the server does not allow this method on the requested resource"
            );
        }
    }
    let index = cluster.get("/").await.expect(200).json();
    let paths = index["paths"].as_array().unwrap();
    assert!(paths.contains(&"/apis/apps/v1".into()), "{index}");
    let head = cluster.send("HEAD", "/version", &[], "").await.expect(200);
    assert!(head.body.is_empty());
    let private = cluster.get(PODS).await;
    assert_eq!(private.headers["cache-control"], "no-cache, private");
}

#[tokio::test]
async fn health_says_what_it_checked() {
    let cluster = Cluster::start().await;
    let text = |reply: client::Reply| String::from_utf8(reply.body.to_vec()).unwrap();
    for (path, want) in [
        ("/livez", "ok"),
        ("/readyz/etcd", "ok"),
        ("/healthz/ping", "ok"),
        (
            "/livez?verbose",
            "[+]ping ok\n[+]log ok\n[+]etcd ok\nlivez check passed\n",
        ),
        (
            "/readyz?verbose&exclude=etcd&exclude=moon",
            "[+]ping ok\n[+]log ok\n[+]etcd excluded: ok\n[+]identity ok\n[+]shutdown ok\nwarn: some health \
             checks cannot be excluded: no matches for \"moon\"\nreadyz check passed\n",
        ),
    ] {
        let reply = cluster.send_as(None, "GET", path, &[], "").await;
        assert_eq!(text(reply.expect(200)), want, "{path}");
    }
    cluster.store.fail();
    for (path, want) in [
        (
            "/livez",
            "[+]ping ok\n[+]log ok\n[-]etcd failed: reason withheld\nlivez check failed\n",
        ),
        (
            "/livez/etcd",
            "internal server error: the store has failed\n",
        ),
    ] {
        let reply = cluster.send_as(None, "GET", path, &[], "").await;
        assert_eq!(text(reply.expect(500)), want, "{path}");
    }
    let path = "/livez?exclude=etcd";
    let reply = cluster.send_as(None, "GET", path, &[], "").await;
    assert_eq!(text(reply.expect(200)), "ok");
}

#[tokio::test]
async fn documents_are_sent_once() {
    let cluster = Cluster::start().await;
    let discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let index = cluster.get("/openapi/v3").await.json();
    let pods = index["paths"]["api/v1"]["serverRelativeURL"].as_str();
    let pods = pods.unwrap().to_owned();
    for (path, accept, cache) in [
        ("/apis", discovery, "public"),
        ("/api", discovery, "public"),
        ("/openapi/v2", "*/*", "public"),
        ("/openapi/v3", "*/*", "public"),
        ("/openapi/v3/api/v1", "*/*", "public"),
        (pods.as_str(), "*/*", "public, immutable"),
    ] {
        let reply = cluster
            .send("GET", path, &[("accept", accept)], "")
            .await
            .expect(200);
        assert_eq!(reply.headers["cache-control"], cache, "{path}");
        let tag = reply.headers["etag"].to_str().unwrap().to_owned();
        assert!(tag.starts_with('"') && tag.len() > 10);
        let known = [("accept", accept), ("if-none-match", &tag)];
        let again = cluster.send("GET", path, &known, "").await.expect(304);
        assert!(again.body.is_empty() && again.headers["etag"] == tag.as_str());
        let other = [("accept", accept), ("if-none-match", "\"other\"")];
        cluster.send("GET", path, &other, "").await.expect(200);
    }
    let moved = cluster.get("/openapi/v3/api/v1?hash=OLD").await.expect(301);
    assert_eq!(moved.headers["location"], pods.as_str());
}

#[tokio::test]
async fn large_answers_and_bodies_may_be_packed() {
    use std::io::Read;
    let cluster = Cluster::start().await;
    let mut large = config_map("large");
    large["data"]["text"] = "x".repeat(200_000).into();
    let packed = super::super::gzip::compressed(large.to_string().as_bytes());
    let headers = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    cluster
        .send("POST", CONFIG_MAPS, &headers, packed)
        .await
        .expect(201);
    let accept = [("accept-encoding", "gzip")];
    for path in [format!("{CONFIG_MAPS}/large"), CONFIG_MAPS.to_owned()] {
        let reply = cluster.send("GET", &path, &accept, "").await.expect(200);
        assert_eq!(reply.headers["content-encoding"], "gzip", "{path}");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&reply.body[..])
            .read_to_string(&mut text)
            .unwrap();
        assert!(text.contains("xxxx") && reply.body.len() < 10_000);
        let plain = cluster.get(&path).await.expect(200);
        assert!(plain.headers.get("content-encoding").is_none());
    }
    let bomb = super::super::gzip::compressed(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 1 << 20, "it is small on the wire");
    cluster
        .send("POST", CONFIG_MAPS, &headers, bomb)
        .await
        .expect(413);
    let odd = [("content-encoding", "br")];
    cluster
        .send("POST", CONFIG_MAPS, &odd, "{}")
        .await
        .expect(415);
}

#[tokio::test]
async fn metrics_count_answers_watches_and_objects() {
    let cluster = Cluster::start().await;
    cluster.has_config_map("a").await;
    cluster.get(&format!("{CONFIG_MAPS}/b")).await.expect(404);
    let _watch = cluster.watch(&format!("{PODS}?watch=true")).await;
    let reply = cluster.get("/metrics").await.expect(200);
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    for want in [
        "apiserver_request_total{verb=\"create\",group=\"\",resource=\"configmaps\",subresource=\"\",code=\"201\"} 1",
        "apiserver_request_total{verb=\"get\",group=\"\",resource=\"configmaps\",subresource=\"\",code=\"404\"} 1",
        "apiserver_longrunning_requests 1",
        "apiserver_resource_objects{group=\"\",resource=\"configmaps\"} 1",
        "# TYPE process_resident_memory_bytes gauge",
    ] {
        assert!(text.contains(want), "{want} in\n{text}");
    }
    cluster
        .send_as(None, "GET", "/metrics", &[], "")
        .await
        .expect(401);
}

/// All of the cluster is the administrators' alone, and no rule gives it to anybody else.
#[tokio::test]
async fn a_backup_is_for_administrators() {
    let cluster = Cluster::start().await;
    cluster.has_config_map("kept").await;
    let reply = cluster.get("/bramble/v1/backup").await.expect(200);
    assert_eq!(reply.headers["content-type"], "application/x-tar");
    let held = |text: &str| {
        let all = reply.body.windows(text.len());
        all.into_iter().any(|part| part == text.as_bytes())
    };
    for text in [
        "bramble-backup",
        "pki/ca.key",
        "store/records-000001",
        "kept",
    ] {
        assert!(held(text), "{text}");
    }
    let refused = cluster.post("/bramble/v1/backup", &json!({})).await;
    refused.expect(405);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "all-paths"},
        "rules": [{"nonResourceURLs": ["*"], "verbs": ["*"]}],
    });
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    cluster.post(path, &role).await.expect(201);
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "all-paths"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "all-paths"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}],
    });
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    cluster.post(path, &binding).await.expect(201);
    let headers = [("impersonate-user", "ann")];
    let reply = cluster
        .send("GET", "/bramble/v1/backup", &headers, "")
        .await;
    let message = reply.expect(403).message();
    assert!(message.contains("system:masters"), "{message}");
}
