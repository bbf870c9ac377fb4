//! The end of objects after [`crate::deletion`]: garbage collection, finalizers, namespaces.

use bramble_api::view::{Metadata, OwnerReference};
use serde_json::json;

use crate::action::{Action, Durability, Observed, Target, owner_references};
use bramble_api::kind::Kind;

pub use crate::deletion::{FOREGROUND, ORPHAN};

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
