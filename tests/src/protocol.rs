//! Both halves of the node protocol against each other, with queues in memory for a broker.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bramble_agent_core::session::{self, Document, Observation, Session};
use bramble_controller_core::nodelink::{
    self, Compiled, Event, Limits, NodeKeys, NodeLink, Objects, Presence,
};
use bramble_wire::clock::Millis;
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::object::{
    ConfigMap, NodeConfig, Object, ObjectId, ObjectName, PodUid, SecretData,
};
use bramble_wire::publish::Publish;
use bramble_wire::report::{NodeFacts, Phase, PodReport};
use bramble_wire::seal::{self, Binding, SealingSecret};
use bramble_wire::version::{Boot, HistoryId, Nonce, Version};
use bramble_wire::{SigningKey, chunk};

fn cluster() -> ClusterId {
    ClusterId::new("c1").unwrap()
}

fn node() -> NodeName {
    NodeName::new("n1").unwrap()
}

fn controller_key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn node_key() -> SigningKey {
    SigningKey::from_bytes(&[2; 32])
}

fn sealing() -> SealingSecret {
    SealingSecret::from_seed(&[3; 32]).0
}

/// What the controller's store would hold, and what the node's disk.
struct Both {
    link: NodeLink,
    session: Session,
    now: Millis,
    connections: u8,
    boots: u64,
    to_node: VecDeque<Publish>,
    to_controller: VecDeque<Publish>,
    /// Every packet to the node, as a hostile broker keeps them.
    recorded: Vec<Publish>,
    pods: BTreeMap<PodUid, PodReport>,
    statuses: BTreeMap<PodUid, PodReport>,
    presences: Vec<Presence>,
    rejected: String,
    /// How many packets pass, of which one is lost; 0 for none.
    lose_each: usize,
    passed: usize,
}

fn controller(boot: u64, epoch: u64, history: u8) -> NodeLink {
    let config = nodelink::Config {
        cluster: cluster(),
        identity: controller_key(),
        boot: Boot(boot),
        epoch,
        term: 1,
        history: HistoryId([history; 16]),
        recovered: Vec::new(),
        limits: Limits::default(),
    };
    let mut link = NodeLink::new(config, &[boot as u8; 32]);
    let keys = NodeKeys {
        identity: node_key().verifying_key(),
        sealing: SealingSecret::from_seed(&[3; 32]).1,
    };
    link.set_node(&node(), keys, Millis(0));
    link
}

fn agent(boot: u64, document: Option<Arc<Document>>) -> Session {
    let config = session::Config {
        cluster: cluster(),
        node: node(),
        identity: node_key(),
        controller: controller_key().verifying_key(),
        boot: Boot(boot),
        hardware: None,
    };
    Session::new(Arc::new(config), document, &[100 + boot as u8; 32])
}

impl Both {
    fn new() -> Self {
        Self {
            link: controller(1, 1, 1),
            session: agent(1, None),
            now: Millis(1_000_000),
            connections: 0,
            boots: 1,
            to_node: VecDeque::new(),
            to_controller: VecDeque::new(),
            recorded: Vec::new(),
            pods: BTreeMap::new(),
            statuses: BTreeMap::new(),
            presences: Vec::new(),
            rejected: String::new(),
            lose_each: 0,
            passed: 0,
        }
    }

    fn want(&mut self, objects: &Objects, revision: u64) {
        let set = self
            .link
            .set_document(&node(), objects.clone(), revision, self.now);
        set.unwrap();
    }

    /// Both connect to the broker.
    fn connect(&mut self) {
        self.link.handle_connected(self.now);
        self.reconnect();
    }

    fn reconnect(&mut self) {
        self.session.handle_disconnected(self.now);
        self.connections += 1;
        let connection = Nonce([self.connections; 16]);
        self.session.handle_connected(connection, self.now);
        self.run();
    }

    /// The agent's process starts anew with this on its disk.
    fn reboot(&mut self, document: Option<Arc<Document>>) {
        self.boots += 1;
        self.session = agent(self.boots, document);
        self.observe();
        self.reconnect();
    }

    fn observe(&mut self) {
        let observation = Observation {
            pods: self.pods.clone(),
            names: BTreeMap::new(),
            converged: self.session.document().map(|document| document.version),
            uncleared: false,
            facts: NodeFacts::default(),
        };
        self.session.handle_observed(observation, self.now);
    }

    fn pod(&mut self, number: u8, phase: Phase, gone: bool) {
        let report = PodReport {
            uid: PodUid([number; 16]),
            phase,
            gone,
            ..PodReport::default()
        };
        self.pods.insert(report.uid, report);
        self.observe();
    }

    fn is_lost(&mut self) -> bool {
        self.passed += 1;
        self.lose_each > 0 && self.passed.is_multiple_of(self.lose_each)
    }

