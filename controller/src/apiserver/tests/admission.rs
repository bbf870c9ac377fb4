//! Admission over the wire: what a namespace's policies do to what people send.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::client::Cluster;

const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

fn pod(name: &str, resources: &Value) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name},
           "spec": {"containers": [{"name": "a", "image": "i:1", "resources": resources}]}})
}

fn service(name: &str, spec: &Value) -> Value {
    let mut service =
        json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec});
    if service["spec"].get("ports").is_none() {
        service["spec"]["ports"] = json!([{"port": 80}]);
    }
    service
}

fn quota(hard: &Value) -> Value {
    json!({"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "q"}, "spec": {"hard": hard}})
}

#[tokio::test]
async fn pods_get_what_the_cluster_adds() {
    let cluster = Cluster::start().await;
    let made = cluster
        .post(PODS, &pod("p", &json!({})))
        .await
        .expect(201)
        .json();
    let spec = &made["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["priority"], 0);
    assert_eq!(spec["preemptionPolicy"], "PreemptLowerPriority");
    let keys: Vec<&str> = spec["tolerations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["key"].as_str().unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unreachable"
        ]
    );
    // What was added is no obstacle to a later change.
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let path = format!("{PODS}/p");
    let reply = cluster
        .patch(&path, "merge-patch", &labels)
        .await
        .expect(200);
    assert_eq!(reply.json()["spec"], made["spec"]);
}

#[tokio::test]
async fn accounts_and_priorities_must_exist() {
    let cluster = Cluster::start().await;
    let mut other = pod("p", &json!({}));
    other["spec"]["serviceAccountName"] = json!("nobody");
    assert_eq!(
        cluster.post(PODS, &other).await.expect(403).message(),
        "pods \"p\" is forbidden: error looking up service account default/nobody: \
         serviceaccount \"nobody\" not found"
    );
    let mut urgent = pod("p", &json!({}));
    urgent["spec"]["priorityClassName"] = json!("urgent");
    assert_eq!(
        cluster.post(PODS, &urgent).await.expect(403).message(),
        "pods \"p\" is forbidden: no PriorityClass with name urgent was found"
    );
    let class = |name: &str| {
        json!({"kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1",
        "metadata": {"name": name}, "value": 1000, "globalDefault": true})
    };
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    cluster.post(classes, &class("urgent")).await.expect(201);
    let made = cluster.post(PODS, &urgent).await.expect(201).json();
    assert_eq!(made["spec"]["priority"], 1000);
    let made = cluster
        .post(PODS, &pod("q", &json!({})))
        .await
        .expect(201)
        .json();
    assert_eq!(
        made["spec"]["priorityClassName"], "urgent",
        "the default one"
    );
    assert_eq!(
        cluster
            .post(classes, &class("other"))
            .await
            .expect(403)
            .message(),
        "priorityclasses.scheduling.k8s.io \"other\" is forbidden: PriorityClass urgent is already \
         marked as default. Only one default can exist"
    );
}

#[tokio::test]
async fn limit_ranges_fill_in_and_refuse() {
    let cluster = Cluster::start().await;
    let range = json!({"kind": "LimitRange", "apiVersion": "v1", "metadata": {"name": "l"},
        "spec": {"limits": [{"type": "Container", "max": {"memory": "1Gi"},
                             "default": {"memory": "256Mi"}, "defaultRequest": {"memory": "64Mi"}}]}});
    cluster
        .post("/api/v1/namespaces/default/limitranges", &range)
        .await
        .expect(201);
    let big = pod("x", &json!({"limits": {"memory": "2Gi"}}));
    assert_eq!(
        cluster.post(PODS, &big).await.expect(403).message(),
        "pods \"x\" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi"
    );
    let made = cluster
        .post(PODS, &pod("p", &json!({})))
        .await
        .expect(201)
        .json();
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"limits": {"memory": "256Mi"}, "requests": {"memory": "64Mi"}})
    );
    assert_eq!(made["status"]["qosClass"], "Burstable");
}

