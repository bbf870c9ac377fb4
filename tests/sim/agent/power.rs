//! How a node ends and comes back: its agent killed, its power cut, its card empty, its clock set.

use super::super::Mutation;
use super::super::rng::Rng;
use super::super::stats::Fault;
use super::super::world::{Event, World};
use super::{State, UNIX_MS};

impl World {
    /// A board's clock is set, or wakes in 1970.
    pub fn clock_jump(&mut self, number: usize, rng: &mut Rng) {
        const HOUR_MS: i64 = 3_600_000;
        let jumps = [
            -UNIX_MS - self.now as i64,
            -HOUR_MS,
            0,
            HOUR_MS,
            50 * 365 * 24 * HOUR_MS,
        ];
        let to = rng.pick(&jumps).copied().unwrap_or_default();
        self.set_clock(number, to);
        self.with_agent(number, |agent, _| agent.dirty = true);
    }

    pub(super) fn set_clock(&mut self, number: usize, to: i64) {
        if self.nodes[number].wall_ms != to {
            self.stats.fault(Fault::ClockJump);
            self.note(|| format!("node {number}: its clock is off by {to} ms"));
            self.nodes[number].wall_ms = to;
        }
    }

    /// The agent is killed; what runs goes on.
    pub fn kill_agent(&mut self, number: usize, fault: Fault, rng: &mut Rng) {
        if self.nodes[number].agent.take().is_none() {
            return;
        }
        self.stats.fault(Fault::AgentKill);
        self.note(|| format!("agent {number} killed"));
        self.nodes[number].life += 1;
        self.close(number + 1);
        let delay = match fault {
            Fault::RestartLoop => rng.within(10, 1_000),
            _ => rng.within(100, 20_000),
        };
        self.after(delay, Event::Start(number + 1));
    }

    /// The agent could not write: it ends, and is started again.
    pub fn agent_could_not_write(&mut self, number: usize, rng: &mut Rng) {
        self.note(|| format!("agent {number} could not write"));
        let node = &mut self.nodes[number];
        node.agent = None;
        node.life += 1;
        node.disk.fail(rng);
        self.close(number + 1);
        let delay = rng.within(500, 20_000);
        self.after(delay, Event::Start(number + 1));
    }

    /// The board is off, and so is everything on it.
    pub fn switch_off(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.agent = None;
        node.off = true;
        node.life += 1;
        node.kernel_boot += 1;
        node.kernel.clear();
        node.addresses.clear();
    }

    /// The board goes down, in order or not, and comes up.
    pub fn reboot(&mut self, number: usize, fault: Fault, rng: &mut Rng) {
        if !self.nodes[number].member {
            return;
        }
        self.stats.fault(fault);
        self.note(|| format!("node {number}: {}", fault.text()));
        self.switch_off(number);
        let node = &mut self.nodes[number];
        match fault {
            Fault::NodeWipe => {
                node.disk.replace(State::default());
                self.oracle.wiped(number);
            }
            Fault::Reboot => {
                let last = node.disk.last();
                node.disk.sync(last);
            }
            _ => {
                let cut = node.disk.power_cut(rng);
                if cut.lost > 0 {
                    self.stats.fault(Fault::NodeLoss);
                }
                if cut.lied && self.mutation != Some(Mutation::SkipFsync) {
                    self.stats.fault(Fault::Lie);
                    self.note(|| format!("node {number}: its card has kept nothing for a while"));
                    self.node_set_back(number);
                }
            }
        }
        if fault == Fault::Reboot {
            self.close(number + 1);
        } else {
            self.vanish(number + 1);
        }
        if rng.percent(20) {
            self.set_clock(number, -UNIX_MS - self.now as i64);
        }
        if fault != Fault::Months {
            let delay = rng.within(1_000, 60_000);
            self.after(delay, Event::Start(number + 1));
        }
    }
}
