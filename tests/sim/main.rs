//! `bramble-sim`: runs the simulation. See [`USAGE`].

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bramble_sim::search::{self, SEEDS_MOST};
use bramble_sim::shrink::shrink;
use bramble_sim::stats::Stats;
use bramble_sim::{Mutation, Options, Outcome};

const USAGE: &str =
    "bramble-sim [--seed N] [--runs M] [--jobs J] [--stats] [--trace] [--only WHAT] [--mutation NAME]
bramble-sim --mutate [NAME] | --forever [--jobs J]

Simulates agents and controller on a virtual clock, with faults. The same seed gives the same run.
  --seed N         first seed (1)
  --runs M         how many seeds, one after the other (1); with more than one, the seeds of the bugs
                   that were found before come first
  --jobs J         so many at a time (one for each processor)
  --stats          how often each fault struck and each invariant could have failed; a zero fails
  --trace          print every line of the trace
  --only WHAT      leave the rest out: as printed for a seed that failed
  --mutation NAME  with a deliberate mistake, which must be found
  --mutate [NAME]  after how many seeds each deliberate mistake is found; more than 1000 fails
  --forever        seeds from the clock, until interrupted; what fails goes to .bramble/sim-failures

The first seed that fails is made shorter for a minute at most.";

/// Lines of a shortened trace that are shown.
const LINES_MAX: usize = 300;

#[derive(Default)]
struct Arguments {
    options: Options,
    runs: u64,
    jobs: usize,
    stats: bool,
    mutate: Option<Vec<Mutation>>,
    forever: bool,
}

fn mutation(name: &str) -> Result<Mutation> {
    let all = Mutation::ALL.iter();
    let found = all.copied().find(|known| format!("{known:?}") == name);
    found.with_context(|| format!("no mutation {name}; one of {:?}", Mutation::ALL))
}

fn arguments() -> Result<Arguments> {
    let mut out = Arguments {
        options: Options::seed(1),
        runs: 1,
        jobs: search::processors(),
        ..Arguments::default()
    };
    let mut given = std::env::args().skip(1).peekable();
    while let Some(flag) = given.next() {
        if flag == "--mutate" {
            let name = given.next_if(|next| !next.starts_with("--"));
            out.mutate = Some(match name {
                Some(name) => vec![mutation(&name)?],
                None => Mutation::ALL.to_vec(),
            });
            continue;
        }
        let mut value = || {
            given
                .next()
                .with_context(|| format!("{flag} needs a value\n\n{USAGE}"))
        };
        match flag.as_str() {
            "--seed" => out.options.seed = value()?.parse().context("--seed is a number")?,
            "--runs" => out.runs = value()?.parse().context("--runs is a number")?,
            "--jobs" => out.jobs = value()?.parse().context("--jobs is a number")?,
            "--only" => out.options.only = value()?.parse()?,
            "--mutation" => out.options.mutation = Some(mutation(&value()?)?),
            "--stats" => out.stats = true,
            "--trace" => out.options.trace = true,
            "--forever" => out.forever = true,
            "--help" | "-h" => bail!("{USAGE}"),
            other => bail!("unknown argument {other}\n\n{USAGE}"),
        }
    }
    Ok(out)
}

fn main() -> Result<ExitCode> {
    let arguments = arguments()?;
    let well = if let Some(mutations) = &arguments.mutate {
        mutate(mutations, arguments.jobs)
    } else if arguments.forever {
        forever(&arguments)?
    } else {
        seeds(&arguments)?
    };
    Ok(match well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// After how many seeds each mistake is found, and as what.
fn mutate(mutations: &[Mutation], jobs: usize) -> bool {
    let mut missed = 0;
    for mutation in mutations {
        let began = Instant::now();
        let found = search::find(*mutation, 1, SEEDS_MOST, jobs);
        let seconds = began.elapsed().as_secs_f32();
        let name = format!("{mutation:?}");
        println!("{name:<24} {}", mutation.text());
        match &found.by {
            Some((seed, violation)) => println!(
                "{:<24} found after {seed} seeds ({seconds:.0} s) as: {}",
                "",
                violation.invariant.text()
            ),
            None => {
                missed += 1;
                println!(
                    "{:<24} NOT FOUND in {SEEDS_MOST} seeds ({seconds:.0} s)",
                    ""
                );
            }
        }
        for (invariant, count) in &found.otherwise {
            println!("{:<24} {count} seeds before: {}", "", invariant.text());
        }
    }
    println!("{} mistakes, {missed} not found", mutations.len());
    missed == 0
}

fn forever(arguments: &Arguments) -> Result<bool> {
    let (mut total, mut failed) = (Stats::default(), 0);
    known(arguments, &mut total, &mut failed)?;
    static STOP: AtomicBool = AtomicBool::new(false);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            STOP.store(true, Ordering::Relaxed);
        }
    });
    let failures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.bramble/sim-failures");
    let (stats, runs, new) = search::forever(arguments.jobs, &STOP, &failures)?;
    total.add(&stats);
    println!("{total}");
    println!("{runs} runs, {new} failed");
    Ok(failed + new == 0)
}

/// The seeds of the bugs that were found before.
fn known(arguments: &Arguments, total: &mut Stats, failed: &mut u64) -> Result<()> {
    for outcome in search::run_all(&search::regressions()?, arguments.jobs) {
        total.add(&outcome.stats);
        if outcome.violation.is_some() {
            *failed += 1;
            println!("again: {}", search::told(&outcome));
        }
    }
    Ok(())
}

fn seeds(arguments: &Arguments) -> Result<bool> {
    let options = &arguments.options;
    let (mut total, mut failed) = (Stats::default(), 0);
    if arguments.runs > 1 && options.mutation.is_none() && options.only.is_everything() {
        known(arguments, &mut total, &mut failed)?;
    }
    for outcome in search::run_many(options, arguments.runs, arguments.jobs) {
        for line in &outcome.trace {
            println!("{line}");
        }
        total.add(&outcome.stats);
        if outcome.violation.is_some() {
            failed += 1;
            let this = Options {
                seed: outcome.seed,
                ..options.clone()
            };
            println!("{}\n  see it with: {this}", search::told(&outcome));
            if failed == 1 && !options.trace {
                shortened(&this, &outcome);
            }
        } else if arguments.runs == 1 {
            println!("seed {}: holds, trace {:016x}", outcome.seed, outcome.hash);
        }
    }
    println!("{} runs, {failed} failed", arguments.runs);
    if arguments.stats {
        println!("{total}");
        let zeros = total.zeros();
        if !zeros.is_empty() && failed == 0 {
            println!(
                "never happened, so nothing is proved of: {}",
                zeros.join("; ")
            );
            return Ok(false);
        }
    }
    Ok(failed == 0)
}

/// Shows the shortest run that fails like this one.
fn shortened(options: &Options, outcome: &Outcome) {
    let (mut short, _) = shrink(options, outcome, Duration::from_secs(60));
    println!("  shortened: {short}");
    short.trace = true;
    let lines = bramble_sim::run(&short).trace;
    let hidden = lines.len().saturating_sub(LINES_MAX);
    if hidden > 0 {
        println!("    … {hidden} lines before");
    }
    for line in &lines[hidden..] {
        println!("    {line}");
    }
}