    /// Everything that can happen without time passing.
    fn run(&mut self) {
        while self.hear_node() | self.hear_controller() {
            while let Some(packet) = self.to_controller.pop_front() {
                if !self.is_lost() {
                    let topic = packet.topic_text(&cluster());
                    self.link.handle_packet(&topic, &packet.payload, self.now);
                }
            }
            while let Some(packet) = self.to_node.pop_front() {
                self.recorded.push(packet.clone());
                if !self.is_lost() {
                    let topic = packet.topic_text(&cluster());
                    self.session
                        .handle_packet(&topic, &packet.payload, self.now);
                }
            }
        }
    }

    fn hear_node(&mut self) -> bool {
        let mut heard = false;
        while let Some(output) = self.session.poll() {
            heard = true;
            match output {
                session::Output::Publish(publish) => self.to_controller.push_back(publish),
                session::Output::Persist(document) => {
                    self.session.handle_persisted(document.version, self.now);
                    self.observe();
                }
                session::Output::Forget(pods) => {
                    for pod in pods {
                        assert!(self.pods.remove(&pod).is_some_and(|pod| pod.gone));
                    }
                    self.observe();
                }
                session::Output::TimeFloor { .. }
                | session::Output::StreamOpen(..)
                | session::Output::StreamIn(..) => {}
            }
        }
        heard
    }

    fn hear_controller(&mut self) -> bool {
        let mut heard = false;
        while let Some(output) = self.link.poll(self.now) {
            heard = true;
            match output {
                nodelink::Output::Publish(publish) => self.to_node.push_back(publish),
                nodelink::Output::Event(event) => self.handle(event),
            }
        }
        heard
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Report(report) => {
                let mut forget = Vec::new();
                for pod in report.pods {
                    if pod.gone {
                        self.statuses.remove(&pod.uid);
                        forget.push(pod.uid);
                    } else {
                        self.statuses.insert(pod.uid, pod);
                    }
                }
                if let Some(all) = report.all {
                    self.statuses.retain(|uid, _| all.contains(uid));
                }
                self.rejected = report.rejected;
                let node = &report.node;
                self.link
                    .handle_durable(node, report.number, forget, self.now);
            }
            Event::RaiseEpoch { epoch, history, .. } => {
                self.link.handle_epoch(epoch, history, self.now);
            }
            Event::Presence { presence, .. } => self.presences.push(presence),
            Event::Reconnected(_)
            | Event::Facts { .. }
            | Event::StreamOut { .. }
            | Event::Braked { .. }
            | Event::Duplicate { .. }
            | Event::Alone(_)
            | Event::Rival { .. }
            | Event::Board { .. }
            | Event::Dropped { .. } => {}
        }
    }

    /// Time passes, with every wake on the way.
    fn pass(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds;
        loop {
            self.run();
            let wakes = [self.session.next_wake(), self.link.next_wake(self.now)];
            let due = wakes.into_iter().flatten().min().filter(|due| *due <= end);
            let Some(due) = due else { break };
            self.now = self.now.max(due);
            self.session.handle_timeout(self.now);
            self.link.handle_timeout(self.now);
        }
        self.now = end;
    }

    fn held(&self) -> Option<Version> {
        self.session.document().map(|document| document.version)
    }

    /// The node holds what the controller wants and both know it; statuses are what the node sees.
    #[track_caller]
    fn agreed(&self) {
        let state = self.link.node(&node()).unwrap();
        assert_eq!(state.version, self.held());
        assert_eq!(
            (state.accepted, state.converged),
            (self.held(), self.held())
        );
        assert_eq!((state.presence, state.confirmed), (Presence::Ready, true));
        assert_eq!(self.rejected, "");
        let phases = |pods: &BTreeMap<PodUid, PodReport>| -> Vec<_> {
            pods.values().map(|pod| (pod.uid, pod.phase)).collect()
        };
        assert_eq!(phases(&self.statuses), phases(&self.pods));
    }
}

fn name(name: &str) -> ObjectName {
    let (namespace, name) = ("default".into(), name.into());
    ObjectName { namespace, name }
}

fn secret() -> SecretData {
    SecretData([("password".to_owned(), vec![7; 50_000])].into())
}

/// A small object, one in pieces, and a sealed one in pieces; `revision` is the small one's.
fn objects(revision: u64) -> Objects {
    let map = |at: &str, bytes: Vec<u8>| {
        Object::ConfigMap(ConfigMap {
            name: name(at),
            data: [("k".to_owned(), bytes)].into(),
        })
    };
    let small = map("small", revision.to_le_bytes().to_vec());
    let large = map("large", vec![5; 100_000]);
    let node = Object::Node(NodeConfig::default());
    [
        (ObjectId::Node, Compiled::plain(1, &node)),
        (
            ObjectId::ConfigMap(name("small")),
            Compiled::plain(revision, &small),
        ),
        (
            ObjectId::ConfigMap(name("large")),
            Compiled::plain(2, &large),
        ),
        (ObjectId::Secret(name("s")), Compiled::secret(3, &secret())),
    ]
    .into()
}

