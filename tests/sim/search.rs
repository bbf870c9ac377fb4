//! Many seeds: one after the other, until one finds a mistake, or until somebody has had enough.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};

use super::shrink::shrink;
use super::stats::{Invariant, Stats};
use super::{Mutation, Options, Outcome, Violation, run};

/// Seeds of the bugs that the simulation has found: `SEED [ONLY] # what it was`.
const REGRESSIONS: &str = include_str!("regressions.txt");
/// A mistake that needs more seeds than this is not found.
pub const SEEDS_MOST: u64 = 1_000;
const SHRINK_MOST: Duration = Duration::from_secs(60);

/// So many runs at a time.
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Runs this seed and those after it; the outcomes are in the order of the seeds.
pub fn run_many(options: &Options, runs: u64, jobs: usize) -> Vec<Outcome> {
    let all = (0..runs).map(|number| Options {
        seed: options.seed + number,
        ..options.clone()
    });
    run_all(&all.collect::<Vec<_>>(), jobs)
}

/// Runs all of them; the outcomes are in their order.
pub fn run_all(all: &[Options], jobs: usize) -> Vec<Outcome> {
    let outcomes = Mutex::new(BTreeMap::new());
    each(jobs, |number| {
        let Some(options) = all.get(number as usize) else {
            return false;
        };
        let outcome = run(options);
        let mut outcomes = outcomes.lock().expect("no run panics");
        outcomes.insert(number, outcome);
        true
    });
    let outcomes = outcomes.into_inner().expect("no run panics");
    outcomes.into_values().collect()
}

/// Calls `act` with 0, 1, 2 … on so many threads until it says `false` to each of them.
fn each(jobs: usize, act: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| while act(next.fetch_add(1, Ordering::Relaxed)) {});
        }
    });
}

/// What is run before anything else.
///
/// # Errors
/// When a line of the file can't be read.
pub fn regressions() -> Result<Vec<Options>> {
    let mut all = Vec::new();
    for line in REGRESSIONS.lines() {
        let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
        let mut words = line.split_whitespace();
        let Some(seed) = words.next() else { continue };
        let mut options = Options::seed(seed.parse().with_context(|| format!("seed '{seed}'"))?);
        if let Some(only) = words.next() {
            options.only = only.parse()?;
        }
        all.push(options);
    }
    Ok(all)
}

/// Whether a mistake was found.
#[derive(Debug)]
pub struct Found {
    /// The first seed that found it, and as what.
    pub by: Option<(u64, Violation)>,
    /// As what else it was seen before: an invariant that is not the one it breaks.
    pub otherwise: BTreeMap<Invariant, u64>,
}

/// Runs so many seeds at most, from one on, until one finds a mistake as what it is.
pub fn find(mutation: Mutation, from: u64, most: u64, jobs: usize) -> Found {
    let found: Mutex<BTreeMap<u64, Violation>> = Mutex::default();
    let first = AtomicU64::new(from + most);
    each(jobs, |number| {
        let seed = from + number;
        if seed >= first.load(Ordering::Relaxed) {
            return false;
        }
        let outcome = run(&Options {
            mutation: Some(mutation),
            ..Options::seed(seed)
        });
        if let Some(violation) = outcome.violation {
            if mutation.breaks().contains(&violation.invariant) {
                first.fetch_min(seed, Ordering::Relaxed);
            }
            let mut found = found.lock().expect("no run panics");
            found.insert(seed, violation);
        }
        true
    });
    let mut otherwise = BTreeMap::new();
    for (seed, violation) in found.into_inner().expect("no run panics") {
        if mutation.breaks().contains(&violation.invariant) {
            let by = Some((seed, violation));
            return Found { by, otherwise };
        }
        *otherwise.entry(violation.invariant).or_default() += 1;
    }
    let by = None;
    Found { by, otherwise }
}

/// Runs seeds from the clock until it is told to stop; appends what fails to a file.
///
/// # Errors
/// When the file can't be written.
pub fn forever(jobs: usize, stop: &AtomicBool, failures: &Path) -> Result<(Stats, u64, u64)> {
    if let Some(folder) = failures.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let file = OpenOptions::new().append(true).create(true).open(failures);
    let file = file.with_context(|| format!("opening {}", failures.display()))?;
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // Seconds apart, so that two days do not run the same seeds.
    let base = clock.unwrap_or_default().as_secs() << 20;
    let (runs, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let total = Mutex::new((Stats::default(), Instant::now(), file));
    each(jobs, |number| {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let options = Options::seed(base + number);
        let outcome = run(&options);
        let short = outcome.violation.is_some().then(|| {
            println!("{}", told(&outcome));
            shrink(&options, &outcome, SHRINK_MOST).0
        });
        let runs = runs.fetch_add(1, Ordering::Relaxed) + 1;
        let mut total = total.lock().expect("no run panics");
        let (stats, spoke, file) = &mut *total;
        stats.add(&outcome.stats);
        if let (Some(short), Some(violation)) = (short, &outcome.violation) {
            failed.fetch_add(1, Ordering::Relaxed);
            println!("  shortened: {short}");
            append(file, &short, violation);
        }
        if spoke.elapsed() >= Duration::from_secs(60) {
            *spoke = Instant::now();
            let failed = failed.load(Ordering::Relaxed);
            println!("{runs} runs, {failed} failed, {} steps", stats.steps);
        }
        true
    });
    let (stats, ..) = total.into_inner().expect("no run panics");
    Ok((stats, runs.into_inner(), failed.into_inner()))
}

/// A seed that failed, and how to see it.
pub fn told(outcome: &Outcome) -> String {
    match &outcome.violation {
        None => format!("seed {}: holds", outcome.seed),
        Some(violation) => format!("seed {}: {violation}", outcome.seed),
    }
}

/// As the file of regressions takes it.
fn append(file: &mut File, short: &Options, violation: &Violation) {
    let line = format!("{} {} # {violation}\n", short.seed, short.only);
    if let Err(error) = file.write_all(line.as_bytes()) {
        println!("  not written down: {error}");
    }
}
