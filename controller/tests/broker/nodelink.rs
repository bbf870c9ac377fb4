//! The node link over the embedded broker, with a node played by the test: it speaks the wire
//! protocol by hand, so that what is tested is what an agent would see.

mod farewell;

use std::sync::Arc;

use bramble_api::view;
use bramble_controller::apiserver::{LogRequest, PodLogs};
use bramble_controller::join::{GROUP, NODE_KEYS, NodeKeys};
use bramble_controller::nodelink::{self, NodeLink, Settings};
use bramble_controller::store::{Body, Durability, Expect, Key, MemoryStore, Op, Scope, Store};
use bramble_controller::tokens::{SigningKey as SigningKeyOfTokens, Tokens};
use bramble_link::tls::FloorClock;
use bramble_link::{Event, Will};
use bramble_wire::document::Digest;
use bramble_wire::envelope::{self, KeyId, Message, Sequence};
use bramble_wire::message::{
    Answer, Ask, Birth, Body as ObjectBytes, ControllerState, Head, Life, Report, Request, Response,
};
use bramble_wire::name::NodeName;
use bramble_wire::object::{Object, ObjectId, PodUid};
use bramble_wire::report::{ContainerReport, ContainerState, NodeFacts, Phase, PodReport, UnixMs};
use bramble_wire::seal::SealingSecret;
use bramble_wire::stream::{In, Open, Out, What};
use bramble_wire::topic::Topic;
use bramble_wire::version::{Boot, HistoryId, Nonce, Version};
use bramble_wire::{SigningKey, VerifyingKey};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::bed::{Bed, PATIENCE, Peer, cluster};

const UID: &str = "00000000-0000-4000-8000-000000000001";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A cluster with one member, `n1`, and one pod on it.
struct World {
    bed: Bed,
    store: Arc<MemoryStore>,
    controller: SigningKey,
    node: SigningKey,
}

