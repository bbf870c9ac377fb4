//! A session against a controller played by hand.

mod clearing;
mod fetching;
mod guarding;
mod refused;
mod reporting;
mod telling;

use std::collections::BTreeMap;

use bramble_wire::SigningKey;
use bramble_wire::chunk;
use bramble_wire::document::{self, IndexEntry};
use bramble_wire::envelope::{self, Message, Sequence};
use bramble_wire::limits::CHUNK_SIZE;
use bramble_wire::message::{
    Answer, Ask, Birth, Body, Head, ObjectBody, Report, Request, Response, Sum,
};
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::object::{ObjectId, ObjectName};
use bramble_wire::report::{Phase, UnixMs};
use bramble_wire::version::{HardwareId, HistoryId};

use super::*;

fn cluster() -> ClusterId {
    ClusterId::new("c1").unwrap()
}

fn node() -> NodeName {
    NodeName::new("n1").unwrap()
}

fn node_key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn controller_key() -> SigningKey {
    SigningKey::from_bytes(&[2; 32])
}

fn config_map(name: &str) -> ObjectId {
    ObjectId::ConfigMap(object_name(name))
}

fn object_name(name: &str) -> ObjectName {
    let (namespace, name) = ("default".into(), name.into());
    ObjectName { namespace, name }
}

fn uid(number: u8) -> PodUid {
    PodUid([number; 16])
}

fn pod(number: u8, phase: Phase) -> (PodUid, PodReport) {
    let report = PodReport {
        uid: uid(number),
        phase,
        ..PodReport::default()
    };
    (report.uid, report)
}

fn gone(number: u8) -> (PodUid, PodReport) {
    let (uid, mut report) = pod(number, Phase::Failed);
    report.gone = true;
    (uid, report)
}

fn observed(pods: impl IntoIterator<Item = (PodUid, PodReport)>) -> Observation {
    Observation {
        pods: pods.into_iter().collect(),
        ..Observation::default()
    }
}

/// A document as the controller has it.
#[derive(Debug, Clone)]
struct Wanted {
    head: Head,
    index: Vec<IndexEntry>,
    bodies: BTreeMap<ObjectId, Vec<u8>>,
    /// Its index says so.
    cleared: bool,
}

/// A document of one object for each name, its revision, and its bytes.
fn wanted(epoch: u64, rev: u64, objects: &[(&str, u64, &[u8])]) -> Wanted {
    let mut wanted = Wanted {
        head: Head {
            version: Version {
                epoch,
                term: 1,
                rev,
            },
            history: HistoryId([epoch as u8; 16]),
            digest: document::digest(&mut []),
        },
        index: Vec::new(),
        bodies: BTreeMap::new(),
        cleared: false,
    };
    for (name, revision, body) in objects {
        wanted = wanted.with(config_map(name), *revision, body);
    }
    wanted
}

impl Wanted {
    fn with(mut self, id: ObjectId, revision: u64, body: &[u8]) -> Self {
        (self.index).push(IndexEntry::of(id.clone(), revision, body));
        self.bodies.insert(id, body.to_vec());
        self.head.digest = document::digest(&mut self.index);
        self
    }

    fn answer(&self, ask: &Ask) -> Answer {
        match ask {
            Ask::Index { from, .. } => Answer::Index {
                head: self.head,
                total: self.index.len() as u32,
                from: *from,
                entries: self.index[*from as usize..].to_vec(),
                cleared: self.cleared,
            },
            Ask::Objects { ids, .. } => {
                Answer::Objects(ids.iter().map(|id| self.body(id)).collect())
            }
            Ask::Chunk { id, index, .. } => Answer::Chunk {
                id: id.clone(),
                revision: self.body(id).revision,
                index: *index,
                bytes: chunk::chunk(&self.bodies[id], *index).unwrap().to_vec(),
            },
        }
    }

    fn body(&self, id: &ObjectId) -> ObjectBody {
        let entry = self.index.iter().find(|entry| entry.id == *id);
        let bytes = &self.bodies[id];
        ObjectBody {
            id: id.clone(),
            revision: entry.unwrap().revision,
            body: if bytes.len() > CHUNK_SIZE {
                let len = bytes.len() as u32;
                Body::Chunked { len }
            } else {
                Body::Whole(bytes.clone())
            },
        }
    }
}

/// What a session put out, with what it published opened as the controller opens it.
#[derive(Debug)]
enum Said {
    Birth(Birth),
    Request(Request),
    Report(Report),
    Sum(Sum),
    Persist(Arc<Document>),
    Forget(Vec<PodUid>),
    TimeFloor(i64),
    StreamOpen,
    StreamIn,
}

struct Bench {
    session: Session,
    boot: Boot,
    /// The controller's.
    controller: Boot,
    seq: u64,
    now: Millis,
    said: Vec<Said>,
}

