//! What the machine knows of one node.

use std::collections::{BTreeMap, BTreeSet};

use bramble_wire::clock::Millis;
use bramble_wire::document::{Digest, Hash};
use bramble_wire::envelope::{KeyId, ReplayGuard, Sequence};
use bramble_wire::message::{Birth, Request};
use bramble_wire::object::PodUid;
use bramble_wire::version::{Boot, Nonce, Version};

use super::boards::Board;
use super::document::Indexed;
use super::{Drop, NodeKeys, Presence};

#[derive(Debug)]
pub(super) struct Node {
    pub(super) keys: NodeKeys,
    pub(super) key: KeyId,
    /// Sequence number of the last message to it.
    pub(super) seq: u64,
    pub(super) guard: ReplayGuard,
    /// Requests have one of their own: they name no session that would tell an old one.
    pub(super) request_guard: ReplayGuard,
    pub(super) stream_guard: ReplayGuard,
    pub(super) document: Option<Indexed>,
    /// Version of `document`.
    pub(super) version: Version,
    /// The version was sent in this epoch and life: it can't be changed any more to the one that
    /// the node has for the same content.
    pub(super) announced: bool,
    pub(super) candidate: Option<Candidate>,
    pub(super) session: Option<Session>,
    /// Hash of each pod's report as acknowledged, without those that are gone.
    pub(super) observed: BTreeMap<PodUid, Hash>,
    pub(super) accepted: Option<Version>,
    pub(super) converged: Option<Version>,
    /// It is no member any more and only told its last document: it starts nothing.
    pub(super) leaving: bool,
    pub(super) presence: Presence,
    pub(super) watch: Watch,
    pub(super) board: Board,
    /// When the head is said again to a node that does not hold it.
    pub(super) head_due: Millis,
    pub(super) head_attempt: u32,
    /// It refuses the newest document, and says why.
    pub(super) rejects: bool,
    /// The moment that the machine's timer of this node is set to.
    pub(super) armed: Millis,
    pub(super) slots: Slots,
    pub(super) logged: BTreeMap<Drop, Millis>,
}

/// What is due to a node: one slot for each thing, so nothing queues.
#[derive(Debug, Default)]
pub(super) struct Slots {
    pub(super) welcome: bool,
    pub(super) head: bool,
    pub(super) request: Option<(Boot, Request)>,
    pub(super) ack: Option<Ack>,
    pub(super) announce: Option<(Boot, Nonce)>,
    /// Boot, nonce of the birth, challenge.
    pub(super) refuse: Option<(Boot, Nonce, Nonce)>,
    pub(super) in_heads: bool,
    pub(super) in_answers: bool,
    pub(super) in_replies: bool,
}

#[derive(Debug)]
pub(super) struct Ack {
    pub(super) boot: Boot,
    pub(super) session: Nonce,
    pub(super) number: u64,
    pub(super) forget: Vec<PodUid>,
}

/// A birth whose freshness is not proved yet: an old one can be played again. It becomes the session
/// with the first message that echoes its session nonce; until then it changes nothing else.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) birth: Birth,
    pub(super) sequence: Sequence,
    pub(super) session: Nonce,
    /// Replays since it came; takes the place of the node's with it.
    pub(super) guard: ReplayGuard,
    /// When it came.
    pub(super) at: Millis,
    /// The welcome was sent: what the node holds has been judged.
    pub(super) welcomed: bool,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) nonce: Nonce,
    /// Nonce of its birth.
    pub(super) birth: Nonce,
    pub(super) boot: Boot,
    pub(super) connection: Nonce,
    /// Pods named so far by the parts of the full report; `None` when it is complete.
    pub(super) full: Option<BTreeSet<PodUid>>,
    /// The report that the edge is making durable.
    pub(super) pending: Option<Pending>,
    pub(super) acked: Option<(u64, Vec<PodUid>)>,
    /// Number after the last event that was told.
    pub(super) told: u64,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) number: u64,
    /// Hash of each pod, `None` for one that is gone.
    pub(super) pods: Vec<(PodUid, Option<Hash>)>,
    pub(super) all: Option<BTreeSet<PodUid>>,
    /// Nothing follows, and the node holds a document of this epoch: what it runs and no document
    /// names is marked.
    pub(super) settled: bool,
}

/// When silence will mean something, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    /// Nothing is expected.
    Off,
    /// Ask for a sign of life.
    Probe(Millis),
    /// It is lost.
    Lose(Millis),
}

impl Watch {
    pub(super) fn due(self) -> Millis {
        match self {
            Self::Off => Millis::NEVER,
            Self::Probe(due) | Self::Lose(due) => due,
        }
    }
}

impl Node {
    pub(super) fn new(keys: NodeKeys) -> Self {
        Self {
            keys,
            key: KeyId::of(&keys.identity),
            seq: 0,
            guard: ReplayGuard::default(),
            request_guard: ReplayGuard::default(),
            stream_guard: ReplayGuard::default(),
            document: None,
            version: Version::default(),
            announced: false,
            candidate: None,
            session: None,
            observed: BTreeMap::new(),
            accepted: None,
            converged: None,
            leaving: false,
            presence: Presence::Unknown,
            watch: Watch::Off,
            board: Board::default(),
            head_due: Millis::NEVER,
            head_attempt: 0,
            rejects: false,
            armed: Millis::NEVER,
            slots: Slots::default(),
            logged: BTreeMap::new(),
        }
    }

    /// The next moment at which something of this node is due.
    pub(super) fn due(&self) -> Millis {
        let silent = self.board.refused.as_ref();
        let silent = silent.map_or(Millis::NEVER, |refused| refused.until);
        self.watch.due().min(self.head_due).min(silent)
    }

    pub(super) fn digest(&self) -> Option<Digest> {
        self.document.as_ref().map(|document| document.digest)
    }

    /// Whether this is the session that its welcome named, or the candidate's.
    pub(super) fn knows_session(&self, nonce: Nonce) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.nonce == nonce)
            || self.is_candidate(nonce)
    }

    pub(super) fn is_candidate(&self, nonce: Nonce) -> bool {
        let candidate = self.candidate.as_ref();
        candidate.is_some_and(|candidate| candidate.welcomed && candidate.session == nonce)
    }

    /// Whether what this boot of the node holds has been judged, so that it may be answered.
    pub(super) fn is_welcomed(&self, boot: Boot) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.boot == boot)
            || (self.candidate.as_ref())
                .is_some_and(|candidate| candidate.welcomed && candidate.birth.boot == boot)
    }

    /// Ends what depends on the node's connection.
    pub(super) fn end_session(&mut self) {
        self.session = None;
        self.candidate = None;
        self.slots.request = None;
        self.slots.ack = None;
        self.slots.welcome = false;
        self.head_due = Millis::NEVER;
    }

    pub(super) fn is_current(&self) -> bool {
        self.document.is_some() && self.accepted == Some(self.version)
    }
}
