//! Boards that leave the cluster or break for good, and others that come under their names.
//!
//! The key table is not part of the store here: a person who sets the store back joins again what it
//! does not know any more.

use super::agent::State;
use super::faults::FaultEvent;
use super::rng::Rng;
use super::stats::Fault;
use super::world::{Event, World};

impl World {
    /// A board is dead; another one takes its name (`bramble node replace`).
    pub fn replace(&mut self, number: usize, rng: &mut Rng) {
        if !self.nodes[number].member {
            return;
        }
        self.note(|| format!("node {number} is dead"));
        self.scrap(number);
        self.join(number, Fault::NodeReplaced, rng.clone());
    }

    /// A board is switched off and its node is removed; later another joins under this name.
    pub fn remove(&mut self, number: usize, rng: &mut Rng) {
        let others = self.nodes.iter().filter(|node| node.member).count();
        if !self.nodes[number].member || others < 2 {
            return;
        }
        self.note(|| format!("node {number} is removed"));
        self.scrap(number);
        self.nodes[number].member = false;
        self.leave(number);
        let delay = rng.within(5_000, 90_000);
        let join = FaultEvent::Join(number, rng.clone());
        self.after(delay, Event::Fault(join));
    }

    /// A board takes a name, with keys of its own.
    pub fn join(&mut self, number: usize, fault: Fault, mut rng: Rng) {
        if fault == Fault::NodeRemoved && self.nodes[number].member {
            return;
        }
        self.stats.fault(fault);
        self.note(|| format!("another board joins as node {number}"));
        self.nodes[number].member = true;
        self.nodes[number].rekey(&mut rng);
        self.enrol(number);
        let delay = rng.within(1_000, 30_000);
        self.after(delay, Event::Start(number + 1));
    }

    /// Nothing of a board is left.
    fn scrap(&mut self, number: usize) {
        self.switch_off(number);
        self.nodes[number].disk.replace(State::default());
        self.oracle.wiped(number);
        self.vanish(number + 1);
    }
}
