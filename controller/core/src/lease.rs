//! The Lease of a node in `kube-node-lease`: renewed while the node answers, for those who look at
//! leases to tell which nodes live. Nothing is decided on it here, and it is never written to disk.

use bramble_api::time::Timestamp;
use bramble_api::view::Metadata;
use serde_json::{Value, json};

use crate::action::Observed;

/// Where they are.
pub const NAMESPACE: &str = "kube-node-lease";
/// Seconds between two renewals.
pub const RENEW_S: i64 = 60;
/// Seconds after the last renewal until a node counts as gone.
const DURATION_S: i64 = 2 * RENEW_S;

/// The Lease of a node that answers. `before` is the one that is there; `uid` is for a new one.
pub fn renewed(
    node: &Metadata,
    before: Option<&Observed<Value>>,
    uid: &str,
    now: Timestamp,
) -> Value {
    let mut lease = match before {
        Some(before) => before.object.clone(),
        None => json!({
            "kind": "Lease",
            "apiVersion": "coordination.k8s.io/v1",
            "metadata": {
                "name": node.name,
                "namespace": NAMESPACE,
                "uid": uid,
                "creationTimestamp": now.rfc3339(),
            },
        }),
    };
    lease["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "Node", "name": node.name, "uid": node.uid,
    }]);
    lease["spec"] = json!({
        "holderIdentity": node.name,
        "leaseDurationSeconds": DURATION_S,
        "renewTime": micro_time(now),
    });
    lease
}

fn micro_time(at: Timestamp) -> String {
    let seconds = at.rfc3339();
    format!("{}.{:06}Z", seconds.trim_end_matches('Z'), at.nanos / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_renewed_and_keeps_what_it_is() {
        let node = Metadata {
            name: "n".into(),
            uid: "u".into(),
            ..Metadata::default()
        };
        let at = |seconds| Timestamp {
            seconds,
            nanos: 12_345_678,
        };
        let first = renewed(&node, None, "own", at(1_800_000_000));
        assert_eq!(first["spec"]["renewTime"], "2027-01-15T08:00:00.012345Z");
        let stored = Observed {
            revision: 1,
            object: first.clone(),
        };
        let next = renewed(&node, Some(&stored), "other", at(1_800_000_060));
        assert_eq!(next["metadata"], first["metadata"]);
        assert_eq!(next["spec"]["renewTime"], "2027-01-15T08:01:00.012345Z");
    }
}
