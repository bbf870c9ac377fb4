//! Which board speaks for a node. The keys of a node are on its card: a copy of the card is the same node
//! on two boards, and a card that was moved is the same node on another board.
//!
//! A birth names the board's hardware and the process of its agent. As long as the board that is known is
//! there, or was heard a moment ago, another one is refused; when it is silent, the other one is the node
//! from then on. Two boards whose hardware says the same, or nothing, are told apart by their processes: one
//! that has been followed by another does not come back. It is no proof of harm: what a refused board runs,
//! it goes on running; but nothing that must not run twice is cleared there.

use std::collections::{BTreeSet, VecDeque};

use bramble_wire::clock::Millis;
use bramble_wire::envelope::ReplayGuard;
use bramble_wire::message::Birth;
use bramble_wire::name::NodeName;
use bramble_wire::version::{HardwareId, Nonce};

use super::node::{Candidate, Session, Watch};
use super::{Drop, Event, NodeLink};

/// A board that was not heard for so long gives way to another one.
const SILENT_MS: u64 = 90_000;
/// One that was refused and does not come again for so long is gone; it comes every few minutes.
const GONE_MS: u64 = 15 * 60_000;
/// Processes of agents that are remembered of a node.
const PROCESSES_MAX: usize = 8;

/// The board that a node is.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) hardware: Option<HardwareId>,
    /// Process of the agent that spoke last …
    process: Option<Nonce>,
    /// … and those before it.
    past: VecDeque<Nonce>,
    /// When it was heard in this life.
    pub(super) heard: Option<Millis>,
    pub(super) refused: Option<Refused>,
}

/// Another board, that was refused.
#[derive(Debug)]
pub(super) struct Refused {
    birth: Nonce,
    challenge: Nonce,
    /// It has answered a challenge: it is a board and no birth of old that somebody plays again.
    proven: bool,
    /// When it is taken for gone.
    pub(super) until: Millis,
}

/// What [`Board::take_over`] led to.
pub(super) struct Taken {
    pub(super) changed: Option<(Option<HardwareId>, HardwareId)>,
    pub(super) alone: bool,
}

impl Board {
    fn is_another(&self, birth: &Birth) -> bool {
        let other = matches!((self.hardware, birth.hardware), (Some(a), Some(b)) if a != b);
        other || self.past.contains(&birth.process)
    }

    /// The sender of this birth is the node from now on.
    fn take_over(&mut self, birth: &Birth) -> Taken {
        let another = self.is_another(birth);
        let before = self.hardware;
        let changed = birth.hardware.filter(|now| before != Some(*now));
        self.hardware = birth.hardware.or(before);
        if self.process != Some(birth.process) {
            self.past.retain(|process| *process != birth.process);
            self.past.extend(self.process.replace(birth.process));
            if self.past.len() > PROCESSES_MAX {
                self.past.pop_front();
            }
        }
        let told = self.refused.take_if(|_| another);
        Taken {
            changed: changed.map(|now| (before, now)),
            alone: told.is_some_and(|refused| refused.proven),
        }
    }
}

impl NodeLink {
    /// Which board a node is, as the key table says; what was heard in this life is newer.
    pub fn set_hardware(&mut self, node: &NodeName, hardware: Option<HardwareId>) {
        if let Some(known) = self.nodes.get_mut(node) {
            known.board.hardware = known.board.hardware.or(hardware);
        }
    }

    /// Whether a birth is of another board than the one that is there: then nothing more is done with it.
    pub(super) fn refuse(
        &mut self,
        name: &NodeName,
        birth: &Birth,
        now: Millis,
    ) -> Result<bool, Drop> {
        let (up_since, patience) = (self.up_since, self.patience_ms());
        let node = self.nodes.get_mut(name).ok_or(Drop::UnknownNode)?;
        let board = &mut node.board;
        let heard = board.heard.map_or(up_since, |heard| heard.max(up_since));
        let quiet = now.since(heard) >= SILENT_MS;
        if !board.is_another(birth) || (quiet && node.session.is_none()) {
            return Ok(false);
        }
        if (board.refused.as_ref()).is_some_and(|refused| refused.birth == birth.nonce) {
            return Err(Drop::Replay);
        }
        let asks = quiet && matches!(node.watch, Watch::Probe(_));
        if asks {
            // A node that has nothing to say is silent for long.
            node.watch = Watch::Lose(now + patience);
        }
        let before = board.refused.take();
        let echoes = |refused: &Refused| birth.refused == Some(refused.challenge);
        let proven = before.as_ref().is_some_and(echoes);
        let challenge = self.random.nonce();
        node.slots.refuse = Some((birth.boot, birth.nonce, challenge));
        board.refused = Some(Refused {
            birth: birth.nonce,
            challenge,
            proven: proven || before.is_some_and(|refused| refused.proven),
            until: now + GONE_MS,
        });
        if proven {
            let (node, hardware) = (name.clone(), birth.hardware);
            self.events.push_back(Event::Duplicate { node, hardware });
        }
        if asks {
            self.queue_head(name);
        }
        self.queue_reply(name);
        self.arm(name);
        Ok(true)
    }

    /// Forgets a board that was refused and does not come any more.
    pub(super) fn forget_refused(&mut self, name: &NodeName, now: Millis) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let gone = (node.board.refused).take_if(|refused| refused.until <= now);
        if gone.is_some_and(|refused| refused.proven) {
            self.events.push_back(Event::Alone(name.clone()));
        }
    }

    /// The node echoed the session nonce of its newest birth: the birth was fresh.
    pub(super) fn adopt(&mut self, name: &NodeName) {
        let history = self.config.history;
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let Some(candidate) = node.candidate.take() else {
            return;
        };
        let Candidate {
            birth,
            sequence,
            session,
            guard,
            ..
        } = candidate;
        let board = node.board.take_over(&birth);
        node.guard = guard;
        node.request_guard = guard;
        if node.stream_guard.boot() != birth.boot || node.stream_guard.is_ahead_of(sequence) {
            node.stream_guard = ReplayGuard::starting_at(sequence);
        }
        let anew = node.session.as_ref().is_some_and(|session| {
            (session.boot, session.connection) != (birth.boot, birth.connection)
        });
        if anew {
            self.events.push_back(Event::Reconnected(name.clone()));
        }
        node.session = Some(Session {
            nonce: session,
            birth: birth.nonce,
            boot: birth.boot,
            connection: birth.connection,
            full: Some(BTreeSet::new()),
            pending: None,
            acked: None,
            told: 0,
        });
        node.observed.clear();
        let held = birth.have.filter(|(_, held)| *held == history);
        node.accepted = held.map(|(version, _)| version);
        node.converged = None;
        node.rejects = false;
        if let Some((before, now)) = board.changed {
            let node = name.clone();
            self.events.push_back(Event::Board { node, before, now });
        }
        if board.alone {
            self.events.push_back(Event::Alone(name.clone()));
        }
        let (node, facts) = (name.clone(), birth.facts);
        self.events.push_back(Event::Facts { node, facts });
    }
}
