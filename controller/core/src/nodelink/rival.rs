//! Another controller of this cluster's identity: a copy of a machine, or an old one that was switched on
//! again. Nodes would obey both, and each would undo what the other does.
//!
//! Every controller says on `c/state` who it is and whom it heard last. One that names us there is there
//! now, whatever a broker plays again: then the one with the higher epoch, term and boot goes on, and the
//! other one yields: it sends nothing more and believes nothing, until its process starts anew. Controllers
//! with a broker each don't hear one another; their nodes do, and the epoch rises ([`Event::RaiseEpoch`]).

use bramble_wire::envelope;
use bramble_wire::message::ControllerState;
use bramble_wire::version::Nonce;

use super::node::Watch;
use super::{Drop, Event, NodeLink};

/// What is known of other controllers.
#[derive(Debug, Default)]
pub(super) struct Rival {
    /// The one that was heard last.
    pub(super) heard: Option<Nonce>,
    /// A higher one goes on, and this one does nothing.
    pub(super) yielded: bool,
}

impl NodeLink {
    /// Whether another controller of this identity goes on in our place.
    pub fn has_yielded(&self) -> bool {
        self.rival.yielded
    }

    pub(super) fn handle_state(&mut self, topic: &str, payload: &[u8]) -> Result<(), Drop> {
        let ours = self.config.identity.verifying_key();
        let opened = envelope::open::<ControllerState>(payload, topic, self.me, &ours);
        let theirs = opened.map_err(Drop::from)?.message;
        if theirs.instance == self.instance || self.rival.yielded {
            return Ok(());
        }
        let there = theirs.heard == Some(self.instance);
        if !theirs.online {
            // What is retained now says that nobody controls: the end of an earlier life, or the last word
            // of one that yields.
            self.state_due = true;
            if there {
                let higher = false;
                self.events.push_back(Event::Rival { theirs, higher });
            }
            return Ok(());
        }
        let rank = |of: &ControllerState| (of.epoch, of.term, of.boot, of.instance.0);
        let higher = rank(&theirs) > rank(&self.state_of(true));
        if self.rival.heard.replace(theirs.instance) != Some(theirs.instance) || there {
            self.state_due = true;
        }
        if there && higher {
            self.yield_to_it();
        }
        if there {
            self.events.push_back(Event::Rival { theirs, higher });
        }
        Ok(())
    }

    fn yield_to_it(&mut self) {
        self.rival.yielded = true;
        // One last word, so that the other one knows of us.
        self.state_due = true;
        let names: Vec<_> = self.nodes.keys().cloned().collect();
        for name in names {
            if let Some(node) = self.nodes.get_mut(&name) {
                node.end_session();
                node.watch = Watch::Off;
            }
            self.arm(&name);
        }
    }
}
