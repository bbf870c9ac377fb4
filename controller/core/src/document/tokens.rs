//! The service-account tokens that a pod's volumes ask for, and when they are replaced.
//!
//! A node is told of new tokens by a new revision of the pod's tokens in its index. The revision is
//! worked out of what the tokens are made for and of how often they were renewed since the pod was
//! made, never counted: whoever asks, before and after a restart, gets the same answer until the time
//! has come, so nothing is sent or written for nothing.

use std::collections::BTreeSet;

use bramble_api::view;
use bramble_wire::document::object_hash;
use bramble_wire::object::{ObjectId, Pod, PodUid, Projection, VolumeSource};

/// A token that a volume asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wanted {
    /// For whom; empty is the API.
    pub audience: String,
    /// How long it is to live, seconds.
    pub expiration_s: u64,
}

/// Upstream's default of `expirationSeconds`.
const DEFAULT_S: u64 = 3600;

pub(super) fn life(from: &view::TokenFile) -> u64 {
    from.expiration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0)
        .unwrap_or(DEFAULT_S)
}

/// What a pod's volumes ask for, each once.
pub fn wanted(pod: &Pod) -> BTreeSet<Wanted> {
    let sources = pod.volumes.iter().filter_map(|v| match &v.source {
        VolumeSource::Projected { sources, .. } => Some(sources),
        _ => None,
    });
    sources
        .flatten()
        .filter_map(|source| match source {
            Projection::Token {
                audience,
                expiration_s,
                ..
            } => Some(Wanted {
                audience: audience.clone(),
                expiration_s: *expiration_s,
            }),
            _ => None,
        })
        .collect()
}

/// What the tokens of a pod are made for.
#[derive(Debug, Clone)]
pub struct Made<'a> {
    /// The pod.
    pub pod: PodUid,
    /// When the pod was made, seconds of the Unix epoch.
    pub created_s: i64,
    /// UID of the account: another one of the same name is another account.
    pub account: &'a str,
    /// Which key signs.
    pub key: &'a str,
    /// Each token with the seconds that it is going to live.
    pub tokens: &'a [(Wanted, u64)],
}

/// How the tokens of a pod stand at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Revision of the tokens that are due; never 0.
    pub revision: u64,
    /// When the next ones are, seconds of the Unix epoch.
    pub renew_at_s: i64,
}

impl Made<'_> {
    /// What is due at a time. A token is replaced at 80 % of its life at the latest, as upstream's
    /// nodes do, and up to 5 % of it sooner, so that the pods of one moment don't come together.
    pub fn standing(&self, now_s: i64) -> Standing {
        let age = u64::try_from(now_s.saturating_sub(self.created_s)).unwrap_or(0);
        let mut turns = Vec::with_capacity(self.tokens.len());
        let mut renew_at_s = i64::MAX;
        for (_, life) in self.tokens {
            let sooner = u64::from(self.pod.0[15]) * (life / 20) / 255;
            let period = (life * 4 / 5 - sooner).max(1);
            let turn = age / period;
            let next = i64::try_from((turn + 1).saturating_mul(period)).unwrap_or(i64::MAX);
            renew_at_s = renew_at_s.min(self.created_s.saturating_add(next));
            turns.push(turn);
        }
        let wanted: Vec<_> = self
            .tokens
            .iter()
            .map(|(wanted, life)| (&wanted.audience, wanted.expiration_s, life))
            .collect();
        let all = bramble_wire::encode(&(self.pod, self.account, self.key, wanted, turns));
        let hash = object_hash(&ObjectId::Pod(self.pod), 0, &all).0;
        let mut revision = [0; 8];
        revision.copy_from_slice(&hash[..8]);
        Standing {
            revision: u64::from_le_bytes(revision).max(1),
            renew_at_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;

    fn standing(pod: u8, account: &str, lives: &[u64], now_s: i64) -> Standing {
        let tokens: Vec<_> = lives
            .iter()
            .map(|life| {
                let wanted = Wanted {
                    audience: String::new(),
                    expiration_s: *life,
                };
                (wanted, *life)
            })
            .collect();
        let made = Made {
            pod: PodUid([pod; 16]),
            created_s: 1000,
            account,
            key: "k",
            tokens: &tokens,
        };
        made.standing(now_s)
    }

    #[test]
    fn tokens_are_replaced_at_four_fifths_of_their_life_and_not_before() {
        let first = standing(0, "a", &[3600], 1000);
        assert_eq!(first.renew_at_s, 1000 + 2880);
        assert_eq!(standing(0, "a", &[3600], 1000 + 2879), first);
        let second = standing(0, "a", &[3600], 1000 + 2880);
        assert_ne!(second.revision, first.revision);
        assert_eq!(second.renew_at_s, 1000 + 2 * 2880);
        // A clock that was set back does not make tokens of the future.
        assert_eq!(standing(0, "a", &[3600], 0), first);
    }

    #[test]
    fn pods_of_one_moment_do_not_come_together() {
        let last = standing(255, "a", &[3600], 1000).renew_at_s;
        assert_eq!(last, 1000 + 2880 - 180);
        let middle = standing(100, "a", &[3600], 1000).renew_at_s;
        assert!((last..1000 + 2880).contains(&middle));
    }

    #[test]
    fn the_shortest_token_sets_the_pace() {
        let both = standing(0, "a", &[600, 3600], 1000);
        assert_eq!(both.renew_at_s, 1000 + 480);
        let year = 365 * 24 * HOUR;
        let long = standing(0, "a", &[year as u64], 1000);
        assert_eq!(long.renew_at_s, 1000 + year / 5 * 4);
    }

    #[test]
    fn another_pod_account_or_wish_is_another_revision() {
        let one = standing(0, "a", &[3600], 1000).revision;
        for other in [
            standing(1, "a", &[3600], 1000),
            standing(0, "b", &[3600], 1000),
            standing(0, "a", &[3601], 1000),
            standing(0, "a", &[3600, 600], 1000),
        ] {
            assert_ne!(other.revision, one);
        }
    }
}