#[tokio::test]
async fn quotas_hold_from_their_first_moment() {
    let cluster = Cluster::start().await;
    cluster
        .post(PODS, &pod("before", &json!({})))
        .await
        .expect(201);
    cluster
        .post(QUOTAS, &quota(&json!({"pods": "2"})))
        .await
        .expect(201);
    // A trial takes nothing.
    let trial = format!("{PODS}?dryRun=All");
    cluster
        .post(&trial, &pod("a", &json!({})))
        .await
        .expect(201);
    cluster
        .post(&trial, &pod("b", &json!({})))
        .await
        .expect(201);
    cluster.post(PODS, &pod("a", &json!({}))).await.expect(201);
    let stored = cluster.get(&format!("{QUOTAS}/q")).await.expect(200).json();
    assert_eq!(
        stored["status"],
        json!({"hard": {"pods": "2"}, "used": {"pods": "2"}})
    );
    let why = "pods \"b\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2";
    assert_eq!(
        cluster
            .post(PODS, &pod("b", &json!({})))
            .await
            .expect(403)
            .message(),
        why
    );
    assert_eq!(
        cluster
            .post(&trial, &pod("b", &json!({})))
            .await
            .expect(403)
            .message(),
        why
    );
}

#[tokio::test]
async fn containers_must_say_what_a_quota_limits() {
    let cluster = Cluster::start().await;
    let hard = json!({"requests.cpu": "1", "configmaps": "1"});
    cluster.post(QUOTAS, &quota(&hard)).await.expect(201);
    assert_eq!(
        cluster
            .post(PODS, &pod("p", &json!({})))
            .await
            .expect(403)
            .message(),
        "pods \"p\" is forbidden: failed quota: q: must specify requests.cpu for: a"
    );
    let map =
        |name: &str| json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}});
    let maps = "/api/v1/namespaces/default/configmaps";
    cluster.post(maps, &map("a")).await.expect(201);
    assert_eq!(
        cluster.post(maps, &map("b")).await.expect(403).message(),
        "configmaps \"b\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_places_are_taken_once() {
    let cluster = std::sync::Arc::new(Cluster::start().await);
    cluster
        .post(QUOTAS, &quota(&json!({"pods": "5"})))
        .await
        .expect(201);
    let one = |at: usize| {
        let cluster = cluster.clone();
        async move {
            cluster
                .post(PODS, &pod(&format!("p{at}"), &json!({})))
                .await
                .code
        }
    };
    let codes = futures_util::future::join_all((0..16).map(one)).await;
    let count = |code: u16| codes.iter().filter(|c| **c == code).count();
    assert_eq!((count(201), count(403)), (5, 11), "{codes:?}");
    let stored = cluster.get(&format!("{QUOTAS}/q")).await.expect(200).json();
    assert_eq!(stored["status"]["used"]["pods"], "5");
}

#[tokio::test]
async fn pod_security_by_label() {
    let cluster = Cluster::start().await;
    let label = |level: &str| json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
    let namespace = "/api/v1/namespaces/default";
    cluster
        .post(PODS, &pod("before", &json!({})))
        .await
        .expect(201);
    assert_eq!(
        cluster
            .patch(namespace, "merge-patch", &label("strict"))
            .await
            .expect(422)
            .message(),
        "Namespace \"default\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: \
         Invalid value: \"strict\": must be one of privileged, baseline, restricted"
    );
    let reply = cluster
        .patch(namespace, "merge-patch", &label("restricted"))
        .await
        .expect(200);
    let warnings = reply.warnings().join("\n");
    assert!(
        warnings.contains("existing pods in namespace \\\"default\\\" violate the new PodSecurity enforce level \\\"restricted:latest\\\""),
        "{warnings}"
    );
    assert!(
        warnings.contains("before: allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile"),
        "{warnings}"
    );
    let detail = "allowPrivilegeEscalation != false (container \"a\" must set \
         securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"a\" must \
         set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"a\" \
         must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"a\" must set \
         securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";
    assert_eq!(
        cluster
            .post(PODS, &pod("x", &json!({})))
            .await
            .expect(403)
            .message(),
        format!("pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": {detail}")
    );
    let deployment = json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "a", "image": "i:1"}]}}}});
    let reply = cluster
        .post("/apis/apps/v1/namespaces/default/deployments", &deployment)
        .await
        .expect(201);
    let warnings = reply.warnings().join("\n").replace('\\', "");
    assert!(
        warnings.contains(&format!(
            "would violate PodSecurity \"restricted:latest\": {detail}"
        )),
        "{warnings}"
    );
}