impl World {
    async fn new() -> World {
        let world = World {
            bed: Bed::embedded().await,
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
        world.put(
            Key::new("", "configmaps", "default", "settings"),
            json!({
                "kind": "ConfigMap", "apiVersion": "v1",
                "metadata": {"name": "settings", "namespace": "default", "uid": "c"},
                "data": {"COLOUR": "blue"},
            }),
        );
        world.put(World::pod_key(), World::pod());
        world
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

    async fn start(&self) -> NodeLink {
        let key = SigningKeyOfTokens::generate().unwrap();
        let key = Arc::new(SigningKeyOfTokens::from_pkcs8(&key).unwrap());
        let clock = FloorClock::new(0);
        let minter = Tokens::new(key, self.store.clone(), clock, String::new());
        let settings = Settings {
            minter: Arc::new(minter),
            cluster: cluster(),
            signing: self.controller.clone(),
            service_cidr: "10.43.0.0/16".parse().unwrap(),
            link: self.bed.controller_options(),
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

    async fn pod_phase(&self, phase: &str) {
        let right = || {
            let entry = self.store.get(&World::pod_key())?;
            let pod: view::Pod = view::decode(&entry.json).ok()?;
            (pod.status.phase == phase).then_some(())
        };
        self.eventually("pods", &format!("the pod is {phase}"), right)
            .await;
    }

    async fn node_ready(&self, status: &str) {
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

fn n1() -> NodeName {
    NodeName::new("n1").unwrap()
}

/// A sender of signed messages.
#[derive(Clone)]
struct Speaker {
    key: SigningKey,
    controller: VerifyingKey,
    boot: Boot,
    seq: u64,
}

impl Speaker {
    fn say<M: Message>(&mut self, topic: &Topic, message: &M) -> (String, Vec<u8>) {
        self.seq += 1;
        let topic = topic.text(&cluster()).as_str().to_owned();
        let sequence = Sequence {
            epoch: 0,
            boot: self.boot,
            seq: self.seq,
        };
        let to = KeyId::of(&self.controller);
        let payload = envelope::sign(&self.key, &topic, to, sequence, message).unwrap();
        (topic, payload)
    }

    fn hear<M: Message>(&self, topic: &str, payload: &[u8]) -> M {
        let me = KeyId::of(&self.key.verifying_key());
        envelope::open(payload, topic, me, &self.controller)
            .unwrap()
            .message
    }
}

/// The node, as the controller sees it.
struct Board {
    me: Speaker,
    peer: Peer,
    connection: Nonce,
    session: Nonce,
    reports: u64,
}

impl Board {
    fn send<M: Message>(&mut self, topic: &Topic, message: &M) {
        let (topic, payload) = self.me.say(topic, message);
        self.peer.link.send(&topic, payload).unwrap();
    }

    /// The next message on a topic that `wanted` names.
    async fn next<M: Message>(&mut self, wanted: impl Fn(&Topic) -> bool) -> (Topic, M) {
        let named = |text: &str| Topic::parse(&cluster(), text).filter(&wanted);
        let right =
            |event: &Event| matches!(event, Event::Message { topic, .. } if named(topic).is_some());
        match self.peer.until(right).await {
            Event::Message { topic, payload } => {
                (named(&topic).unwrap(), self.me.hear(&topic, &payload))
            }
            _ => unreachable!(),
        }
    }

    async fn answer(&mut self) -> Answer {
        let (_, response) = self
            .next::<Response>(|topic| matches!(topic, Topic::Response(..)))
            .await;
        response.answer
    }

    async fn ask(&mut self, ask: Ask) -> Answer {
        let nonce = Nonce([self.me.seq as u8; 16]);
        self.send(&Topic::Request(n1(), self.me.boot), &Request { nonce, ask });
        self.answer().await
    }

    /// Announces itself to the controller that says that it is there.
    async fn born(&mut self) -> Head {
        self.next::<ControllerState>(|topic| *topic == Topic::Controller)
            .await;
        self.announce(None);
        self.welcomed().await
    }

    fn announce(&mut self, have: Option<(Version, HistoryId)>) {
        let birth = Birth {
            boot: self.me.boot,
            nonce: Nonce([7; 16]),
            connection: self.connection,
            schemas: (1, 1),
            have,
            digest: Digest::default(),
            facts: NodeFacts {
                address: Some([10, 0, 0, 9]),
                memory_bytes: 512 << 20,
                ..NodeFacts::default()
            },
        };
        self.send(&Topic::Birth(n1()), &birth);
    }

    async fn welcomed(&mut self) -> Head {
        match self.answer().await {
            Answer::Welcome { session, head, .. } => {
                self.session = session;
                head
            }
            other => panic!("expected a welcome, got {other:?}"),
        }
    }

    /// Pulls the whole document.
    async fn pull(&mut self) -> (Version, Vec<Object>) {
        let index = self
            .ask(Ask::Index {
                version: None,
                from: 0,
            })
            .await;
        let Answer::Index {
            head,
            entries,
            total,
            ..
        } = index
        else {
            panic!("expected an index, got {index:?}");
        };
        assert_eq!(entries.len(), total as usize);
        let ids: Vec<ObjectId> = entries.into_iter().map(|entry| entry.id).collect();
        let answer = self
            .ask(Ask::Objects {
                version: head.version,
                ids,
            })
            .await;
        let Answer::Objects(bodies) = answer else {
            panic!("expected objects, got {answer:?}");
        };
        let object = |body| match body {
            ObjectBytes::Whole(bytes) => bramble_wire::decode(&bytes, "object").unwrap(),
            other => panic!("expected the whole object, got {other:?}"),
        };
        (
            head.version,
            bodies.into_iter().map(|body| object(body.body)).collect(),
        )
    }

    /// Reports and waits until it is acknowledged; returns the pods to forget.
    async fn report(&mut self, accepted: Version, pods: Vec<PodReport>) -> Vec<PodUid> {
        self.reports += 1;
        let report = Report {
            session: self.session,
            number: self.reports,
            full: self.reports == 1,
            more: false,
            accepted: Some(accepted),
            converged: Some(accepted),
            pods,
            facts: None,
            first_event: 0,
            events: Vec::new(),
            usage: None,
            rejected: String::new(),
        };
        self.send(&Topic::Report(n1()), &report);
        match self.answer().await {
            Answer::ReportAck { number, forget } => {
                assert_eq!(number, self.reports);
                forget
            }
            other => panic!("expected an acknowledgement, got {other:?}"),
        }
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
    world.put(
        Key::new("", "configmaps", "default", "settings"),
        json!({
            "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": "settings", "namespace": "default", "uid": "c"},
            "data": {"COLOUR": "red"},
        }),
    );
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
async fn logs_stream_through_the_broker() {
    let world = World::new().await;
    let link = world.start().await;
    let mut board = world.board(1).await;
    let head = board.born().await;
    board.report(head.version, vec![running()]).await;
    let request = LogRequest {
        node: "n1".into(),
        namespace: "default".into(),
        pod: "web".into(),
        uid: UID.into(),
        container: "main".into(),
        follow: false,
        previous: false,
        timestamps: true,
        tail_lines: Some(3),
        since: None,
        limit_bytes: None,
    };

    // More than the first credit: the node goes on when the reader has read.
    let opened = tokio::spawn(link.open(request.clone()));
    let (topic, open) = board
        .next::<Open>(|topic| matches!(topic, Topic::StreamOpen(..)))
        .await;
    let Topic::StreamOpen(_, id) = topic else {
        unreachable!()
    };
    let What::Logs(logs) = &open.what else {
        panic!("{open:?}")
    };
    assert_eq!((open.boot, logs.tail_lines), (Boot(1), Some(3)));
    let total = u64::from(open.credit) * 3;
    let feeding = tokio::spawn(async move {
        let (mut offset, mut credit) = (0, u64::from(open.credit));
        while offset < total {
            if offset == credit {
                let (_, more) = board
                    .next::<In>(|topic| *topic == Topic::StreamIn(n1(), id))
                    .await;
                let In::Credit(more) = more else {
                    panic!("closed early")
                };
                credit = more;
                continue;
            }
            let bytes = vec![b'x'; 8192.min((credit - offset) as usize)];
            let length = bytes.len() as u64;
            board.send(&Topic::StreamOut(n1(), id), &Out::Data { offset, bytes });
            offset += length;
            // Frames are refused when the outbox is full; a real agent waits likewise.
            while !board.peer.link.is_idle() {
                tokio::task::yield_now().await;
            }
        }
        board.send(
            &Topic::StreamOut(n1(), id),
            &Out::End {
                offset,
                error: None,
            },
        );
        board
    });
    let mut stream = opened.await.unwrap().unwrap();
    let mut read = 0;
    while let Some(chunk) = stream.next().await {
        read += chunk.unwrap().len() as u64;
    }
    assert_eq!(read, total);
    let mut board = feeding.await.unwrap();

    // A client that goes away closes the stream on the node.
    let opened = tokio::spawn(link.open(LogRequest {
        follow: true,
        ..request.clone()
    }));
    let (topic, _) = board
        .next::<Open>(|topic| matches!(topic, Topic::StreamOpen(..)))
        .await;
    let Topic::StreamOpen(_, id) = topic else {
        unreachable!()
    };
    board.send(
        &Topic::StreamOut(n1(), id),
        &Out::Data {
            offset: 0,
            bytes: b"line\n".to_vec(),
        },
    );
    let mut stream = opened.await.unwrap().unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "line\n");
    drop(stream);
    let (_, message) = board
        .next::<In>(|topic| *topic == Topic::StreamIn(n1(), id))
        .await;
    assert_eq!(message, In::Close);

    // A node that is away is an answer, not a wait.
    drop(board);
    world.node_ready("Unknown").await;
    let refused = link.open(request).await.err().unwrap();
    assert_eq!(refused.code(), 503, "{refused:?}");
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
