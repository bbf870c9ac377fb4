//! What the machine of the node protocol says has happened, and what becomes of it in the store.

use std::sync::Arc;

use bramble_controller_core::action::Note;
use bramble_controller_core::document;
use bramble_controller_core::nodelink::{self as machine, Event, Presence};
use bramble_wire::name::NodeName;
use bramble_wire::object::{ObjectName, PodUid};
use bramble_wire::version::HardwareId;

use super::super::control::{self, Control};
use super::super::{documents, presence, released, reports, will_of};
use super::Task;

/// A board, for people.
fn board(hardware: Option<HardwareId>) -> String {
    match hardware {
        Some(hardware) => format!("board {hardware}"),
        None => "another board".to_owned(),
    }
}

impl Task {
    pub(super) fn handle_event(&mut self, event: Event) {
        // Of a board that leaves nothing counts any more; the machine sees for itself what it holds.
        let of = match &event {
            Event::Presence { node, presence } => (*presence == Presence::Ready).then_some(node),
            Event::Facts { node, .. } | Event::StreamOut { node, .. } => Some(node),
            Event::Report(report) => Some(&report.node),
            Event::Reconnected(_)
            | Event::RaiseEpoch { .. }
            | Event::Braked { .. }
            | Event::Duplicate { .. }
            | Event::Alone(_)
            | Event::Rival { .. }
            | Event::Board { .. }
            | Event::Dropped { .. } => None,
        };
        if of.is_some_and(|node| self.leaving.contains_key(node)) {
            return;
        }
        match event {
            Event::Presence {
                node,
                presence: now,
            } => {
                tracing::info!(%node, presence = ?now, "node");
                if matches!(now, Presence::Stopped | Presence::Lost) {
                    self.parts.usage.forget(&node);
                    self.streams.handle_node_gone(&node);
                }
                if now == Presence::Ready {
                    self.parts.arrivals.notify_waiters();
                }
                let written = presence::write_presence(&*self.store, &node, now);
                self.tell_of_node(written);
            }
            // Its streams ended with the connection before, of which no end was seen.
            Event::Reconnected(node) => self.streams.handle_node_gone(&node),
            Event::Facts { node, facts } => {
                if let Some(member) = self.keys.by_name(&node) {
                    let written = presence::write_facts(&*self.store, &member, &facts);
                    self.tell_of_node(written);
                }
            }
            Event::Report(report) => self.handle_report(report),
            Event::StreamOut { node, id, out } => self.streams.handle_out(&node, id, out),
            Event::RaiseEpoch {
                node,
                seen,
                epoch,
                history,
            } => {
                tracing::error!(
                    %node, %seen, epoch,
                    "a node knows a future that this store does not: a new epoch begins, and the \
                     nodes keep what they run until a person confirms the difference"
                );
                let told = presence::future(&*self.store, &node, epoch);
                self.tell_of_node(Ok(told.into_iter().collect()));
                self.rising = Some((epoch, history));
                self.record();
            }
            Event::Braked { node, seen } => {
                tracing::error!(
                    %node, %seen, epoch = self.parts.control.epoch,
                    "the epoch rises again and again: are there two controllers of this identity? \
                     It does not rise any more before a person confirms it"
                );
                self.parts.board.set_braked(true);
            }
            Event::Duplicate { node, hardware } => self.tell_duplicate(node, hardware),
            Event::Rival { theirs, higher } => {
                if self.parts.board.set_rival(&theirs, higher) {
                    let (boot, epoch) = (theirs.boot.0, theirs.epoch);
                    match higher {
                        true => tracing::error!(
                            boot,
                            epoch,
                            "another controller has this cluster's identity and goes on: this one does nothing \
                             any more. Stop one of the two; the one that was started more often goes on"
                        ),
                        false => tracing::error!(
                            boot,
                            epoch,
                            "another controller has this cluster's identity, and does nothing any more: stop it"
                        ),
                    }
                }
            }
            Event::Alone(node) => {
                tracing::info!(%node, "no other board has this node's identity any more");
                self.parts.board.set_duplicate(&node, None);
                let written = presence::write_duplicate(&*self.store, &node, None);
                self.tell_of_node(written);
            }
            Event::Board { node, before, now } => {
                if before.is_some() {
                    tracing::warn!(%node, hardware = %now, "the node speaks from another board");
                    let told = presence::board_changed(&*self.store, &node, &board(Some(now)));
                    self.tell_of_node(Ok(told.into_iter().collect()));
                }
                if let Err(error) = self.keys.set_hardware(&node, now) {
                    tracing::warn!(%node, %error, "which board the node is could not be noted; a restart asks again");
                }
            }
            Event::Dropped { node, reason } => {
                let node = node.as_ref().map_or("-", NodeName::as_str);
                tracing::warn!(
                    node,
                    ?reason,
                    "message dropped; further ones are only counted"
                );
            }
        }
    }

