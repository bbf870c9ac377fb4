use super::super::{Update, update};
use crate::kind::find;
use crate::time::Timestamp;
use serde_json::{Value, json};

/// What is wrong with the status of a node, written through the subresource or with the whole.
fn wrong(status: Value, subresource: Option<&str>) -> Vec<String> {
    let kind = find("", "v1", "nodes").unwrap();
    let old = json!({"kind": "Node", "apiVersion": "v1",
        "metadata": {"name": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {}, "status": {}});
    let mut new = old.clone();
    new["status"] = status;
    let ctx = Update {
        now: Timestamp::default(),
        subresource,
    };
    let lines = |status: crate::status::Status| {
        let causes = status.details().map_or(&[][..], |d| &d.causes);
        let line = |c: &crate::status::Cause| format!("{}: {}", c.field, c.message);
        causes.iter().map(line).collect()
    };
    update(kind, &old, &mut new, &ctx).map_or_else(lines, |_| Vec::new())
}

#[test]
fn a_nodes_status_makes_sense() {
    let fine = json!({"capacity": {"cpu": "4", "memory": "1Gi", "pods": "110"},
        "addresses": [{"type": "InternalIP", "address": "10.0.0.1"},
            {"type": "Hostname", "address": "10.0.0.1"}]});
    assert_eq!(wrong(fine, Some("status")), [""; 0]);
    let bad = json!({"capacity": {"cpu": "-1"}, "allocatable": {"pods": "1500m"},
        "addresses": [{"type": "Hostname", "address": "n"}, {"type": "Hostname", "address": "n"}]});
    let got = wrong(bad, Some("status"));
    assert_eq!(
        got[..2],
        [
            "status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
            "status.allocatable.pods: Invalid value: \"1500m\": must be an integer",
        ]
    );
    assert!(
        got[2].starts_with("status.addresses[1]: Duplicate value: "),
        "{got:?}"
    );
}
