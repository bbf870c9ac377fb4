//! Unclaimed pods that a person keeps: made again of what their node says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bramble_api::status::Status;
use bramble_controller_core::document;
use bramble_wire::name::NodeName;
use bramble_wire::object::{
    ConfigMap, Container, EnvFrom, EnvFromSource, Object, ObjectId, ObjectName, Pod, PodUid, Stop,
};
use bramble_wire::stream::{Out, What};
use futures_util::future::BoxFuture;

use super::*;
use crate::apiserver::{Limits, LogRequest, LogStream, NodeStream, PodLogs};
use crate::nodelink::released;
use crate::nodelink::standing::{Standing, Unclaimed};
use crate::nodelink::streams::Streams;
use crate::store::{Key, MemoryStore, Store as _};

const ADOPT: &str = "/bramble/v1/standing/adopt";

/// One node with these objects.
struct Node {
    standing: Arc<Standing>,
    objects: BTreeMap<ObjectId, Vec<u8>>,
}

fn pi() -> NodeName {
    NodeName::new("pi-2").unwrap()
}

impl PodLogs for Node {
    fn open(&self, _: LogRequest) -> BoxFuture<'static, Result<LogStream, Status>> {
        Box::pin(async { Err(Status::unavailable("no logs here")) })
    }

    fn standing(&self) -> Arc<Standing> {
        self.standing.clone()
    }

    fn stream(&self, node: &str, what: What) -> BoxFuture<'static, Result<NodeStream, Status>> {
        assert_eq!(node, "pi-2");
        let What::Object(id) = what else {
            panic!("{what:?}");
        };
        let bytes = self.objects.get(&id).cloned().unwrap_or_default();
        let mut streams = Streams::new(1, Arc::default());
        let (id, writer, reader) = streams.open(&pi(), false, Instant::now()).unwrap();
        let end = bytes.len() as u64;
        streams.handle_out(&pi(), id, Out::Ready);
        streams.handle_out(&pi(), id, Out::Data { offset: 0, bytes });
        let error = None;
        streams.handle_out(&pi(), id, Out::End { offset: end, error });
        Box::pin(async move { Ok((writer, reader)) })
    }
}

fn name(of: &str) -> ObjectName {
    ObjectName {
        namespace: "default".into(),
        name: of.into(),
    }
}

fn web(number: u8) -> Pod {
    let from = |source| EnvFrom {
        prefix: String::new(),
        source,
        optional: false,
    };
    let maps = ["page", "gone"].map(|map| from(EnvFromSource::ConfigMap(map.into())));
    let secrets = ["here", "lost"].map(|secret| from(EnvFromSource::Secret(secret.into())));
    let container = Container {
        name: "c".into(),
        image: "registry.example/shop:v7".into(),
        env_from: maps.into_iter().chain(secrets).collect(),
        termination_message_path: "/dev/termination-log".into(),
        security: bramble_wire::object::Security {
            allow_privilege_escalation: true,
            ..Default::default()
        },
        ..Container::default()
    };
    Pod {
        uid: PodUid([number; 16]),
        name: name(&format!("web-{number}")),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        hostname: format!("web-{number}"),
        termination_grace_s: 30,
        service_account: "robot".into(),
        containers: vec![container],
        ..Pod::default()
    }
}

fn unclaimed(pod: &Pod) -> Unclaimed {
    Unclaimed {
        node: pi(),
        uid: pod.uid,
        name: Some(pod.name.clone()),
        images: Vec::new(),
        phase: Default::default(),
        since: Default::default(),
    }
}

async fn cluster(pods: &[Pod]) -> (Cluster, MemoryStore) {
    let mut objects = BTreeMap::new();
    let mut add = |id: ObjectId, object: Object| {
        objects.insert(id, bramble_wire::encode(&object));
    };
    for pod in pods {
        add(ObjectId::Pod(pod.uid), Object::Pod(pod.clone()));
    }
    let page = ConfigMap {
        name: name("page"),
        data: [("index.html".to_owned(), b"hello".to_vec())].into(),
    };
    add(ObjectId::ConfigMap(name("page")), Object::ConfigMap(page));
    let standing = Standing {
        epoch: 8,
        confirmed: 7,
        unclaimed: Arc::new(pods.iter().map(unclaimed).collect()),
        unclaimed_total: pods.len(),
        ..Standing::default()
    };
    let node = Node {
        standing: Arc::new(standing),
        objects,
    };
    let store = MemoryStore::default();
    let cluster = Cluster::with(store.clone(), Limits::default(), Arc::new(node)).await;
    (cluster, store)
}

fn asked(pods: &[Pod]) -> Value {
    let pod = |pod: &Pod| json!({"node": "pi-2", "uid": pod.uid.to_string()});
    json!({"epoch": 8, "pods": pods.iter().map(pod).collect::<Vec<_>>()})
}

