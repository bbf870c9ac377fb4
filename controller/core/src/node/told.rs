//! What people are told of a node, as its kubelet would.
//!
//! In: the stored Node and what is newly known of it. Out: notes of what changes between the two.

use bramble_api::view::{Condition, Node};
use bramble_wire::report::NodeFacts;

use crate::action::{Note, Regarding};
use crate::{conditions, kinds};

const COMPONENT: &str = "kubelet";

/// The notes of a node that answers, with its newest facts.
pub fn notes(node: &Node, facts: Option<&NodeFacts>) -> Vec<Note> {
    let name = &node.metadata.name;
    let note = |warning: bool, reason: &'static str, message: String| Note {
        regarding: Regarding::of(kinds::node(), &node.metadata),
        warning,
        reason: reason.into(),
        message,
        component: COMPONENT,
        host: name.clone(),
    };
    let status = |reason: &'static str| {
        let message = format!("Node {name} status is now: {reason}");
        note(false, reason, message)
    };
    let mut notes = Vec::new();
    if let Some(facts) = facts {
        let before = &node.status.node_info.boot_id;
        let boot_id = &facts.boot_id;
        if !before.is_empty() && !boot_id.is_empty() && before != boot_id {
            let message = format!("Node {name} has been rebooted, boot id: {boot_id}");
            notes.push(note(true, "Rebooted", message));
        }
        for told in &facts.conditions {
            let before = conditions::find(&node.status.conditions, &told.kind);
            let was = before.map(Condition::is_true);
            if told.status.is_some() && told.status != was {
                let is = told.status == Some(true);
                notes.extend(pressure(&told.kind, is).map(status));
            }
        }
    }
    if !node.is_ready() {
        notes.push(status("NodeReady"));
    }
    notes
}

/// It presented a document of a time that the store does not know.
pub fn future(node: &Node, epoch: u64) -> Note {
    let name = &node.metadata.name;
    Note {
        regarding: Regarding::of(kinds::node(), &node.metadata),
        warning: true,
        reason: "UnknownFuture".into(),
        message: format!(
            "Node {name} holds a document that this cluster's store does not know: the store was set back, \
             epoch {epoch} begins and nodes keep what they run until a person decides (bramble status)"
        ),
        component: "node-link",
        host: String::new(),
    }
}

/// Another board with its identity is there, and refused.
pub fn another_board(node: &Node, other: &str) -> Note {
    let name = &node.metadata.name;
    let message = format!(
        "{other} says that it is node {name}, which is there: it is refused. Is its card a copy? (bramble status)"
    );
    of_board(node, "DuplicateBoard", message)
}

/// It speaks from another board than before.
pub fn board_changed(node: &Node, now: &str) -> Note {
    let name = &node.metadata.name;
    let message = format!("Node {name} speaks from {now} now: its card was moved");
    of_board(node, "BoardChanged", message)
}

fn of_board(node: &Node, reason: &'static str, message: String) -> Note {
    Note {
        regarding: Regarding::of(kinds::node(), &node.metadata),
        warning: true,
        reason: reason.into(),
        message,
        component: "node-link",
        host: String::new(),
    }
}

fn pressure(kind: &str, is: bool) -> Option<&'static str> {
    Some(match (kind, is) {
        ("MemoryPressure", true) => "NodeHasInsufficientMemory",
        ("MemoryPressure", false) => "NodeHasSufficientMemory",
        ("DiskPressure", true) => "NodeHasDiskPressure",
        ("DiskPressure", false) => "NodeHasNoDiskPressure",
        ("PIDPressure", true) => "NodeHasInsufficientPID",
        ("PIDPressure", false) => "NodeHasSufficientPID",
        _ => return None,
    })
}
