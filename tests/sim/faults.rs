//! What goes wrong, and when.
//!
//! Each step of faults and of mischief draws from a stream of its own, so that leaving one out moves
//! no other.

use super::only::{Concern, Step};
use super::rng::Rng;
use super::stats::Fault;
use super::world::{Event, World};

/// What is broken at the moment.
#[derive(Debug)]
pub struct Faults {
    /// Whether anything goes wrong at all.
    pub active: bool,
    /// Until when the path of a client is cut.
    partitions: Vec<(usize, u64)>,
    /// Until when the broker refuses what a client publishes and subscribes.
    refusals: Vec<(usize, u64)>,
    /// Until when the disk of a client is full.
    full: Vec<(usize, u64)>,
    /// Clients whose power fails at their next write, before it is synced.
    doomed: Vec<(usize, Rng)>,
    /// Until then nobody does anything.
    quiet_until: u64,
}

/// Something that breaks.
#[derive(Debug, Clone)]
pub enum FaultEvent {
    /// Pick something and break it.
    Next(u32),
    /// The broker does harm.
    Mischief(u32),
    /// The power of a client fails.
    Power(usize, Rng),
    /// A process (client, life) could not write.
    Full(usize, u32, Rng),
    /// A process is killed, and so many times more.
    Loop(usize, u32, Rng),
    /// The store is set back to the same backup once more.
    RestoreAgain(Rng),
    /// A board joins under a name that was removed.
    Join(usize, Rng),
}

/// What may break, with how often of [`ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Partition,
    Cut,
    BrokerRestart,
    BrokerTruncates,
    BrokerRefuses,
    AgentKill,
    RestartLoop,
    Reboot,
    NodePower,
    NodeDoomed,
    NodeWipe,
    NodeReplaced,
    NodeRemoved,
    Lie,
    DiskFull,
    ClockJump,
    Months,
    ControllerKill,
    ControllerPower,
    ControllerDoomed,
    Copy,
    Restore,
    RestoreTwice,
    OldDisk,
}

const KINDS: &[(u64, Kind)] = &[
    (180, Kind::Partition),
    (90, Kind::Cut),
    (90, Kind::BrokerRestart),
    (40, Kind::BrokerTruncates),
    (40, Kind::BrokerRefuses),
    (110, Kind::AgentKill),
    (20, Kind::RestartLoop),
    (60, Kind::Reboot),
    (40, Kind::NodePower),
    (60, Kind::NodeDoomed),
    (20, Kind::NodeWipe),
    (20, Kind::NodeReplaced),
    (20, Kind::NodeRemoved),
    (30, Kind::Lie),
    (30, Kind::DiskFull),
    (40, Kind::ClockJump),
    (2, Kind::Months),
    (90, Kind::ControllerKill),
    (50, Kind::ControllerPower),
    (70, Kind::ControllerDoomed),
    (40, Kind::Copy),
    (40, Kind::Restore),
    (20, Kind::RestoreTwice),
    (40, Kind::OldDisk),
];

const DAY_MS: u64 = 86_400_000;

impl Kind {
    fn draw(rng: &mut Rng) -> Self {
        let all: u64 = KINDS.iter().map(|(weight, _)| weight).sum();
        let mut at = rng.within(0, all - 1);
        for (weight, kind) in KINDS {
            if at < *weight {
                return *kind;
            }
            at -= weight;
        }
        Self::Cut
    }
}

impl Faults {
    /// Nothing is broken, everything will be.
    pub fn new() -> Self {
        Self {
            active: true,
            partitions: Vec::new(),
            refusals: Vec::new(),
            full: Vec::new(),
            doomed: Vec::new(),
            quiet_until: 0,
        }
    }

    /// Whether a client can't reach the broker.
    pub fn is_partitioned(&self, client: usize, now: u64) -> bool {
        holds(&self.partitions, client, now)
    }

    /// Whether the broker refuses a client.
    pub fn is_refused(&self, client: usize, now: u64) -> bool {
        holds(&self.refusals, client, now)
    }

    /// Whether a client can't write.
    pub fn is_full(&self, client: usize, now: u64) -> bool {
        holds(&self.full, client, now)
    }

