//! Bad requests get upstream's code and words, and name the field.

use super::*;

#[tokio::test]
async fn nobody_gets_nothing_but_health_and_version() {
    let cluster = Cluster::start().await;
    for (path, code) in [
        ("/healthz", 200),
        ("/livez", 200),
        ("/readyz", 200),
        ("/version", 200),
        ("/api", 401),
        ("/apis", 401),
        ("/openapi/v3", 401),
        (PODS, 401),
        ("/api/v1/nope", 401),
        ("/nope", 401),
        ("/bramble/v1/tokens", 401),
        ("/api/v1/secrets?watch=true", 401),
    ] {
        let reply = cluster.send_as(None, "GET", path, &[], "").await;
        assert_eq!(reply.code, code, "{path}");
    }
    let reply = cluster
        .send_as(None, "POST", PODS, &[], pod("a").to_string())
        .await
        .expect(401);
    assert_eq!(reply.json()["reason"], "Unauthorized");
}

#[tokio::test]
async fn a_node_that_never_joined_is_nobody() {
    let cluster = Cluster::start().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::new(Vec::new())
        .unwrap()
        .serialize_request(&key)
        .unwrap();
    let csr = crate::pki::Csr::parse(&csr.pem().unwrap()).unwrap();
    let node = bramble_wire::name::NodeName::new("pi-1").unwrap();
    let cert = cluster.pki.sign_node(&node, csr).unwrap();
    let identity = bramble_link::tls::Identity {
        chain: vec![cert],
        key: key.into(),
    };
    for (method, path) in [
        ("GET", PODS),
        ("GET", "/apis"),
        ("POST", "/bramble/v1/tokens"),
    ] {
        cluster
            .send_as(Some(identity.clone()), method, path, &[], "")
            .await
            .expect(401);
    }
}

#[tokio::test]
async fn malformed_bodies_say_what_is_wrong() {
    let cluster = Cluster::start().await;
    let json = [("content-type", "application/json")];
    for (body, code) in [
        ("", 400),
        ("{", 400),
        ("[]", 400),
        ("null", 400),
        ("\"x\"", 400),
        ("{\"kind\":5}", 400),
        ("{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}", 400),
        ("{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\"}", 422),
        (
            "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":5}",
            400,
        ),
    ] {
        let reply = cluster.send("POST", CONFIG_MAPS, &json, body).await;
        assert_eq!(
            reply.code,
            code,
            "{body}: {}",
            String::from_utf8_lossy(&reply.body)
        );
        assert_eq!(reply.json()["kind"], "Status", "{body}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(
        cluster.send("POST", CONFIG_MAPS, &json, deep).await.code,
        400
    );
    let odd = [("content-type", "application/x-nope")];
    cluster
        .send("POST", CONFIG_MAPS, &odd, "{}")
        .await
        .expect(415);
    let torn = [("content-type", "application/vnd.kubernetes.protobuf")];
    cluster
        .send("POST", CONFIG_MAPS, &torn, &b"k8s\0\xff\xff"[..])
        .await
        .expect(400);
}

#[tokio::test]
async fn unknown_fields_are_errors_warnings_or_nothing() {
    let cluster = Cluster::start().await;
    let mut object = config_map("a");
    object["dat"] = json!({});
    let path = |how: &str| format!("{CONFIG_MAPS}?fieldValidation={how}");
    let strict = cluster.post(&path("Strict"), &object).await.expect(400);
    assert!(
        strict.message().contains("unknown field \"dat\""),
        "{}",
        strict.message()
    );
    let warned = cluster.post(&path("Warn"), &object).await.expect(201);
    assert_eq!(warned.warnings(), ["299 - \"unknown field \\\"dat\\\"\""]);
    assert!(warned.json()["dat"].is_null());
    object["metadata"]["name"] = "b".into();
    let ignored = cluster.post(&path("Ignore"), &object).await.expect(201);
    assert!(ignored.warnings().is_empty());
    cluster.post(&path("Often"), &object).await.expect(422);
}

