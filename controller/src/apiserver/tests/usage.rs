//! What nodes and pods use, as clients see it.

use bramble_wire::name::NodeName;
use bramble_wire::object::PodUid;
use bramble_wire::report::{Amounts, PodUsage, UnixMs, Usage};

use super::*;
use crate::store::Key;

const GROUP: &str = "/apis/metrics.k8s.io/v1beta1";

fn amounts(cpu_milli: u64, memory_mib: u64) -> Amounts {
    Amounts {
        cpu_nano: cpu_milli * 1_000_000,
        memory_bytes: memory_mib << 20,
    }
}

/// A node `n1` that measured itself and the pod `default/web` with two containers.
async fn measured() -> Cluster {
    let cluster = Cluster::start().await;
    let node = json!({"kind": "Node", "apiVersion": "v1",
        "metadata": {"name": "n1", "labels": {"site": "a"}}});
    cluster.post("/api/v1/nodes", &node).await.expect(201);
    let pod = json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}});
    let pods = "/api/v1/namespaces/default/pods";
    let pod = cluster.post(pods, &pod).await.expect(201).json();
    let uid = PodUid::parse(pod["metadata"]["uid"].as_str().unwrap()).unwrap();
    let usage = Usage {
        at: UnixMs(crate::object::now().seconds * 1000),
        window_ms: 15_016,
        node: amounts(250, 300),
        pods: vec![
            PodUsage {
                uid,
                containers: vec![("a".into(), amounts(5, 10)), ("b".into(), amounts(1, 2))],
            },
            PodUsage {
                uid: PodUid([9; 16]),
                containers: vec![("c".into(), amounts(9, 9))],
            },
        ],
    };
    let key = Key::new("", "pods", "default", "web");
    let of = |asked: &PodUid| (*asked == uid).then_some(&key);
    let node = NodeName::new("n1").unwrap();
    cluster.usage.set(&node, usage, of, crate::object::now());
    cluster
}

#[tokio::test]
async fn what_is_used_is_served_as_metrics_server_does() {
    let cluster = measured().await;
    let list = cluster
        .get(&format!("{GROUP}/nodes"))
        .await
        .expect(200)
        .json();
    assert_eq!(list["kind"], "NodeMetricsList");
    assert_eq!(list["apiVersion"], "metrics.k8s.io/v1beta1");
    let node = &list["items"][0];
    assert_eq!(node["metadata"]["name"], "n1");
    assert_eq!(node["metadata"]["labels"], json!({"site": "a"}));
    assert_eq!(
        node["usage"],
        json!({"cpu": "250000000n", "memory": "307200Ki"})
    );
    assert_eq!(node["window"], "15.016s");
    assert!(node["timestamp"].as_str().unwrap().ends_with('Z'));

    let pods = cluster
        .get(&format!("{GROUP}/pods"))
        .await
        .expect(200)
        .json();
    assert_eq!(pods["items"].as_array().unwrap().len(), 1, "{pods}");
    let path = format!("{GROUP}/namespaces/default/pods/web");
    let pod = cluster.get(&path).await.expect(200).json();
    assert_eq!(
        (&pod["kind"], &pod["metadata"]["namespace"]),
        (&json!("PodMetrics"), &json!("default"))
    );
    assert_eq!(
        pod["containers"],
        json!([{"name": "a", "usage": {"cpu": "5000000n", "memory": "10240Ki"}},
            {"name": "b", "usage": {"cpu": "1000000n", "memory": "2048Ki"}}])
    );
    for (query, count) in [
        ("labelSelector=app%3Dweb", 1),
        ("labelSelector=app%3Dother", 0),
        ("fieldSelector=metadata.name%3Dweb", 1),
        ("fieldSelector=metadata.name%3Dx", 0),
    ] {
        let path = format!("{GROUP}/namespaces/default/pods?{query}");
        let list = cluster.get(&path).await.expect(200).json();
        assert_eq!(list["items"].as_array().unwrap().len(), count, "{query}");
    }
    let elsewhere = format!("{GROUP}/namespaces/kube-system/pods");
    let none = cluster.get(&elsewhere).await.expect(200).json();
    assert_eq!(none["items"], json!([]));
    let missing = cluster.get(&format!("{GROUP}/nodes/n2")).await.expect(404);
    assert_eq!(missing.message(), "nodes.metrics.k8s.io \"n2\" not found");
}

#[tokio::test]
async fn what_is_used_can_be_found_and_printed_and_not_written() {
    let cluster = measured().await;
    let groups = cluster.get("/apis").await.expect(200).json();
    let names = groups["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| g["name"].clone());
    assert!(names.into_iter().any(|name| name == "metrics.k8s.io"));
    let resources = cluster.get(GROUP).await.expect(200).json();
    assert_eq!(
        resources["resources"],
        json!([{"name": "nodes", "singularName": "", "namespaced": false, "kind": "NodeMetrics",
                "verbs": ["get", "list"]},
            {"name": "pods", "singularName": "", "namespaced": true, "kind": "PodMetrics",
                "verbs": ["get", "list"]}])
    );
    let document = "/openapi/v3/apis/metrics.k8s.io/v1beta1";
    let document = cluster.get(document).await.expect(200).json();
    let schemas = &document["components"]["schemas"];
    let named = "io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetricsList";
    assert!(schemas.get(named).is_some());

    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let headers = [("accept", table)];
    let path = format!("{GROUP}/pods");
    let table = cluster
        .send("GET", &path, &headers, bytes::Bytes::new())
        .await;
    let table = table.expect(200).json();
    assert_eq!(
        table["rows"][0]["cells"],
        json!(["web", "6m", "12Mi", "15.016s"])
    );

    let object = json!({"kind": "NodeMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {"name": "x"}});
    cluster
        .post(&format!("{GROUP}/nodes"), &object)
        .await
        .expect(405);
    cluster
        .get(&format!("{GROUP}/nodes?watch=true"))
        .await
        .expect(405);
    cluster
        .delete(&format!("{GROUP}/nodes/n1"), &json!({}))
        .await
        .expect(405);
}

#[tokio::test]
async fn a_pod_made_anew_under_the_name_has_used_nothing_yet() {
    let cluster = measured().await;
    let pod = "/api/v1/namespaces/default/pods/web";
    let now = json!({"gracePeriodSeconds": 0});
    cluster.delete(pod, &now).await.expect(200);
    let path = format!("{GROUP}/namespaces/default/pods");
    let list = cluster.get(&path).await.expect(200).json();
    assert_eq!(list["items"], json!([]));
}
