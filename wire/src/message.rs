//! The messages on the topics. State moves by pull only; a message from the controller that nobody
//! asked for says no more than "look".
//!
//! ```text
//! node                                      controller
//!  │ Birth{boot, nonce n1, have, …}  ──────▶ │  s/birth, at each (re)connect and when told to announce
//!  │ ◀────────────  Welcome{n1, session n2}  │  rpc/rs
//!  │ ◀──────────────────────  Head{version}  │  d/head, whenever it changes
//!  │ GetIndex{n3}  ────────────────────────▶ │  rpc/rq
//!  │ ◀─────────  Index{n3, version, entries} │
//!  │ GetObjects{n4, ids it lacks}  ────────▶ │
//!  │ ◀──────────────────  Objects{n4, …}     │  too large ones as Chunked; then GetChunk
//!  │ (all there, verified, on disk: accepted)│
//!  │ Report{session n2, accepted, pods, …} ▶ │  s/report, one in flight
//!  │ ◀────────────────  ReportAck{number}    │  durable at the controller
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::document::{Digest, IndexEntry};
use crate::envelope::Message;
use crate::object::{ObjectId, PodUid};
use crate::report::{NodeFacts, PodEvent, PodReport, Usage};
use crate::version::{Boot, HardwareId, HistoryId, Nonce, Version};

/// Kind of a message, in the signed header; numbers are never used again for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each is the name of the message type")]
pub enum Kind {
    Head,
    Request,
    Response,
    Birth,
    Life,
    Sum,
    Report,
    StreamOpen,
    StreamIn,
    StreamOut,
    ControllerState,
}

/// `d/head`: the node's desired state is this version now. Only a hint to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Version of the document.
    pub version: Version,
    /// History that it belongs to.
    pub history: HistoryId,
    /// Digest of its index.
    pub digest: Digest,
}

/// `rpc/<boot>/rq`: the node asks. The nonce is fresh for each request and echoed in the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Fresh.
    pub nonce: Nonce,
    /// The question.
    pub ask: Ask,
}

/// A question of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// The index of the newest document, from entry `from` on.
    Index {
        /// Which version the continuation belongs to; `None` at the start.
        version: Option<Version>,
        /// First entry wanted.
        from: u32,
    },
    /// Objects of a version.
    Objects {
        /// Version whose index named them.
        version: Version,
        /// At most [`crate::limits::REQUEST_OBJECTS_MAX`].
        ids: Vec<ObjectId>,
    },
    /// A piece of a large object.
    Chunk {
        /// Version whose index named it.
        version: Version,
        /// Object.
        id: ObjectId,
        /// Piece.
        index: u32,
    },
}

/// `rpc/<boot>/rs`: the controller answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// Nonce of the question (of the birth for [`Answer::Welcome`]).
    pub nonce: Nonce,
    /// The answer.
    pub answer: Answer,
}

/// An answer of the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To a birth: reports carry this session nonce from now on, and the first one is full.
    Welcome {
        /// Session nonce that reports must echo.
        session: Nonce,
        /// Newest version of the node's document.
        head: Head,
        /// The controller's clock, seconds of the Unix epoch: raises the node's time floor.
        unix_s: i64,
    },
    /// A piece of an index.
    Index {
        /// What it is the index of.
        head: Head,
        /// Entries in all.
        total: u32,
        /// Number of the first entry here.
        from: u32,
        /// Entries in order of their ids.
        entries: Vec<IndexEntry>,
        /// Nothing runs anywhere that the store does not have: a pod that must not run twice may be
        /// started ([`crate::object::Pod::once`]).
        cleared: bool,
    },
    /// Objects, in the order asked; what did not fit is left out and asked again.
    Objects(Vec<ObjectBody>),
    /// A piece of a large object.
    Chunk {
        /// Object.
        id: ObjectId,
        /// Its revision.
        revision: u64,
        /// Piece.
        index: u32,
        /// Bytes of the piece.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// The version asked for is not the newest any more: start again from this.
    Superseded(Head),
    /// The report with this number is durable.
    ReportAck {
        /// [`Report::number`]
        number: u64,
        /// Terminal pods whose objects are gone: the node may forget them as soon as its accepted
        /// document does not name them either.
        forget: Vec<PodUid>,
    },
    /// The controller does not know this session (it started anew, or the digests of a
    /// [`Sum`] differ): send a birth. Echoes the nonce of the request, or the session nonce of the
    /// report or sum.
    Announce,
    /// To a birth: another board has this node's identity, and is there. What it does with its
    /// containers is its own affair; it is not served.
    Refused {
        /// To be echoed in [`Birth::refused`], so that an old birth that is played again is not taken for
        /// a board.
        challenge: Nonce,
    },
}

