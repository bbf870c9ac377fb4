//! Whether pods that must not run twice may be started.

use bramble_wire::object::Pod;

use super::*;

fn once(number: u8, revision: u64) -> Objects {
    let pod = Object::Pod(Pod {
        uid: uid(number),
        once: true,
        ..Pod::default()
    });
    [(ObjectId::Pod(uid(number)), Compiled::plain(revision, &pod))].into()
}

#[track_caller]
fn is_cleared(bench: &mut Bench, board: usize) -> bool {
    let ask = Ask::Index {
        version: None,
        from: 0,
    };
    match bench.answer(board, ask) {
        Answer::Index { cleared, .. } => cleared,
        other => panic!("no index but {other:?}"),
    }
}

#[test]
fn nothing_is_cleared_before_everybody_has_spoken_and_the_edge_says_so() {
    let mut bench = Bench::new(2);
    bench.arrive(0);
    bench.link.set_cleared(true);
    assert!(!is_cleared(&mut bench, 0), "the other one has not spoken");
    bench.arrive(1);
    assert!(is_cleared(&mut bench, 0));
    bench.link.set_cleared(false);
    assert!(!is_cleared(&mut bench, 0));
    bench.link.set_cleared(true);
    bench.link.handle_epoch(3, HistoryId([4; 16]), bench.now);
    bench.birth(0, None);
    bench.welcome(0);
    assert!(!is_cleared(&mut bench, 0), "an epoch begins without");
}

#[test]
fn nodes_that_may_wait_for_it_are_told() {
    let mut bench = Bench::new(2);
    bench.document(0, once(1, 3), 10);
    for board in [0, 1] {
        bench.arrive(board);
    }
    bench.pass(1);
    bench.hear();
    bench.publishes.clear();
    bench.link.set_cleared(true);
    bench.head(0);
    bench.silent();
    bench.link.set_cleared(true);
    bench.silent();
}
