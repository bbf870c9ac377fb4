//! The node link against boards played by hand.

mod boards;
mod clearing;
mod fetching;
mod futures;
mod guarding;
mod presence;
mod reporting;
mod rivals;

use bramble_wire::document::Digest;
use bramble_wire::envelope::{self, Message, Sequence};
use bramble_wire::message::{
    Answer, Ask, Birth, ControllerState, Head, Life, Report as Said, Request, Response, Sum,
};
use bramble_wire::object::{ConfigMap, Object, ObjectId, ObjectName, PodUid, SecretData};
use bramble_wire::publish::Publish;
use bramble_wire::report::{NodeFacts, Phase, PodReport};
use bramble_wire::seal::SealingSecret;
use bramble_wire::stream;
use bramble_wire::topic::{StreamId, Topic};
use bramble_wire::version::{HardwareId, Nonce};

use super::*;

const HISTORY: HistoryId = HistoryId([3; 16]);

fn cluster() -> ClusterId {
    ClusterId::new("c1").unwrap()
}

fn controller_key() -> SigningKey {
    SigningKey::from_bytes(&[200; 32])
}

fn uid(number: u8) -> PodUid {
    PodUid([number; 16])
}

fn pod(number: u8, phase: Phase) -> PodReport {
    PodReport {
        uid: uid(number),
        phase,
        ..PodReport::default()
    }
}

fn gone(number: u8) -> PodReport {
    PodReport {
        gone: true,
        ..pod(number, Phase::Failed)
    }
}

fn object_name(name: &str) -> ObjectName {
    let (namespace, name) = ("default".into(), name.into());
    ObjectName { namespace, name }
}

fn config_map(name: &str) -> ObjectId {
    ObjectId::ConfigMap(object_name(name))
}

/// A document of ConfigMaps: name, revision, and the bytes under the key `k`.
fn objects(maps: &[(&str, u64, &[u8])]) -> Objects {
    let map = |(name, revision, bytes): &(&str, u64, &[u8])| {
        let object = Object::ConfigMap(ConfigMap {
            name: object_name(name),
            data: [("k".to_owned(), bytes.to_vec())].into(),
        });
        (config_map(name), Compiled::plain(*revision, &object))
    };
    maps.iter().map(map).collect()
}

/// A node as the link meets it.
struct Board {
    name: NodeName,
    key: SigningKey,
    sealing: SealingSecret,
    boot: Boot,
    seq: u64,
    births: u8,
    /// The nonce of its newest welcome.
    session: Nonce,
    hardware: Option<HardwareId>,
    process: Nonce,
    refused: Option<Nonce>,
}

struct Bench {
    link: NodeLink,
    now: Millis,
    boards: Vec<Board>,
    publishes: Vec<Publish>,
    events: Vec<Event>,
}

impl Bench {
    /// A link that is up, with so many nodes in its table, each of whose documents is empty.
    fn new(boards: usize) -> Self {
        Self::with_limits(boards, Limits::default())
    }

    fn with_limits(boards: usize, limits: Limits) -> Self {
        let config = Config {
            cluster: cluster(),
            identity: controller_key(),
            boot: Boot(4),
            epoch: 2,
            term: 1,
            history: HISTORY,
            recovered: Vec::new(),
            limits,
        };
        let mut bench = Self {
            link: NodeLink::new(config, &[5; 32]),
            now: Millis(1_000_000),
            boards: Vec::new(),
            publishes: Vec::new(),
            events: Vec::new(),
        };
        for number in 0..boards {
            bench.add();
            bench.document(number, Objects::new(), 1);
        }
        bench.link.handle_connected(bench.now);
        bench.hear();
        bench.publishes.clear();
        bench
    }

    fn add(&mut self) -> usize {
        let number = self.boards.len();
        let seed = [number as u8 + 1; 32];
        let (sealing, public) = SealingSecret::from_seed(&seed);
        let board = Board {
            name: NodeName::new(&format!("n{number}")).unwrap(),
            key: SigningKey::from_bytes(&seed),
            sealing,
            boot: Boot(1),
            seq: 0,
            births: 0,
            session: Nonce::default(),
            hardware: None,
            process: Nonce([number as u8; 16]),
            refused: None,
        };
        let keys = NodeKeys {
            identity: board.key.verifying_key(),
            sealing: public,
        };
        self.link.set_node(&board.name, keys, self.now);
        self.boards.push(board);
        number
    }

    fn document(&mut self, board: usize, objects: Objects, revision: u64) {
        let name = self.name(board);
        let set = self.link.set_document(&name, objects, revision, self.now);
        set.unwrap();
    }