/// An object on its way to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectBody {
    /// Which.
    pub id: ObjectId,
    /// Its revision.
    pub revision: u64,
    /// Its bytes, or how large they are.
    pub body: Body,
}

/// The bytes of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Here: the encoding of [`crate::object::Object`].
    Whole(#[serde(with = "serde_bytes")] Vec<u8>),
    /// To be asked for in pieces.
    Chunked {
        /// Bytes in all.
        len: u32,
    },
    /// Not in that version.
    Missing,
}

/// `s/birth`: the agent is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// Boot of the agent's state.
    pub boot: Boot,
    /// Fresh; echoed by [`Answer::Welcome`].
    pub nonce: Nonce,
    /// Names the connection; the last will of the same connection carries it too. A birth that is
    /// repeated on a connection has a new nonce and the same connection.
    pub connection: Nonce,
    /// Oldest and newest schema of documents that the agent reads.
    pub schemas: (u16, u16),
    /// Version and history accepted so far.
    pub have: Option<(Version, HistoryId)>,
    /// Digest of what it accepted.
    pub digest: Digest,
    /// Facts of the board.
    pub facts: NodeFacts,
    /// Which board it is; `None` where nothing says so.
    pub hardware: Option<HardwareId>,
    /// Drawn when the agent's process started: two that take turns are two boards, whatever their
    /// hardware says.
    pub process: Nonce,
    /// The newest [`Answer::Refused`] since the last welcome.
    pub refused: Option<Nonce>,
}

/// `s/life`: last will (by the broker, with a boot number so that a stale one is ignored) or
/// good-bye. Signed before the connection opens and sent at its end, so it is judged by its connection
/// nonce and not by the replay window (its sequence number is 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Life {
    /// The connection of this boot was lost.
    Lost {
        /// Boot whose connection it was.
        boot: Boot,
        /// [`Birth::connection`]
        connection: Nonce,
    },
    /// The agent stops on purpose; its containers go on.
    Bye {
        /// Boot.
        boot: Boot,
        /// [`Birth::connection`]
        connection: Nonce,
    },
}

/// `s/sum`: digests both ways, on change, else every 15 minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Session nonce.
    pub session: Nonce,
    /// Accepted version.
    pub accepted: Option<Version>,
    /// Its digest.
    pub digest: Digest,
    /// [`crate::report::observed_digest`] of the pod reports as last acknowledged.
    pub observed: Digest,
}

/// `s/report`: the difference from the last report that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Session nonce of the controller's welcome.
    pub session: Nonce,
    /// Counts reports of this boot; the acknowledgement names it.
    pub number: u64,
    /// Part of everything the node knows, not a difference: so are all reports of a session up to
    /// the first without `more`; then the controller forgets what was in none of them.
    pub full: bool,
    /// More follows in the next report.
    pub more: bool,
    /// Document that was accepted.
    pub accepted: Option<Version>,
    /// Document that has been carried out.
    pub converged: Option<Version>,
    /// Pods that changed; at most [`crate::limits::REPORT_PODS_MAX`].
    pub pods: Vec<PodReport>,
    /// Facts, when they changed.
    pub facts: Option<NodeFacts>,
    /// Number of the first of `events`, counted over this boot of the node: one that was told
    /// before in this session is left out.
    pub first_event: u64,
    /// What happened to pods and was not acknowledged yet.
    pub events: Vec<PodEvent>,
    /// What containers use, when it changed enough to mean something; never a reason of its own to
    /// write anything to a disk.
    pub usage: Option<Usage>,
    /// Why the newest document was not accepted, else empty.
    pub rejected: String,
}

/// `c/state`, retained: who controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerState {
    /// Its epoch.
    pub epoch: u64,
    /// Its term.
    pub term: u64,
    /// Its boot: when it changes, nodes announce themselves anew within 0 to 30 s.
    pub boot: Boot,
    /// History it serves.
    pub history: HistoryId,
    /// False in its will and at a clean stop.
    pub online: bool,
    /// Drawn when the process started: two at a time are two controllers of one identity.
    pub instance: Nonce,
    /// The other one that it heard last: who is named here knows that the other one is there now.
    pub heard: Option<Nonce>,
}

macro_rules! kinds {
    ($($message:ident),*) => { $(impl Message for $message { const KIND: Kind = Kind::$message; })* };
}
kinds!(
    Head,
    Request,
    Response,
    Birth,
    Life,
    Sum,
    Report,
    ControllerState
);