#[tokio::test]
async fn services_get_addresses_and_ports() {
    let cluster = Cluster::start().await;
    let made = cluster
        .post(SERVICES, &service("a", &json!({"selector": {"a": "b"}})))
        .await
        .expect(201)
        .json();
    let address = made["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(address.starts_with("10.43."), "{address}");
    assert_eq!(made["spec"]["clusterIPs"], json!([address]));
    assert_eq!(made["spec"]["ipFamilies"], json!(["IPv4"]));
    let taken = service("b", &json!({"clusterIP": address}));
    let why = format!(
        "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"{address}\"]: failed to allocate IP \
         {address}: provided IP is already allocated"
    );
    assert_eq!(
        cluster.post(SERVICES, &taken).await.expect(422).message(),
        why
    );
    let first = service("b", &json!({"clusterIP": "10.43.0.1"}));
    let message = cluster.post(SERVICES, &first).await.expect(422).message();
    assert!(
        message.ends_with("failed to allocate IP 10.43.0.1: provided IP is already allocated"),
        "{message}"
    );
    // Released with the Service.
    cluster
        .delete(&format!("{SERVICES}/a"), &json!({}))
        .await
        .expect(200);
    cluster.post(SERVICES, &taken).await.expect(201);

    let open = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]});
    cluster
        .post(SERVICES, &service("c", &open))
        .await
        .expect(201);
    assert_eq!(
        cluster
            .post(SERVICES, &service("d", &open))
            .await
            .expect(422)
            .message(),
        "Service \"d\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"
    );
    let plain = json!({"spec": {"type": "ClusterIP"}});
    let path = format!("{SERVICES}/c");
    let changed = cluster
        .patch(&path, "merge-patch", &plain)
        .await
        .expect(200)
        .json();
    assert_eq!(changed["spec"]["ports"][0].get("nodePort"), None);
    cluster
        .post(SERVICES, &service("d", &open))
        .await
        .expect(201);
}

#[tokio::test]
async fn a_trial_allots_nothing_for_good() {
    let cluster = Cluster::start().await;
    let trial = format!("{SERVICES}?dryRun=All");
    let asked = service("a", &json!({"clusterIP": "10.43.7.7"}));
    cluster.post(&trial, &asked).await.expect(201);
    cluster.post(&trial, &asked).await.expect(201);
    cluster.post(SERVICES, &asked).await.expect(201);
    // One that fails later gives back what it was promised.
    let twice = service("a", &json!({"clusterIP": "10.43.7.8"}));
    cluster.post(SERVICES, &twice).await.expect(409);
    cluster
        .post(SERVICES, &service("b", &json!({"clusterIP": "10.43.7.8"})))
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_is_given_out_twice() {
    let cluster = std::sync::Arc::new(Cluster::start().await);
    let one = |at: usize| {
        let cluster = cluster.clone();
        async move {
            let spec = json!({"type": "NodePort"});
            let reply = cluster
                .post(SERVICES, &service(&format!("s{at}"), &spec))
                .await;
            let made = reply.expect(201).json();
            (
                made["spec"]["clusterIP"].to_string(),
                made["spec"]["ports"][0]["nodePort"].to_string(),
            )
        }
    };
    let made = futures_util::future::join_all((0..24).map(one)).await;
    let addresses: BTreeSet<&String> = made.iter().map(|(address, _)| address).collect();
    let ports: BTreeSet<&String> = made.iter().map(|(_, port)| port).collect();
    assert_eq!((addresses.len(), ports.len()), (24, 24));
    let same = |at: usize| {
        let cluster = cluster.clone();
        async move {
            let spec = json!({"clusterIP": "10.43.9.9"});
            cluster
                .post(SERVICES, &service(&format!("t{at}"), &spec))
                .await
                .code
        }
    };
    let codes = futures_util::future::join_all((0..8).map(same)).await;
    assert_eq!(
        codes.iter().filter(|code| **code == 201).count(),
        1,
        "{codes:?}"
    );
}

#[tokio::test]
async fn namespaces_that_hold_the_cluster_stay() {
    let cluster = Cluster::start().await;
    for name in ["default", "kube-system", "kube-public"] {
        let path = format!("/api/v1/namespaces/{name}");
        assert_eq!(
            cluster
                .delete(&path, &json!({}))
                .await
                .expect(403)
                .message(),
            format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted")
        );
    }
    let reply = cluster
        .post("/api/v1/namespaces/nowhere/pods", &pod("p", &json!({})))
        .await;
    assert_eq!(
        reply.expect(404).message(),
        "namespaces \"nowhere\" not found"
    );
    let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "going"}});
    cluster
        .post("/api/v1/namespaces", &namespace)
        .await
        .expect(201);
    cluster
        .delete("/api/v1/namespaces/going", &json!({}))
        .await
        .expect(200);
    assert_eq!(
        cluster
            .post("/api/v1/namespaces/going/pods", &pod("p", &json!({})))
            .await
            .expect(403)
            .message(),
        "pods \"p\" is forbidden: unable to create new content in namespace going because it is being terminated"
    );
}
