//! What goes wrong, and when.

use super::stats::Fault;
use super::world::{Event, World};

/// What is broken at the moment.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Whether anything goes wrong at all.
    pub active: bool,
    /// Until when the path of a client is cut.
    partitions: Vec<(usize, u64)>,
    /// Clients whose power fails at their next write, before it is synced.
    doomed: Vec<usize>,
}

/// Something that breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultEvent {
    /// Pick something and break it.
    Any,
    /// The broker does harm.
    Mischief,
    /// The power of a client fails.
    Power(usize),
}

impl Faults {
    /// Nothing is broken, everything will be.
    pub fn new() -> Self {
        Self {
            active: true,
            partitions: Vec::new(),
            doomed: Vec::new(),
        }
    }

    /// Whether a client can't reach the broker.
    pub fn is_partitioned(&self, client: usize, now: u64) -> bool {
        self.partitions
            .iter()
            .any(|(cut, until)| *cut == client && *until > now)
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// Everything starts.
    pub fn begin(&mut self) {
        self.after(0, Event::Start(0));
        for client in 1..=self.nodes.len() {
            let delay = self.rng.within(0, 20_000);
            self.after(delay, Event::Start(client));
        }
        self.after(30_000, Event::Fault(FaultEvent::Any));
        self.after(20_000, Event::Fault(FaultEvent::Mischief));
        self.schedule_user();
    }

    /// Something breaks.
    pub fn fault(&mut self, fault: FaultEvent) {
        if !self.faults.active {
            return;
        }
        let delay = match fault {
            FaultEvent::Any => {
                self.break_something();
                self.rng.within(3_000, 40_000)
            }
            FaultEvent::Mischief => {
                self.mischief();
                self.rng.within(500, 6_000)
            }
            FaultEvent::Power(0) => return self.stop_controller(Fault::ControllerPower),
            FaultEvent::Power(client) => return self.reboot(client - 1, Fault::NodePower),
        };
        self.after(delay, Event::Fault(fault));
    }

    fn break_something(&mut self) {
        let node = self.rng.index(self.nodes.len());
        match self.rng.within(0, 99) {
            0..=19 => {
                let client = self.rng.index(self.nodes.len() + 1);
                self.partition(client);
            }
            20..=29 => {
                let client = self.rng.index(self.nodes.len() + 1);
                self.cut(client);
            }
            30..=39 => {
                let amnesia = self.rng.percent(50);
                let delay = self.rng.within(500, 60_000);
                self.broker_down(amnesia);
                self.after(delay, Event::BrokerUp);
            }
            40..=51 => self.kill_agent(node),
            52..=57 => self.reboot(node, Fault::Reboot),
            58..=61 => self.reboot(node, Fault::NodePower),
            62..=67 => self.faults.doomed.push(node + 1),
            68..=69 => self.reboot(node, Fault::NodeWipe),
            70..=79 => self.stop_controller(Fault::ControllerKill),
            80..=84 => self.stop_controller(Fault::ControllerPower),
            85..=91 => self.faults.doomed.push(0),
            92..=95 => self.stop_controller(Fault::Restore),
            _ => self.stop_controller(Fault::OldDisk),
        }
    }

    /// A client writes, and will sync in so many milliseconds, if its power does not fail before.
    pub fn wrote(&mut self, client: usize, delay: u64) {
        let before = self.faults.doomed.len();
        self.faults.doomed.retain(|doomed| *doomed != client);
        if self.faults.doomed.len() < before {
            let at = self.rng.within(0, delay.saturating_sub(1));
            self.after(at, Event::Fault(FaultEvent::Power(client)));
        }
    }

    fn partition(&mut self, client: usize) {
        let until = self.now + self.rng.within(1_000, 120_000);
        self.faults.partitions.push((client, until));
        self.cut(client);
    }

    /// Everything is repaired, and nothing breaks any more.
    pub fn heal(&mut self) {
        self.note(|| "faults stop".into());
        self.faults.active = false;
        self.faults.partitions.clear();
        self.faults.doomed.clear();
        self.net.broker_up = true;
        for client in 0..=self.nodes.len() {
            // Whoever is down has its start under way; whoever is up may need a push.
            self.after(1, Event::Start(client));
            self.after(5_000, Event::Connect(client));
        }
    }
}
