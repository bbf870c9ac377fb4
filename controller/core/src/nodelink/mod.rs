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

mod boards;
mod bucket;
mod document;
mod event;
mod inbound;
mod node;
mod outbound;
mod presence;
mod rival;
#[cfg(test)]
mod tests;
mod versions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bramble_wire::clock::Millis;
use bramble_wire::envelope::{self, KeyId};
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::random::Random;
use bramble_wire::seal::SealingPublic;
use bramble_wire::version::{Boot, HistoryId, Nonce, Version};
use bramble_wire::{SigningKey, VerifyingKey};

#[cfg(test)]
pub(crate) use document::fits;
pub use document::{Compiled, Error, Objects};
pub use event::{Event, Output, Presence, Report};

use bucket::Bucket;
use document::Sealer;
use node::Node;
use rival::Rival;

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
    /// What this life of the store and those before it began with, as far as that is remembered.
    pub recovered: Vec<Recovered>,
    /// What is sent at most.
    pub limits: Limits,
}

/// What a life of the store began with: its documents' revisions are not between the two. A node that
/// has one of those was told by a store that this one is an older copy of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// The newest revision that the store had: no document of its past has a later one.
    pub top: u64,
    /// Where this life begins: no document of it has an earlier one.
    pub start: u64,
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

impl From<envelope::Error> for Drop {
    fn from(error: envelope::Error) -> Self {
        match error {
            envelope::Error::Oversize(_) => Self::Oversize,
            envelope::Error::Malformed
            | envelope::Error::Protocol(_)
            | envelope::Error::Kind(_)
            | envelope::Error::Body => Self::Malformed,
            envelope::Error::Sender | envelope::Error::Signature => Self::Signature,
            envelope::Error::Recipient => Self::Recipient,
            envelope::Error::Replay => Self::Replay,
        }
    }
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
    /// It has said since the epoch began, or this process started, everything that it runs; what no
    /// document of this epoch names is marked as unclaimed.
    pub confirmed: bool,
}

/// The controller's half of the node protocol.
#[derive(Debug)]
pub struct NodeLink {
    config: Config,
    me: KeyId,
    /// Names this process.
    instance: Nonce,
    rival: Rival,
    random: Random,
    sealer: Sealer,
    nodes: BTreeMap<NodeName, Node>,
    /// Members that have not said yet in this epoch and life everything that they run, marked by a
    /// document of this epoch.
    unheard: BTreeSet<NodeName>,
    /// See [`NodeLink::set_cleared`].
    cleared: bool,
    /// One entry for each node that something is due to at a time.
    timers: BTreeSet<(Millis, NodeName)>,
    /// Highest store revision met.
    revision: u64,
    unix_s: i64,
    /// Sequence number of the last message to everybody.
    seq: u64,
    link_up: bool,
    /// Since when the link is up: who was not heard since may be silent, or not there.
    up_since: Millis,
    state_due: bool,
    /// The epoch that the edge is making durable; nothing is sent meanwhile.
    raising: Option<u64>,
    /// When epochs began that no person has confirmed, the newest of them.
    rises: VecDeque<Millis>,
    /// [`Event::Braked`] was told.
    braked: bool,
    heads: Bucket,
    full: Bucket,
    bytes: Bucket,
    head_queue: VecDeque<NodeName>,
    answer_queue: VecDeque<NodeName>,
    reply_queue: VecDeque<NodeName>,
    events: VecDeque<Event>,
    counters: Counters,
    logged: BTreeMap<Drop, Millis>,
}

impl NodeLink {
    /// A machine of a process that has just started. `seed` is 32 fresh random bytes.
    pub fn new(config: Config, seed: &[u8; 32]) -> Self {
        let sealing = Random::derive(seed, &[b"bramble/nodelink/seal/1"]);
        let mut random = Random::new(seed, "bramble/nodelink/1");
        Self {
            me: KeyId::of(&config.identity.verifying_key()),
            instance: random.nonce(),
            rival: Rival::default(),
            random,
            sealer: Sealer::new(config.cluster.clone(), &sealing),
            nodes: BTreeMap::new(),
            unheard: BTreeSet::new(),
            cleared: false,
            timers: BTreeSet::new(),
            revision: 0,
            unix_s: 0,
            seq: 0,
            link_up: false,
            up_since: Millis(0),
            state_due: false,
            raising: None,
            rises: VecDeque::new(),
            braked: false,
            heads: Bucket::new(config.limits.heads_per_s),
            full: Bucket::new(config.limits.full_per_s),
            bytes: Bucket::new(config.limits.bytes_per_s),
            head_queue: VecDeque::new(),
            answer_queue: VecDeque::new(),
            reply_queue: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
            logged: BTreeMap::new(),
            config,
        }
    }

