//! Condition lists: kept in order, touched only where they change.

use bramble_api::time::Timestamp;
use bramble_api::view::Condition;
use serde_json::{Value, json};

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.kind == kind)
}

/// Sets a condition. The transition time moves only with the status; with status and reason as they
/// were nothing changes at all.
pub fn set(conditions: &mut Vec<Condition>, mut new: Condition) {
    if let Some(old) = find(conditions, &new.kind) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time;
        }
    }
    conditions.retain(|c| c.kind != new.kind);
    conditions.push(new);
}

/// Takes a condition out.
pub fn remove(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|c| c.kind != kind);
}

/// A condition that changed now.
pub fn now(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Some(now),
        last_update_time: Some(now),
        last_heartbeat_time: None,
    }
}

/// As JSON; `update_time` for Deployments, whose conditions carry `lastUpdateTime`.
pub fn to_json(conditions: &[Condition], update_time: bool) -> Value {
    let entry = |c: &Condition| {
        let mut entry = json!({"type": c.kind, "status": c.status});
        let mut put = |key: &str, value: String| {
            if !value.is_empty() {
                entry[key] = value.into();
            }
        };
        put("reason", c.reason.clone());
        put("message", c.message.clone());
        put(
            "lastTransitionTime",
            c.last_transition_time
                .map(Timestamp::rfc3339)
                .unwrap_or_default(),
        );
        if update_time {
            put(
                "lastUpdateTime",
                c.last_update_time
                    .map(Timestamp::rfc3339)
                    .unwrap_or_default(),
            );
        }
        entry
    };
    conditions.iter().map(entry).collect()
}