#[tokio::test]
async fn invalid_objects_name_the_field() {
    let cluster = Cluster::start().await;
    let mut bad = deployment("d");
    bad["metadata"]["name"] = "Bad_Name".into();
    bad["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    bad["spec"]["template"]["spec"]["containers"][0]["image"] = "".into();
    let reply = cluster.post(DEPLOYMENTS, &bad).await.expect(422).json();
    let causes = reply["details"]["causes"].as_array().unwrap();
    let fields: Vec<&str> = causes
        .iter()
        .map(|c| c["field"].as_str().unwrap())
        .collect();
    for field in [
        "metadata.name",
        "spec.template.metadata.labels",
        "spec.template.spec.containers[0].image",
    ] {
        assert!(fields.contains(&field), "{field} in {fields:?}");
    }
    assert_eq!(reply["reason"], "Invalid");
}

#[tokio::test]
async fn names_and_namespaces_must_fit_the_path() {
    let cluster = Cluster::start().await;
    let nowhere = "/api/v1/namespaces/nope/configmaps";
    let reply = cluster.post(nowhere, &config_map("a")).await.expect(404);
    assert_eq!(reply.message(), "namespaces \"nope\" not found");
    let mut other = config_map("a");
    other["metadata"]["namespace"] = "kube-system".into();
    cluster.post(CONFIG_MAPS, &other).await.expect(400);
    cluster.has_config_map("a").await;
    cluster
        .put(&format!("{CONFIG_MAPS}/b"), &config_map("a"))
        .await
        .expect(400);
    cluster
        .put(&format!("{CONFIG_MAPS}/c"), &config_map("c"))
        .await
        .expect(404);
    cluster
        .delete("/api/v1/namespaces/default", &json!({}))
        .await
        .expect(403);
    cluster
        .get("/api/v1/namespaces/default/../../../etc/passwd")
        .await
        .expect(404);
    cluster
        .get(&format!("{CONFIG_MAPS}/%2e%2e%2fa"))
        .await
        .expect(404);
}

#[tokio::test]
async fn bad_parameters_are_refused() {
    let cluster = Cluster::start().await;
    for (query, code) in [
        ("labelSelector=a%3D%3D%3Db", 400),
        ("fieldSelector=spec.nope%3D1", 400),
        ("limit=x", 400),
        ("continue=%25%25", 400),
        ("continue=AAAA", 400),
        ("resourceVersion=abc", 422),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=5&resourceVersionMatch=Sometimes", 422),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422),
        ("sendInitialEvents=true", 422),
        ("watch=true&sendInitialEvents=true", 422),
        ("watch=true&resourceVersionMatch=NotOlderThan", 422),
    ] {
        let reply = cluster.get(&format!("{PODS}?{query}")).await;
        assert_eq!(
            reply.code,
            code,
            "{query}: {}",
            String::from_utf8_lossy(&reply.body)
        );
    }
    let accept = [("accept", "application/vnd.kubernetes.protobuf")];
    cluster.send("GET", PODS, &accept, "").await.expect(406);
    cluster.send("OPTIONS", PODS, &[], "").await.expect(405);
    cluster.post("/api/v1/pods", &pod("a")).await.expect(405);
}

#[tokio::test]
async fn internal_records_are_not_resources() {
    let cluster = Cluster::start().await;
    cluster
        .post("/bramble/v1/tokens", &json!({}))
        .await
        .expect(201);
    for path in [
        "/apis/bramble.internal/v1/tokens",
        "/apis/bramble.internal",
        "/api/v1/nodekeys",
    ] {
        cluster.get(path).await.expect(404);
    }
    let everything = cluster.send("GET", "/apis", &[], "").await;
    assert!(!String::from_utf8_lossy(&everything.body).contains("internal"));
}

#[tokio::test]
async fn logs_say_why_there_are_none() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, &pod("a")).await.expect(201);
    let mut two = pod("two");
    two["spec"]["containers"] = json!([{"name": "x", "image": "i"}, {"name": "y", "image": "i"}]);
    cluster.post(PODS, &two).await.expect(201);
    let mut bound = pod("bound");
    bound["spec"]["nodeName"] = "pi-1".into();
    cluster.post(PODS, &bound).await.expect(201);
    for (path, code, words) in [
        ("nope/log", 404, "pods \"nope\" not found"),
        ("a/log", 400, "does not have a host assigned"),
        (
            "a/log?container=z",
            400,
            "container z is not valid for pod a",
        ),
        ("two/log", 400, "choose one of: [x y]"),
        ("bound/log", 400, "is waiting to start: ContainerCreating"),
        (
            "bound/log?previous=true",
            400,
            "previous terminated container",
        ),
        ("bound/log?tailLines=-1", 400, ""),
    ] {
        let reply = cluster.get(&format!("{PODS}/{path}")).await.expect(code);
        assert!(
            reply.message().contains(words),
            "{path}: {}",
            reply.message()
        );
    }
}
