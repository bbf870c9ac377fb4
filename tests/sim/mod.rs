//! A seeded simulation of the whole node protocol on a virtual clock.
//!
//! Real: the wire codec with its cryptography, the agent's session and planner, the controller's node
//! link. Modelled: the store and its controllers ([`controller`]), the kernel of a node ([`agent`]),
//! disks ([`disk`]), the broker and every link ([`network`]), people, and everything that can break
//! ([`faults`]). After every step the [`oracle`] looks whether everything still holds that must always
//! hold; afterwards the faults stop and everything must converge.
//!
//! The same seed gives the same run, to the byte of its trace. Seeds are searched by [`search`], a
//! seed that fails is made shorter by [`shrink`], and [`mutation`] lists mistakes that must be found.

pub mod agent;
pub mod controller;
pub mod disk;
pub mod faults;
pub mod long;
pub mod members;
pub mod mutation;
pub mod network;
pub mod only;
pub mod oracle;
pub mod rng;
pub mod search;
pub mod shrink;
pub mod stats;
pub mod world;

use std::fmt;

pub use mutation::Mutation;
use only::{Only, Step};
use stats::{Invariant, Stats};
use world::World;

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// A deliberate mistake.
    pub mutation: Option<Mutation>,
    /// Keep the lines of the trace.
    pub trace: bool,
    /// What of the run is left in.
    pub only: Only,
}

impl Options {
    /// A plain run.
    pub fn seed(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }
}

impl fmt::Display for Options {
    /// The command that runs it, with its trace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "./x sim --seed {} --trace", self.seed)?;
        if let Some(mutation) = self.mutation {
            write!(f, " --mutation {mutation:?}")?;
        }
        if !self.only.is_everything() {
            write!(f, " --only {}", self.only)?;
        }
        Ok(())
    }
}

/// What did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: Invariant,
    /// In which way.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant.text(), self.detail)
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
    pub violation: Option<Violation>,
    /// Steps of faults, mischief and people that were taken.
    pub steps: Vec<Step>,
    /// How many nodes there were.
    pub nodes: usize,
    /// When faults stopped, or the violation came before; virtual milliseconds.
    pub until_ms: u64,
}

/// How long things break, at least and at most; virtual milliseconds.
const FAULTS_MS: (u64, u64) = (240_000, 600_000);
/// Within so long everything must have converged after the faults have stopped: the longest back-off
/// is 7.5 minutes, and a chain of three may be waited for.
const CONVERGE_MS: u64 = 40 * 60_000;

/// Runs one seed.
pub fn run(options: &Options) -> Outcome {
    let mut world = World::new(options);
    world.begin();
    while world.violation.is_none() && world.step(world.until) {}
    let until_ms = world.now;
    if world.violation.is_none() {
        converge(&mut world);
    }
    Outcome {
        seed: options.seed,
        hash: world.trace.hash(),
        trace: world.trace.lines,
        stats: world.stats,
        violation: world.violation,
        steps: world.steps,
        nodes: world.nodes.len(),
        until_ms,
    }
}

fn converge(world: &mut World) {
    let began = world.now;
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
            world.check(Invariant::Converges, missing.is_none(), || detail);
            return;
        }
    }
}
