//! Records of the state log. New ones are added at the end of [`Record`] and counted in [`FORMAT`]; a
//! released one never changes. What a release before may pass over gets a kind from
//! [`bramble_ledger::SKIPPABLE`] on instead.

use std::fmt;

use bramble_agent_core::memory::PodMemory;
use bramble_agent_core::session::Stored;
use bramble_ledger::Format;
use bramble_wire::document::Digest;
use bramble_wire::object::{ObjectId, PodUid};
use bramble_wire::version::{HardwareId, HistoryId, Version};
use serde::{Deserialize, Serialize};

use crate::static_pods::Kept;

/// What this release writes and reads.
pub(super) const FORMAT: Format = Format {
    release: env!("CARGO_PKG_VERSION"),
    level: 1,
    kinds: 14,
};

/// The board's own keys. Made once, before the join, so that a join whose answer was lost can be
/// repeated; they never leave the board.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// PKCS #8 of the TLS key.
    pub tls: Vec<u8>,
    /// Seed of the Ed25519 key that signs messages.
    pub identity: [u8; 32],
    /// Seed of the X25519 key that secrets are sealed to.
    pub sealing: [u8; 32],
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// What the join gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Cluster.
    pub cluster: String,
    /// This node.
    pub node: String,
    /// The CA's certificate, DER.
    pub ca: Vec<u8>,
    /// The node's certificate, DER.
    pub certificate: Vec<u8>,
    /// Ed25519 key of the controller.
    pub controller: [u8; 32],
    /// Broker URLs, best first.
    pub brokers: Vec<String>,
    /// Host that answered the join.
    pub controller_host: String,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(
    clippy::large_enum_variant,
    reason = "one is in hand at a time; most are of pods"
)]
pub(super) enum Record {
    Keys(Keys),
    Membership(Membership),
    Boot(u64),
    TimeFloor(i64),
    /// Written with the objects that changed, in one batch.
    Document {
        version: Version,
        history: HistoryId,
        digest: Digest,
    },
    Object {
        id: ObjectId,
        stored: Stored,
        unclaimed: bool,
    },
    ObjectGone(ObjectId),
    Pod(PodUid, PodMemory),
    PodForgotten(PodUid),
    /// A pod that came to its end and was forgotten.
    Ended(PodUid),
    /// The board's own pods, all of them.
    Static(Kept),
    /// Which board the card is in.
    Hardware(HardwareId),
    /// Whether the log is what was left of a damaged one, until that is settled with the controller.
    Salvaged(bool),
    /// How often keys and membership were written, with each of them.
    Identity(u64),
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let bytes = bramble_wire::encode(self);
        debug_assert!(bytes[0] < FORMAT.kinds, "a new kind is to be counted");
        bytes
    }
}
