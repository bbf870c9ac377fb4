//! Randomness as an argument: a machine is given a seed and draws from it, so that the same inputs
//! give the same outputs.

use core::fmt;

use crate::version::{HistoryId, Nonce};

/// As random as its seed: BLAKE3 in extendable-output mode. 32 fresh random bytes in production,
/// derived from the run's seed in the simulation.
#[derive(Clone)]
pub struct Random(blake3::OutputReader);

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random(..)")
    }
}

impl Random {
    /// A stream of its own for each `purpose`, from one seed.
    pub fn new(seed: &[u8; 32], purpose: &str) -> Self {
        Self(
            blake3::Hasher::new_keyed(seed)
                .update(purpose.as_bytes())
                .finalize_xof(),
        )
    }

    /// A key derived from a secret one and what it is for: as random as the secret, and another one
    /// for every other context.
    pub fn derive(secret: &[u8; 32], context: &[&[u8]]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(secret);
        for part in context {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }

    /// Fills a buffer.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number below `bound`; 0 when `bound` is 0. The bias is below 2^-32 for the bounds in use.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits().checked_rem(bound).unwrap_or(0)
    }

    /// `milliseconds` plus or minus up to half of it.
    pub fn jitter(&mut self, milliseconds: u64) -> u64 {
        milliseconds / 2 + self.below(milliseconds + 1)
    }

    /// A fresh nonce.
    pub fn nonce(&mut self) -> Nonce {
        let mut bytes = [0; 16];
        self.0.fill(&mut bytes);
        Nonce(bytes)
    }

    /// A fresh history id.
    pub fn history(&mut self) -> HistoryId {
        HistoryId(self.nonce().0)
    }
}