    /// Takes a node of the key table in, or its new keys (which end its session).
    pub fn set_node(&mut self, node: &NodeName, keys: NodeKeys, now: Millis) {
        if let Some(known) = self.nodes.get_mut(node)
            && known.keys == keys
        {
            if std::mem::take(&mut known.leaving) {
                self.unheard.insert(node.clone());
            }
            return;
        }
        self.unheard.insert(node.clone());
        let before = self.nodes.remove(node);
        self.forget_timer(node, before.as_ref());
        let mut known = Node::new(keys);
        if let Some(before) = before {
            // The name goes on: so do its document and its version.
            known.document = before.document;
            known.version = before.version;
            known.announced = before.announced;
            known.slots.in_heads = before.slots.in_heads;
            known.slots.in_answers = before.slots.in_answers;
            known.slots.in_replies = before.slots.in_replies;
        }
        self.nodes.insert(node.clone(), known);
        self.expect_life(node, now);
    }

    /// A node left the key table and is still to get its last document: until it is removed, no future that
    /// it claims to know begins an epoch.
    pub fn set_leaving(&mut self, node: &NodeName) {
        if let Some(known) = self.nodes.get_mut(node) {
            known.leaving = true;
        }
        self.unheard.remove(node);
    }

    /// A node left the key table: nothing is sent to it any more and nothing believed of it.
    pub fn remove_node(&mut self, node: &NodeName) {
        let before = self.nodes.remove(node);
        self.unheard.remove(node);
        self.forget_timer(node, before.as_ref());
        for queue in [
            &mut self.head_queue,
            &mut self.answer_queue,
            &mut self.reply_queue,
        ] {
            queue.retain(|queued| queued != node);
        }
    }

    /// The controller's clock, sent with welcomes: it raises the nodes' time floor, and orders
    /// nothing.
    pub fn set_clock(&mut self, unix_s: i64) {
        self.unix_s = unix_s;
    }

    /// When to call [`NodeLink::handle_timeout`] and poll again.
    pub fn next_wake(&self, now: Millis) -> Option<Millis> {
        let timer = self.timers.first().map(|(due, _)| *due);
        let sending = self.next_sending(now);
        [timer, sending].into_iter().flatten().min()
    }

    /// How far a node is.
    pub fn node(&self, name: &NodeName) -> Option<NodeState> {
        self.nodes.get(name).map(|node| NodeState {
            presence: node.presence,
            version: node.document.is_some().then_some(node.version),
            accepted: node.accepted,
            converged: node.converged,
            confirmed: !self.unheard.contains(name),
        })
    }

    /// Whether every node of the table has reported since the epoch began: before that, nothing that
    /// must not run twice may be bound.
    pub fn all_confirmed(&self) -> bool {
        self.raising.is_none() && self.unheard.is_empty() && !self.rival.yielded
    }

    /// Members that have not reported everything since the epoch began, or this process started.
    pub fn unheard(&self) -> &BTreeSet<NodeName> {
        &self.unheard
    }

    /// Whether nothing runs anywhere that the store does not have: everybody has reported
    /// ([`NodeLink::all_confirmed`]), a person has confirmed the epoch, and the edge knows of no such
    /// pod. Only then is a pod that must not run twice started; nodes that wait for it are told.
    pub fn set_cleared(&mut self, cleared: bool) {
        let before = std::mem::replace(&mut self.cleared, cleared);
        if before || !cleared {
            return;
        }
        let waits = |node: &Node| {
            let document = node.document.as_ref();
            node.session.is_some() && document.is_some_and(|document| document.once)
        };
        let waiting = self.nodes.iter().filter(|(_, node)| waits(node));
        let waiting: Vec<NodeName> = waiting.map(|(name, _)| name.clone()).collect();
        for name in waiting {
            self.queue_head(&name);
        }
    }

    /// What was dropped and done so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Keeps the timer of a node in step with what is due to it.
    fn arm(&mut self, name: &NodeName) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let due = node.due();
        if due == node.armed {
            return;
        }
        if node.armed != Millis::NEVER {
            self.timers.remove(&(node.armed, name.clone()));
        }
        if due != Millis::NEVER {
            self.timers.insert((due, name.clone()));
        }
        node.armed = due;
    }

    fn forget_timer(&mut self, name: &NodeName, node: Option<&Node>) {
        if let Some(node) = node {
            self.timers.remove(&(node.armed, name.clone()));
        }
    }
}
