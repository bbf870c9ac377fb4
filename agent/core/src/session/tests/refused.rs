//! Another board with this node's identity is there.

use bramble_wire::stream;
use bramble_wire::topic::{StreamId, Topic};

use super::*;

#[track_caller]
fn refuse(bench: &mut Bench, birth: &Birth, challenge: u8) {
    let challenge = Nonce([challenge; 16]);
    bench.answer(birth.nonce, Answer::Refused { challenge });
    assert!(bench.session.is_refused() && !bench.session.is_welcomed());
}

/// Milliseconds until it announces itself again, and how.
#[track_caller]
fn again(bench: &mut Bench) -> (u64, Birth) {
    let begun = bench.now;
    bench.now = bench.session.next_wake().expect("something is due");
    bench.session.handle_timeout(bench.now);
    (bench.now.since(begun), bench.birth())
}

#[test]
fn a_board_that_is_refused_shows_that_it_is_one_and_comes_again_ever_more_seldom() {
    let held = wanted(1, 10, &[("a", 3, b"A")]);
    let mut bench = Bench::new(1, None);
    let birth = bench.connect();
    assert_eq!(
        (birth.hardware, birth.refused),
        (Some(HardwareId([4; 16])), None)
    );
    refuse(&mut bench, &birth, 50);
    let (soon, proof) = again(&mut bench);
    assert!(soon <= 3_000, "{soon}");
    assert_eq!(
        (proof.refused, proof.process),
        (Some(Nonce([50; 16])), birth.process)
    );
    let mut birth = proof;
    for (n, most) in [(51, 120_000), (52, 240_000), (53, 450_000), (54, 450_000)] {
        refuse(&mut bench, &birth, n);
        let (later, next) = again(&mut bench);
        assert!(later >= 40_000 && later <= most, "{n}: {later}");
        assert_eq!(next.refused, Some(Nonce([n; 16])));
        birth = next;
    }
    // The other one has gone.
    bench.welcome(&birth, &held);
    assert!(!bench.session.is_refused());
    bench.accept(&held);
}

#[test]
fn a_refusal_of_nothing_that_was_said_is_none() {
    let held = wanted(1, 10, &[("a", 3, b"A")]);
    let mut bench = Bench::welcomed(1, None, &held);
    let challenge = Nonce([50; 16]);
    bench.answer(Nonce([51; 16]), Answer::Refused { challenge });
    assert!(!bench.session.is_refused() && bench.session.is_welcomed());
}

#[test]
fn streams_are_for_the_board_that_is_served() {
    let mut bench = Bench::new(1, None);
    let birth = bench.connect();
    refuse(&mut bench, &birth, 50);
    let what = stream::What::Forward(stream::Forward {
        pod: uid(1),
        ports: vec![80],
    });
    let (boot, credit) = (bench.boot, 1);
    let open = stream::Open { boot, credit, what };
    bench.send(&Topic::StreamOpen(node(), StreamId(7)), &open);
    assert_eq!(bench.session.counters().replay, 1);
}
