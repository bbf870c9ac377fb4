//! Condition lists: kept in order, touched only where they change.

use bramble_api::time::Timestamp;
use bramble_api::view::Condition;
use bramble_wire::limits::TEXT_MAX;
use bramble_wire::report::Condition as Told;
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

/// Why a pod is taken away, to be set before its deletion.
pub fn disruption(reason: &str, message: &str, now: Timestamp) -> Condition {
    Condition {
        last_update_time: None,
        ..self::now("DisruptionTarget", "True", reason, message, now)
    }
}

/// Sets a condition in the status of an object; the transition time moves only with the status.
pub fn set_in(object: &mut Value, new: &Condition) {
    let mut entry = to_json(std::slice::from_ref(new), false)[0].take();
    if !object["status"]["conditions"].is_array() {
        object["status"]["conditions"] = json!([]);
    }
    let Some(list) = object["status"]["conditions"].as_array_mut() else {
        return;
    };
    match list.iter_mut().find(|one| one["type"] == entry["type"]) {
        Some(old) => {
            if old["status"] == entry["status"] && old["lastTransitionTime"].is_string() {
                entry["lastTransitionTime"] = old["lastTransitionTime"].take();
            }
            *old = entry;
        }
        None => list.push(entry),
    }
}

/// Most conditions that one object has by its node's word: a new one beyond is left out, while those
/// that are there can change.
pub const CONDITIONS_MAX: usize = 32;
/// Most that are looked at in one report; the others are left out.
pub const TOLD_MAX: usize = 16;
/// Longest type: a qualified name. One that is none is left out.
const KIND_MAX: usize = 253 + 1 + 63;

/// What a node says, as a condition of a list that has the ones there are; `None` when it is left out.
/// Of texts that are longer than a node's may be the rest is cut off.
pub(crate) fn told(list: &[Condition], told: &Told, at: Timestamp) -> Option<Condition> {
    let part = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    let named = !told.kind.is_empty() && told.kind.len() <= KIND_MAX && told.kind.chars().all(part);
    let room = list.len() < CONDITIONS_MAX || find(list, &told.kind).is_some();
    let status = match told.status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let cut = |text: &'_ str| text[..text.floor_char_boundary(TEXT_MAX)].to_owned();
    let (reason, message) = (cut(&told.reason), cut(&told.message));
    (named && room).then(|| now(&told.kind, status, &reason, &message, at))
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
