//! What nodes say of themselves becomes their Nodes in the store.

use bramble_api::admit;
use bramble_api::view;
use bramble_controller_core::action::{Action, Durability as Class, Note, Target};
use bramble_controller_core::kinds;
use bramble_controller_core::node::{self, Absence};
use bramble_controller_core::nodelink::Presence;
use bramble_wire::name::NodeName;
use bramble_wire::report::NodeFacts;
use serde_json::Value;

use super::reports::{Error, TRIES, body, decode, is_race, op};
use crate::join::NodeKey;
use crate::object;
use crate::store::{Durability, Expect, Key, Op, Store};

/// Writes whether a node is there; what is to be told of that.
pub(super) fn write_presence(
    store: &dyn Store,
    node: &NodeName,
    presence: Presence,
) -> Result<Vec<Note>, Error> {
    let told = patch_node(store, node, |view| match presence {
        Presence::Unknown => (None, Vec::new()),
        Presence::Ready => (
            node::heartbeat(view, None, object::now()),
            node::notes(view, None),
        ),
        Presence::Stopped => (
            node::lost(view, Absence::Stopped, object::now()),
            Vec::new(),
        ),
        Presence::Lost => (node::lost(view, Absence::Lost, object::now()), Vec::new()),
    })?;
    Ok(told.unwrap_or_default())
}

/// Writes the facts of a node that answers; what is to be told of them. A Node that is missing is made
/// again as long as the board is a member, as a kubelet does at its start.
pub(super) fn write_facts(
    store: &dyn Store,
    member: &NodeKey,
    facts: &NodeFacts,
) -> Result<Vec<Note>, Error> {
    let told = patch_node(store, &member.node, |view| {
        let patch = node::heartbeat(view, Some(facts), object::now());
        (patch, node::notes(view, Some(facts)))
    })?;
    if let Some(told) = told {
        return Ok(told);
    }
    let key = node_key(&member.node);
    let refused = |message: String| Error::Change {
        key: key.clone(),
        message,
    };
    let now = object::now();
    let mut value = node::create(member.node.as_str(), &member.pod_cidr, facts, now);
    let uid = object::uid().map_err(|error| refused(error.to_string()))?;
    let context = admit::Create {
        now,
        uid: &uid,
        suffix: "",
        namespace: None,
    };
    admit::create(kinds::node(), &mut value, &context)
        .map_err(|status| refused(status.message().to_owned()))?;
    let (expect, durability) = (Expect::Absent, Durability::Hard);
    let put = Op::Put {
        key: key.clone(),
        expect,
        body: body(&value),
        durability,
    };
    store.commit(vec![put]).map(drop)?;
    write_presence(store, &member.node, Presence::Ready)
}

/// Writes whether a node keeps what its document lacks.
pub(super) fn write_unconfirmed(store: &dyn Store, node: &NodeName, is: bool) -> Result<(), Error> {
    let decide = |view: &view::Node| (node::unconfirmed(view, is, object::now()), Vec::new());
    patch_node(store, node, decide).map(drop)
}

/// Writes whether another board with the node's identity is refused.
pub(super) fn write_duplicate(
    store: &dyn Store,
    node: &NodeName,
    other: Option<&str>,
) -> Result<Vec<Note>, Error> {
    let told = patch_node(store, node, |view| {
        let note = other.map(|other| node::another_board(view, other));
        let patch = node::duplicate(view, other, object::now());
        (patch, note.into_iter().collect())
    })?;
    Ok(told.unwrap_or_default())
}

/// What is told of a node that speaks from another board than before.
pub(super) fn board_changed(store: &dyn Store, node: &NodeName, now: &str) -> Option<Note> {
    let view: view::Node = view::decode(&store.get(&node_key(node))?.json).ok()?;
    Some(node::board_changed(&view, now))
}

/// What is told of a node that knows a future of which the store does not.
pub(super) fn future(store: &dyn Store, node: &NodeName, epoch: u64) -> Option<Note> {
    let view: view::Node = view::decode(&store.get(&node_key(node))?.json).ok()?;
    Some(node::future(&view, epoch))
}

/// Patches a Node; what is to be told then, or `None` when there is no such Node.
fn patch_node(
    store: &dyn Store,
    node: &NodeName,
    decide: impl Fn(&view::Node) -> (Option<Value>, Vec<Note>),
) -> Result<Option<Vec<Note>>, Error> {
    let key = node_key(node);
    for attempt in 1.. {
        let Some(entry) = store.get(&key) else {
            return Ok(None);
        };
        let decode_error = |source| Error::Decode {
            key: key.clone(),
            source,
        };
        let view: view::Node = view::decode(&entry.json).map_err(decode_error)?;
        let (Some(patch), notes) = decide(&view) else {
            return Ok(Some(Vec::new()));
        };
        let action = Action::Patch {
            target: Target::of(kinds::node(), &view.metadata),
            revision: entry.modified.0,
            patch,
            durability: Class::Soft,
            note: None,
        };
        let Some(op) = op(&entry, &decode(&entry)?, &action)? else {
            return Ok(Some(Vec::new()));
        };
        match store.commit(vec![op]) {
            Ok(_) => return Ok(Some(notes)),
            Err(error) if is_race(&error) && attempt < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the last attempt returns")
}

/// The address of a node, for the statuses of its pods.
pub(super) fn host_ip(store: &dyn Store, node: &NodeName) -> Option<String> {
    let entry = store.get(&node_key(node))?;
    let view: view::Node = view::decode(&entry.json).ok()?;
    let internal = view
        .status
        .addresses
        .into_iter()
        .find(|a| a.kind == "InternalIP");
    internal.map(|address| address.address)
}

pub(super) fn node_key(node: &NodeName) -> Key {
    Key::new("", "nodes", "", node.as_str())
}
