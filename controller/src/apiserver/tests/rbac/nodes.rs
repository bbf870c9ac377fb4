//! What a node sees and writes.

use super::*;

#[tokio::test]
async fn a_node_sees_and_writes_its_own() {
    let cluster = Cluster::start().await;
    let pi = board(&cluster, "pi-1");
    for name in ["pi-1", "pi-2"] {
        let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}});
        cluster.post("/api/v1/nodes", &node).await.expect(201);
    }
    for name in ["mine", "other"] {
        let secret = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name}});
        cluster
            .post("/api/v1/namespaces/default/secrets", &secret)
            .await
            .expect(201);
    }
    let none = "secrets \"mine\" is forbidden: User \"system:node:pi-1\" cannot get resource \"secrets\" in API \
                group \"\" in the namespace \"default\": no relationship found between node 'pi-1' and this object";
    let mine = "/api/v1/namespaces/default/secrets/mine";
    assert_eq!(cluster.get_as(&pi, mine).await.expect(403).message(), none);
    for (name, node) in [("here", "pi-1"), ("there", "pi-2")] {
        let mut pod = pod(name);
        pod["spec"]["nodeName"] = node.into();
        if name == "here" {
            let from = json!([{"secretRef": {"name": "mine"}}]);
            pod["spec"]["containers"][0]["envFrom"] = from;
        }
        cluster.post(PODS, &pod).await.expect(201);
    }
    let codes = [
        (mine, 200),
        ("/api/v1/namespaces/default/secrets/other", 403),
        ("/api/v1/namespaces/default/secrets", 403),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dpi-1", 200),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dpi-2", 403),
        ("/api/v1/pods", 403),
        ("/api/v1/namespaces/default/pods/here", 200),
        ("/api/v1/namespaces/default/pods/there", 403),
        ("/api/v1/nodes/pi-1", 200),
        ("/api/v1/nodes/pi-2", 403),
        ("/api/v1/services", 200),
        (DEPLOYMENTS, 403),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", 403),
    ];
    for (path, code) in codes {
        let reply = cluster.get_as(&pi, path).await;
        assert_eq!(reply.code, code, "{path}: {}", reply.message());
    }
    let ready = json!({"status": {"phase": "Running"}});
    cluster
        .patch_as(&pi, &format!("{PODS}/here/status"), &ready)
        .await
        .expect(200);
    assert_eq!(
        cluster
            .patch_as(&pi, &format!("{PODS}/there/status"), &ready)
            .await
            .expect(403)
            .message(),
        "pods \"there\" is forbidden: node \"pi-1\" can only update pod status for pods with spec.nodeName set to itself"
    );
    let label = |key: &str| json!({"metadata": {"labels": {key: "x"}}});
    let own = "/api/v1/nodes/pi-1";
    cluster
        .patch_as(&pi, own, &label("example.com/a"))
        .await
        .expect(200);
    assert_eq!(
        cluster
            .patch_as(&pi, own, &label("node-restriction.kubernetes.io/a"))
            .await
            .expect(403)
            .message(),
        "nodes \"pi-1\" is forbidden: is not allowed to modify labels: node-restriction.kubernetes.io/a"
    );
    cluster
        .patch_as(&pi, "/api/v1/nodes/pi-2", &label("example.com/a"))
        .await
        .expect(403);
    cluster
        .patch_as(
            &pi,
            "/api/v1/nodes/pi-2/status",
            &json!({"status": {"phase": "x"}}),
        )
        .await
        .expect(403);
    cluster
        .send_as(
            Some(pi.clone()),
            "DELETE",
            &format!("{PODS}/there"),
            &[],
            "",
        )
        .await
        .expect(403);
    cluster.post_as(&pi, PODS, &pod("own")).await.expect(403);
    // The pod goes, and with it the right.
    let at_once = json!({"gracePeriodSeconds": 0});
    cluster
        .delete(&format!("{PODS}/here"), &at_once)
        .await
        .expect(200);
    cluster.get_as(&pi, mine).await.expect(403);
}
