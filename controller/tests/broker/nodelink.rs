//! The node link over the embedded broker, with a node played by the test: it speaks the wire
//! protocol by hand, so that what is tested is what an agent would see.

pub(crate) mod board;
mod farewell;
mod streams;

use std::sync::Arc;

use bramble_api::view;
use bramble_controller::apiserver::{LogRequest, PodLogs};
use bramble_controller::join::{GROUP, NODE_KEYS, NodeKeys};
use bramble_controller::nodelink::{self, Common, NodeLink, Settings};
use bramble_controller::store::{Body, Durability, Expect, Key, MemoryStore, Op, Scope, Store};
use bramble_controller::tokens::{SigningKey as SigningKeyOfTokens, Tokens};
use bramble_link::tls::FloorClock;
use bramble_link::{Event, Options, Will};
use bramble_wire::document::Digest;
use bramble_wire::envelope::{self, KeyId, Message, Sequence};
use bramble_wire::message::{
    Answer, Ask, Birth, Body as ObjectBytes, ControllerState, Head, Life, Report, Request, Response,
};
use bramble_wire::name::NodeName;
use bramble_wire::object::{Object, ObjectId, PodUid};
use bramble_wire::report::{ContainerReport, ContainerState, NodeFacts, Phase, PodReport, UnixMs};
use bramble_wire::seal::SealingSecret;
use bramble_wire::stream::{In, Logs, Mark, Open, Out, Resume, What};
use bramble_wire::topic::{StreamId, Topic};
use bramble_wire::version::{Boot, HistoryId, Nonce, Version};
use bramble_wire::{SigningKey, VerifyingKey};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::bed::{Bed, PATIENCE, Peer, cluster};
use crate::real::Node;

use board::{Board, Speaker, n1};

const UID: &str = "00000000-0000-4000-8000-000000000001";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A cluster with one member, `n1`, and one pod on it.
pub(crate) struct World {
    pub(crate) bed: Bed,
    store: Arc<MemoryStore>,
    controller: SigningKey,
    node: SigningKey,
}

impl World {
    async fn new() -> World {
        World::on(Bed::embedded().await)
    }