macro_rules! takes {
    ($($name:ident: $variant:ident -> $type:ty),*) => { $(
        /// The first of what was said of this kind and not looked at yet.
        #[track_caller]
        fn $name(&mut self) -> $type {
            self.hear();
            let at = self.said.iter().position(|said| matches!(said, Said::$variant(_)));
            match at.map(|at| self.said.remove(at)) {
                Some(Said::$variant(message)) => message,
                _ => panic!("no {} in {:?}", stringify!($variant), self.said),
            }
        }
    )* };
}

impl Bench {
    fn new(boot: u64, document: Option<Arc<Document>>) -> Self {
        let config = Config {
            cluster: cluster(),
            node: node(),
            identity: node_key(),
            controller: controller_key().verifying_key(),
            boot: Boot(boot),
            hardware: Some(HardwareId([4; 16])),
        };
        Self {
            session: Session::new(Arc::new(config), document, &[boot as u8; 32]),
            boot: Boot(boot),
            controller: Boot(1),
            seq: 0,
            now: Millis(1_000_000),
            said: Vec::new(),
        }
    }

    /// Connected and welcomed by a controller whose newest document this is.
    fn welcomed(boot: u64, document: Option<Arc<Document>>, newest: &Wanted) -> Self {
        let mut bench = Self::new(boot, document);
        let birth = bench.connect();
        bench.welcome(&birth, newest);
        bench
    }

    /// A session that holds this document and that the controller has nothing more to say to.
    fn settled(wanted: &Wanted) -> Self {
        let mut bench = Self::welcomed(1, None, wanted);
        bench.accept(wanted);
        bench.settle();
        bench
    }

    fn settle(&mut self) {
        self.hear();
        while self.ack_all() {}
        self.said.clear();
    }

    /// Acknowledges every report said; `false` if there was none.
    fn ack_all(&mut self) -> bool {
        self.hear();
        let reports: Vec<_> = (self.said)
            .extract_if(.., |said| matches!(said, Said::Report(_)))
            .collect();
        for report in &reports {
            if let Said::Report(report) = report {
                self.ack(report, &[]);
            }
        }
        !reports.is_empty()
    }

    fn connect(&mut self) -> Birth {
        self.session.handle_connected(Nonce([7; 16]), self.now);
        self.birth()
    }

    /// The session nonce is that of the birth, turned around.
    fn welcome(&mut self, birth: &Birth, newest: &Wanted) {
        let session = Nonce(birth.nonce.0.map(|byte| !byte));
        let (head, unix_s) = (newest.head, 1_700_000_000);
        let welcome = Answer::Welcome {
            session,
            head,
            unix_s,
        };
        self.answer(birth.nonce, welcome);
        assert!(self.session.is_welcomed());
    }

    fn ack(&mut self, report: &Report, forget: &[u8]) {
        let forget = forget.iter().map(|number| uid(*number)).collect();
        let number = report.number;
        self.answer(report.session, Answer::ReportAck { number, forget });
    }

    fn head(&mut self, newest: &Wanted) {
        self.send(&Topic::Head(node()), &newest.head);
    }

    fn answer(&mut self, nonce: Nonce, answer: Answer) {
        let topic = Topic::Response(node(), self.boot);
        self.send(&topic, &Response { nonce, answer });
    }

    /// Answers the one question that is out; says what it was.
    #[track_caller]
    fn serve(&mut self, wanted: &Wanted) -> Ask {
        let Request { nonce, ask } = self.request();
        self.answer(nonce, wanted.answer(&ask));
        ask
    }

    /// Answers until the document is to be persisted.
    #[track_caller]
    fn pull(&mut self, wanted: &Wanted) -> (Vec<Ask>, Arc<Document>) {
        let mut asked = Vec::new();
        while !self.has(|said| matches!(said, Said::Persist(_))) {
            asked.push(self.serve(wanted));
        }
        (asked, self.persist())
    }

    #[track_caller]
    fn accept(&mut self, wanted: &Wanted) -> Vec<Ask> {
        let (asked, document) = self.pull(wanted);
        assert_eq!(
            (document.version, document.digest),
            (wanted.head.version, wanted.head.digest)
        );
        (self.session).handle_persisted(document.version, self.now);
        assert_eq!(self.session.document(), Some(&document));
        asked
    }

    fn send<M: Message>(&mut self, topic: &Topic, message: &M) {
        let packet = self.packet(topic, message);
        self.deliver(topic, &packet);
    }

    fn deliver(&mut self, topic: &Topic, packet: &[u8]) {
        let text = topic.text(&cluster());
        self.session.handle_packet(&text, packet, self.now);
    }

