//! What is said of service-account tokens that end. The controller replaces a token at 80 % of its
//! life; one that gets older than that is the sign of a node that has been alone for long.

use bramble_wire::object::{Pod, Projection, VolumeSource};
use bramble_wire::report::Condition;

use crate::desired::Desired;
use crate::time::{Moment, timestamp};

/// Condition of a pod whose token is near its end or has ended.
pub const TOKEN_EXPIRING: &str = "bramble.dev/TokenExpiring";

/// The last tenth of its life is near the end of a token.
const NEAR: u64 = 10;

/// What to say now of a pod's tokens (nothing while all are fresh), and when to look again
/// ([`Moment::boot_ms`]).
pub fn expiring(desired: &Desired, pod: &Pod, now: Moment) -> (Option<Condition>, Option<u64>) {
    let Some(Some(tokens)) = desired.tokens.get(&pod.uid) else {
        return (None, None);
    };
    let mut ends: Vec<(i64, u64)> = Vec::new();
    for volume in &pod.volumes {
        let VolumeSource::Projected { sources, .. } = &volume.source else {
            continue;
        };
        for source in sources {
            let Projection::Token {
                audience,
                expiration_s,
                ..
            } = source
            else {
                continue;
            };
            let token = tokens
                .0
                .iter()
                .find(|token| token.audience == *audience && token.expiration_s == *expiration_s);
            ends.extend(token.map(|token| (token.expires_unix_s, token.expiration_s)));
        }
    }
    // The first to end is the one that matters.
    let Some((end_s, life_s)) = ends.into_iter().min() else {
        return (None, None);
    };
    let left_ms = end_s.saturating_mul(1000).saturating_sub(now.unix.0);
    let near_ms = i64::try_from(life_s.saturating_mul(1000) / NEAR).unwrap_or(i64::MAX);
    let at = |distance_ms: i64| {
        // A little later than the moment: the two clocks are not read at once.
        let distance = u64::try_from(distance_ms).unwrap_or(0).saturating_add(1000);
        Some(now.boot_ms.saturating_add(distance))
    };
    let end = format!("{}Z", timestamp(end_s));
    let (reason, message, wake) = if left_ms <= 0 {
        let message = format!(
            "a service account token of this pod ended at {end} and could not be replaced: the node \
             has not heard from its controller"
        );
        ("TokenExpired", message, None)
    } else if left_ms <= near_ms {
        let message = format!(
            "a service account token of this pod ends at {end} and could not be replaced yet: the \
             node has not heard from its controller"
        );
        ("TokenExpiring", message, at(left_ms))
    } else {
        return (None, at(left_ms - near_ms));
    };
    let condition = Condition {
        kind: TOKEN_EXPIRING.into(),
        status: Some(true),
        reason: reason.into(),
        message,
    };
    (Some(condition), wake)
}
