//! The end of objects after [`crate::deletion`]: what becomes of those that are owned.
//!
//! In: an object, what is known of its owners, and who names it as an owner. Out: deletions, and
//! references and finalizers that have done their service. Nothing here knows a kind by name: owners
//! are found by their UIDs. Upstream's counterpart is
//! `pkg/controller/garbagecollector/garbagecollector.go`.

use bramble_api::kind::Kind;
use bramble_api::view::{Metadata, OwnerReference};
use serde_json::json;

use crate::action::{
    Action, Durability, Note, Observed, Regarding, Target, owner_references, release,
};
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
    /// There is one in another namespace, which can't own this one.
    Elsewhere,
    /// It lives in a namespace, and what it is to own does not: nobody can say which is meant.
    Unresolvable,
}

type Dependent<'a> = (&'static Kind, &'a Observed<Metadata>);

/// What garbage collection does with an object. `owner` looks an owner up; `dependents` are the
/// objects that name this one as an owner.
pub fn collect(
    kind: &'static Kind,
    object: &Observed<Metadata>,
    owner: &dyn Fn(&OwnerReference) -> Owner,
    dependents: &[Dependent<'_>],
) -> Vec<Action> {
    if object.is_deleting() {
        return let_go(kind, object, dependents);
    }
    let states: Vec<(&OwnerReference, Owner)> = object
        .owner_references
        .iter()
        .map(|reference| (reference, owner(reference)))
        .collect();
    let invalid = |owner: &Owner| matches!(owner, Owner::Elsewhere | Owner::Unresolvable);
    let mut actions: Vec<Action> = states
        .iter()
        .filter(|(_, state)| invalid(state))
        .map(|(owner, _)| Action::Event(invalid_namespace(kind, object, owner)))
        .collect();
    let stays = |owner: Owner| matches!(owner, Owner::Present | Owner::Unresolvable);
    if states.iter().all(|(_, state)| stays(*state)) {
        return actions;
    }
    let target = Target::of(kind, &object.object);
    if states.iter().any(|(_, state)| stays(*state)) {
        let kept = states.iter().filter(|(_, state)| stays(*state));
        let kept = owner_references(kept.map(|(owner, _)| *owner));
        actions.push(references(kind, object, kept));
        return actions;
    }
    let waits = states
        .iter()
        .any(|(_, state)| *state == Owner::WaitsForDependents);
    if !waits || dependents.is_empty() {
        actions.push(Action::Delete {
            target,
            uid: object.uid.clone(),
            told: None,
            note: None,
        });
        return actions;
    }
    // It goes as its owner does. Where it is its own owner's owner, nobody would ever be the first.
    let blocking = object
        .owner_references
        .iter()
        .any(|o| o.block_owner_deletion);
    let circle = dependents
        .iter()
        .any(|(_, d)| d.is_deleting() && d.finalizers.iter().any(|f| f == FOREGROUND));
    if circle && blocking {
        let unblocked: Vec<OwnerReference> = object
            .owner_references
            .iter()
            .map(|owner| OwnerReference {
                block_owner_deletion: false,
                ..owner.clone()
            })
            .collect();
        actions.push(references(kind, object, owner_references(&unblocked)));
    }
    actions.push(Action::DeleteForeground {
        target,
        uid: object.uid.clone(),
    });
    actions
}

fn references(
    kind: &'static Kind,
    object: &Observed<Metadata>,
    owners: serde_json::Value,
) -> Action {
    Action::Patch {
        target: Target::of(kind, &object.object),
        revision: object.revision,
        patch: json!({"metadata": {"ownerReferences": owners}}),
        durability: Durability::Hard,
        note: None,
    }
}

fn invalid_namespace(kind: &'static Kind, object: &Metadata, owner: &OwnerReference) -> Note {
    let OwnerReference {
        api_version,
        kind: owner_kind,
        name,
        uid,
        ..
    } = owner;
    let namespace = &object.namespace;
    Note {
        regarding: Regarding::of(kind, object),
        warning: true,
        reason: "OwnerRefInvalidNamespace".into(),
        message: format!(
            "ownerRef [{api_version}/{owner_kind}, namespace: {namespace}, name: {name}, uid: {uid}] \
             does not exist in namespace \"{namespace}\""
        ),
        component: "garbage-collector-controller",
        host: String::new(),
    }
}

/// An owner that is being deleted in the foreground waits for the dependents that block it, which
/// are looked at themselves; one that orphans frees them first.
fn let_go(
    kind: &'static Kind,
    object: &Observed<Metadata>,
    dependents: &[Dependent<'_>],
) -> Vec<Action> {
    let has = |name: &str| object.finalizers.iter().any(|finalizer| finalizer == name);
    if has(ORPHAN) {
        let free = |(kind, dependent): &Dependent<'_>| Action::Patch {
            target: Target::of(kind, &dependent.object),
            revision: dependent.revision,
            patch: release(&object.uid, &dependent.object),
            durability: Durability::Hard,
            note: None,
        };
        if !dependents.is_empty() {
            return dependents.iter().map(free).collect();
        }
        return without_finalizer(kind, object, ORPHAN);
    }
    let blocks = |dependent: &Metadata| {
        let mut owners = dependent.owner_references.iter();
        owners.any(|o| o.uid == object.uid && o.block_owner_deletion)
    };
    if has(FOREGROUND) && !dependents.iter().any(|(_, dependent)| blocks(dependent)) {
        return without_finalizer(kind, object, FOREGROUND);
    }
    Vec::new()
}

/// Takes a finalizer away; the edge removes an object that nothing keeps any more.
fn without_finalizer(kind: &'static Kind, object: &Observed<Metadata>, name: &str) -> Vec<Action> {
    let rest: Vec<&String> = object.finalizers.iter().filter(|f| *f != name).collect();
    vec![Action::Patch {
        target: Target::of(kind, &object.object),
        revision: object.revision,
        patch: json!({"metadata": {"finalizers": rest}}),
        durability: Durability::Hard,
        note: None,
    }]
}

#[cfg(test)]
mod tests;