    pub(crate) fn on(bed: Bed) -> World {
        let world = World {
            bed,
            store: Arc::default(),
            controller: SigningKey::from_bytes(&[1; 32]),
            node: SigningKey::from_bytes(&[2; 32]),
        };
        let (_, sealing) = SealingSecret::from_seed(&[3; 32]);
        let member = json!({
            "node": "n1",
            "certificate": hex(&[0; 32]),
            "identity": hex(world.node.verifying_key().as_bytes()),
            "sealing": hex(&sealing.0),
            "podCidr": "10.42.3.0/24",
            "index": 3,
            "token": "t",
        });
        world.put(Key::new(GROUP, NODE_KEYS, "", "n1"), member);
        world.put(
            Key::new("", "nodes", "", "n1"),
            json!({
                "kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1", "uid": "n"},
            }),
        );
        world.colour("blue");
        world.put(World::pod_key(), World::pod());
        world
    }

    /// What the pod's ConfigMap holds.
    pub(crate) fn colour(&self, colour: &str) {
        self.configure(&[("COLOUR", colour)]);
    }

    pub(crate) fn configure(&self, data: &[(&str, &str)]) {
        let data: Value = data.iter().map(|&(k, v)| (k, Value::from(v))).collect();
        self.put(
            Key::new("", "configmaps", "default", "settings"),
            json!({
                "kind": "ConfigMap", "apiVersion": "v1",
                "metadata": {"name": "settings", "namespace": "default", "uid": "c"},
                "data": data,
            }),
        );
    }

    /// The node itself, not one that the test plays.
    pub(crate) fn node(&self, boot: u64, adjust: impl FnOnce(&mut Options)) -> Node {
        let mut options = self.bed.node_options("n1", boot);
        adjust(&mut options);
        let controller = self.controller.verifying_key();
        Node::start(options, self.node.clone(), controller, boot)
    }

    /// Stops the broker hard, and the controller with it when it is the embedded one.
    pub(crate) async fn stop_broker(&mut self, link: NodeLink) -> Option<NodeLink> {
        let kept = match self.bed.is_embedded() {
            true => {
                link.stop().await;
                None
            }
            false => Some(link),
        };
        self.bed.stop().await;
        kept
    }

    /// Starts it again at the same address, with nothing stored.
    pub(crate) async fn start_broker(&mut self, link: Option<NodeLink>) -> NodeLink {
        self.bed.start().await;
        match link {
            Some(link) => link,
            None => self.start().await,
        }
    }

    /// A person confirms an epoch, as the controller's log says how.
    fn confirm(&self, epoch: u64) {
        let key = Key::new("", "namespaces", "", nodelink::control::CONFIRMED_ON);
        let annotations = json!({nodelink::control::CONFIRMED: epoch.to_string()});
        self.put(
            key,
            json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {
                "name": nodelink::control::CONFIRMED_ON, "uid": "s", "annotations": annotations,
            }}),
        );
    }

    fn pod_key() -> Key {
        Key::new("", "pods", "default", "web")
    }

    fn pod() -> Value {
        json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "web", "namespace": "default", "uid": UID, "generation": 1},
            "spec": {
                "nodeName": "n1",
                "containers": [{
                    "name": "main", "image": "bramble.test/hello:v1",
                    "envFrom": [{"configMapRef": {"name": "settings"}}],
                }],
            },
        })
    }

    fn put(&self, key: Key, value: Value) {
        let canonical = bramble_api::metadata::canonical(&value);
        let body = Body {
            json: canonical.bytes,
            revision_at: canonical.revision_at,
        };
        let op = Op::Put {
            key,
            expect: Expect::Any,
            body,
            durability: Durability::Hard,
        };
        let _ = self.store.commit(vec![op]).unwrap();
    }

    pub(crate) async fn start(&self) -> NodeLink {
        self.start_with(|_| {}).await
    }

    pub(crate) async fn start_with(&self, adjust: impl FnOnce(&mut Options)) -> NodeLink {
        let mut link = self.bed.controller_options();
        adjust(&mut link);
        let key = SigningKeyOfTokens::generate().unwrap();
        let key = Arc::new(SigningKeyOfTokens::from_pkcs8(&key).unwrap());
        let clock = FloorClock::new(0);
        let minter = Tokens::new(key, self.store.clone(), clock, String::new());
        let settings = Settings {
            minter: Arc::new(minter),
            cluster: cluster(),
            signing: self.controller.clone(),
            common: Common {
                service_cidr: "10.43.0.0/16".parse().unwrap(),
                brokers: vec!["mqtts://pi.lan:8883".into()],
            },
            link,
        };
        let keys = NodeKeys::open(self.store.clone()).unwrap();
        nodelink::start(settings, self.store.clone(), keys)
            .await
            .unwrap()
    }

    async fn board(&self, boot: u64) -> Board {
        let me = Speaker {
            key: self.node.clone(),
            controller: self.controller.verifying_key(),
            boot: Boot(boot),
            seq: 0,
        };
        let connection = Nonce([boot as u8; 16]);
        let mut options = self.bed.node_options("n1", boot);
        let (topic, payload) = {
            let mut dying = Speaker {
                seq: 1000,
                ..me.clone()
            };
            dying.say(
                &Topic::Life(n1()),
                &Life::Lost {
                    boot: Boot(boot),
                    connection,
                },
            )
        };
        options.will = Some(
            Will {
                topic,
                payload: payload.into(),
                retain: false,
            }
            .into(),
        );
        let peer = Peer::start(options).await;
        Board {
            me,
            peer,
            connection,
            session: Nonce::default(),
            reports: 0,
        }
    }

    pub(crate) async fn pod_phase(&self, phase: &str) {
        let right = || {
            let entry = self.store.get(&World::pod_key())?;
            let pod: view::Pod = view::decode(&entry.json).ok()?;
            (pod.status.phase == phase).then_some(())
        };
        self.eventually("pods", &format!("the pod is {phase}"), right)
            .await;
    }

    pub(crate) async fn node_ready(&self, status: &str) {
        let right = || {
            let entry = self.store.get(&Key::new("", "nodes", "", "n1"))?;
            let node: view::Node = view::decode(&entry.json).ok()?;
            let ready = node.status.conditions.iter().find(|c| c.kind == "Ready")?;
            (ready.status == status).then_some(())
        };
        self.eventually("nodes", &format!("the node's Ready is {status}"), right)
            .await;
    }

    /// Waits for a change of the objects of a kind that makes it right.
    async fn eventually(&self, resource: &'static str, what: &str, right: impl Fn() -> Option<()>) {
        let mut changes = self
            .store
            .watch_pending(&Scope::all("", resource), self.store.revision())
            .unwrap();
        let wait = async {
            while right().is_none() {
                changes.next().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("never: {what}"));
    }
}

