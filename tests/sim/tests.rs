//! The simulation itself under test: it repeats, it holds, and it finds mistakes.

use std::time::Duration;

use bramble_sim::long::alone;
use bramble_sim::search::{self, SEEDS_MOST, processors, run_many};
use bramble_sim::shrink::shrink;
use bramble_sim::stats::Stats;
use bramble_sim::{Mutation, Options, run};

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [7, 8] {
        let run = || run(&Options::seed(seed));
        let (one, other) = (run(), run());
        assert_eq!(one.hash, other.hash, "seed {seed}");
        assert_eq!(one.stats, other.stats, "seed {seed}");
    }
    let kept = run(&Options {
        trace: true,
        ..Options::seed(7)
    });
    assert_eq!(
        kept.hash,
        run(&Options::seed(7)).hash,
        "looking changes nothing"
    );
    assert!(kept.trace.len() > 100, "{} lines", kept.trace.len());
    assert_ne!(
        kept.hash,
        run(&Options::seed(8)).hash,
        "another seed is another run"
    );
}

#[test]
fn what_must_always_hold_holds() {
    let mut stats = Stats::default();
    for outcome in run_many(&Options::seed(1000), 12, processors()) {
        assert_eq!(outcome.violation, None, "seed {}", outcome.seed);
        stats.add(&outcome.stats);
    }
    assert!(stats.accepted > 100, "{stats}");
}

#[test]
fn the_bugs_that_were_found_do_not_come_back() {
    for outcome in search::run_all(&search::regressions().unwrap(), processors()) {
        assert_eq!(outcome.violation, None, "seed {}", outcome.seed);
    }
}

#[test]
fn a_count_of_zero_is_told() {
    let zeros = Stats::default().zeros();
    assert!(zeros.contains(&"node lost power") && zeros.contains(&"acknowledged means durable"));
    let one = run(&Options::seed(1)).stats;
    assert!(
        one.zeros().len() < zeros.len(),
        "one run has some of everything: {one}"
    );
}

/// From the seed that is known to find each; a seed that does not any more costs time, and
/// `./x sim --mutate` tells the next.
#[test]
fn every_mistake_is_found() {
    for mutation in Mutation::ALL.iter().copied() {
        let found = search::find(mutation, mutation.seed(), SEEDS_MOST, processors());
        assert!(
            found.by.is_some(),
            "{mutation:?}, but {:#?}",
            found.otherwise
        );
    }
}

/// Leaving steps out moves no other: a failure is still there without what it does not need.
#[test]
fn a_failure_is_made_shorter() {
    let options = Options {
        mutation: Some(Mutation::StopWhenOffline),
        ..Options::seed(Mutation::StopWhenOffline.seed())
    };
    let long = run(&options);
    let (options, short) = shrink(&options, &long, Duration::from_secs(20));
    let invariant = |outcome: &bramble_sim::Outcome| {
        outcome
            .violation
            .as_ref()
            .map(|violation| violation.invariant)
    };
    assert_eq!(invariant(&short), invariant(&long));
    assert!(short.steps.len() < long.steps.len(), "{options}");
    let again = run(&options);
    assert_eq!(
        (again.hash, again.steps.len()),
        (short.hash, short.steps.len())
    );
}

#[test]
fn ninety_days_alone() {
    let alone = alone(1, 90);
    assert_eq!(alone.violation, None);
    assert_eq!(alone.missing, None, "the return converges");
    assert!(alone.pods >= 18, "{} pods", alone.pods);
    for (uid, (before, after)) in &alone.steady {
        assert_eq!(before, after, "{uid} was started anew by the return");
    }
    // Thirty days on every container has ended before, with its last life's end kept.
    let settled = alone.days[..30].iter().map(|day| day.state).max();
    for (number, day) in alone.days.iter().enumerate().skip(30) {
        assert!(
            Some(day.state * 10) <= settled.map(|most| most * 11),
            "day {number}: {day:?}"
        );
        assert!(day.waiting <= 4, "day {number}: {day:?}");
    }
    let (early, late) = (alone.bytes_a_day(30), alone.bytes_a_day(60));
    assert!(late * 10 <= early * 11, "{early} bytes a day, then {late}");
    assert!(
        alone.reports <= alone.pods as u64 * 2,
        "{} reports",
        alone.reports
    );
}