#[tokio::test]
async fn a_pod_is_made_again_as_its_node_has_it() {
    let pod = web(1);
    let (cluster, store) = cluster(std::slice::from_ref(&pod)).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "here"}});
    let secrets = "/api/v1/namespaces/default/secrets";
    cluster.post(secrets, &secret).await.expect(201);
    let reply = cluster
        .post(ADOPT, &asked(std::slice::from_ref(&pod)))
        .await;
    let told = json!({"pods": [{
        "node": "pi-2", "uid": pod.uid.to_string(), "name": "default/web-1", "error": "",
        "configMaps": ["page"], "secrets": ["here"], "serviceAccount": "robot",
        "missing": ["serviceaccount/robot", "configmap/gone", "secret/lost"],
    }]});
    assert_eq!(reply.expect(200).json(), told);

    let made = cluster
        .get(&format!("{PODS}/web-1"))
        .await
        .expect(200)
        .json();
    assert_eq!(made["metadata"]["uid"], pod.uid.to_string());
    assert_eq!(made["spec"]["nodeName"], "pi-2");
    assert_eq!(made["status"]["phase"], "Pending");
    let annotations = json!({"bramble.dev/adopted-from": "pi-2"});
    assert_eq!(made["metadata"]["annotations"], annotations);
    let stored = store
        .get(&Key::new("", "pods", "default", "web-1"))
        .unwrap();
    let stored = serde_json::from_slice(&stored.json).unwrap();
    let told = document::compile_pod(&stored).unwrap();
    let annotations = told.annotations.clone();
    assert_eq!(
        told,
        Pod {
            annotations,
            ..pod.clone()
        },
        "its node finds nothing to do"
    );
    let page = cluster
        .get(&format!("{CONFIG_MAPS}/page"))
        .await
        .expect(200);
    assert_eq!(page.json()["data"], json!({"index.html": "hello"}));

    // The standing of this test does not move on: a second time it is there.
    let reply = cluster
        .post(ADOPT, &asked(std::slice::from_ref(&pod)))
        .await;
    let told = reply.expect(200).json();
    let why = told["pods"][0]["error"].as_str().unwrap();
    assert!(why.contains("another pod of this name"), "{told}");
}

#[tokio::test]
async fn a_config_map_that_is_there_stays_as_it_is() {
    let pod = web(1);
    let (cluster, _) = cluster(std::slice::from_ref(&pod)).await;
    cluster
        .post(CONFIG_MAPS, &config_map("page"))
        .await
        .expect(201);
    let reply = cluster.post(ADOPT, &asked(&[pod])).await;
    let told = reply.expect(200).json();
    assert_eq!(told["pods"][0]["error"], "");
    assert_eq!(told["pods"][0]["configMaps"], json!([]));
    let page = cluster.get(&format!("{CONFIG_MAPS}/page")).await.json();
    assert_eq!(page["data"], json!({"a": "1"}));
}

#[tokio::test]
async fn one_that_can_not_be_adopted_holds_up_no_other() {
    let mut pods = [web(1), web(2), web(3), web(4), web(5)];
    pods[0].stop = Some(Stop { grace_s: 1 });
    pods[1].name.namespace = "shop".into();
    // As nobody could have made it.
    pods[2].containers[0].termination_message_path = String::new();
    let (cluster, store) = cluster(&pods).await;
    let let_go = [(pi(), pods[3].uid)].into();
    released::release(&store, &let_go)
        .unwrap()
        .durable()
        .await
        .unwrap();
    let told = cluster.post(ADOPT, &asked(&pods)).await.expect(200).json();
    let whys = [
        "being stopped",
        "kubectl create namespace shop",
        "as it is",
        "let go before",
        "",
    ];
    for (pod, why) in told["pods"].as_array().unwrap().iter().zip(whys) {
        let error = pod["error"].as_str().unwrap();
        assert!(
            error.contains(why) && error.is_empty() == why.is_empty(),
            "{why}: {error}"
        );
    }
    let left = cluster.get(PODS).await.json();
    let names: Vec<_> = (left["items"].as_array().unwrap().iter())
        .map(|pod| pod["metadata"]["name"].clone())
        .collect();
    assert_eq!(json!(names), json!(["web-5"]));
}

#[tokio::test]
async fn only_what_is_unclaimed_and_only_for_administrators() {
    let pod = web(1);
    let (cluster, _) = cluster(std::slice::from_ref(&pod)).await;
    let one = json!({"node": "pi-2", "uid": pod.uid.to_string()});
    let many = vec![one.clone(); 65];
    for (body, code) in [
        (json!({"epoch": 7, "pods": [one]}), 409),
        (json!({"epoch": 8}), 400),
        (json!({"epoch": 8, "pods": []}), 400),
        (json!({"epoch": 8, "pods": many}), 400),
        (json!({"epoch": 8, "pods": [one], "force": true}), 400),
        (
            json!({"epoch": 8, "pods": [{"node": "pi-1", "uid": pod.uid.to_string()}]}),
            404,
        ),
        (
            json!({"epoch": 8, "pods": [{"node": "pi-2", "uid": "x"}]}),
            404,
        ),
    ] {
        let reply = cluster.post(ADOPT, &body).await;
        assert_eq!(reply.code, code, "{body}");
    }
    cluster.get(ADOPT).await.expect(405);
    let headers = [("impersonate-user", "ann")];
    let body = asked(&[pod]).to_string();
    cluster
        .send("POST", ADOPT, &headers, body)
        .await
        .expect(403);
}
