//! A node as it is: the agent's own session over a real link. Its pods are in the phase that the test
//! says, and its disk never fails; everything between it and the controller is real.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use bramble_agent_core::session::{Config, Document, Observation, Output, Session};
use bramble_link::{Event, Handle, Link, Options, Subscription, Will, WillSource};
use bramble_wire::clock::Millis;
use bramble_wire::object::{Object, ObjectId};
use bramble_wire::publish::{Delivery, Publish};
use bramble_wire::report::{NodeFacts, Phase, PodReport};
use bramble_wire::topic;
use bramble_wire::version::{Boot, Nonce};
use bramble_wire::{SigningKey, VerifyingKey};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::bed::{PATIENCE, cluster};
use crate::nodelink::board::n1;

/// The node's clock runs so much faster: it asks again after 10 s, and tests have no time for that.
const SPEED: u64 = 40;

/// What a test sees of the node.
#[derive(Clone, Default)]
struct Seen {
    document: Option<Arc<Document>>,
    welcomed: bool,
    /// Topics that the broker refused a publish to.
    refused: Vec<String>,
    subscribed: u64,
}

/// A node that runs until it is dropped.
pub(crate) struct Node {
    pub(crate) link: Handle,
    seen: watch::Receiver<Seen>,
    phase: mpsc::UnboundedSender<Phase>,
    task: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    /// Starts node `n1`; `options` say how it reaches the broker.
    pub(crate) fn start(
        mut options: Options,
        identity: SigningKey,
        controller: VerifyingKey,
        boot: u64,
    ) -> Node {
        let config = Arc::new(Config {
            hardware: None,
            cluster: cluster(),
            node: n1(),
            identity,
            controller,
            boot: Boot(boot),
        });
        let connection = Arc::new(Mutex::new(Nonce::default()));
        let (dying, count) = (Arc::clone(&config), Mutex::new(0u64));
        let next = Arc::clone(&connection);
        options.will = Some(WillSource::new(move || {
            let mut count = count.lock().unwrap();
            *count += 1;
            let mut nonce = Nonce::default();
            nonce.0[..8].copy_from_slice(&count.to_le_bytes());
            *next.lock().unwrap() = nonce;
            let will = dying.last_will(nonce);
            Will {
                topic: will.topic_text(&dying.cluster).to_string(),
                payload: will.payload.into(),
                retain: false,
            }
        }));
        let filters = topic::node_filters(&config.cluster, &config.node);
        options.subscriptions = (filters.iter())
            .map(|filter| match filter.ends_with("/d/+") {
                true => Subscription::latest(filter.as_str()),
                false => Subscription::queue(filter.as_str()),
            })
            .collect();
        let (link, events) = Link::spawn(options).unwrap();
        let (show, seen) = watch::channel(Seen::default());
        let (phase, phases) = mpsc::unbounded_channel();
        let edge = Edge {
            session: Session::new(Arc::clone(&config), None, &[boot as u8; 32]),
            config,
            connection,
            link: link.clone(),
            phase: Phase::Pending,
            show,
            started: Instant::now(),
        };
        Node {
            link,
            seen,
            phase,
            task: tokio::spawn(edge.run(events, phases)),
        }
    }

    /// Every pod of the node is in this phase from now on.
    pub(crate) fn becomes(&self, phase: Phase) {
        self.phase.send(phase).unwrap();
    }

    /// Waits until the accepted document holds the ConfigMap with this colour.
    pub(crate) async fn has_colour(&self, colour: &str) {
        self.until(&format!("the node has {colour}"), |seen| {
            let document = seen.document.as_ref();
            document.is_some_and(|document| self::colour(document).as_deref() == Some(colour))
        })
        .await;
    }

    /// Waits until the controller has welcomed the present connection.
    pub(crate) async fn welcomed(&self) {
        self.until("the node is welcomed", |seen| seen.welcomed)
            .await;
    }

    /// Waits until so many connections were subscribed.
    pub(crate) async fn subscribed(&self, times: u64) {
        self.until("the node is subscribed", |seen| seen.subscribed >= times)
            .await;
    }

    /// Waits until the broker has refused a publish to a topic that ends like this.
    pub(crate) async fn refused(&self, end: &str) {
        self.until(&format!("a publish to {end} is refused"), |seen| {
            seen.refused.iter().any(|topic| topic.ends_with(end))
        })
        .await;
    }

