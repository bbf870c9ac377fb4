//! Whether pods that must not run twice may be started.

use super::*;

fn waits(bench: &mut Bench, uncleared: bool) {
    let observation = Observation {
        uncleared,
        ..observed([pod(1, Phase::Pending)])
    };
    bench.session.handle_observed(observation, bench.now);
}

fn cleared(wanted: &Wanted) -> Wanted {
    Wanted {
        cleared: true,
        ..wanted.clone()
    }
}

#[test]
fn a_document_that_is_pulled_with_it_is_cleared_once_it_is_accepted() {
    let first = cleared(&wanted(1, 10, &[("a", 3, b"A")]));
    let mut bench = Bench::welcomed(1, None, &first);
    let (_, document) = bench.pull(&first);
    assert_eq!(bench.session.cleared(), None);
    bench.session.handle_persisted(document.version, bench.now);
    assert_eq!(bench.session.cleared(), Some(first.head.version));

    // The next one is not.
    let next = wanted(1, 11, &[("a", 11, b"B")]);
    bench.head(&next);
    bench.accept(&next);
    assert_eq!(bench.session.cleared(), None);
}

#[test]
fn who_waits_asks_and_asks_again_when_the_controller_has_something_to_say() {
    let held = wanted(1, 10, &[("a", 3, b"A")]);
    let mut bench = Bench::settled(&held);
    bench.head(&held);
    bench.settle();
    assert!(!bench.has(|said| matches!(said, Said::Request(_))));
    let index = Ask::Index {
        version: None,
        from: 0,
    };

    waits(&mut bench, true);
    assert_eq!(bench.serve(&held), index);
    assert_eq!(bench.session.cleared(), None);
    bench.settle();
    waits(&mut bench, true);
    assert!(!bench.has(|said| matches!(said, Said::Request(_))), "once");

    bench.head(&held);
    assert_eq!(bench.serve(&cleared(&held)), index);
    assert_eq!(bench.session.cleared(), Some(held.head.version));
    bench.settle();
    bench.head(&held);
    bench.settle();
    assert!(!bench.has(|said| matches!(said, Said::Request(_))));
}

#[test]
fn another_session_knows_of_no_clearance() {
    let held = cleared(&wanted(1, 10, &[("a", 3, b"A")]));
    let mut bench = Bench::settled(&held);
    assert_eq!(bench.session.cleared(), Some(held.head.version));
    bench.session.handle_disconnected(bench.now);
    assert!(bench.session.cleared().is_some(), "nobody said otherwise");
    let birth = bench.connect();
    bench.welcome(&birth, &held);
    assert_eq!(bench.session.cleared(), None);
    bench.settle();
    waits(&mut bench, true);
    bench.serve(&held);
    assert_eq!(bench.session.cleared(), Some(held.head.version));
}

#[test]
fn a_document_of_the_disk_is_confirmed_by_a_welcome_and_by_no_head_alone() {
    let held = wanted(1, 10, &[("a", 3, b"A")]);
    let next = wanted(1, 11, &[("a", 11, b"B")]);
    let mut bench = Bench::settled(&held);
    let document = bench.session.document().cloned();
    // The disk had it, and the welcome names another.
    let mut other = Bench::welcomed(2, document.clone(), &next);
    assert!(!other.session.is_confirmed());
    other.head(&held);
    assert!(!other.session.is_confirmed());
    other.accept(&next);
    assert!(other.session.is_confirmed());

    let same = Bench::welcomed(2, document, &held);
    assert!(same.session.is_confirmed());
    bench.session.handle_disconnected(bench.now);
    assert!(bench.session.is_confirmed());
}
