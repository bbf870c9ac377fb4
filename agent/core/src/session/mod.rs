//! The agent's half of the node protocol, without sockets, clock or disk.
//!
//! In: what the link says ([`Session::handle_connected`], [`Session::handle_packet`], …), what the
//! disk says ([`Session::handle_persisted`]), what the reconcile loop observed
//! ([`Session::handle_observed`]), and that time has passed ([`Session::handle_timeout`]). Out, by
//! [`Session::poll`] until it is empty after every input: publishes, documents to persist, pods to
//! forget, streams to open; and [`Session::next_wake`].
//!
//! One task of the agent owns it. It keeps the document as accepted, one being fetched, one report
//! in flight, and the hash of each pod report that the controller acknowledged: memory follows the
//! document, never the time spent offline.
//!
//! What it guarantees to the rest of the agent:
//! - [`Session::document`] is on disk: it changes only in [`Session::handle_persisted`].
//! - Within an epoch its version never goes back, and one version has one content.
//! - No document is taken from an earlier life: every index echoes the nonce of a request made in
//!   this one.
//! - [`Output::Forget`] comes only for pods that the controller has forgotten and the accepted
//!   document does not name, so forgetting one can't start it again.
//!
//! What it expects: a pod that was reported is in every later observation until it is to be
//! forgotten; `gone` is on disk before it is observed.

mod document;

use std::collections::BTreeMap;
use std::sync::Arc;

use bramble_wire::clock::Millis;
use bramble_wire::envelope::{self, KeyId, Sequence};
use bramble_wire::message::Life;
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::object::PodUid;
use bramble_wire::publish::{Delivery, Publish};
use bramble_wire::report::{NodeFacts, PodReport};
use bramble_wire::stream;
use bramble_wire::topic::{StreamId, Topic};
use bramble_wire::version::{Boot, Nonce, Version};
use bramble_wire::{SigningKey, VerifyingKey};

pub use document::{Document, Stored};

/// Who this node is and whom it obeys.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeName,
    /// The node's signing key.
    pub identity: SigningKey,
    /// The controller's, pinned at the join.
    pub controller: VerifyingKey,
    /// Raised and on disk since this process started.
    pub boot: Boot,
}

impl Config {
    /// The last will of a connection. `connection` is a fresh nonce, the one that
    /// [`Session::handle_connected`] is given when this connection stands.
    pub fn last_will(&self, connection: Nonce) -> Publish {
        self.life(Life::Lost {
            boot: self.boot,
            connection,
        })
    }

    /// To be published before the agent disconnects on purpose.
    pub fn goodbye(&self, connection: Nonce) -> Publish {
        self.life(Life::Bye {
            boot: self.boot,
            connection,
        })
    }

    fn life(&self, life: Life) -> Publish {
        let topic = Topic::Life(self.node.clone());
        // Judged by its connection nonce: a will is signed before everything that it ends.
        let sequence = Sequence {
            epoch: 0,
            boot: self.boot,
            seq: 0,
        };
        let text = topic.text(&self.cluster);
        let to = KeyId::of(&self.controller);
        let payload = envelope::sign(&self.identity, &text, to, sequence, &life)
            .expect("a life message is far smaller than a packet");
        Publish {
            topic,
            payload,
            delivery: Delivery::Message,
        }
    }
}

/// What the node sees of itself: a level, given whole whenever something may have changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observation {
    /// Every pod that the node knows of. `unclaimed` is filled in by the session.
    pub pods: BTreeMap<PodUid, PodReport>,
    /// The document that has been carried out.
    pub converged: Option<Version>,
    /// Facts of the board.
    pub facts: NodeFacts,
}

/// What the edge must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Publish it.
    Publish(Publish),
    /// Store this document whole, durably, then call [`Session::handle_persisted`] with its version.
    /// There is at most one at a time; nothing of it may be acted on before.
    Persist(Arc<Document>),
    /// The node may forget these pods, all of them gone.
    Forget(Vec<PodUid>),
    /// The controller's clock: raises the time floor, orders nothing.
    TimeFloor {
        /// Seconds of the Unix epoch.
        unix_s: i64,
    },
    /// Somebody opens a stream.
    StreamOpen(StreamId, stream::Open),
    /// Credit for a stream, or its end.
    StreamIn(StreamId, stream::In),
}

/// What was dropped, by reason, and what was done. Only ever grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Larger than a packet may be.
    pub oversize: u64,
    /// Not a topic of this node.
    pub topic: u64,
    /// Not an envelope, wrong kind, wrong body, another protocol version.
    pub malformed: u64,
    /// Signed by somebody else, or altered.
    pub signature: u64,
    /// Meant for somebody else.
    pub recipient: u64,
    /// Seen before or from an earlier life of the controller.
    pub replay: u64,
    /// Answers to nothing that was asked in this life, or asked any more.
    pub unasked: u64,
    /// Documents refused: older, or the same version with another content.
    pub refused: u64,
    /// Answers that were right in form and wrong in content.
    pub invalid: u64,
    /// Requests and reports repeated for want of an answer.
    pub retries: u64,
}

/// The agent's half of the node protocol.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    document: Option<Arc<Document>>,
    counters: Counters,
}

impl Session {
    /// A session of a process that has just started.
    ///
    /// `document` is the one accepted in an earlier life, as read from disk; `seed` is 32 fresh
    /// random bytes.
    pub fn new(config: Arc<Config>, document: Option<Arc<Document>>, seed: &[u8; 32]) -> Self {
        let _ = seed;
        Self {
            config,
            document,
            counters: Counters::default(),
        }
    }

    /// The accepted document; it is on disk.
    pub fn document(&self) -> Option<&Arc<Document>> {
        self.document.as_ref()
    }

    /// What was dropped and done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The link is connected and subscribed to [`bramble_wire::topic::node_filters`]; `connection`
    /// is the nonce in its last will.
    pub fn handle_connected(&mut self, connection: Nonce, now: Millis) {
        let _ = (connection, now);
    }

    /// The link is gone.
    pub fn handle_disconnected(&mut self, now: Millis) {
        let _ = now;
    }

    /// A message arrived.
    pub fn handle_packet(&mut self, topic: &str, payload: &[u8], now: Millis) {
        let _ = (topic, payload, now);
    }

    /// The document of [`Output::Persist`] with this version is on disk.
    pub fn handle_persisted(&mut self, version: Version, now: Millis) {
        let _ = (version, now);
    }

    /// What the node sees of itself now.
    pub fn handle_observed(&mut self, observation: Observation, now: Millis) {
        let _ = (observation, now);
    }

    /// Time has passed; harmless when nothing is due.
    pub fn handle_timeout(&mut self, now: Millis) {
        let _ = now;
    }

    /// The next thing to do; `None` when there is nothing more.
    pub fn poll(&mut self) -> Option<Output> {
        None
    }

    /// When to call [`Session::handle_timeout`].
    pub fn next_wake(&self) -> Option<Millis> {
        None
    }

    /// Signs output of a stream.
    pub fn stream_out(&mut self, id: StreamId, out: &stream::Out) -> Publish {
        let _ = out;
        Publish {
            topic: Topic::StreamOut(self.config.node.clone(), id),
            payload: Vec::new(),
            delivery: Delivery::Message,
        }
    }
}
