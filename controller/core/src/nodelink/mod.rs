//! The controller's half of the node protocol for all nodes, without sockets, clock or store.
//!
//! In: the nodes of the key table, their documents as compiled from durable state, packets, what the
//! link says, what the store made durable, and that time has passed. Out, by [`NodeLink::poll`] until
//! it is empty after every input: publishes and [`Event`]s; and [`NodeLink::next_wake`].
//!
//! One task of the controller owns it. Its state is bounded by the nodes of the table, their
//! documents and one hash for each of their pods; nothing queues by message: a node has one slot for
//! each thing that may be due to it, and the newest request of a node replaces the one before.
//!
//! What it guarantees:
//! - Nothing is served to a node before it has said in this life of the controller what it holds
//!   ([`Birth`](bramble_wire::message::Birth)), and what it holds was judged: a version from a future
//!   that this store does not know stops everything until the epoch has risen
//!   ([`Event::RaiseEpoch`]).
//! - The version of a node's document changes only with its digest, and only upwards.
//! - A report is believed only with the nonce of this life's welcome inside, and acknowledged only
//!   after [`NodeLink::handle_durable`].
//! - Secrets leave only sealed, as an answer to the node that they are for.

mod document;

use std::collections::BTreeSet;

use bramble_wire::clock::Millis;
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::object::PodUid;
use bramble_wire::publish::{Delivery, Publish};
use bramble_wire::report::{NodeFacts, PodReport};
use bramble_wire::seal::SealingPublic;
use bramble_wire::stream;
use bramble_wire::topic::{StreamId, Topic};
use bramble_wire::version::{Boot, HistoryId, Version};
use bramble_wire::{SigningKey, VerifyingKey};

pub use document::{Compiled, Error, Objects};

/// Who controls.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster.
    pub cluster: ClusterId,
    /// The controller's signing key.
    pub identity: SigningKey,
    /// Raised and on disk since this process started.
    pub boot: Boot,
    /// Epoch of the store; at least 1.
    pub epoch: u64,
    /// Term of this controller.
    pub term: u64,
    /// History of the store; a new epoch has a new one.
    pub history: HistoryId,
    /// What is sent at most.
    pub limits: Limits,
}

/// What is sent at most, so that a mass return does not flatten the broker or the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Heads and welcomes a second.
    pub heads_per_s: u32,
    /// First index answers to nodes that hold nothing of this epoch, a second: each of them pulls a
    /// whole document.
    pub full_per_s: u32,
    /// Bytes of answers a second.
    pub bytes_per_s: u32,
    /// The keep-alive of nodes' links, milliseconds. Silence of 1.5 times as long where life was
    /// expected means not ready.
    pub keep_alive_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            heads_per_s: 200,
            full_per_s: 20,
            bytes_per_s: 2 * 1024 * 1024,
            keep_alive_ms: 60_000,
        }
    }
}

/// A node's public keys, from the key table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeKeys {
    /// Signs what the node says.
    pub identity: VerifyingKey,
    /// Secrets are sealed to it.
    pub sealing: SealingPublic,
}

/// What the edge must do or may want to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Publish it.
    Publish(Publish),
    /// Something happened.
    Event(Event),
}

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Whether a node is there. Its Ready condition.
    Presence {
        /// Which.
        node: NodeName,
        /// What changed.
        presence: Presence,
    },
    /// Facts of a node, with its birth and when they changed.
    Facts {
        /// Which.
        node: NodeName,
        /// They.
        facts: NodeFacts,
    },
    /// A report. The edge writes the statuses, and when they are durable (`hard`) or taken (not
    /// `hard`), calls [`NodeLink::handle_durable`]. Without that call the node says it again.
    Report(Report),
    /// A stream has output.
    StreamOut {
        /// From which node.
        node: NodeName,
        /// Which stream.
        id: StreamId,
        /// It.
        out: stream::Out,
    },
    /// A node knows a future that this store does not: the store is a restored or an older one.
    /// Nothing is sent until the edge has made the new epoch and history durable and called
    /// [`NodeLink::handle_epoch`].
    RaiseEpoch {
        /// Which node.
        node: NodeName,
        /// What it presents.
        seen: Version,
        /// The new epoch.
        epoch: u64,
        /// The new history.
        history: HistoryId,
    },
    /// A packet was dropped for a reason that was not met before with this node: to be logged. The
    /// same reason and node are reported once an hour at most; [`NodeLink::counters`] has them all.
    Dropped {
        /// The node whose topic it was; `None` for no topic of a known node.
        node: Option<NodeName>,
        /// Why.
        reason: Drop,
    },
}

