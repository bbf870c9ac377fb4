//! The simulation itself under test: it repeats, it holds, and it finds mistakes.

use bramble_tests::sim::stats::Stats;
use bramble_tests::sim::{Mutation, Options, run, run_many};

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [7, 8] {
        let (one, other) = (run(Options::seed(seed)), run(Options::seed(seed)));
        assert_eq!(one.hash, other.hash, "seed {seed}");
        assert_eq!(one.stats, other.stats, "seed {seed}");
    }
    let kept = run(Options {
        trace: true,
        ..Options::seed(7)
    });
    assert_eq!(
        kept.hash,
        run(Options::seed(7)).hash,
        "looking changes nothing"
    );
    assert!(kept.trace.len() > 100, "{} lines", kept.trace.len());
    assert_ne!(
        kept.hash,
        run(Options::seed(8)).hash,
        "another seed is another run"
    );
}

#[test]
fn what_must_always_hold_holds() {
    let mut stats = Stats::default();
    for outcome in run_many(Options::seed(1000), 12) {
        assert_eq!(outcome.violation, None, "seed {}", outcome.seed);
        stats.add(&outcome.stats);
    }
    assert!(stats.accepted > 100, "{stats}");
}

#[test]
fn a_count_of_zero_is_told() {
    let zeros = Stats::default().zeros();
    assert!(zeros.contains(&"node lost power") && zeros.contains(&"acknowledged means durable"));
    let one = run(Options::seed(1)).stats;
    assert!(
        one.zeros().len() < zeros.len(),
        "one run has some of everything: {one}"
    );
}

/// Runs seeds until one finds the mistake as what it is; another invariant may fall first.
fn finds(mutation: Mutation, expected: &str) {
    let options = |seed| Options {
        mutation: Some(mutation),
        ..Options::seed(seed)
    };
    let mut others = Vec::new();
    for seed in 1..=60 {
        match run(options(seed)).violation {
            Some(violation) if violation.starts_with(expected) => return,
            other => others.extend(other),
        }
    }
    panic!("60 seeds did not find {mutation:?}, but {others:#?}");
}

macro_rules! mutations {
    ($($test:ident: $mutation:ident breaks $expected:literal;)*) => {
        $(
            #[test]
            fn $test() {
                finds(Mutation::$mutation, $expected);
            }
        )*

        #[test]
        fn every_mistake_is_tried() {
            let tried = [$(Mutation::$mutation,)*];
            for mutation in Mutation::ALL {
                assert!(tried.contains(&mutation), "{mutation:?} has no test");
            }
        }
    };
}

mutations! {
    finds_acting_before_persisting: ActBeforePersist breaks "nothing is acted on before";
    finds_a_skipped_nonce: SkipNonce breaks "no document from before it was asked for";
    finds_an_early_acknowledgement: AckBeforeDurable breaks "a report is acknowledged when";
    finds_sending_before_durable: SendBeforeDurable breaks "one version has one content";
    finds_confirming_before_durable: ConfirmBeforeDurable breaks "acknowledged means durable";
    finds_an_ending_said_early: SayGoneEarly breaks "an ending is on disk before";
    finds_an_object_removed_early: RemoveBeforeGone breaks "no pod object goes before";
    finds_an_ignored_future: IgnoreFuture breaks "everything converges";
    finds_secrets_in_the_clear: PlainSecrets breaks "no secret crosses";
    finds_dropped_unclaimed_pods: DropUnclaimed breaks "no container is started or stopped";
    finds_stopping_when_offline: StopWhenOffline breaks "no container is started or stopped";
    finds_running_twice: ReplaceOnce breaks "a pod that must not run twice";
}