    fn packet<M: Message>(&mut self, topic: &Topic, message: &M) -> Vec<u8> {
        self.seq += 1;
        let sequence = Sequence {
            epoch: 1,
            boot: self.controller,
            seq: self.seq,
        };
        let to = KeyId::of(&node_key().verifying_key());
        let text = topic.text(&cluster());
        envelope::sign(&controller_key(), &text, to, sequence, message).unwrap()
    }

    fn observe(&mut self, pods: impl IntoIterator<Item = (PodUid, PodReport)>) {
        self.session.handle_observed(observed(pods), self.now);
    }

    /// Lets time pass up to the next moment that the session asks for; says how long that was.
    #[track_caller]
    fn wait(&mut self) -> u64 {
        let due = self.session.next_wake().expect("something is due");
        let waited = due.since(self.now);
        self.now = self.now.max(due);
        self.session.handle_timeout(self.now);
        waited
    }

    fn hear(&mut self) {
        while let Some(output) = self.session.poll() {
            let said = match output {
                Output::Publish(publish) => self.opened(&publish),
                Output::Persist(document) => Said::Persist(document),
                Output::Forget(pods) => Said::Forget(pods),
                Output::TimeFloor { unix_s } => Said::TimeFloor(unix_s),
                Output::StreamOpen(..) => Said::StreamOpen,
                Output::StreamIn(..) => Said::StreamIn,
            };
            self.said.push(said);
        }
    }

    fn opened(&self, publish: &Publish) -> Said {
        fn open<M: Message>(publish: &Publish) -> M {
            let text = publish.topic_text(&cluster());
            let me = KeyId::of(&controller_key().verifying_key());
            let opened =
                envelope::open::<M>(&publish.payload, &text, me, &node_key().verifying_key());
            opened.unwrap().message
        }
        match &publish.topic {
            Topic::Birth(_) => Said::Birth(open(publish)),
            Topic::Request(_, boot) if *boot == self.boot => Said::Request(open(publish)),
            Topic::Report(_) => Said::Report(open(publish)),
            Topic::Sum(_) => Said::Sum(open(publish)),
            other => panic!("published on {other:?}"),
        }
    }

    fn has(&mut self, what: fn(&Said) -> bool) -> bool {
        self.hear();
        self.said.iter().any(what)
    }

    /// Nothing was said that was not looked at.
    #[track_caller]
    fn silent(&mut self) {
        self.hear();
        assert!(self.said.is_empty(), "{:?}", self.said);
    }

    takes!(
        birth: Birth -> Birth,
        request: Request -> Request,
        report: Report -> Report,
        sum: Sum -> Sum,
        persist: Persist -> Arc<Document>,
        forget: Forget -> Vec<PodUid>,
        time_floor: TimeFloor -> i64
    );
}

#[test]
fn from_birth_to_acknowledgement() {
    let first = wanted(1, 10, &[("a", 3, b"A"), ("b", 4, b"B")]);
    let mut bench = Bench::new(5, None);
    let birth = bench.connect();
    assert_eq!((birth.boot, birth.have), (Boot(5), None));
    bench.silent();

    bench.welcome(&birth, &first);
    assert_eq!(bench.time_floor(), 1_700_000_000);
    let full = bench.report();
    assert!(full.full && !full.more && full.accepted.is_none());

    let (asked, document) = bench.pull(&first);
    let version = first.head.version;
    let ids = vec![config_map("a"), config_map("b")];
    let index = Ask::Index {
        version: None,
        from: 0,
    };
    assert_eq!(asked, [index, Ask::Objects { version, ids }]);
    assert_eq!(bench.session.document(), None, "not before it is on disk");
    bench.session.handle_persisted(version, bench.now);
    assert_eq!(bench.session.document(), Some(&document));
    bench.silent();

    bench.ack(&full, &[]);
    let accepted = bench.report();
    assert!(!accepted.full && accepted.number > full.number);
    assert_eq!(accepted.accepted, Some(version));
    bench.ack(&accepted, &[]);
    bench.silent();

    bench.wait();
    let sum = bench.sum();
    assert_eq!(
        (sum.accepted, sum.digest),
        (Some(version), first.head.digest)
    );
    bench.silent();
    assert_eq!(bench.session.counters(), Counters::default());
}

#[test]
fn a_node_that_returns_with_the_newest_document_pulls_nothing() {
    let newest = wanted(1, 10, &[("a", 3, b"A")]);
    let document = Bench::settled(&newest).session.document().cloned();
    let mut bench = Bench::new(2, document);
    let birth = bench.connect();
    assert_eq!(birth.have, Some((newest.head.version, newest.head.history)));
    assert_eq!(birth.digest, newest.head.digest);
    bench.welcome(&birth, &newest);
    bench.settle();
    assert!(!bench.has(|said| matches!(said, Said::Request(_))));
}
