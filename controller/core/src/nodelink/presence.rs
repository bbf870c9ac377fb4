//! Whether nodes are there. A broker tells of a lost connection by the node's last will; where that
//! may be lost too, the node is asked, and its silence then means something.

use bramble_wire::clock::Millis;
use bramble_wire::message::Life;
use bramble_wire::name::NodeName;

use super::node::Watch;
use super::{Event, NodeLink, Presence};

/// Nodes announce themselves within 30 s when a controller appears; later they are asked.
const EXPECT_MS: u64 = 60_000;
/// A node compares digests every 15 minutes, plus or minus half; later it is asked.
const QUIET_MS: u64 = 25 * 60_000;
/// A node that does not hold the newest document is told again after so long, doubling …
const HEAD_AGAIN_MS: u64 = 30_000;
/// … so often, before it is told to announce itself …
const HEADS_MAX: u32 = 3;
/// … up to this.
const HEAD_AGAIN_MOST_MS: u64 = 300_000;

impl NodeLink {
    /// Our link to the broker is up and subscribed to
    /// [`bramble_wire::topic::controller_filters`].
    pub fn handle_connected(&mut self, now: Millis) {
        self.link_up = true;
        self.up_since = now;
        self.state_due = !self.rival.yielded;
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        for name in names {
            self.expect_life(&name, now);
        }
    }

    /// Our link to the broker is gone: silence says nothing about nodes until it is back.
    pub fn handle_disconnected(&mut self, _now: Millis) {
        self.link_up = false;
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        for name in names {
            if let Some(node) = self.nodes.get_mut(&name) {
                node.watch = Watch::Off;
            }
            self.arm(&name);
        }
    }

    /// The embedded broker lost a node's connection. Only a hint: the node is lost when it does not
    /// speak within 1.5 times the keep-alive.
    pub fn handle_node_disconnected(&mut self, node: &NodeName, now: Millis) {
        let patience = self.patience_ms();
        if let Some(known) = self.nodes.get_mut(node)
            && matches!(known.presence, Presence::Ready | Presence::Unknown)
        {
            known.watch = Watch::Lose(now + patience);
        }
        self.arm(node);
    }

    /// Time has passed; harmless when nothing is due.
    pub fn handle_timeout(&mut self, now: Millis) {
        while let Some((due, name)) = self.timers.first().cloned() {
            if due > now {
                return;
            }
            self.handle_due(&name, now);
            self.arm(&name);
        }
    }

    fn handle_due(&mut self, name: &NodeName, now: Millis) {
        let patience = self.patience_ms();
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let due = node.head_due <= now;
        if due {
            node.head_due = Millis::NEVER;
        }
        if due && !node.is_current() {
            match &node.session {
                Some(session) if node.head_attempt >= HEADS_MAX && !node.rejects => {
                    // It is here and does not hear heads: everything from the beginning.
                    node.slots.announce = Some((session.boot, session.nonce));
                    node.head_attempt = 0;
                    node.head_due = now + HEAD_AGAIN_MOST_MS;
                    self.queue_reply(name);
                }
                _ => self.queue_head(name),
            }
        }
        self.forget_refused(name, now);
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        match node.watch {
            Watch::Probe(due) if due <= now => {
                node.watch = Watch::Lose(now + patience);
                if node.document.is_some() {
                    self.queue_head(name);
                }
            }
            Watch::Lose(due) if due <= now => self.lose(name, Presence::Lost),
            Watch::Off | Watch::Probe(_) | Watch::Lose(_) => {}
        }
    }

    pub(super) fn patience_ms(&self) -> u64 {
        self.config.limits.keep_alive_ms * 3 / 2
    }

    /// A node that is not known to be away should be heard soon.
    pub(super) fn expect_life(&mut self, name: &NodeName, now: Millis) {
        if let Some(node) = self.nodes.get_mut(name) {
            let expected = matches!(node.presence, Presence::Unknown | Presence::Ready);
            node.watch = match self.link_up && !self.rival.yielded && expected {
                true => Watch::Probe(now + EXPECT_MS),
                false => Watch::Off,
            };
        }
        self.arm(name);
    }

    /// A message of the node's session came.
    pub(super) fn heard(&mut self, name: &NodeName, now: Millis) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        node.board.heard = Some(now);
        node.watch = if self.link_up {
            Watch::Probe(now + QUIET_MS)
        } else {
            Watch::Off
        };
        if node.is_current() {
            node.head_due = Millis::NEVER;
            node.head_attempt = 0;
        }
        if node.presence != Presence::Ready {
            node.presence = Presence::Ready;
            self.events.push_back(Event::Presence {
                node: name.clone(),
                presence: Presence::Ready,
            });
        }
        self.arm(name);
    }

    pub(super) fn handle_life(&mut self, name: &NodeName, life: Life) {
        let (boot, connection, presence) = match life {
            Life::Lost { boot, connection } => (boot, connection, Presence::Lost),
            Life::Bye { boot, connection } => (boot, connection, Presence::Stopped),
        };
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let of_candidate = (node.candidate.as_ref())
            .is_some_and(|c| c.birth.boot == boot && c.birth.connection == connection);
        if of_candidate {
            node.candidate = None;
            node.slots.welcome = false;
        }
        let of_session = (node.session.as_ref())
            .is_some_and(|session| session.boot == boot && session.connection == connection);
        if of_session {
            self.lose(name, presence);
        }
        self.arm(name);
    }

    /// The node is away: its session ends, so that it has to say anew what it holds.
    fn lose(&mut self, name: &NodeName, presence: Presence) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let candidate = node.candidate.take();
        node.end_session();
        // A newer connection may be about to prove itself.
        node.slots.welcome = candidate
            .as_ref()
            .is_some_and(|candidate| !candidate.welcomed);
        node.candidate = candidate;
        node.watch = Watch::Off;
        if node.presence != presence {
            node.presence = presence;
            self.events.push_back(Event::Presence {
                node: name.clone(),
                presence,
            });
        }
    }

    /// A head went out: it is said again when the node does not take it.
    pub(super) fn head_sent(&mut self, name: &NodeName, now: Millis) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.announced = true;
            let here = node.session.is_some() || node.candidate.is_some();
            node.head_due = Millis::NEVER;
            if here && !node.is_current() {
                let delay = HEAD_AGAIN_MS << node.head_attempt.min(4);
                node.head_due = now + delay.min(HEAD_AGAIN_MOST_MS);
                node.head_attempt += 1;
            }
        }
        self.arm(name);
    }
}
