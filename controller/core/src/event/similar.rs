//! How often, and in how many words, one thing is told of: upstream's rules, as values.
//!
//! From `tools/record/events_cache.go` of client-go: what differs by its message alone is combined
//! from the tenth message within ten minutes on; a source may bring 25 events about an object at
//! once, and one more in five minutes.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use bramble_api::time::Timestamp;

/// The message that makes so many different ones is combined with those that follow.
const DIFFERENT_MAX: usize = 10;
/// Nanoseconds of silence after which they are counted anew.
const SILENCE_NS: i128 = 600 * SECOND_NS;
/// Notes that a source may bring about an object at once.
const BURST: f64 = 25.0;
/// Nanoseconds in which it gains one more.
const REFILL_NS: f64 = 300e9;
const SECOND_NS: i128 = 1_000_000_000;

/// The messages with which one thing was told of lately.
#[derive(Debug, Default)]
pub(super) struct Similar {
    /// Their hashes: messages are long, and two that meet are only combined one later.
    messages: VecDeque<u64>,
    last: Timestamp,
}

impl Similar {
    /// Takes a message in; whether it is to be combined with the others.
    pub(super) fn combines(&mut self, message: &str, now: Timestamp) -> bool {
        if self.is_silent(now) {
            self.messages.clear();
        }
        self.last = now;
        let mut hasher = DefaultHasher::new();
        message.hash(&mut hasher);
        let hash = hasher.finish();
        if !self.messages.contains(&hash) {
            self.messages.push_back(hash);
        }
        if self.messages.len() < DIFFERENT_MAX {
            return false;
        }
        // Upstream drops any of them. The oldest: messages that never come again stay combined.
        self.messages.pop_front();
        true
    }

    /// Whether what it holds no longer counts.
    pub(super) fn is_silent(&self, now: Timestamp) -> bool {
        nanos_between(self.last, now) > SILENCE_NS
    }
}

/// What a source may still say about an object.
#[derive(Debug)]
pub(super) struct Allowance {
    tokens: f64,
    at: Timestamp,
}

impl Allowance {
    pub(super) fn full(now: Timestamp) -> Self {
        Self {
            tokens: BURST,
            at: now,
        }
    }

    /// Takes one; false when there is none.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        // A clock set back gives nothing, and does not stop what is gained from now on.
        self.at = self.at.min(now);
        let level = self.level(now);
        if level < 1.0 {
            return false;
        }
        self.tokens = level - 1.0;
        self.at = now;
        true
    }

    /// Whether forgetting it changes nothing.
    pub(super) fn is_full(&self, now: Timestamp) -> bool {
        self.level(now) >= BURST
    }

    fn level(&self, now: Timestamp) -> f64 {
        // A burst takes two hours: far from where the conversion loses anything.
        #[allow(clippy::cast_precision_loss)]
        let gained = nanos_between(self.at, now).max(0) as f64 / REFILL_NS;
        (self.tokens + gained).min(BURST)
    }
}

/// Nanoseconds from one moment to a later one.
fn nanos_between(earlier: Timestamp, later: Timestamp) -> i128 {
    nanos(later) - nanos(earlier)
}

/// Nanoseconds since 1970.
pub(super) fn nanos(at: Timestamp) -> i128 {
    i128::from(at.seconds) * SECOND_NS + i128::from(at.nanos)
}