    pub(crate) fn is_welcomed(&self) -> bool {
        self.seen.borrow().welcomed
    }

    async fn until(&self, what: &str, right: impl Fn(&Seen) -> bool) {
        let mut seen = self.seen.clone();
        let wait = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| right(seen)));
        let came = wait.await.map(|seen| drop(seen.unwrap()));
        assert!(came.is_ok(), "never: {what}");
    }
}

fn colour(document: &Document) -> Option<String> {
    let maps =
        document.objects.values().filter_map(|stored| {
            match bramble_wire::decode::<Object>(&stored.body, "object").ok()? {
                Object::ConfigMap(map) => map.data.get("COLOUR").cloned(),
                _ => None,
            }
        });
    maps.map(|bytes| String::from_utf8(bytes).unwrap()).next()
}

/// The agent's edge in miniature.
struct Edge {
    session: Session,
    config: Arc<Config>,
    connection: Arc<Mutex<Nonce>>,
    link: Handle,
    phase: Phase,
    show: watch::Sender<Seen>,
    started: Instant,
}

impl Edge {
    async fn run(
        mut self,
        mut events: bramble_link::Events,
        mut phases: mpsc::UnboundedReceiver<Phase>,
    ) {
        self.observe();
        loop {
            self.drain();
            let wake = self.session.next_wake().unwrap_or(Millis::NEVER);
            let pause = wake.since(self.now()).min(3_600_000) / SPEED;
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.handle(event),
                    None => return,
                },
                Some(phase) = phases.recv() => {
                    self.phase = phase;
                    self.observe();
                }
                () = tokio::time::sleep(std::time::Duration::from_millis(pause)) => {
                    self.session.handle_timeout(self.now());
                }
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Subscribed => {
                let nonce = *self.connection.lock().unwrap();
                self.show.send_modify(|seen| seen.subscribed += 1);
                self.session.handle_connected(nonce, now);
            }
            Event::Disconnected { .. } => self.session.handle_disconnected(now),
            Event::Message { topic, payload } => self.session.handle_packet(&topic, &payload, now),
            Event::PublishRefused { topic, .. } => {
                self.show.send_modify(|seen| seen.refused.push(topic));
            }
            Event::Connected { .. } | Event::SubscriptionRefused { .. } | Event::Oversize => {}
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Publish(publish) => self.publish(publish),
                Output::Persist(document) => {
                    self.session.handle_persisted(document.version, self.now());
                    self.observe();
                }
                Output::Forget(_)
                | Output::TimeFloor { .. }
                | Output::StreamOpen(..)
                | Output::StreamIn(..) => {}
            }
        }
        let (document, welcomed) = (self.session.document().cloned(), self.session.is_welcomed());
        self.show.send_modify(|seen| {
            seen.document = document;
            seen.welcomed = welcomed;
        });
    }

    fn publish(&self, publish: Publish) {
        let topic = publish.topic_text(&self.config.cluster);
        // What is refused here the session says again.
        let _ = match publish.delivery {
            Delivery::State => self.link.put(&topic, publish.payload),
            Delivery::Retained => self.link.put_retained(&topic, publish.payload),
            Delivery::Message => self.link.send(&topic, publish.payload),
        };
    }

    /// All that the document names runs.
    fn observe(&mut self) {
        let document = self.session.document().cloned();
        let ids = document.iter().flat_map(|document| document.objects.keys());
        let uids = ids.filter_map(|id| match id {
            ObjectId::Pod(uid) => Some(*uid),
            _ => None,
        });
        let pods = uids
            .map(|uid| {
                let report = PodReport {
                    uid,
                    phase: self.phase,
                    ..PodReport::default()
                };
                (uid, report)
            })
            .collect();
        let observation = Observation {
            pods,
            converged: document.map(|document| document.version),
            names: Default::default(),
            uncleared: false,
            facts: NodeFacts {
                address: Some([10, 0, 0, 9]),
                memory_bytes: 512 << 20,
                ..NodeFacts::default()
            },
        };
        self.session.handle_observed(observation, self.now());
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.started.elapsed().as_millis()).unwrap() * SPEED)
    }
}
