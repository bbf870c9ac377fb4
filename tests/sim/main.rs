//! `bramble-sim`: runs the simulation. `--seed N --runs M [--stats] [--trace]`.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use bramble_tests::sim::stats::Stats;
use bramble_tests::sim::{Mutation, Options, run_many};

const USAGE: &str = "bramble-sim [--seed N] [--runs M] [--stats] [--trace] [--mutation NAME]

Simulates agents and controller on a virtual clock, with faults. The same seed gives the same run.
  --seed N         first seed (1)
  --runs M         how many seeds, one after the other (1)
  --stats          how often each fault struck and each invariant could have failed; a zero fails
  --trace          print every line of the trace
  --mutation NAME  with a deliberate mistake, which must be found";

struct Arguments {
    seed: u64,
    runs: u64,
    stats: bool,
    trace: bool,
    mutation: Option<Mutation>,
}

fn arguments() -> Result<Arguments> {
    let mut out = Arguments {
        seed: 1,
        runs: 1,
        stats: false,
        trace: false,
        mutation: None,
    };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let mut value = || {
            given
                .next()
                .with_context(|| format!("{flag} needs a value\n\n{USAGE}"))
        };
        match flag.as_str() {
            "--seed" => out.seed = value()?.parse().context("--seed is a number")?,
            "--runs" => out.runs = value()?.parse().context("--runs is a number")?,
            "--stats" => out.stats = true,
            "--trace" => out.trace = true,
            "--mutation" => {
                let name = value()?;
                let all = Mutation::ALL
                    .iter()
                    .find(|mutation| format!("{mutation:?}") == name);
                out.mutation = Some(*all.with_context(|| format!("one of {:?}", Mutation::ALL))?);
            }
            "--help" | "-h" => bail!("{USAGE}"),
            other => bail!("unknown argument {other}\n\n{USAGE}"),
        }
    }
    Ok(out)
}

fn main() -> Result<ExitCode> {
    let arguments = arguments()?;
    let mut total = Stats::default();
    let mut failed = 0;
    let options = Options {
        seed: arguments.seed,
        mutation: arguments.mutation,
        trace: arguments.trace,
    };
    for outcome in run_many(options, arguments.runs) {
        let seed = outcome.seed;
        for line in &outcome.trace {
            println!("{line}");
        }
        total.add(&outcome.stats);
        if let Some(violation) = &outcome.violation {
            failed += 1;
            println!("seed {seed}: {violation}");
            println!("  replay with: ./x sim --seed {seed} --trace");
        } else if arguments.runs == 1 {
            println!("seed {seed}: holds, trace {:016x}", outcome.hash);
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
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