/// A report of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Which node.
    pub node: NodeName,
    /// To be named in [`NodeLink::handle_durable`].
    pub number: u64,
    /// Must be durable before it is acknowledged: it has an ending in it.
    pub hard: bool,
    /// Pods that changed.
    pub pods: Vec<PodReport>,
    /// Set on the last part of a full report: all the pods that the node knows. What the store has
    /// beyond them was never started there, or is lost with the node's disk.
    pub all: Option<BTreeSet<PodUid>>,
    /// Version of the document that the node holds.
    pub accepted: Option<Version>,
    /// Version that it has carried out.
    pub converged: Option<Version>,
    /// Why it refused the newest document, else empty.
    pub rejected: String,
}

/// Whether a node is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// Not heard yet in this life of the controller: the condition that the store has stands.
    Unknown,
    /// It has answered this life's welcome.
    Ready,
    /// It said good-bye: the agent stops, its containers go on.
    Stopped,
    /// Its connection was lost, or it was silent for too long.
    Lost,
}

/// Why a packet was dropped. None of them is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Drop {
    /// Larger than a packet may be.
    Oversize,
    /// Not a topic of this cluster that nodes write.
    Topic,
    /// No such node in the key table.
    UnknownNode,
    /// Not an envelope, wrong kind, wrong body, another protocol version.
    Malformed,
    /// Signed by somebody else, or altered.
    Signature,
    /// Meant for somebody else.
    Recipient,
    /// Seen before, or from an earlier life of the node.
    Replay,
    /// Over a limit inside a well-formed message (pods in a report, objects in a request).
    Limit,
}

/// How often each [`Drop`] happened, and what else is worth a metric. Only ever grows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Dropped packets by reason.
    pub dropped: std::collections::BTreeMap<Drop, u64>,
    /// Heads published.
    pub heads: u64,
    /// Answers published.
    pub answers: u64,
    /// Bytes of answers published.
    pub answer_bytes: u64,
    /// Reports handed to the edge.
    pub reports: u64,
    /// Reports, sums and requests of sessions that this life does not know.
    pub unknown_sessions: u64,
}

/// How far a node is, for `kubectl` and for decisions that need every node to have spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeState {
    /// Is it there.
    pub presence: Presence,
    /// Newest version of its document; `None` before it was compiled.
    pub version: Option<Version>,
    /// What it holds, as far as it said so in this life.
    pub accepted: Option<Version>,
    /// What it has carried out.
    pub converged: Option<Version>,
    /// It has reported since the epoch began or this process started.
    pub confirmed: bool,
}

/// The controller's half of the node protocol.
#[derive(Debug)]
pub struct NodeLink {
    config: Config,
    counters: Counters,
}

impl NodeLink {
    /// A machine of a process that has just started. `seed` is 32 fresh random bytes.
    pub fn new(config: Config, seed: &[u8; 32]) -> Self {
        let _ = seed;
        Self {
            config,
            counters: Counters::default(),
        }
    }

    /// Takes a node of the key table in, or its new keys (which end its session).
    pub fn set_node(&mut self, node: &NodeName, keys: NodeKeys, now: Millis) {
        let _ = (node, keys, now);
    }

