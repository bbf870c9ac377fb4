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

/// Which board it is, as far as its hardware says so: a digest of the serial number that nothing on a
/// card carries along. A node that speaks from another one has been moved, or its card was copied.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct HardwareId(pub [u8; 16]);

impl fmt::Display for HardwareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl HardwareId {
    /// From 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut id = [0; 16];
        let digits = text.as_bytes();
        if digits.len() != 2 * id.len() {
            return None;
        }
        for (byte, pair) in id.iter_mut().zip(digits.chunks(2)) {
            let digit = |b: u8| {
                char::from(b)
                    .to_digit(16)
                    .and_then(|d| u8::try_from(d).ok())
            };
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(id))
    }
}

/// Drawn fresh by the asker and echoed inside the signature of the answer, so that nothing from an
/// earlier life is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Nonce(pub [u8; 16]);
