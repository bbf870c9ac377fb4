//! Writes that need more than their own right: nobody hands on what they do not have.

use super::*;

#[tokio::test]
async fn a_binding_to_a_role_that_is_not_there_is_told() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &[]);
    cluster.bind("default", "nothing", "ann").await;
    assert_eq!(
        cluster.get_as(&ann, PODS).await.expect(403).message(),
        "pods is forbidden: User \"ann\" cannot list resource \"pods\" in API group \"\" in the namespace \
         \"default\": RBAC: clusterrole.rbac.authorization.k8s.io \"nothing\" not found"
    );
}

#[tokio::test]
async fn an_object_that_a_put_makes_needs_the_right_to_create() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &[]);
    let rules = json!([{"verbs": ["get", "update"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}]);
    let path = format!("{RBAC}/clusterroles");
    cluster
        .post(&path, &role("ClusterRole", "updater", rules))
        .await
        .expect(201);
    cluster.bind("default", "updater", "ann").await;
    let lease = json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "l"}, "spec": {}});
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let reply = cluster.put_as(&ann, path, &lease).await;
    assert!([403, 404].contains(&reply.code), "{}", reply.code);
}

#[tokio::test]
async fn nobody_hands_on_what_they_do_not_have() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &["people"]);
    cluster.bind("default", "admin", "ann").await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    let own = role("Role", "own", json!([on(&["get"], &["pods"])]));
    cluster.post_as(&ann, &roles, &own).await.expect(201);
    let nodes = role("Role", "nodes", json!([on(&["list", "get"], &["nodes"])]));
    let refused = cluster.post_as(&ann, &roles, &nodes).await.expect(403);
    let missing = "is attempting to grant RBAC permissions not currently held:\n\
                   {APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"list\" \"get\"]}";
    assert_eq!(
        refused.message(),
        format!(
            "roles.rbac.authorization.k8s.io \"nodes\" is forbidden: user \"ann\" \
             (groups=[\"people\" \"system:authenticated\"]) {missing}"
        )
    );
    // Nor by changing one, by patch or by PUT.
    let path = format!("{roles}/own");
    let more = json!({"rules": [on(&["get"], &["nodes"])]});
    cluster.patch_as(&ann, &path, &more).await.expect(403);
    cluster
        .put_as(&ann, &path, &role("Role", "own", more["rules"].clone()))
        .await
        .expect(403);
    // Nor by binding.
    let to_all = binding("RoleBinding", "b", "ClusterRole", "cluster-admin", "ann");
    let refused = cluster
        .post_as(&ann, &bindings("default"), &to_all)
        .await
        .expect(403)
        .message();
    assert!(
        refused
            .starts_with("rolebindings.rbac.authorization.k8s.io \"b\" is forbidden: user \"ann\""),
        "{refused}"
    );
    let to_none = binding("RoleBinding", "b", "ClusterRole", "none", "ann");
    let refused = cluster
        .post_as(&ann, &bindings("default"), &to_none)
        .await
        .expect(404)
        .message();
    assert_eq!(
        refused,
        "clusterroles.rbac.authorization.k8s.io \"none\" not found"
    );
    let to_view = binding("RoleBinding", "b", "ClusterRole", "view", "bob");
    cluster
        .post_as(&ann, &bindings("default"), &to_view)
        .await
        .expect(201);
    // Cluster roles are not a namespace administrator's.
    let any = role("ClusterRole", "any", json!([]));
    cluster
        .post_as(&ann, &format!("{RBAC}/clusterroles"), &any)
        .await
        .expect(403);

    // Who may `bind` or `escalate` may.
    let group = json!(["rbac.authorization.k8s.io"]);
    let more = json!([
        {"verbs": ["bind"], "apiGroups": group, "resources": ["clusterroles"], "resourceNames": ["cluster-admin"]},
        {"verbs": ["escalate"], "apiGroups": group, "resources": ["roles"]},
    ]);
    cluster
        .post(
            &format!("{RBAC}/clusterroles"),
            &role("ClusterRole", "more", more),
        )
        .await
        .expect(201);
    cluster.bind("default", "more", "ann").await;
    cluster.post_as(&ann, &roles, &nodes).await.expect(201);
    let mut to_all = to_all;
    to_all["metadata"]["name"] = "all".into();
    cluster
        .post_as(&ann, &bindings("default"), &to_all)
        .await
        .expect(201);
    // Everything in a namespace is not everything.
    cluster.get_as(&ann, "/api/v1/nodes").await.expect(403);
    cluster
        .get_as(&ann, "/api/v1/namespaces/default/secrets")
        .await
        .expect(200);
}

#[tokio::test]
async fn only_who_has_everything_gathers_roles() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &[]);
    let path = format!("{RBAC}/clusterroles");
    let all =
        json!([{"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"]}]);
    let mut manager = role("ClusterRole", "manager", all);
    // `*` would be `escalate` as well.
    manager["rules"][0]["verbs"] = json!(["get", "create", "update", "patch", "delete"]);
    cluster.post(&path, &manager).await.expect(201);
    cluster.bind("", "manager", "ann").await;
    let mut gathers = role("ClusterRole", "gathers", json!([]));
    cluster.post_as(&ann, &path, &gathers).await.expect(201);
    gathers["metadata"]["name"] = "more".into();
    gathers["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
    assert_eq!(
        cluster
            .post_as(&ann, &path, &gathers)
            .await
            .expect(403)
            .message(),
        "clusterroles.rbac.authorization.k8s.io \"more\" is forbidden: must have cluster-admin privileges \
         to use the aggregationRule"
    );
    // Loosening or dropping one is the same.
    let drop = json!({"aggregationRule": null, "rules": []});
    cluster
        .patch_as(&ann, &format!("{path}/edit"), &drop)
        .await
        .expect(403);
}