    fn tell_duplicate(&mut self, node: NodeName, hardware: Option<HardwareId>) {
        let other = board(hardware);
        tracing::error!(
            %node, board = other,
            "another board has this node's identity and is refused: is its card a copy?"
        );
        self.parts.board.set_duplicate(&node, Some(hardware));
        let written = presence::write_duplicate(&*self.store, &node, Some(&other));
        self.tell_of_node(written);
    }

    fn handle_report(&mut self, report: machine::Report) {
        let (node, number) = (report.node.clone(), report.number);
        if !report.rejected.is_empty() {
            tracing::error!(%node, reason = report.rejected, "the node refused its document");
        }
        let now = crate::object::now();
        // First what was told: the report may have the pod removed.
        let pod = |uid: &PodUid| self.desired.pod_of(&node, uid);
        (self.pod_events).relay(&*self.store, &node, &report.events, pod, now);
        if let Some(usage) = report.usage.clone() {
            self.parts.usage.set(&node, usage, pod, now);
        }
        let desired = &self.desired;
        let stored = |uid: &PodUid| desired.pod_of(&node, uid).is_some();
        self.parts.board.handle_report(&report, stored);
        let written = match reports::write(&*self.store, &self.desired, &report) {
            Ok(written) => written,
            Err(error) => return self.note(Err(error)),
        };
        self.pod_events.tell(&*self.store, &written.notes, now);
        // What is only soft may be lost with the power; the node says all of it again then.
        let wait = report.hard || !written.forget.is_empty();
        self.pending.push(Box::pin(async move {
            if wait {
                written.durable.wait().await.ok()?;
            }
            Some((node, number, written.forget))
        }));
    }

    /// Records the epoch that is to begin, else that a person has confirmed this very epoch, unless
    /// that is known; one after the other.
    pub(super) fn record(&mut self) {
        let control = self.parts.control;
        if self.recording.is_some() {
            return;
        }
        if let Some((epoch, history)) = self.rising.take() {
            let store = Arc::clone(&self.store);
            let raised = async move { control.raise(&*store, epoch, history).await };
            self.recording = Some(Box::pin(raised));
            return;
        }
        if self.asked != Some(control.epoch) || control.confirmed >= control.epoch {
            return;
        }
        tracing::info!(epoch = control.epoch, "a person has confirmed the epoch");
        let store = Arc::clone(&self.store);
        self.recording = Some(Box::pin(async move { control.confirm(&*store).await }));
    }

    pub(super) fn handle_recorded(&mut self, recorded: Result<Control, control::Error>) {
        match recorded {
            Ok(control) => {
                if control.confirmed != self.parts.control.confirmed {
                    self.desired.touch_all();
                    self.parts.machine.handle_confirmed();
                    self.parts.board.set_braked(false);
                    if let Err(error) = released::clear(&*self.store) {
                        tracing::warn!(%error, "which pods were released is still on disk");
                    }
                }
                self.parts.control = control;
                self.tell_confirmed();
                self.parts.board.touch();
                if let Some(hint) = control.hint() {
                    tracing::warn!(
                        hint,
                        "to confirm the epoch, after a look at what the nodes run"
                    );
                }
                let now = self.now();
                self.parts
                    .machine
                    .handle_epoch(control.epoch, control.history, now);
                let will = will_of(&self.parts.cluster, self.parts.machine.offline());
                *self
                    .parts
                    .will
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner()) = will;
                self.record();
            }
            // Nothing is sent until the next start; nodes go on with what they have.
            Err(error) => tracing::error!(%error, "the record of who controls is not on disk"),
        }
    }

    /// Says on every Node whether it keeps what its document lacks.
    pub(super) fn tell_confirmed(&mut self) {
        let control = self.parts.control;
        let is = control.confirmed < control.epoch;
        let members: Vec<NodeName> = self.desired.members().map(|key| key.node.clone()).collect();
        for node in members {
            self.note(presence::write_unconfirmed(&*self.store, &node, is));
        }
    }

    /// Says what the node does not get: on the pod, and once in the log.
    pub(super) fn tell_left_out(
        &mut self,
        node: &NodeName,
        left_out: Vec<(ObjectName, document::Error)>,
    ) {
        let told = self.left_out.get(node);
        for (pod, error) in &left_out {
            if !told.is_some_and(|told| told.iter().any(|(p, e)| p == pod && e == error)) {
                tracing::error!(%node, %pod, %error, "the pod is left out of the node's document");
            }
            self.note(documents::write_left_out(&*self.store, node, pod, error));
        }
        if left_out.is_empty() {
            self.left_out.remove(node);
        } else {
            self.left_out.insert(node.clone(), left_out);
        }
    }

    pub(super) fn tell_of_node(&mut self, written: Result<Vec<Note>, reports::Error>) {
        match written {
            Ok(notes) => {
                let now = crate::object::now();
                self.pod_events.tell(&*self.store, &notes, now);
            }
            Err(error) => self.note(Err(error)),
        }
    }

    pub(super) fn note(&self, result: Result<(), reports::Error>) {
        if let Err(error) = result {
            tracing::warn!(%error, "could not be written; it will come again");
        }
    }
}
