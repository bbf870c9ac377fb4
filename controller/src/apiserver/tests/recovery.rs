//! What a person sees and decides after the store was set back.

use std::sync::{Arc, Mutex};

use bramble_api::status::Status;
use bramble_wire::name::NodeName;
use bramble_wire::object::{ObjectName, PodUid};
use bramble_wire::report::{Phase, UnixMs};
use bramble_wire::version::Boot;
use futures_util::future::BoxFuture;

use super::*;
use crate::apiserver::{Limits, LogRequest, LogStream, PodLogs};
use crate::nodelink::released;
use crate::nodelink::standing::{self, Standing, Unclaimed};
use crate::store::{Key, MemoryStore, Store as _};

const STANDING: &str = "/bramble/v1/standing";
const RELEASE: &str = "/bramble/v1/standing/release";

/// A node link that says how the cluster stands.
#[derive(Default)]
struct Nodes(Mutex<Arc<Standing>>);

impl PodLogs for Nodes {
    fn open(&self, _: LogRequest) -> BoxFuture<'static, Result<LogStream, Status>> {
        Box::pin(async { Err(Status::unavailable("no logs here")) })
    }

    fn standing(&self) -> Arc<Standing> {
        self.0.lock().unwrap().clone()
    }
}

fn unclaimed(number: u8, name: Option<&str>) -> Unclaimed {
    Unclaimed {
        node: NodeName::new("pi-2").unwrap(),
        uid: PodUid([number; 16]),
        name: name.map(|name| ObjectName {
            namespace: "shop".into(),
            name: name.into(),
        }),
        images: vec!["registry.example/shop:v7".into()],
        phase: Phase::Running,
        since: UnixMs(1_800_000_000_000),
    }
}

fn uid(number: u8) -> String {
    PodUid([number; 16]).to_string()
}

async fn cluster() -> (Cluster, MemoryStore) {
    cluster_with(false).await
}

async fn cluster_with(yielded: bool) -> (Cluster, MemoryStore) {
    let rival = yielded.then(|| standing::Rival {
        goes_on: true,
        epoch: 8,
        boot: Boot(9),
        last: bramble_api::time::Timestamp::from_seconds(1_800_000_000),
    });
    let standing = Standing {
        epoch: 8,
        confirmed: 7,
        waiting_for: vec![NodeName::new("pi-3").unwrap()],
        waiting: 1,
        unclaimed: Arc::new(vec![unclaimed(1, Some("web")), unclaimed(2, None)]),
        unclaimed_total: 2,
        braked: true,
        duplicates: Arc::default(),
        rival,
        clear: false,
    };
    let nodes = Nodes(Mutex::new(Arc::new(standing)));
    let store = MemoryStore::default();
    let cluster = Cluster::with(store.clone(), Limits::default(), Arc::new(nodes)).await;
    (cluster, store)
}

#[tokio::test]
async fn it_says_who_is_waited_for_and_what_is_unclaimed() {
    let (cluster, _) = cluster().await;
    let found = cluster.get(STANDING).await.expect(200).json();
    let pod = json!({
        "node": "pi-2", "uid": uid(1), "namespace": "shop", "name": "web", "phase": "Running",
        "images": ["registry.example/shop:v7"], "since": "2027-01-15T08:00:00Z", "released": false,
    });
    assert_eq!(found["unclaimed"][0], pod);
    assert_eq!(found["unclaimed"][1]["name"], "");
    let rest = [
        "epoch",
        "confirmed",
        "waitingFor",
        "waiting",
        "unclaimedTotal",
        "strangers",
        "braked",
    ];
    let rest: Vec<&Value> = rest.iter().map(|field| &found[field]).collect();
    assert_eq!(json!(rest), json!([8, 7, ["pi-3"], 1, 2, [], true]));
    cluster.post(STANDING, &json!({})).await.expect(405);
    let headers = [("impersonate-user", "ann")];
    let seen = cluster.send("GET", STANDING, &headers, "").await;
    seen.expect(403);
}

#[tokio::test]
async fn a_controller_that_has_yielded_only_answers_what_is_asked() {
    let (cluster, _) = cluster_with(true).await;
    let found = cluster.get(STANDING).await.expect(200).json();
    assert_eq!(found["rival"]["goesOn"], true);
    assert_eq!(found["rival"]["boot"], 9);
    cluster
        .get("/api/v1/namespaces/kube-system")
        .await
        .expect(200);
    let ready = cluster.get("/readyz").await;
    let ready = ready.expect(500);
    let told = String::from_utf8_lossy(&ready.body);
    assert!(told.contains("[-]identity failed"), "{told}");
    cluster.get("/livez").await.expect(200);
    let all = json!({"epoch": 8, "all": true});
    cluster.post(RELEASE, &all).await.expect(503);
    let map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}});
    let maps = "/api/v1/namespaces/default/configmaps";
    cluster.post(maps, &map).await.expect(503);
}

#[tokio::test]
async fn a_pod_is_let_go_durably_and_only_one_that_is_there() {
    let (cluster, store) = cluster().await;
    let pods = |pods: Value| json!({"epoch": 8, "pods": pods});
    let one = json!({"node": "pi-2", "uid": uid(1)});
    for (body, code) in [
        (json!({"epoch": 7, "pods": [one]}), 409),
        (json!({"epoch": 7, "all": true}), 409),
        (json!({"epoch": 8}), 400),
        (json!({"epoch": 8, "pods": [one], "all": true}), 400),
        (json!({"epoch": 8, "pods": [one], "force": true}), 400),
        (json!([]), 400),
        (pods(json!([{"node": "pi-2", "uid": uid(9)}])), 404),
        (pods(json!([one, {"node": "pi-1", "uid": uid(2)}])), 404),
        (pods(json!([{"node": "pi-2", "uid": "x"}])), 404),
    ] {
        let reply = cluster.post(RELEASE, &body).await;
        assert_eq!(reply.code, code, "{body}");
    }
    assert!(released::uids(&store).unwrap().is_empty());
    let reply = cluster.post(RELEASE, &pods(json!([one, one]))).await;
    assert_eq!(reply.expect(200).json(), json!({"pods": 1}));
    let found = released::uids(&store).unwrap();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [PodUid([1; 16])]);
    let found = cluster.get(STANDING).await.json();
    assert_eq!(found["unclaimed"][0]["released"], true);
    assert_eq!(found["unclaimed"][1]["released"], false);
    cluster.get(RELEASE).await.expect(405);
}

#[tokio::test]
async fn all_of_them_are_let_go_by_confirming_the_epoch() {
    let (cluster, store) = cluster().await;
    let all = json!({"epoch": 8, "all": true});
    cluster.post(RELEASE, &all).await.expect(200);
    let namespace = cluster.get("/api/v1/namespaces/kube-system").await.json();
    let annotations = &namespace["metadata"]["annotations"];
    assert_eq!(annotations["bramble.dev/confirmed-epoch"], "8");
    let key = Key::new("", "namespaces", "", "kube-system");
    assert!(store.get(&key).is_some());
}
