//! What the pure controllers ask the edge to do.
//!
//! A plan is a list of these, in the order they must run. Every write names the revision that the
//! decision was made on; when the object has moved since, the write is refused and the controller
//! simply looks again.

use std::borrow::Cow;
use std::ops::Deref;

use bramble_api::kind::Kind;
use bramble_api::time::Timestamp;
use bramble_api::view::{Condition, Metadata, OwnerReference};
use serde_json::{Value, json};

/// An object as it was read, with the revision it had then.
#[derive(Debug, Clone, Default)]
pub struct Observed<T> {
    /// Revision of the last write.
    pub revision: u64,
    /// The view.
    pub object: T,
}

impl<T> Deref for Observed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.object
    }
}

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Target {
    /// Where an object with this metadata is.
    pub fn of(kind: &'static Kind, metadata: &Metadata) -> Self {
        Self {
            kind,
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
        }
    }
}

/// How much of a write must survive a power cut, as the store has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Written with the next commit; can be worked out again.
    Soft,
    /// On disk before anybody outside sees it.
    Hard,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make an object. It has `metadata.name` or `metadata.generateName`.
    Create {
        /// Its kind.
        kind: &'static Kind,
        /// Its namespace.
        namespace: String,
        /// It, without what admission fills in.
        object: Value,
        /// Event on success; `{}` in the message stands for the name.
        note: Option<Note>,
    },
    /// Change an object by an RFC 7396 merge patch.
    Patch {
        /// Which.
        target: Target,
        /// The revision that the patch was made for.
        revision: u64,
        /// The patch.
        patch: Value,
        /// How durable.
        durability: Durability,
        /// Event on success.
        note: Option<Note>,
    },
    /// Delete an object, gracefully where its kind does so, with background propagation.
    Delete {
        /// Which.
        target: Target,
        /// Only the object with this UID.
        uid: String,
        /// What its status says of it from then on, if it is not gone at once.
        told: Option<Condition>,
        /// Event on success.
        note: Option<Note>,
    },
    /// Delete an object in the foreground: it waits for its dependents.
    DeleteForeground {
        /// Which.
        target: Target,
        /// Only the object with this UID.
        uid: String,
    },
    /// Remove an object at once: nothing of it is left anywhere.
    Remove {
        /// Which.
        target: Target,
        /// Only the object with this UID.
        uid: String,
    },
    /// Tell people.
    Event(Note),
}

/// An event to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// About what.
    pub regarding: Regarding,
    /// Something is wrong.
    pub warning: bool,
    /// CamelCase reason.
    pub reason: Cow<'static, str>,
    /// Text.
    pub message: String,
    /// Who says so, `deployment-controller`.
    pub component: &'static str,
    /// The node on which that is; empty for a controller.
    pub host: String,
}

/// The object that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Regarding {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// The part that is meant, `spec.containers{main}`; empty for all of it.
    pub field_path: String,
}

impl Regarding {
    /// The object with this metadata.
    pub fn of(kind: &Kind, metadata: &Metadata) -> Self {
        Self {
            api_version: kind.api_version(),
            kind: kind.kind.to_owned(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
            field_path: String::new(),
        }
    }
}

/// What a controller decided about one object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// In the order they must run.
    pub actions: Vec<Action>,
    /// When to look again if nothing changes.
    pub next_wake: Option<Timestamp>,
}

impl Plan {
    /// Asks to be woken at `at`, or earlier.
    pub fn wake_at(&mut self, at: Timestamp) {
        self.next_wake = Some(self.next_wake.map_or(at, |other| other.min(at)));
    }
}

/// An `ownerReferences` entry for a controlling owner.
pub fn controller_reference(kind: &Kind, owner: &Metadata) -> Value {
    json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Owner references as JSON, for a patch that replaces the list.
pub fn owner_references<'a>(owners: impl IntoIterator<Item = &'a OwnerReference>) -> Value {
    let entry = |owner: &OwnerReference| {
        let mut entry = json!({
            "apiVersion": owner.api_version,
            "kind": owner.kind,
            "name": owner.name,
            "uid": owner.uid,
        });
        if owner.controller {
            entry["controller"] = true.into();
        }
        if owner.block_owner_deletion {
            entry["blockOwnerDeletion"] = true.into();
        }
        entry
    };
    owners.into_iter().map(entry).collect()
}

/// A patch that makes `owner` the controller of an orphan.
pub fn adopt(kind: &Kind, owner: &Metadata, orphan: &Metadata) -> Value {
    let mut owners = owner_references(&orphan.owner_references);
    if let Value::Array(owners) = &mut owners {
        owners.push(controller_reference(kind, owner));
    }
    json!({"metadata": {"ownerReferences": owners}})
}

/// A patch that ends the control of the owner with this UID; an empty list leaves the object.
pub fn release(owner_uid: &str, owned: &Metadata) -> Value {
    let rest: Vec<_> = owned
        .owner_references
        .iter()
        .filter(|o| o.uid != owner_uid)
        .collect();
    if rest.is_empty() {
        return json!({"metadata": {"ownerReferences": null}});
    }
    json!({"metadata": {"ownerReferences": owner_references(rest)}})
}
