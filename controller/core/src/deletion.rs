//! What a deletion does to an object: the one place for the rules of grace, of finalizers and of
//! what happens to dependents. The API server and the controllers both ask here.
//!
//! In: the object, what the request says, the time. Out: whether it goes, or how it is marked.
//! Whoever waits for a mark ends it: a pod's node, the garbage collector for [`FOREGROUND`] and
//! [`ORPHAN`], anybody else for finalizers of their own.
//!
//! The rules are upstream's `BeforeDelete` (apiserver/pkg/registry/rest/delete.go), those of
//! `updateForGracefulDeletionAndFinalizers` (apiserver/pkg/registry/generic/registry/store.go), and
//! of the namespaces' own `Delete` (pkg/registry/core/namespace/storage/storage.go).

use bramble_api::kind::Kind;
use bramble_api::time::Timestamp;
use serde_json::{Value, json};

/// Finalizer of a foreground deletion.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of a deletion that keeps dependents.
pub const ORPHAN: &str = "orphan";

/// Grace of a pod that says nothing of it, in seconds.
const DEFAULT_GRACE: i64 = 30;

/// What becomes of dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They go after their owner.
    Background,
    /// Their owner waits for those that block it.
    Foreground,
    /// They stay and lose the reference.
    Orphan,
}

/// What a request to delete says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// `gracePeriodSeconds`.
    pub grace: Option<i64>,
    /// `propagationPolicy`, or what `orphanDependents` means; `None` leaves it to the kind.
    pub propagation: Option<Propagation>,
}

impl Options {
    /// How controllers delete.
    pub const BACKGROUND: Self = Self {
        grace: None,
        propagation: Some(Propagation::Background),
    };
}

/// What a deletion comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Deletion {
    /// The object goes at once.
    Remove,
    /// It stays in this state until those who hold it let go. It may be its state already.
    Mark(Value),
    /// It is being deleted, and this request does not make that any quicker.
    Pending,
}

/// What deleting an object does.
pub fn decide(kind: &Kind, object: &Value, options: &Options, now: Timestamp) -> Deletion {
    let mut new = object.clone();
    let mut graceful = None;
    match kind.kind {
        "Pod" => match begin_grace(&mut new, options.grace, now) {
            Grace::Pending => return Deletion::Pending,
            Grace::Over => {}
            Grace::Given(seconds) => graceful = Some(seconds),
        },
        "Namespace" => {
            if !is_marked(&new) {
                new["metadata"]["deletionTimestamp"] = whole(now).rfc3339().into();
                new["status"]["phase"] = "Terminating".into();
                set_finalizers(kind, &mut new, options.propagation);
                return Deletion::Mark(new);
            }
            if has_entries(&new, "/spec/finalizers") {
                return Deletion::Mark(new);
            }
        }
        _ => {}
    }
    set_finalizers(kind, &mut new, options.propagation);
    let held = has_entries(&new, "/metadata/finalizers");
    match graceful {
        Some(seconds) if held || seconds > 0 => Deletion::Mark(new),
        None if held => {
            mark(&mut new, now);
            Deletion::Mark(new)
        }
        _ => Deletion::Remove,
    }
}

/// Whether an object that was marked has nothing left that keeps it: a change that leads here
/// removes it.
pub fn is_finished(kind: &Kind, object: &Value) -> bool {
    let grace = grace_of(object);
    let graceful = match kind.kind {
        "Pod" => grace != Some(0),
        _ => grace.is_some_and(|grace| grace != 0),
    };
    let held = has_entries(object, "/metadata/finalizers")
        || (kind.kind == "Namespace" && has_entries(object, "/spec/finalizers"));
    is_marked(object) && !graceful && !held
}

enum Grace {
    /// What runs already is at least as quick.
    Pending,
    /// It has run out, or there never was one.
    Over,
    Given(i64),
}