    fn name(&self, board: usize) -> NodeName {
        self.boards[board].name.clone()
    }

    fn state(&self, board: usize) -> NodeState {
        self.link.node(&self.boards[board].name).unwrap()
    }

    fn version(&self, board: usize) -> Version {
        self.state(board).version.unwrap()
    }

    fn packet<M: Message>(&mut self, board: usize, topic: &Topic, message: &M) -> Vec<u8> {
        let board = &mut self.boards[board];
        board.seq += 1;
        let sequence = Sequence {
            epoch: 2,
            boot: board.boot,
            seq: board.seq,
        };
        let to = KeyId::of(&controller_key().verifying_key());
        let text = topic.text(&cluster());
        envelope::sign(&board.key, &text, to, sequence, message).unwrap()
    }

    fn deliver(&mut self, topic: &Topic, packet: &[u8]) {
        let text = topic.text(&cluster());
        self.link.handle_packet(&text, packet, self.now);
    }

    fn send<M: Message>(&mut self, board: usize, topic: &Topic, message: &M) {
        let packet = self.packet(board, topic, message);
        self.deliver(topic, &packet);
    }

    /// A birth of a board that holds this; its connection is named after how many there were.
    fn birth(&mut self, board: usize, have: Option<(Version, HistoryId, Digest)>) -> Birth {
        let known = &mut self.boards[board];
        known.births += 1;
        let birth = Birth {
            boot: known.boot,
            nonce: Nonce([known.births; 16]),
            connection: Nonce([100 + known.births; 16]),
            schemas: (1, 1),
            have: have.map(|(version, history, _)| (version, history)),
            digest: have.map(|(_, _, digest)| digest).unwrap_or_default(),
            facts: NodeFacts::default(),
            hardware: known.hardware,
            process: known.process,
            refused: known.refused,
        };
        let topic = Topic::Birth(self.name(board));
        self.send(board, &topic, &birth);
        birth
    }

    /// Born, welcomed, and reported: a session stands.
    #[track_caller]
    fn arrive(&mut self, board: usize) -> Birth {
        let birth = self.birth(board, None);
        let head = self.welcome(board);
        self.report(board, 1, Some(head.version), vec![]);
        let name = self.name(board);
        self.link.handle_durable(&name, 1, vec![], self.now);
        self.hear();
        self.publishes.clear();
        self.events.clear();
        birth
    }

    /// The board's welcome, which names its session from now on.
    #[track_caller]
    fn welcome(&mut self, board: usize) -> Head {
        match self.response(board).answer {
            Answer::Welcome { session, head, .. } => {
                self.boards[board].session = session;
                head
            }
            other => panic!("no welcome but {other:?}"),
        }
    }

    fn said(&self, board: usize, number: u64, pods: Vec<PodReport>) -> Said {
        Said {
            session: self.boards[board].session,
            number,
            full: false,
            more: false,
            accepted: None,
            converged: None,
            pods,
            facts: None,
            first_event: 0,
            events: Vec::new(),
            usage: None,
            rejected: String::new(),
        }
    }

    fn report(
        &mut self,
        board: usize,
        number: u64,
        accepted: Option<Version>,
        pods: Vec<PodReport>,
    ) {
        let said = self.said(board, number, pods);
        self.say(board, &Said { accepted, ..said });
    }

    fn say(&mut self, board: usize, said: &Said) {
        let topic = Topic::Report(self.name(board));
        self.send(board, &topic, said);
    }

    fn life(&mut self, board: usize, life: Life) {
        let known = &self.boards[board];
        let topic = Topic::Life(known.name.clone());
        let sequence = Sequence {
            epoch: 0,
            boot: known.boot,
            seq: 0,
        };
        let to = KeyId::of(&controller_key().verifying_key());
        let text = topic.text(&cluster());
        let packet = envelope::sign(&known.key, &text, to, sequence, &life).unwrap();
        self.deliver(&topic, &packet);
    }

    fn ask(&mut self, board: usize, nonce: u8, ask: Ask) {
        let topic = Topic::Request(self.name(board), self.boards[board].boot);
        let nonce = Nonce([nonce; 16]);
        self.send(board, &topic, &Request { nonce, ask });
    }

    /// Asks, and what the answer is.
    #[track_caller]
    fn answer(&mut self, board: usize, ask: Ask) -> Answer {
        self.ask(board, 77, ask);
        let Response { nonce, answer } = self.response(board);
        assert_eq!(nonce, Nonce([77; 16]));
        answer
    }

