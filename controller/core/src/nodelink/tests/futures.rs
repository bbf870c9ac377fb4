//! What nodes hold that the store does not know.

use super::*;

/// A node that presents this is believed (`None`), or makes the epoch rise to that.
#[track_caller]
fn check(name: &str, have: impl FnOnce(Head) -> (Version, HistoryId, Digest), rises: Option<u64>) {
    let mut bench = Bench::new(2);
    // The newest that the store had was 6, and this life begins at 9; the one before had nothing between
    // 2 and 5.
    let lives = [(2, 5), (6, 9)].map(|(top, start)| Recovered { top, start });
    bench.link.config.recovered = lives.into();
    bench.document(0, objects(&[("a", 3, b"A")]), 10);
    bench.arrive(0);
    let head = bench
        .link
        .head_of(&bench.link.nodes[&bench.name(0)])
        .unwrap();
    // Revisions up to 40 were met.
    bench.document(1, objects(&[("b", 40, b"B")]), 40);
    bench.hear();
    bench.publishes.clear();
    let have = have(head);
    bench.birth(0, Some(have));
    let events = bench.events();
    let Some(epoch) = rises else {
        assert!(events.is_empty(), "{name}: {events:?}");
        bench.welcome(0);
        return;
    };
    let [
        Event::RaiseEpoch {
            seen,
            epoch: to,
            history,
            ..
        },
    ] = events[..]
    else {
        panic!("{name}: {events:?}");
    };
    assert_eq!((seen, to), (have.0, epoch), "{name}");
    // Nothing goes out until the new epoch is durable, to nobody.
    bench.birth(1, None);
    bench.birth(0, Some(have));
    bench.pass(5000);
    bench.silent();
    assert!(!bench.link.all_confirmed());
    bench.link.handle_epoch(epoch, history, bench.now);
    for board in [0, 1] {
        let head = bench.welcome(board);
        assert_eq!(
            (head.version.epoch, head.history),
            (epoch, history),
            "{name}"
        );
    }
    let state: ControllerState = bench.take(0, &Topic::Controller);
    assert_eq!((state.epoch, state.history), (epoch, history), "{name}");
}

#[test]
fn what_a_node_presents_is_judged() {
    let at = |head: Head, epoch, term, rev| {
        let version = Version { epoch, term, rev };
        (version, head.history, head.digest)
    };
    let other = Digest([9; 32]);
    check("what it should hold", |h| at(h, 2, 1, 10), None);
    check(
        "an older revision",
        |h| (at(h, 2, 1, 9).0, h.history, other),
        None,
    );
    check(
        "the newest of the life before",
        |h| (at(h, 2, 1, 6).0, h.history, other),
        None,
    );
    check(
        "one that the store has forgotten",
        |h| (at(h, 2, 1, 7).0, h.history, other),
        Some(3),
    );
    check(
        "one that an earlier life had forgotten",
        |h| (at(h, 2, 1, 4).0, h.history, other),
        Some(3),
    );
    check(
        "one of that life",
        |h| (at(h, 2, 1, 5).0, h.history, other),
        None,
    );
    check(
        "one that it has forgotten, of the same content",
        |h| at(h, 2, 1, 8),
        Some(3),
    );
    check(
        "an earlier epoch",
        |h| (at(h, 1, 7, 900).0, HistoryId([8; 16]), other),
        None,
    );
    check("a later epoch", |h| at(h, 3, 1, 1), Some(4));
    check("a much later epoch", |h| at(h, 90, 1, 1), Some(91));
    check("a later term", |h| at(h, 2, 2, 1), Some(3));
    check(
        "a later revision",
        |h| (at(h, 2, 1, 11).0, h.history, other),
        Some(3),
    );
    check("a revision beyond all", |h| at(h, 2, 1, 41), Some(3));
    check(
        "another content",
        |h| (h.version, h.history, other),
        Some(3),
    );
    check(
        "another history",
        |h| (h.version, HistoryId([8; 16]), h.digest),
        Some(3),
    );
}

#[test]
fn a_restarted_controller_takes_over_the_version_that_a_node_has_for_the_same_content() {
    let mut bench = Bench::new(2);
    bench.document(0, objects(&[("a", 3, b"A")]), 40);
    // The node got this content at revision 30; compiled anew it has the newest revision.
    let digest = bench
        .link
        .head_of(&bench.link.nodes[&bench.name(0)])
        .unwrap()
        .digest;
    let version = Version {
        epoch: 2,
        term: 1,
        rev: 30,
    };
    bench.birth(0, Some((version, HISTORY, digest)));
    assert_eq!(bench.welcome(0).version, version);
    bench.document(0, objects(&[("a", 41, b"B")]), 41);
    assert_eq!(bench.head(0).version.rev, 41);
}

