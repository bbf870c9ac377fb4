//! `pods/binding`, `pods/eviction` and `namespaces/finalize`, and reviews with selectors.

use super::*;

fn binding(target: Value, metadata: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target})
}

#[tokio::test]
async fn a_binding_is_checked_and_what_it_carries_is_the_pods() {
    let cluster = Cluster::start().await;
    let mut gated = pod("gated");
    gated["spec"]["schedulingGates"] = json!([{"name": "a.b/c"}]);
    for pod in [pod("p"), gated] {
        cluster.post(PODS, &pod).await.expect(201);
    }
    let bind = |pod: &str, target: Value, metadata: Value| {
        let (path, body) = (format!("{PODS}/{pod}/binding"), binding(target, metadata));
        let cluster = &cluster;
        async move { cluster.post(&path, &body).await }
    };
    let node = json!({"kind": "Node", "name": "pi-1"});
    let reply = bind("p", json!({"kind": "Pod", "name": "pi-1"}), json!({})).await;
    let message = reply.expect(422).message();
    assert!(
        message.contains("target.kind: Unsupported value: \"Pod\""),
        "{message}"
    );
    let reply = bind("gated", node.clone(), json!({})).await.expect(409);
    assert_eq!(
        reply.message(),
        "Operation cannot be fulfilled on pods/binding \"gated\": \
         pod gated has non-empty .spec.schedulingGates"
    );
    let bad = json!({"labels": {"a": "-"}});
    bind("p", node.clone(), bad).await.expect(422);
    let more = json!({"labels": {"zone": "1", "app": "other"}, "annotations": {"a.b/c": "d"}});
    bind("p", json!({"name": "pi-1"}), more).await.expect(201);
    let bound = cluster.get(&format!("{PODS}/p")).await.expect(200).json();
    let metadata = &bound["metadata"];
    assert_eq!(metadata["labels"], json!({"app": "other", "zone": "1"}));
    assert_eq!(metadata["annotations"]["a.b/c"], "d");
    assert_eq!(bound["spec"]["nodeName"], "pi-1");
    let scheduled = &bound["status"]["conditions"][0];
    assert_eq!(
        (&scheduled["type"], &scheduled["status"]),
        (&json!("PodScheduled"), &json!("True"))
    );
    // Somebody else's revision is not this one.
    let other = json!({"resourceVersion": "1"});
    bind("p", node, other).await.expect(409);
}

#[tokio::test]
async fn an_evicted_pod_says_so_while_it_ends() {
    let cluster = Cluster::start().await;
    let mut object = pod("p");
    object["spec"]["nodeName"] = "pi-1".into();
    cluster.post(PODS, &object).await.expect(201);
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let path = format!("{PODS}/p/eviction");
    cluster.post(&path, &eviction).await.expect(201);
    let told = cluster.get(&format!("{PODS}/p")).await.expect(200).json();
    assert!(told["metadata"]["deletionTimestamp"].is_string(), "{told}");
    let conditions = told["status"]["conditions"].as_array().unwrap();
    let why = conditions.iter().find(|c| c["type"] == "DisruptionTarget");
    let why = why.expect("a condition");
    assert_eq!(
        (&why["status"], &why["reason"], &why["message"]),
        (
            &json!("True"),
            &json!("EvictionByEvictionAPI"),
            &json!("Eviction API: evicting")
        )
    );
}

#[tokio::test]
async fn finalizers_of_a_namespace_are_kept_checked_and_let_go() {
    let cluster = Cluster::start().await;
    let namespaces = "/api/v1/namespaces";
    let mut team = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"},
        "spec": {"finalizers": ["a.b/c"]}});
    let made = cluster.post(namespaces, &team).await.expect(201).json();
    assert_eq!(made["spec"]["finalizers"], json!(["a.b/c", "kubernetes"]));
    let path = format!("{namespaces}/team/finalize");
    team["spec"]["finalizers"] = json!(["a.b/c", "mine"]);
    let message = cluster.put(&path, &team).await.expect(422).message();
    assert!(
        message.contains("spec.finalizers[1]: Invalid value: \"mine\": name is neither"),
        "{message}"
    );
    let mut other = team.clone();
    other["metadata"]["name"] = "other".into();
    cluster.put(&path, &other).await.expect(400);
    let mut other = team.clone();
    other["metadata"]["uid"] = "other".into();
    other["spec"]["finalizers"] = json!([]);
    cluster.put(&path, &other).await.expect(409);
    team["spec"]["finalizers"] = json!(["kubernetes"]);
    let left = cluster.put(&path, &team).await.expect(200).json();
    assert_eq!(left["spec"]["finalizers"], json!(["kubernetes"]));
}

#[tokio::test]
async fn a_review_says_which_selectors_it_left_out() {
    let cluster = Cluster::start().await;
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let review = |user: &str, selectors: Value| {
        let mut attributes = json!({"verb": "list", "resource": "pods"});
        for (key, value) in selectors.as_object().unwrap() {
            attributes[key] = value.clone();
        }
        let group = if user == "admin" {
            "system:masters"
        } else {
            "system:nodes"
        };
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": [group], "resourceAttributes": attributes}})
    };
    let raw = |text: &str| json!({"fieldSelector": {"rawSelector": text}});
    let node = "system:node:pi-1";
    for (user, selectors, allowed, ignored) in [
        (node, raw("spec.nodeName=pi-1"), true, None),
        (node, raw("spec.nodeName=pi-2"), false, None),
        // Roles don't look at selectors: they narrow, and are ignored.
        ("admin", raw("spec.nodeName=pi-2"), true, None),
        (
            node,
            raw("spec.nodeName=pi-1,x"),
            false,
            Some("spec.resourceAttributes.fieldSelector ignored due to parse error"),
        ),
        (
            "admin",
            json!({"labelSelector": {"requirements": [{"key": "a", "operator": "Newer"}]}}),
            true,
            Some("spec.resourceAttributes.labelSelector ignored due to parse error"),
        ),
    ] {
        let body = review(user, selectors);
        let status = &cluster.post(path, &body).await.expect(201).json()["status"];
        assert_eq!(status["allowed"], allowed, "{body}");
        assert_eq!(status["evaluationError"].as_str(), ignored, "{body}");
    }
    let message = cluster
        .post(path, &review("admin", json!({"labelSelector": {}})))
        .await;
    let message = message.expect(422).message();
    assert!(
        message.contains("spec.resourceAttributes.labelSelector.requirements: Required value"),
        "{message}"
    );
}
