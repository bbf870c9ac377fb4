//! How often each fault struck and each invariant could have failed.

use std::collections::BTreeMap;
use std::fmt;

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// For people.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

names! {
    /// What goes wrong.
    Fault {
        /// A message was lost on a link that stayed up.
        Drop = "message dropped",
        /// A message arrived twice.
        Duplicate = "message duplicated",
        /// A message overtook another.
        Reorder = "message reordered",
        /// A message took seconds.
        Delay = "message delayed",
        /// A message was lost because its path was cut.
        Partition = "message lost in a partition",
        /// A connection was cut.
        Cut = "connection cut",
        /// A last will of an earlier connection came after the next connection stood.
        StaleWill = "stale last will",
        /// The broker restarted, queues gone.
        BrokerRestart = "broker restarted",
        /// The broker restarted, retained messages gone too.
        BrokerAmnesia = "broker lost retained messages",
        /// An agent was killed.
        AgentKill = "agent killed",
        /// A node rebooted in order.
        Reboot = "node rebooted",
        /// A node lost its power.
        NodePower = "node lost power",
        /// … and writes that were not synced.
        NodeLoss = "node lost unsynced writes",
        /// A node's card was replaced: its state is gone, its identity is not.
        NodeWipe = "node lost its state",
        /// A board died, and another took its name.
        NodeReplaced = "node replaced",
        /// A node was removed, and another board joined under its name.
        NodeRemoved = "node removed and joined again",
        /// A board's clock jumped.
        ClockJump = "clock jumped",
        /// A board was off for weeks.
        Months = "node off for weeks",
        /// A process was killed again and again.
        RestartLoop = "process killed over and over",
        /// A disk was full.
        DiskFull = "disk full",
        /// A disk acknowledged what it did not keep.
        Lie = "disk lost what it acknowledged",
        /// The controller was killed.
        ControllerKill = "controller killed",
        /// The controller lost its power.
        ControllerPower = "controller lost power",
        /// … and writes that were not synced.
        ControllerLoss = "controller lost unsynced writes",
        /// The controller came back from a backup, with a new epoch.
        Restore = "controller restored from a backup",
        /// … the same backup once more.
        RestoreAgain = "controller restored from the same backup again",
        /// The controller's folder was copied while it was written to.
        Copy = "store copied while in use",
        /// The controller came back with an old disk, unaware of it.
        OldDisk = "controller came back with an old disk",
        /// The broker dropped part of what it kept.
        BrokerTruncates = "broker cut queues short",
        /// The broker refused a publish or a subscription.
        BrokerRefuses = "broker refused",
        /// The broker played an old message again.
        Replay = "message replayed",
        /// The broker kept a message back and let it go later.
        Withhold = "message withheld",
        /// The broker altered a message.
        Tamper = "message altered",
        /// The broker handed a message to another node.
        Misroute = "message handed to another node",
        /// The broker sent bytes of its own.
        Garbage = "garbage sent",
        /// The broker sent more than a packet may hold.
        Oversize = "oversize packet sent",
    }
}

names! {
    /// What must always hold.
    Invariant {
        /// 1: nothing is acted on before it is on disk.
        DiskFirst = "nothing is acted on before it is on disk",
        /// 1: nothing leaves the controller before it is on disk.
        SentDurable = "nothing is sent before it is on disk",
        /// 2: containers do not notice links, brokers, controllers and agents.
        Undisturbed = "no container is started or stopped without a reason",
        /// 3: whole or not at all.
        Whole = "a document is accepted whole or not at all",
        /// One version has one content.
        OneContent = "one version has one content",
        /// Versions never go backwards.
        Forward = "accepted versions never go back within an epoch",
        /// The first document of a boot is fresh.
        Fresh = "no document from before it was asked for is accepted",
        /// 4: termination is one-way.
        OneWay = "a pod that has ended never runs again",
        /// 4: what must not be restarted is not, whatever goes down.
        AtMostOnce = "what is never restarted begins at most once",
        /// 4: what is said to have ended is on disk.
        EndingDurable = "an ending is on disk before it is reported",
        /// 5: a pod that must not run twice never does.
        Once = "a pod that must not run twice never does",
        /// 7: acknowledged means durable.
        Acknowledged = "acknowledged means durable",
        /// 7: the controller's acknowledgement of a report, too.
        AckDurable = "a report is acknowledged when it is on disk",
        /// No pod object goes before its node said that it is gone.
        GoneFirst = "no pod object goes before its node said gone",
        /// 8: secrets.
        Sealed = "a secret is readable by its node only",
        /// 8: never in the clear.
        NoPlainText = "no secret crosses the broker in the clear",
        /// A secret on a node is the one that the document means.
        RightSecret = "an accepted secret has the announced content",
        /// 9: what a new epoch does not name is kept until a person confirms.
        Unclaimed = "what a new epoch does not name keeps running",
        /// What the store of this timeline never had is lost only when a person said so.
        LostKept = "what a store has lost keeps running until a person decides",
        /// One epoch has one history.
        OneHistory = "an epoch has one history",
        /// An address is one pod's at a time.
        OneAddress = "no two pods of a node have one address",
        /// Bad packets change nothing and are counted.
        Dropped = "a bad packet is dropped and counted",
        /// What happened is told once, however often a report is said.
        ToldOnce = "an event is told once in a session",
        /// Everything arrives in the end.
        Converges = "everything converges when faults stop",
    }
}

/// Counts of a run, or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// How often each fault struck.
    pub faults: BTreeMap<Fault, u64>,
    /// How often each invariant was looked at where it could have failed.
    pub checks: BTreeMap<Invariant, u64>,
    /// Steps of the simulation.
    pub steps: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Documents accepted.
    pub accepted: u64,
    /// Epochs raised because a node knew a future.
    pub raised: u64,
    /// Longest time from the end of the faults to convergence, milliseconds.
    pub convergence_ms: u64,
}

impl Stats {
    /// A fault struck.
    pub fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// An invariant was looked at where it could have failed.
    pub fn check(&mut self, invariant: Invariant) {
        *self.checks.entry(invariant).or_default() += 1;
    }

    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (invariant, count) in &other.checks {
            *self.checks.entry(*invariant).or_default() += count;
        }
        self.steps += other.steps;
        self.delivered += other.delivered;
        self.accepted += other.accepted;
        self.raised += other.raised;
        self.convergence_ms = self.convergence_ms.max(other.convergence_ms);
    }

    /// What never happened: a fault that is not simulated, an invariant that proves nothing.
    pub fn zeros(&self) -> Vec<&'static str> {
        let faults = Fault::ALL
            .iter()
            .filter(|fault| !self.faults.contains_key(fault));
        let checks = Invariant::ALL
            .iter()
            .filter(|check| !self.checks.contains_key(check));
        faults
            .map(|fault| fault.text())
            .chain(checks.map(|check| check.text()))
            .collect()
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "faults")?;
        for fault in Fault::ALL {
            let count = self.faults.get(fault).copied().unwrap_or_default();
            writeln!(f, "{count:>12}  {}", fault.text())?;
        }
        writeln!(f, "invariants, evaluated where they could have failed")?;
        for invariant in Invariant::ALL {
            let count = self.checks.get(invariant).copied().unwrap_or_default();
            writeln!(f, "{count:>12}  {}", invariant.text())?;
        }
        writeln!(
            f,
            "steps {}, messages delivered {}",
            self.steps, self.delivered
        )?;
        writeln!(
            f,
            "documents accepted {}, epochs raised {}",
            self.accepted, self.raised
        )?;
        write!(f, "slowest convergence {} s", self.convergence_ms / 1000)
    }
}