#[test]
fn an_epoch_beyond_reason_neither_rises_nor_stops_anybody() {
    let mut bench = Bench::new(2);
    bench.arrive(1);
    let version = Version {
        epoch: u64::MAX,
        ..Version::default()
    };
    bench.birth(0, Some((version, HISTORY, Digest::default())));
    let events = bench.events();
    assert!(
        matches!(
            events[..],
            [Event::Dropped {
                reason: Drop::Limit,
                ..
            }]
        ),
        "{events:?}"
    );
    bench.document(1, objects(&[("a", 3, b"A")]), 10);
    bench.head(1);
}

#[test]
fn a_report_or_digests_from_the_future_raise_the_epoch_too() {
    for sum in [false, true] {
        let mut bench = Bench::new(1);
        bench.arrive(0);
        let version = bench.version(0);
        let later = Version {
            rev: version.rev + 1,
            ..version
        };
        if sum {
            let topic = Topic::Sum(bench.name(0));
            let message = Sum {
                session: bench.boards[0].session,
                accepted: Some(later),
                digest: Digest([1; 32]),
                observed: Digest::default(),
            };
            bench.send(0, &topic, &message);
        } else {
            bench.report(0, 2, Some(later), vec![]);
        }
        let events = bench.events();
        assert!(
            matches!(events[..], [Event::RaiseEpoch { epoch: 3, .. }]),
            "{events:?}"
        );
    }
}

#[test]
fn after_the_epoch_rose_every_node_has_to_speak_again() {
    let mut bench = Bench::new(2);
    bench.arrive(0);
    bench.arrive(1);
    assert!(bench.link.all_confirmed());
    bench.link.handle_epoch(3, HistoryId([4; 16]), bench.now);
    assert!(!bench.link.all_confirmed());
    // An old session is not known any more.
    bench.report(0, 2, None, vec![]);
    bench.head(0);
    assert_eq!(bench.response(0).answer, Answer::Announce);
    bench.birth(0, None);
    assert_eq!(bench.welcome(0).version.epoch, 3);
    bench.link.handle_epoch(3, HistoryId([5; 16]), bench.now);
    assert_eq!(bench.version(0).epoch, 3, "the same epoch twice is nothing");
}

#[test]
fn an_epoch_that_rises_again_and_again_waits_for_a_person() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    let rise = |bench: &mut Bench, epoch: u64| {
        let version = Version {
            epoch,
            term: 1,
            rev: 1,
        };
        bench.birth(0, Some((version, HistoryId([9; 16]), Digest::default())));
        let events = bench.events();
        for event in &events {
            if let Event::RaiseEpoch { epoch, history, .. } = event {
                bench.link.handle_epoch(*epoch, *history, bench.now);
            }
        }
        events
    };
    for epoch in [3, 5, 7] {
        let events = rise(&mut bench, epoch);
        assert!(
            matches!(events[..], [Event::RaiseEpoch { .. }]),
            "{events:?}"
        );
    }
    let events = rise(&mut bench, 9);
    assert!(matches!(events[..], [Event::Braked { .. }]), "{events:?}");
    // However long nobody looks; it is said once.
    bench.now = bench.now + 3_600_000;
    assert_eq!(rise(&mut bench, 11), []);
    bench.link.handle_confirmed();
    let events = rise(&mut bench, 13);
    assert!(
        matches!(events[..], [Event::RaiseEpoch { epoch: 14, .. }]),
        "{events:?}"
    );
}

#[test]
fn an_epoch_gets_one_history() {
    let mut bench = Bench::new(2);
    bench.document(0, objects(&[("a", 3, b"A")]), 10);
    bench.document(1, objects(&[("a", 3, b"A")]), 10);
    bench.hear();
    bench.publishes.clear();
    let ahead = |epoch| {
        let version = Version {
            epoch,
            term: 1,
            rev: 1,
        };
        Some((version, HistoryId([9; 16]), Digest::default()))
    };
    let mut raised = Vec::new();
    for (board, epoch) in [(0, 3), (1, 4)] {
        bench.birth(board, ahead(epoch));
        raised.extend(bench.events());
    }
    let [
        Event::RaiseEpoch {
            epoch: 4,
            history: first,
            ..
        },
        Event::RaiseEpoch {
            epoch: 5,
            history: second,
            ..
        },
    ] = raised[..]
    else {
        panic!("{raised:?}");
    };
    // The lower one became durable first; the higher one is still on its way, and has its history.
    bench.link.handle_epoch(4, first, bench.now);
    bench.birth(1, ahead(4));
    let again = bench.events();
    assert!(again.is_empty(), "{again:?}");
    bench.silent();
    bench.link.handle_epoch(5, second, bench.now);
    for board in [0, 1] {
        let head = bench.welcome(board);
        assert_eq!((head.version.epoch, head.history), (5, second));
    }
}
