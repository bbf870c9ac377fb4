//! The version of a node's desired state. Nothing is ordered by a clock.

use core::fmt;
use serde::{Deserialize, Serialize};

/// `(epoch, term, rev)`, compared in that order.
///
/// * `epoch` rises when history may be broken (a restored store, an unknown future).
/// * `term` rises when another controller takes over.
/// * `rev` is the store revision at which the digest of this node's document last changed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Version {
    /// Raised, with a fresh [`HistoryId`], when history may be broken.
    pub epoch: u64,
    /// Raised when another controller takes over.
    pub term: u64,
    /// Store revision at which the node's digest last changed.
    pub rev: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.epoch, self.term, self.rev)
    }
}

/// Random id of one unbroken history of the store; a new epoch draws a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct HistoryId(pub [u8; 16]);

/// Boot number of a sender: a counter in its own durable state, raised (and on disk) at each start of
/// the agent's or controller's process before anything is sent, so that its sequence numbers may
/// begin again at 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Boot(pub u64);

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Drawn fresh by the asker and echoed inside the signature of the answer, so that nothing from an
/// earlier life is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Nonce(pub [u8; 16]);
