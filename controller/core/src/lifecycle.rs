//! The end of objects: graceful deletion of pods, finalizers, garbage collection, namespaces.

use bramble_api::time::Timestamp;
use bramble_api::view::{Metadata, OwnerReference, Pod};
use serde_json::{Value, json};

use crate::action::{Action, Durability, Observed, Target, owner_references};
use bramble_api::kind::Kind;

/// Finalizer of a foreground deletion.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of a deletion that keeps dependents.
pub const ORPHAN: &str = "orphan";

/// What a request to delete an object does to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Deletion {
    /// It goes at once.
    Remove,
    /// It stays until its node or its finalizers are done; this merge patch marks it.
    Mark(Value),
    /// It is marked already, and nothing changes.
    Wait,
}

/// What deleting a pod does. `grace` is what the request asks for; `None` is the pod's own. A pod
/// that no node has, or that has ended, has nothing to wait for.
pub fn delete_pod(pod: &Pod, grace: Option<i64>, now: Timestamp) -> Deletion {
    let own = pod.spec.termination_grace_period_seconds.unwrap_or(30);
    let mut grace = grace.unwrap_or(own).max(0);
    if pod.spec.node_name.is_empty() || pod.is_terminated() {
        grace = 0;
    }
    if grace == 0 {
        return match pod.metadata.finalizers.as_slice() {
            [] => Deletion::Remove,
            _ => delete_other(&pod.metadata, now),
        };
    }
    // A later request may only shorten what an earlier one gave.
    let before = pod.metadata.deletion_grace_period_seconds;
    if pod.metadata.is_deleting() && before.is_some_and(|before| before <= grace) {
        return Deletion::Wait;
    }
    Deletion::Mark(mark(now, grace))
}

/// What deleting an object other than a pod does.
pub fn delete_other(metadata: &Metadata, now: Timestamp) -> Deletion {
    match (metadata.finalizers.is_empty(), metadata.is_deleting()) {
        (true, _) => Deletion::Remove,
        (false, true) => Deletion::Wait,
        (false, false) => Deletion::Mark(mark(now, 0)),
    }
}

fn mark(now: Timestamp, grace: i64) -> Value {
    let at = Timestamp {
        seconds: now.seconds + grace,
        nanos: 0,
    };
    json!({"metadata": {
        "deletionTimestamp": at.rfc3339(),
        "deletionGracePeriodSeconds": grace,
    }})
}

/// What is known of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// It is there, or of a kind that is not looked at.
    Present,
    /// It is there and waits for its dependents to go.
    WaitsForDependents,
    /// There is no object with that UID.
    Absent,
}

/// What garbage collection does with an object. `owner` looks an owner up; `dependents` are the
/// objects that name this one as an owner.
pub fn collect(
    kind: &'static Kind,
    object: &Observed<Metadata>,
    owner: &dyn Fn(&OwnerReference) -> Owner,
    dependents: &[(&'static Kind, &Observed<Metadata>)],
) -> Vec<Action> {
    if object.is_deleting() {
        return let_go(kind, object, dependents);
    }
    if object.owner_references.is_empty() {
        return Vec::new();
    }
    let states: Vec<_> = object.owner_references.iter().map(owner).collect();
    let delete = || {
        vec![Action::Delete {
            target: Target::of(kind, &object.object),
            uid: object.uid.clone(),
            note: None,
        }]
    };
    if !states.contains(&Owner::Present) {
        return delete();
    }
    if states.iter().all(|state| *state == Owner::Present) {
        return Vec::new();
    }
    let kept = object.owner_references.iter().zip(&states);
    let kept = kept
        .filter(|(_, state)| **state == Owner::Present)
        .map(|(owner, _)| owner);
    vec![Action::Patch {
        target: Target::of(kind, &object.object),
        revision: object.revision,
        patch: json!({"metadata": {"ownerReferences": owner_references(kept)}}),
        durability: Durability::Hard,
        note: None,
    }]
}

/// An owner that is being deleted in the foreground waits for the dependents that block it; one that
/// orphans frees them first.
fn let_go(
    kind: &'static Kind,
    object: &Observed<Metadata>,
    dependents: &[(&'static Kind, &Observed<Metadata>)],
) -> Vec<Action> {
    let has = |name: &str| object.finalizers.iter().any(|finalizer| finalizer == name);
    let ours = |owner: &&OwnerReference| owner.uid == object.uid;
    if has(ORPHAN) && !dependents.is_empty() {
        let free = |(kind, dependent): &(&'static Kind, &Observed<Metadata>)| Action::Patch {
            target: Target::of(kind, &dependent.object),
            revision: dependent.revision,
            patch: crate::action::release(&object.uid, &dependent.object),
            durability: Durability::Hard,
            note: None,
        };
        return dependents.iter().map(free).collect();
    }
    if has(FOREGROUND) {
        let waiting = dependents.iter().any(|(_, dependent)| {
            dependent
                .owner_references
                .iter()
                .find(ours)
                .is_some_and(|o| o.block_owner_deletion)
        });
        let deletions: Vec<_> = dependents
            .iter()
            .filter(|(_, dependent)| !dependent.is_deleting())
            .map(|(kind, dependent)| Action::Delete {
                target: Target::of(kind, &dependent.object),
                uid: dependent.uid.clone(),
                note: None,
            })
            .collect();
        if waiting || !deletions.is_empty() {
            return deletions;
        }
    }
    if !has(ORPHAN) && !has(FOREGROUND) {
        return Vec::new();
    }
    without_finalizers(kind, object, &[ORPHAN, FOREGROUND])
}

/// Takes finalizers away; the object goes when none is left.
fn without_finalizers(
    kind: &'static Kind,
    object: &Observed<Metadata>,
    names: &[&str],
) -> Vec<Action> {
    let rest: Vec<&String> = object
        .finalizers
        .iter()
        .filter(|f| !names.contains(&f.as_str()))
        .collect();
    let target = Target::of(kind, &object.object);
    if rest.is_empty() {
        return vec![Action::Remove {
            target,
            uid: object.uid.clone(),
        }];
    }
    vec![Action::Patch {
        target,
        revision: object.revision,
        patch: json!({"metadata": {"finalizers": rest}}),
        durability: Durability::Hard,
        note: None,
    }]
}

/// What a namespace that is being deleted needs: its content deleted, then its own end. Nodes' pods
/// take their time, so a second look deletes nothing twice.
pub fn end_namespace(
    kind: &'static Kind,
    namespace: &Observed<Metadata>,
    content: &[(&'static Kind, &Observed<Metadata>)],
) -> Vec<Action> {
    if !namespace.is_deleting() {
        return Vec::new();
    }
    if content.is_empty() {
        let target = Target::of(kind, &namespace.object);
        return match namespace.finalizers.as_slice() {
            [] => vec![Action::Remove {
                target,
                uid: namespace.uid.clone(),
            }],
            _ => vec![],
        };
    }
    let deletions = content.iter().filter(|(_, object)| !object.is_deleting());
    deletions
        .map(|(kind, object)| Action::Delete {
            target: Target::of(kind, &object.object),
            uid: object.uid.clone(),
            note: None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