fn running() -> PodReport {
    let main = ContainerReport {
        name: "main".into(),
        state: ContainerState::Running {
            started: UnixMs(1_700_000_000_000),
        },
        last: None,
        restarts: 0,
        ready: true,
        started: true,
        image: "bramble.test/hello:v1".into(),
        image_id: String::new(),
        container_id: "c1".into(),
    };
    PodReport {
        uid: PodUid::parse(UID).unwrap(),
        phase: Phase::Running,
        reason: String::new(),
        message: String::new(),
        pod_ip: Some([10, 42, 3, 2]),
        started: UnixMs(1_700_000_000_000),
        containers: vec![main],
        ..PodReport::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn desired_state_goes_down_and_status_comes_up() {
    let world = World::new().await;
    let link = world.start().await;
    let mut board = world.board(1).await;
    let head = board.born().await;

    let (version, objects) = board.pull().await;
    assert_eq!(version, head.version);
    let [
        Object::Node(config),
        Object::Pod(pod),
        Object::ConfigMap(map),
    ] = objects.as_slice()
    else {
        panic!("expected node, pod and map, got {objects:?}");
    };
    assert_eq!(config.pod_cidr.to_string(), "10.42.3.0/24");
    assert_eq!(pod.name.to_string(), "default/web");
    assert_eq!(map.data["COLOUR"], b"blue");

    assert!(board.report(version, vec![running()]).await.is_empty());
    world.pod_phase("Running").await;
    // Only now: a birth can be played again, an echo of this life's welcome can't.
    world.node_ready("True").await;

    // A change of what the pod names is announced.
    world.colour("red");
    let (_, head) = board
        .next::<Head>(|topic| matches!(topic, Topic::Head(_)))
        .await;
    assert!(head.version > version);

    // The deletion too; the object goes when the node says that all of it is gone, and only then.
    let mut pod = World::pod();
    pod["metadata"]["deletionTimestamp"] = "2026-11-21T00:00:30Z".into();
    pod["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    world.put(World::pod_key(), pod);
    board
        .next::<Head>(|topic| matches!(topic, Topic::Head(_)))
        .await;
    let (version, objects) = board.pull().await;
    let stopping = |object: &Object| matches!(object, Object::Pod(pod) if pod.stop.is_some());
    assert!(objects.iter().any(stopping), "{objects:?}");
    assert!(world.store.get(&World::pod_key()).is_some());
    let gone = PodReport {
        gone: true,
        phase: Phase::Succeeded,
        ..running()
    };
    let forget = board.report(version, vec![gone]).await;
    assert_eq!(forget, [PodUid::parse(UID).unwrap()]);
    assert!(world.store.get(&World::pod_key()).is_none());
    link.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_about_a_pod_of_another_node_changes_nothing() {
    let world = World::new().await;
    let mut pod = World::pod();
    pod["spec"]["nodeName"] = "n2".into();
    world.put(World::pod_key(), pod);
    let before = world.store.get(&World::pod_key()).unwrap();
    let _link = world.start().await;
    let mut board = world.board(1).await;
    let head = board.born().await;
    board.report(head.version, vec![running()]).await;
    let after = world.store.get(&World::pod_key()).unwrap();
    assert_eq!(before.modified, after.modified);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_makes_the_node_unknown_and_the_next_ready_again() {
    let world = World::new().await;
    let _link = world.start().await;
    let mut board = world.board(1).await;
    let head = board.born().await;
    board.report(head.version, vec![running()]).await;
    world.node_ready("True").await;
    // The power goes: no good-bye.
    drop(board);
    world.node_ready("Unknown").await;
    let mut board = world.board(2).await;
    let head = board.born().await;
    board.report(head.version, vec![running()]).await;
    world.node_ready("True").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_told_when_nobody_controls_and_who_comes_next() {
    let world = World::new().await;
    let first = world.start().await;
    let mut board = world.board(1).await;
    let state = async |board: &mut Board, online: bool| loop {
        let (_, state) = board
            .next::<ControllerState>(|topic| *topic == Topic::Controller)
            .await;
        if state.online == online {
            return state;
        }
    };
    assert_eq!(state(&mut board, true).await.boot, Boot(1));
    first.stop().await;
    assert_eq!(state(&mut board, false).await.boot, Boot(1));
    let second = world.start().await;
    assert_eq!(state(&mut board, true).await.boot, Boot(2));
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_from_the_future_raises_the_epoch_durably() {
    let world = World::new().await;
    let link = world.start().await;
    let mut board = world.board(1).await;
    let state = async |board: &mut Board| {
        let (_, state) = board
            .next::<ControllerState>(|topic| *topic == Topic::Controller)
            .await;
        state
    };
    let before = state(&mut board).await;
    // The store is a restored one: it knows nothing of what this node was told.
    let seen = Version {
        epoch: before.epoch + 7,
        term: 1,
        rev: 1,
    };
    board.announce(Some((seen, HistoryId([9; 16]))));
    let after = state(&mut board).await;
    assert_eq!(after.epoch, seen.epoch + 1);
    assert_ne!(after.history, before.history);
    assert!(u64::from(world.store.revision().epoch()) >= after.epoch);

    let head = board.welcomed().await;
    assert_eq!(
        (head.version.epoch, head.history),
        (after.epoch, after.history)
    );
    let (version, objects) = board.pull().await;
    let unconfirmed = |object: &Object| matches!(object, Object::Node(config) if config.confirmed_epoch < after.epoch);
    assert!(
        objects.iter().any(unconfirmed),
        "nothing is stopped before a person confirms"
    );

    // Only this very epoch can be confirmed, not one that a person has never seen.
    world.confirm(after.epoch + 1);
    world.confirm(after.epoch);
    let (confirmed, objects) = loop {
        let (_, head) = board
            .next::<Head>(|topic| *topic == Topic::Head(n1()))
            .await;
        if head.version > version {
            break board.pull().await;
        }
    };
    assert!(confirmed > version);
    assert!(!objects.iter().any(unconfirmed));

    // The next life goes on in it.
    link.stop().await;
    let next = world.start().await;
    let mut last = state(&mut board).await;
    while last.boot != Boot(2) {
        last = state(&mut board).await;
    }
    assert_eq!((last.epoch, last.history), (after.epoch, after.history));
    next.stop().await;
}