    fn hear(&mut self) {
        while let Some(output) = self.link.poll(self.now) {
            match output {
                Output::Publish(publish) => self.publishes.push(publish),
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    #[track_caller]
    fn take<M: Message>(&mut self, board: usize, topic: &Topic) -> M {
        self.hear();
        let at = self.publishes.iter().position(|p| p.topic == *topic);
        let at = at.unwrap_or_else(|| panic!("nothing on {topic:?}: {:?}", self.topics()));
        let publish = self.publishes.remove(at);
        let me = KeyId::of(&self.boards[board].key.verifying_key());
        let text = publish.topic_text(&cluster());
        let from = controller_key().verifying_key();
        envelope::open::<M>(&publish.payload, &text, me, &from)
            .unwrap()
            .message
    }

    #[track_caller]
    fn response(&mut self, board: usize) -> Response {
        let topic = Topic::Response(self.name(board), self.boards[board].boot);
        self.take(board, &topic)
    }

    #[track_caller]
    fn head(&mut self, board: usize) -> Head {
        let topic = Topic::Head(self.name(board));
        self.take(board, &topic)
    }

    fn topics(&self) -> Vec<&Topic> {
        self.publishes
            .iter()
            .map(|publish| &publish.topic)
            .collect()
    }

    #[track_caller]
    fn silent(&mut self) {
        self.hear();
        let topics = self.topics();
        assert!(
            topics.is_empty() && self.events.is_empty(),
            "{topics:?} {:?}",
            self.events
        );
    }

    /// The events since last asked.
    fn events(&mut self) -> Vec<Event> {
        self.hear();
        std::mem::take(&mut self.events)
    }

    /// Time passes up to this moment, with every wake on the way.
    fn pass(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds;
        loop {
            self.hear();
            let due = self.link.next_wake(self.now).filter(|due| *due <= end);
            let Some(due) = due else { break };
            self.now = self.now.max(due);
            self.link.handle_timeout(self.now);
        }
        self.now = end;
    }

    fn dropped(&self, reason: Drop) -> u64 {
        let dropped = &self.link.counters().dropped;
        dropped.get(&reason).copied().unwrap_or_default()
    }
}

#[test]
fn from_birth_to_acknowledgement() {
    let mut bench = Bench::new(1);
    bench.link.set_clock(1_700_000_000);
    bench.document(0, objects(&[("a", 3, b"A")]), 10);
    let version = bench.version(0);
    let expected = Version {
        epoch: 2,
        term: 1,
        rev: 10,
    };
    assert_eq!(version, expected);
    bench.silent();

    let birth = bench.birth(0, None);
    let welcome = bench.response(0);
    assert_eq!(welcome.nonce, birth.nonce);
    let Answer::Welcome {
        session,
        head,
        unix_s: 1_700_000_000,
    } = welcome.answer
    else {
        panic!("{welcome:?}");
    };
    assert_eq!((head.version, head.history), (version, HISTORY));
    bench.boards[0].session = session;
    assert_eq!(
        bench.state(0).presence,
        Presence::Unknown,
        "an old birth may be played"
    );
    bench.silent();

    let from_start = Ask::Index {
        version: None,
        from: 0,
    };
    let Answer::Index {
        head: of,
        total: 1,
        from: 0,
        entries,
        ..
    } = bench.answer(0, from_start)
    else {
        panic!("no index");
    };
    assert_eq!(of, head);
    let ids = vec![entries[0].id.clone()];
    let Answer::Objects(bodies) = bench.answer(0, Ask::Objects { version, ids }) else {
        panic!("no objects");
    };
    let bramble_wire::message::Body::Whole(body) = &bodies[0].body else {
        panic!("not whole");
    };
    assert!(entries[0].matches(body));

    bench.report(0, 1, Some(version), vec![pod(1, Phase::Running)]);
    let events = bench.events();
    let [
        Event::Facts { .. },
        Event::Presence { presence, .. },
        Event::Report(report),
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(*presence, Presence::Ready);
    assert_eq!(report.all, Some([uid(1)].into()));
    assert!(!bench.link.all_confirmed());
    bench.silent();
    let name = bench.name(0);
    bench.link.handle_durable(&name, 1, vec![], bench.now);
    let ack = bench.response(0);
    assert_eq!(ack.nonce, session);
    assert!(matches!(ack.answer, Answer::ReportAck { number: 1, .. }));
    assert!(bench.link.all_confirmed());
    assert_eq!(bench.state(0).accepted, Some(version));
    bench.silent();
}
