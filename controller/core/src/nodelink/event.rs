//! What the machine tells the edge.

use std::collections::BTreeSet;

use bramble_wire::message::ControllerState;
use bramble_wire::name::NodeName;
use bramble_wire::object::PodUid;
use bramble_wire::publish::Publish;
use bramble_wire::report::{NodeFacts, PodEvent, PodReport, Usage};
use bramble_wire::stream;
use bramble_wire::topic::StreamId;
use bramble_wire::version::{HardwareId, HistoryId, Version};

use super::Drop;
#[cfg(doc)]
use super::NodeLink;

/// What the edge must do or may want to know.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "outputs are few and do not wait")]
pub enum Output {
    /// Publish it.
    Publish(Publish),
    /// Something happened.
    Event(Event),
}

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "events are few and do not wait")]
pub enum Event {
    /// Whether a node is there. Its Ready condition.
    Presence {
        /// Which.
        node: NodeName,
        /// What changed.
        presence: Presence,
    },
    /// A node that was there proved a newer connection, or is a newer boot, and nobody saw the end of the
    /// one before.
    Reconnected(NodeName),
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
    /// A node knows a future that this store does not, and the epoch has risen too often for that to be
    /// a store that was set back: two controllers may have this identity. Nothing more is begun, and
    /// the node not answered, until a person confirms the epoch.
    Braked {
        /// Which node.
        node: NodeName,
        /// What it presents.
        seen: Version,
    },
    /// A board that has this node's identity was refused, because another one that has it is there. Told
    /// each time.
    Duplicate {
        /// Which node both say they are.
        node: NodeName,
        /// Which board was refused, where its hardware says so.
        hardware: Option<HardwareId>,
    },
    /// Another controller of this identity is there.
    Rival {
        /// What it says of itself.
        theirs: ControllerState,
        /// It is the one that goes on, and this one does nothing any more.
        higher: bool,
    },
    /// No other board with this node's identity has come for a while.
    Alone(NodeName),
    /// The node speaks from this board from now on; to be remembered.
    Board {
        /// Which node.
        node: NodeName,
        /// The board before; `None` when none was known.
        before: Option<HardwareId>,
        /// The board.
        now: HardwareId,
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
    /// What happened to pods, each told once in a session.
    pub events: Vec<PodEvent>,
    /// What containers use, when it changed.
    pub usage: Option<Usage>,
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
