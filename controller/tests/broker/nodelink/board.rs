//! Boards as a test plays them.

use super::*;

pub(crate) fn n1() -> NodeName {
    NodeName::new("n1").unwrap()
}

/// A sender of signed messages.
#[derive(Clone)]
pub(super) struct Speaker {
    pub(super) key: SigningKey,
    pub(super) controller: VerifyingKey,
    pub(super) boot: Boot,
    pub(super) seq: u64,
}

impl Speaker {
    pub(super) fn say<M: Message>(&mut self, topic: &Topic, message: &M) -> (String, Vec<u8>) {
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

    pub(super) fn hear<M: Message>(&self, topic: &str, payload: &[u8]) -> M {
        let me = KeyId::of(&self.key.verifying_key());
        envelope::open(payload, topic, me, &self.controller)
            .unwrap()
            .message
    }
}

/// The node, as the controller sees it.
pub(super) struct Board {
    pub(super) me: Speaker,
    pub(super) peer: Peer,
    pub(super) connection: Nonce,
    pub(super) session: Nonce,
    pub(super) reports: u64,
}

impl Board {
    pub(super) fn send<M: Message>(&mut self, topic: &Topic, message: &M) {
        let (topic, payload) = self.me.say(topic, message);
        self.peer.link.send(&topic, payload).unwrap();
    }

    /// The next message on a topic that `wanted` names.
    pub(super) async fn next<M: Message>(&mut self, wanted: impl Fn(&Topic) -> bool) -> (Topic, M) {
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

    pub(super) async fn answer(&mut self) -> Answer {
        let (_, response) = self
            .next::<Response>(|topic| matches!(topic, Topic::Response(..)))
            .await;
        response.answer
    }

    pub(super) async fn ask(&mut self, ask: Ask) -> Answer {
        let nonce = Nonce([self.me.seq as u8; 16]);
        self.send(&Topic::Request(n1(), self.me.boot), &Request { nonce, ask });
        self.answer().await
    }

    /// Announces itself to the controller that says that it is there.
    pub(super) async fn born(&mut self) -> Head {
        self.next::<ControllerState>(|topic| *topic == Topic::Controller)
            .await;
        self.announce(None);
        self.welcomed().await
    }

    pub(super) fn announce(&mut self, have: Option<(Version, HistoryId)>) {
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
            hardware: None,
            process: Nonce([8; 16]),
            refused: None,
        };
        self.send(&Topic::Birth(n1()), &birth);
    }

    pub(super) async fn welcomed(&mut self) -> Head {
        match self.answer().await {
            Answer::Welcome { session, head, .. } => {
                self.session = session;
                head
            }
            other => panic!("expected a welcome, got {other:?}"),
        }
    }

    /// Pulls the whole document.
    pub(super) async fn pull(&mut self) -> (Version, Vec<Object>) {
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

    /// Reports.
    pub(super) fn report_unheard(&mut self, accepted: Version, pods: Vec<PodReport>) {
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
    }

    /// Reports and waits until it is acknowledged; returns the pods to forget.
    pub(super) async fn report(&mut self, accepted: Version, pods: Vec<PodReport>) -> Vec<PodUid> {
        self.report_unheard(accepted, pods);
        match self.answer().await {
            Answer::ReportAck { number, forget } => {
                assert_eq!(number, self.reports);
                forget
            }
            other => panic!("expected an acknowledgement, got {other:?}"),
        }
    }
}
