//! A seeded simulation of the whole node protocol on a virtual clock.
//!
//! Real: the wire codec with its cryptography, the agent's session and planner, the controller's node
//! link. Modelled: the store and its controllers ([`controller`]), the kernel of a node ([`agent`]),
//! disks ([`disk`]), the broker and every link ([`network`]), people, and everything that can break
//! ([`faults`]). After every step the [`oracle`] looks whether everything still holds that must always
//! hold; afterwards the faults stop and everything must converge.
//!
//! The same seed gives the same run, to the byte of its trace.

pub mod agent;
pub mod controller;
pub mod disk;
pub mod faults;
pub mod network;
pub mod oracle;
pub mod rng;
pub mod stats;
pub mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use stats::Stats;
use world::World;

/// A deliberate mistake: the simulation must find each of them, or it proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The agent acts on a document before it is on its disk.
    ActBeforePersist,
    /// The agent takes answers whatever nonce they echo.
    SkipNonce,
    /// The controller acknowledges reports before they are on its disk.
    AckBeforeDurable,
    /// The controller sends documents before they are on its disk.
    SendBeforeDurable,
    /// The controller confirms to people before the change is on its disk.
    ConfirmBeforeDurable,
    /// The agent reports an ending before it is on its disk.
    SayGoneEarly,
    /// The controller removes a pod without waiting for its node.
    RemoveBeforeGone,
    /// The controller ignores that a node knows a future.
    IgnoreFuture,
    /// The controller sends secrets as if they were ConfigMaps.
    PlainSecrets,
    /// The agent drops what a new epoch does not name.
    DropUnclaimed,
    /// The agent stops its containers when it loses the controller.
    StopWhenOffline,
    /// The controller replaces a pod that must not run twice while its node is away.
    ReplaceOnce,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::ActBeforePersist,
        Self::SkipNonce,
        Self::AckBeforeDurable,
        Self::SendBeforeDurable,
        Self::ConfirmBeforeDurable,
        Self::SayGoneEarly,
        Self::RemoveBeforeGone,
        Self::IgnoreFuture,
        Self::PlainSecrets,
        Self::DropUnclaimed,
        Self::StopWhenOffline,
        Self::ReplaceOnce,
    ];
}

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// A deliberate mistake.
    pub mutation: Option<Mutation>,
    /// Keep the lines of the trace.
    pub trace: bool,
}

impl Options {
    /// A plain run.
    pub fn seed(seed: u64) -> Self {
        Self {
            seed,
            mutation: None,
            trace: false,
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Hash of the trace.
    pub hash: u64,
    /// Lines of the trace, if they were kept.
    pub trace: Vec<String>,
    /// Counts.
    pub stats: Stats,
    /// The first invariant that did not hold.
    pub violation: Option<String>,
}

/// How long things break, at least and at most; virtual milliseconds.
const FAULTS_MS: (u64, u64) = (240_000, 600_000);
/// Within so long everything must have converged after the faults have stopped: the longest back-off
/// is 7.5 minutes, and a chain of three may be waited for.
const CONVERGE_MS: u64 = 40 * 60_000;

/// Runs one seed.
pub fn run(options: Options) -> Outcome {
    let mut world = World::new(options.seed, options.mutation, options.trace);
    world.begin();
    let until = world.rng.within(FAULTS_MS.0, FAULTS_MS.1);
    while world.violation.is_none() && world.step(until) {}
    if world.violation.is_none() {
        converge(&mut world, until);
    }
    Outcome {
        seed: options.seed,
        hash: world.trace.hash(),
        trace: world.trace.lines,
        stats: world.stats,
        violation: world.violation,
    }
}

/// Runs this seed and those after it, on every processor; the outcomes are in the order of the seeds.
pub fn run_many(options: Options, runs: u64) -> Vec<Outcome> {
    let next = AtomicU64::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs {
                        return;
                    }
                    let outcome = run(Options {
                        seed: options.seed + number,
                        ..options
                    });
                    outcomes
                        .lock()
                        .expect("no run panics")
                        .insert(number, outcome);
                }
            });
        }
    });
    outcomes
        .into_inner()
        .expect("no run panics")
        .into_values()
        .collect()
}

fn converge(world: &mut World, began: u64) {
    world.heal();
    let mut until = world.now;
    loop {
        until += 1_000;
        while world.violation.is_none() && world.step(until) {}
        if world.violation.is_some() {
            return;
        }
        let missing = world.missing();
        let late = world.now > began + CONVERGE_MS;
        if missing.is_none() || late {
            world.stats.convergence_ms = world.now - began;
            let detail = missing.clone().unwrap_or_default();
            world.check(stats::Invariant::Converges, missing.is_none(), || detail);
            return;
        }
    }
}