    /// A node left the key table: nothing is sent to it any more and nothing believed of it.
    pub fn remove_node(&mut self, node: &NodeName) {
        let _ = node;
    }

    /// The document of a node, compiled from durable state as of store revision `revision`.
    ///
    /// # Errors
    /// [`Error`] when it is over a limit; the one before it stays.
    pub fn set_document(
        &mut self,
        node: &NodeName,
        objects: Objects,
        revision: u64,
        now: Millis,
    ) -> Result<(), Error> {
        let _ = (node, objects, revision, now);
        Ok(())
    }

    /// Our link to the broker is up and subscribed to
    /// [`bramble_wire::topic::controller_filters`].
    pub fn handle_connected(&mut self, now: Millis) {
        let _ = now;
    }

    /// Our link to the broker is gone: silence says nothing about nodes until it is back.
    pub fn handle_disconnected(&mut self, now: Millis) {
        let _ = now;
    }

    /// The embedded broker lost a node's connection. Only a hint: the node is lost when it does not
    /// speak within 1.5 times the keep-alive.
    pub fn handle_node_disconnected(&mut self, node: &NodeName, now: Millis) {
        let _ = (node, now);
    }

    /// A message arrived.
    pub fn handle_packet(&mut self, topic: &str, payload: &[u8], now: Millis) {
        let _ = (topic, payload, now);
    }

    /// The report `number` of a node is taken; durably if it was `hard`. `forget` are the pods that it
    /// reported gone and that the store (durably) does not have any more. Pods that are gone and not
    /// named are reported again later.
    pub fn handle_durable(
        &mut self,
        node: &NodeName,
        number: u64,
        forget: Vec<PodUid>,
        now: Millis,
    ) {
        let _ = (node, number, forget, now);
    }

    /// The epoch and history of [`Event::RaiseEpoch`] are durable.
    pub fn handle_epoch(&mut self, epoch: u64, history: HistoryId, now: Millis) {
        let _ = (epoch, history, now);
    }

    /// The controller's clock, sent with welcomes: it raises the nodes' time floor, and orders
    /// nothing.
    pub fn set_clock(&mut self, unix_s: i64) {
        let _ = unix_s;
    }

    /// Time has passed; harmless when nothing is due.
    pub fn handle_timeout(&mut self, now: Millis) {
        let _ = now;
    }

    /// The next thing to do; `None` when nothing more is due or allowed at this time.
    pub fn poll(&mut self, now: Millis) -> Option<Output> {
        let _ = now;
        None
    }

    /// When to call [`NodeLink::handle_timeout`] and poll again.
    pub fn next_wake(&self, now: Millis) -> Option<Millis> {
        let _ = now;
        None
    }

    /// Opens a stream on a node; `None` when the node is not there. `open.boot` is filled in.
    pub fn stream_open(
        &mut self,
        node: &NodeName,
        id: StreamId,
        open: stream::Open,
    ) -> Option<Publish> {
        let _ = (node, id, open);
        None
    }

    /// Credit for a stream, or its end; `None` when the node is not known.
    pub fn stream_in(
        &mut self,
        node: &NodeName,
        id: StreamId,
        message: &stream::In,
    ) -> Option<Publish> {
        let _ = (message, &self.config);
        Some(Publish {
            topic: Topic::StreamIn(node.clone(), id),
            payload: Vec::new(),
            delivery: Delivery::Message,
        })
    }

    /// The last will of our link, and what is to be published before it is closed on purpose:
    /// nobody controls.
    pub fn offline(&mut self) -> Option<Publish> {
        None
    }

    /// How far a node is.
    pub fn node(&self, node: &NodeName) -> Option<NodeState> {
        let _ = node;
        None
    }

    /// Whether every node of the table has reported since the epoch began: before that, nothing that
    /// must not run twice may be bound.
    pub fn all_confirmed(&self) -> bool {
        false
    }

    /// What was dropped and done so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
