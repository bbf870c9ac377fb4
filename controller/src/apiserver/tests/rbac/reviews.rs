//! Questions about rights, and acting as others.

use super::*;

#[tokio::test]
async fn an_administrator_acts_as_others_and_nobody_else_does() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &[]);
    cluster.bind("default", "view", "bob").await;
    let as_bob: &[(&str, &str)] = &[("impersonate-user", "bob")];
    cluster.send("GET", PODS, as_bob, "").await.expect(200);
    assert_eq!(
        cluster
            .send("GET", "/api/v1/nodes", as_bob, "")
            .await
            .expect(403)
            .message(),
        "nodes is forbidden: User \"bob\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"
    );
    let who = |headers: Vec<(&'static str, &'static str)>| {
        let cluster = &cluster;
        async move {
            let mut all = vec![("content-type", "application/json")];
            all.extend(headers);
            let body =
                json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
            let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
            let reply = cluster.send("POST", path, &all, body.to_string()).await;
            reply.expect(201).json()["status"]["userInfo"].clone()
        }
    };
    let account = who(vec![("impersonate-user", "system:serviceaccount:x:bot")]).await;
    assert_eq!(
        account,
        json!({"username": "system:serviceaccount:x:bot", "groups":
            ["system:serviceaccounts", "system:serviceaccounts:x", "system:authenticated"]})
    );
    let full = who(vec![
        ("impersonate-user", "bob"),
        ("impersonate-group", "ops"),
        ("impersonate-group", "dev"),
        ("impersonate-uid", "u-1"),
        ("impersonate-extra-acme.com%2fproject", "p"),
    ])
    .await;
    assert_eq!(
        full,
        json!({"username": "bob", "uid": "u-1", "groups": ["ops", "dev", "system:authenticated"],
               "extra": {"acme.com/project": ["p"]}})
    );
    // A group without a user is nobody.
    let lone: &[(&str, &str)] = &[("impersonate-group", "ops")];
    cluster.send("GET", PODS, lone, "").await.expect(500);

    // Ann may be nobody else, until she may be bob; but not with any group.
    let refused = cluster
        .send_as(Some(ann.clone()), "GET", PODS, as_bob, "")
        .await
        .expect(403);
    assert_eq!(
        refused.message(),
        "users \"bob\" is forbidden: User \"ann\" cannot impersonate resource \"users\" in API group \"\" \
         at the cluster scope"
    );
    let rules = json!([{"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"]}]);
    cluster
        .post(
            &format!("{RBAC}/clusterroles"),
            &role("ClusterRole", "be-bob", rules),
        )
        .await
        .expect(201);
    cluster.bind("", "be-bob", "ann").await;
    cluster
        .send_as(Some(ann.clone()), "GET", PODS, as_bob, "")
        .await
        .expect(200);
    let masters: &[(&str, &str)] = &[
        ("impersonate-user", "bob"),
        ("impersonate-group", "system:masters"),
    ];
    let refused = cluster
        .send_as(Some(ann.clone()), "GET", PODS, masters, "")
        .await
        .expect(403);
    assert!(
        refused
            .message()
            .starts_with("groups \"system:masters\" is forbidden"),
        "{}",
        refused.message()
    );
    for header in ["impersonate-uid", "impersonate-extra-scopes"] {
        let headers: &[(&str, &str)] = &[("impersonate-user", "bob"), (header, "x")];
        cluster
            .send_as(Some(ann.clone()), "GET", PODS, headers, "")
            .await
            .expect(403);
    }
    cluster
        .send_as(None, "GET", PODS, as_bob, "")
        .await
        .expect(401);
}

#[tokio::test]
async fn reviews_say_who_may_what() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &[]);
    cluster.bind("default", "view", "ann").await;
    let pods = |verb: &str, namespace: &str| json!({"resourceAttributes": {"verb": verb, "resource": "pods", "namespace": namespace}});
    let this = "SelfSubjectAccessReview";
    let by =
        "RBAC: allowed by RoleBinding \"ann-view/default\" of ClusterRole \"view\" to User \"ann\"";
    assert_eq!(
        cluster.review(&ann, this, pods("list", "default")).await,
        (true, by.to_owned())
    );
    assert_eq!(
        cluster.review(&ann, this, pods("create", "default")).await,
        (false, String::new())
    );
    assert_eq!(
        cluster.review(&ann, this, pods("list", "x")).await,
        (false, String::new())
    );
    let path = json!({"nonResourceAttributes": {"verb": "get", "path": "/apis/x"}});
    assert!(cluster.review(&ann, this, path).await.0);
    let admin = cluster.admin();
    assert!(cluster.review(&admin, this, pods("nothing", "")).await.0);

    // About others, for who may ask.
    let mut of_ann = pods("list", "default");
    of_ann["user"] = "ann".into();
    assert!(
        cluster
            .review(&admin, "SubjectAccessReview", of_ann.clone())
            .await
            .0
    );
    let body = json!({"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": of_ann});
    cluster
        .post_as(&ann, &format!("{REVIEWS}/subjectaccessreviews"), &body)
        .await
        .expect(403);
    let local = format!("{REVIEWS}/namespaces/default/localsubjectaccessreviews");
    let body = json!({"kind": "LocalSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": of_ann});
    let reply = cluster.post(&local, &body).await.expect(201).json();
    assert_eq!(reply["status"]["allowed"], true);
    let mut elsewhere = body.clone();
    elsewhere["spec"]["resourceAttributes"]["namespace"] = "x".into();
    let refused = cluster.post(&local, &elsewhere).await.expect(422).message();
    assert!(
        refused.contains("must match metadata.namespace"),
        "{refused}"
    );
    let empty =
        json!({"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": {}});
    let refused = cluster
        .post(&format!("{REVIEWS}/subjectaccessreviews"), &empty)
        .await
        .expect(422)
        .message();
    assert!(
        refused.contains(
            "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        ),
        "{refused}"
    );
    assert!(
        refused.contains("at least one of user or group must be specified"),
        "{refused}"
    );

    // Everything at once.
    let path = format!("{REVIEWS}/selfsubjectrulesreviews");
    let body = json!({"kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1", "spec": {"namespace": "default"}});
    let status = cluster.post_as(&ann, &path, &body).await.expect(201).json()["status"].clone();
    assert_eq!(status["incomplete"], false);
    let rules = status["resourceRules"].as_array().unwrap();
    assert!(
        rules.iter().any(|r| r["resources"]
            .as_array()
            .unwrap()
            .contains(&json!("pods/log"))),
        "{status}"
    );
    assert!(
        status["nonResourceRules"]
            .as_array()
            .unwrap()
            .iter()
            .any(|r| r["nonResourceURLs"][0] == "/api")
    );
    let nowhere = json!({"kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1", "spec": {}});
    cluster.post_as(&ann, &path, &nowhere).await.expect(400);
}