    /// Whether nobody does anything.
    pub fn is_quiet(&self, now: u64) -> bool {
        now < self.quiet_until
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

fn holds(of: &[(usize, u64)], client: usize, now: u64) -> bool {
    of.iter().any(|(who, until)| *who == client && *until > now)
}

impl World {
    /// Everything starts.
    pub fn begin(&mut self) {
        self.after(0, Event::Start(0));
        for client in 1..=self.nodes.len() {
            let delay = self.rng.kernel[client - 1].within(0, 20_000);
            self.after(delay, Event::Start(client));
        }
        self.after(30_000, Event::Fault(FaultEvent::Next(0)));
        self.after(20_000, Event::Fault(FaultEvent::Mischief(0)));
        self.schedule_user();
    }

    /// The turn of a step: the next one of its concern is set; gives the chance of this one if it is
    /// taken.
    pub fn turn(&mut self, step: Step) -> Option<Rng> {
        if !self.faults.active {
            return None;
        }
        let (pause, event): ((u64, u64), fn(u32) -> Event) = match step.concern {
            Concern::Fault => ((2_000, 34_000), |n| Event::Fault(FaultEvent::Next(n))),
            Concern::Mischief => ((500, 6_000), |n| Event::Fault(FaultEvent::Mischief(n))),
            Concern::User => ((1_000, 9_000), |n| {
                Event::User(super::controller::UserOperation::Change(n))
            }),
        };
        if self.faults.is_quiet(self.now) {
            self.at(self.faults.quiet_until, event(step.number));
            return None;
        }
        let mut rng = Rng::of(self.seed, step.concern.stream(), step.number.into());
        let delay = rng.within(pause.0, pause.1);
        self.after(delay, event(step.number + 1));
        if !self.only.takes(step) {
            return None;
        }
        self.steps.push(step);
        Some(rng)
    }

    /// Something breaks.
    pub fn fault(&mut self, fault: FaultEvent) {
        match fault {
            FaultEvent::Join(number, rng) => self.join(number, Fault::NodeRemoved, rng),
            FaultEvent::Full(client, life, rng) => self.could_not_write(client, life, rng),
            _ if !self.faults.active => {}
            FaultEvent::Next(number) => {
                let concern = Concern::Fault;
                if let Some(rng) = self.turn(Step { concern, number }) {
                    self.break_something(rng, number);
                }
            }
            FaultEvent::Mischief(number) => {
                let concern = Concern::Mischief;
                if let Some(mut rng) = self.turn(Step { concern, number }) {
                    self.mischief(&mut rng);
                }
            }
            FaultEvent::Power(0, mut rng) => {
                self.stop_controller(Fault::ControllerPower, &mut rng);
            }
            FaultEvent::Power(client, mut rng) => {
                self.reboot(client - 1, Fault::NodePower, &mut rng);
            }
            FaultEvent::Loop(client, left, rng) => self.restart_loop(client, left, rng),
            FaultEvent::RestoreAgain(mut rng) => {
                self.stop_controller(Fault::RestoreAgain, &mut rng);
            }
        }
    }

    fn break_something(&mut self, mut rng: Rng, number: u32) {
        let rng = &mut rng;
        let kind = Kind::draw(rng);
        // Drawn of all that the seed has, so that leaving nodes out moves nothing.
        let (node, client) = (rng.index(self.drawn), rng.index(self.drawn + 1));
        if node >= self.nodes.len() || client > self.nodes.len() {
            return;
        }
        self.note(|| format!("f{number} {kind:?}"));
        match kind {
            Kind::Partition => {
                let until = self.now + rng.within(1_000, 120_000);
                self.faults.partitions.push((client, until));
                self.cut(client);
            }
            Kind::Cut => self.cut(client),
            Kind::BrokerRestart => {
                let amnesia = rng.percent(50);
                let delay = rng.within(500, 60_000);
                self.broker_down(amnesia);
                self.after(delay, Event::BrokerUp);
            }
            Kind::BrokerTruncates => self.broker_truncates(rng),
            Kind::BrokerRefuses => {
                let until = self.now + rng.within(1_000, 90_000);
                self.faults.refusals.push((client, until));
            }
            Kind::AgentKill => self.kill_agent(node, Fault::AgentKill, rng),
            Kind::RestartLoop => {
                let left = rng.within(3, 10) as u32;
                self.restart_loop(client, left, rng.clone());
            }
            Kind::Reboot => self.reboot(node, Fault::Reboot, rng),
            Kind::NodePower => self.reboot(node, Fault::NodePower, rng),
            Kind::NodeDoomed => self.faults.doomed.push((node + 1, rng.clone())),
            Kind::NodeWipe => self.reboot(node, Fault::NodeWipe, rng),
            Kind::NodeReplaced => self.replace(node, rng),
            Kind::NodeRemoved => self.remove(node, rng),
            Kind::Lie => self.lie(client, rng),
            Kind::DiskFull => {
                let until = self.now + rng.within(1_000, 90_000);
                self.faults.full.push((client, until));
            }
            Kind::ClockJump => self.clock_jump(node, rng),
            Kind::Months => self.months(node, rng),
            Kind::ControllerKill => self.stop_controller(Fault::ControllerKill, rng),
            Kind::ControllerPower => self.stop_controller(Fault::ControllerPower, rng),
            Kind::ControllerDoomed => self.faults.doomed.push((0, rng.clone())),
            Kind::Copy => self.copy_store(rng),
            Kind::Restore => self.stop_controller(Fault::Restore, rng),
            Kind::RestoreTwice => {
                self.stop_controller(Fault::Restore, rng);
                let delay = rng.within(5_000, 90_000);
                let again = FaultEvent::RestoreAgain(rng.clone());
                self.after(delay, Event::Fault(again));
            }
            Kind::OldDisk => self.stop_controller(Fault::OldDisk, rng),
        }
    }

    /// A client writes, and will sync in so many milliseconds, if its power does not fail before.
    /// `false`: its disk is full, and it ends.
    pub fn wrote(&mut self, client: usize, delay: u64) -> bool {
        if self.faults.active && self.faults.is_full(client, self.now) {
            self.stats.fault(Fault::DiskFull);
            let rng = Rng::of(self.seed, "full", self.now);
            let full = FaultEvent::Full(client, self.life(client), rng);
            self.after(1, Event::Fault(full));
            return false;
        }
        let doomed = self.faults.doomed.iter();
        let at = doomed.clone().position(|(doomed, _)| *doomed == client);
        if let Some(at) = at {
            let (_, mut rng) = self.faults.doomed.swap_remove(at);
            let at = rng.within(0, delay.saturating_sub(1));
            let power = FaultEvent::Power(client, rng);
            self.after(at, Event::Fault(power));
        }
        true
    }

    fn restart_loop(&mut self, client: usize, left: u32, mut rng: Rng) {
        self.stats.fault(Fault::RestartLoop);
        match client {
            0 => self.stop_controller(Fault::RestartLoop, &mut rng),
            client => self.kill_agent(client - 1, Fault::RestartLoop, &mut rng),
        }
        if left > 0 {
            let delay = rng.within(200, 4_000);
            let again = FaultEvent::Loop(client, left - 1, rng);
            self.after(delay, Event::Fault(again));
        }
    }

    /// A disk acknowledges what it does not keep, and then the power fails.
    fn lie(&mut self, client: usize, rng: &mut Rng) {
        match client {
            0 => self.controller.disk.lie(),
            client => self.nodes[client - 1].disk.lie(),
        }
        let delay = rng.within(1_000, 60_000);
        let power = FaultEvent::Power(client, rng.clone());
        self.after(delay, Event::Fault(power));
    }

    /// A board is off for weeks, and nobody does anything meanwhile.
    fn months(&mut self, node: usize, rng: &mut Rng) {
        let away = rng.within(10, 40) * DAY_MS;
        self.reboot(node, Fault::Months, rng);
        self.faults.quiet_until = self.now + away;
        self.until += away;
        self.after(away, Event::Start(node + 1));
    }

    /// Everything is repaired, and nothing breaks any more.
    pub fn heal(&mut self) {
        self.note(|| "faults stop".into());
        self.faults = Faults {
            active: false,
            ..Faults::new()
        };
        self.net.broker_up = true;
        self.controller.disk.be_honest();
        for number in 0..self.nodes.len() {
            self.nodes[number].disk.be_honest();
            if !self.nodes[number].member {
                let rng = Rng::of(self.seed, "join", number as u64);
                self.join(number, Fault::NodeRemoved, rng);
            }
        }
        for client in 0..=self.nodes.len() {
            // Whoever is down has its start under way; whoever is up may need a push.
            self.after(1, Event::Start(client));
            self.after(5_000, Event::Connect(client));
        }
    }
}