/// Grace of a pod: its own or the request's, which may only shorten what an earlier one gave. A pod
/// that no node has, or that has ended, has nothing to wait for.
fn begin_grace(pod: &mut Value, asked: Option<i64>, now: Timestamp) -> Grace {
    // A negative grace is "at least a moment".
    let positive = |seconds: i64| if seconds < 0 { 1 } else { seconds };
    let asked = asked.map(positive);
    if is_marked(pod) {
        let before = match grace_of(pod).map(positive) {
            None | Some(0) => return Grace::Over,
            Some(before) => before,
        };
        let Some(seconds) = asked.filter(|asked| *asked < before) else {
            return Grace::Pending;
        };
        let at = text(pod, "/metadata/deletionTimestamp");
        let mut at = Timestamp::parse(at).unwrap_or(now);
        at.seconds = at.seconds.saturating_sub(before).saturating_add(seconds);
        set_deletion(pod, at, seconds);
        return Grace::Given(seconds);
    }
    let own = pod
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_i64);
    let unbound = text(pod, "/spec/nodeName").is_empty();
    let ended = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
    let seconds = if unbound || ended {
        0
    } else {
        positive(asked.or(own).unwrap_or(DEFAULT_GRACE))
    };
    let mut at = now;
    at.seconds = at.seconds.saturating_add(seconds);
    bump_generation(pod);
    set_deletion(pod, at, seconds);
    Grace::Given(seconds)
}

/// Marks an object that has no grace, only finalizers.
fn mark(object: &mut Value, now: Timestamp) {
    if grace_of(object).is_none() {
        bump_generation(object);
    }
    let at = Timestamp::parse(text(object, "/metadata/deletionTimestamp"));
    let at = at.filter(|at| *at <= now).unwrap_or(now);
    set_deletion(object, at, 0);
}

fn set_deletion(object: &mut Value, at: Timestamp, grace: i64) {
    object["metadata"]["deletionTimestamp"] = whole(at).rfc3339().into();
    object["metadata"]["deletionGracePeriodSeconds"] = grace.into();
}

fn bump_generation(object: &mut Value) {
    let generation = object.pointer("/metadata/generation");
    if let Some(generation) = generation.and_then(Value::as_i64).filter(|g| *g > 0) {
        object["metadata"]["generation"] = (generation + 1).into();
    }
}

/// Puts the garbage collector's finalizers as the request, else the object, else the kind says.
fn set_finalizers(kind: &Kind, object: &mut Value, asked: Option<Propagation>) {
    // Events are never anybody's owner.
    if kind.kind == "Event" {
        return;
    }
    let empty = Vec::new();
    let list = object.pointer("/metadata/finalizers");
    let before = list.and_then(Value::as_array).unwrap_or(&empty);
    let own = before
        .iter()
        .find_map(|finalizer| match finalizer.as_str() {
            Some(FOREGROUND) => Some(Propagation::Foreground),
            Some(ORPHAN) => Some(Propagation::Orphan),
            _ => None,
        });
    let default = match kind.kind {
        // As it was before there was garbage collection.
        "ReplicationController" => Propagation::Orphan,
        _ => Propagation::Background,
    };
    let wanted = match asked.or(own).unwrap_or(default) {
        Propagation::Background => None,
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Orphan => Some(ORPHAN),
    };
    let ours = |finalizer: &Value| matches!(finalizer.as_str(), Some(FOREGROUND | ORPHAN));
    let mut present = before.iter().filter(|f| ours(f)).map(Value::as_str);
    if (present.next().flatten(), present.next().flatten()) == (wanted, None) {
        return;
    }
    let rest = before.iter().filter(|finalizer| !ours(finalizer)).cloned();
    let finalizers: Vec<Value> = rest.chain(wanted.map(Value::from)).collect();
    if finalizers.is_empty() {
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            metadata.remove("finalizers");
        }
    } else {
        object["metadata"]["finalizers"] = json!(finalizers);
    }
}

fn whole(at: Timestamp) -> Timestamp {
    Timestamp { nanos: 0, ..at }
}

fn is_marked(object: &Value) -> bool {
    !text(object, "/metadata/deletionTimestamp").is_empty()
}

fn grace_of(object: &Value) -> Option<i64> {
    object
        .pointer("/metadata/deletionGracePeriodSeconds")?
        .as_i64()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    let value = object.pointer(pointer).and_then(Value::as_str);
    value.unwrap_or_default()
}

fn has_entries(object: &Value, pointer: &str) -> bool {
    let list = object.pointer(pointer).and_then(Value::as_array);
    list.is_some_and(|list| !list.is_empty())
}

#[cfg(test)]
mod tests;