#[test]
fn a_document_arrives_whole_and_statuses_come_back() {
    let mut both = Both::new();
    both.want(&objects(10), 10);
    both.connect();
    both.pod(1, Phase::Running, false);
    both.run();
    both.agreed();
    assert_eq!(both.presences, [Presence::Ready]);
    let pieces = u64::from(chunk::count(100_000) + chunk::count(50_000));
    assert!(
        both.link.counters().answers > pieces,
        "large ones come in pieces"
    );

    let id = ObjectId::Secret(name("s"));
    let document = both.session.document().unwrap();
    let Ok(Object::Secret(sealed)) = bramble_wire::decode(&document.objects[&id].body, "object")
    else {
        panic!("not a secret");
    };
    let (cluster, node) = (cluster(), node());
    let binding = Binding {
        cluster: &cluster,
        node: &node,
        id: &id,
        revision: 3,
    };
    let opened = seal::open(&sealing(), binding, &sealed.sealed).unwrap();
    assert_eq!(opened, bramble_wire::encode(&secret()));

    both.want(&objects(20), 20);
    both.pod(1, Phase::Succeeded, true);
    both.run();
    both.agreed();
    assert!(
        both.pods.is_empty() && both.statuses.is_empty(),
        "ended, durable, forgotten"
    );
    // Hours of nothing: neither end has doubts.
    both.pass(6 * 3_600_000);
    both.agreed();
    assert_eq!(both.presences.len(), 1);
    assert_eq!(both.link.counters().unknown_sessions, 0);
}

#[test]
fn every_loss_is_made_good() {
    for lose_each in 2..8 {
        let mut both = Both::new();
        both.lose_each = lose_each;
        both.want(&objects(10), 10);
        both.connect();
        for (number, revision) in [(1, 20), (2, 30), (3, 40)] {
            both.pod(number, Phase::Running, false);
            both.pass(60_000);
            both.want(&objects(revision), revision);
            both.pod(number, Phase::Failed, true);
            both.pass(60_000);
        }
        both.pass(12 * 3_600_000);
        both.lose_each = 0;
        both.pass(3_600_000);
        both.agreed();
        assert_eq!(both.held().unwrap().rev, 40, "1 of {lose_each}");
        assert!(both.pods.is_empty(), "1 of {lose_each}: {:?}", both.pods);
    }
}

#[test]
fn a_controller_that_starts_anew_gives_nothing_anew() {
    let mut both = Both::new();
    both.want(&objects(10), 10);
    both.connect();
    both.pod(1, Phase::Running, false);
    both.run();
    let held = both.session.document().cloned();
    both.link = controller(2, 1, 1);
    both.want(&objects(10), 500);
    both.link.handle_connected(both.now);
    both.pass(60_000);
    both.agreed();
    assert_eq!(both.session.document(), held.as_ref(), "the version too");
    both.want(&objects(501), 501);
    both.run();
    both.agreed();
}

#[test]
fn a_restored_store_raises_the_epoch_and_the_node_follows() {
    let mut both = Both::new();
    both.want(&objects(100), 100);
    both.connect();
    both.pod(1, Phase::Running, false);
    both.run();
    // An old copy of the store: an earlier revision, and boots counted from before.
    both.link = controller(1, 1, 1);
    let mut old = objects(50);
    old.remove(&ObjectId::ConfigMap(name("large")));
    both.want(&old, 50);
    both.link.handle_connected(both.now);
    both.reconnect();
    both.pass(120_000);
    both.agreed();
    let document = both.session.document().unwrap();
    assert_eq!((document.version.epoch, document.version.rev), (2, 50));
    let kept: Vec<_> = document.unclaimed.keys().cloned().collect();
    assert_eq!(
        kept,
        [ObjectId::ConfigMap(name("large"))],
        "until a person confirms"
    );
}

#[test]
fn nothing_that_a_broker_recorded_moves_a_board_that_starts_anew() {
    let mut both = Both::new();
    both.want(&objects(10), 10);
    both.connect();
    both.want(&objects(20), 20);
    both.run();
    let recorded = std::mem::take(&mut both.recorded);
    assert!(recorded.len() > 5);

    // The board lost its disk, and the controller is away: only the broker speaks.
    both.link.handle_disconnected(both.now);
    both.session = agent(2, None);
    both.session.handle_connected(Nonce([99; 16]), both.now);
    for packet in recorded.iter().chain(recorded.iter().rev()) {
        let topic = packet.topic_text(&cluster());
        both.session
            .handle_packet(&topic, &packet.payload, both.now);
        let moved = topic.replace("/rpc/1/", "/rpc/2/");
        both.session
            .handle_packet(&moved, &packet.payload, both.now);
        both.hear_node();
    }
    assert_eq!(both.held(), None);
    assert!(!both.session.is_welcomed());

    both.link.handle_connected(both.now);
    both.boots = 2;
    both.reboot(None);
    both.pass(60_000);
    both.agreed();
}
