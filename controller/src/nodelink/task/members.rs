//! Who belongs to the cluster, and boards that leave it.
//!
//! A Node that was deleted is no member from that moment: nothing that its board says counts, but that it
//! holds its last document. A board
//! that is there is told to run nothing any more before it is forgotten, so that nothing stays behind
//! on it that nobody sees; one that is not goes on with what it has (`bramble uninstall` ends that).

use std::sync::Arc;
use std::time::Instant;

use bramble_controller_core::nodelink::{self as machine, Presence};
use bramble_wire::name::NodeName;

use super::super::desired::{Desired, Membership};
use super::super::watch::Source;
use super::super::{control, documents, gates, presence};
use super::Task;
use crate::join::{FAREWELL, NodeKey};
use crate::store::{Entry, EventKind};

impl Task {
    /// Starts from a snapshot: the machine learns of all members, and forgets who left meanwhile.
    pub(super) fn begin(&mut self, entries: Vec<(Source, Arc<Entry>)>) {
        let before: Vec<NodeKey> = self.desired.members().cloned().collect();
        self.desired = Desired::default();
        self.parts.board.touch();
        for (source, entry) in entries {
            self.apply(source, EventKind::Added, &entry);
        }
        for member in before {
            if !self.desired.members().any(|key| key.node == member.node) {
                self.dismiss(&member);
            }
        }
        self.tell_confirmed();
        // What an earlier life of this process said; boards that are refused come again.
        let members: Vec<NodeName> = self.desired.members().map(|key| key.node.clone()).collect();
        for node in members {
            if !self.parts.board.has_duplicate(&node) {
                let written = presence::write_duplicate(&*self.store, &node, None);
                self.tell_of_node(written);
            }
        }
    }

    pub(super) fn apply(&mut self, source: Source, kind: EventKind, entry: &Arc<Entry>) {
        if source == Source::Namespaces && *entry.key.name == *control::CONFIRMED_ON {
            self.asked = control::confirmed_by(&entry.json);
            self.record();
        }
        if source == Source::Pods && kind != EventKind::Deleted {
            self.note(gates::look(&*self.store, entry));
        }
        match self.desired.apply(source, kind, entry) {
            Some(Membership::Joined(key)) => {
                self.parts.board.touch();
                let NodeKey {
                    node,
                    identity,
                    sealing,
                    hardware,
                    ..
                } = *key;
                let (keys, now) = (machine::NodeKeys { identity, sealing }, self.now());
                self.leaving.remove(&node);
                self.parts.machine.set_node(&node, keys, now);
                self.parts.machine.set_hardware(&node, hardware);
            }
            Some(Membership::Left(member)) => self.dismiss(&member),
            None => {}
        }
    }

    /// A Node was deleted.
    fn dismiss(&mut self, member: &NodeKey) {
        let node = &member.node;
        self.forget(node);
        self.parts.board.forget(node);
        let state = self.parts.machine.node(node);
        if state.is_none_or(|state| state.presence != Presence::Ready) {
            return self.parts.machine.remove_node(node);
        }
        let confirmed = self.parts.control.confirmed;
        let document = documents::farewell(member, &self.parts.common, confirmed);
        let (revision, now) = (self.store.hard().0, self.now());
        let objects = document.objects;
        match (self.parts.machine).set_document(node, objects, revision, now) {
            Ok(()) => {
                tracing::info!(%node, "the node was removed; its board is told to stop everything");
                self.parts.machine.set_leaving(node);
                let until = Instant::now() + FAREWELL;
                self.leaving.insert(node.clone(), until);
            }
            Err(error) => {
                tracing::error!(%node, %error, "the board of a removed node goes on");
                self.parts.machine.remove_node(node);
            }
        }
    }

    /// Forgets the boards that hold their last document, that are gone, or that had their time.
    pub(super) fn let_go(&mut self) {
        let now = Instant::now();
        let machine = &mut self.parts.machine;
        let mut gone = Vec::new();
        self.leaving.retain(|node, until| {
            let waits = machine.node(node).is_some_and(|state| {
                state.presence == Presence::Ready && state.accepted != state.version
            });
            let stays = waits && now < *until;
            if !stays {
                tracing::info!(%node, told = !waits, "the removed node is forgotten");
                machine.remove_node(node);
                gone.push(node.clone());
            }
            stays
        });
        for node in gone {
            self.forget(&node);
            // A finalizer may still hold the Node: it is not there, and gets no pods.
            let written = presence::write_presence(&*self.store, &node, Presence::Stopped);
            self.tell_of_node(written);
        }
    }

    /// When [`Task::let_go`] has something to do without the boards doing anything.
    pub(super) fn next_farewell(&self) -> Option<Instant> {
        self.leaving.values().min().copied()
    }

    /// Forgets everything of a node but what the machine knows.
    fn forget(&mut self, node: &NodeName) {
        self.parts.usage.forget(node);
        self.parts.tokens.forget(node);
        self.streams.handle_node_gone(node);
    }
}
