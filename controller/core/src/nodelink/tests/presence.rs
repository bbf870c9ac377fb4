//! Whether nodes are there.

use super::*;

const KEEP_ALIVE: u64 = 60_000;

fn presences(events: &[Event]) -> Vec<Presence> {
    let presence = |event: &Event| match event {
        Event::Presence { presence, .. } => Some(*presence),
        _ => None,
    };
    events.iter().filter_map(presence).collect()
}

#[test]
fn the_end_of_an_earlier_connection_is_ignored() {
    let mut bench = Bench::new(1);
    let first = bench.arrive(0);
    let second = bench.arrive(0);
    for life in [
        Life::Lost {
            boot: Boot(1),
            connection: first.connection,
        },
        Life::Lost {
            boot: Boot(0),
            connection: second.connection,
        },
        Life::Bye {
            boot: Boot(1),
            connection: first.connection,
        },
    ] {
        bench.life(0, life);
        bench.silent();
        assert_eq!(bench.state(0).presence, Presence::Ready, "{life:?}");
    }
    let (boot, connection) = (Boot(1), second.connection);
    bench.life(0, Life::Lost { boot, connection });
    assert_eq!(presences(&bench.events()), [Presence::Lost]);
    bench.life(0, Life::Lost { boot, connection });
    bench.silent();
    bench.arrive(0);
    assert_eq!(bench.state(0).presence, Presence::Ready);
}

#[test]
fn a_good_bye_is_not_a_loss() {
    let mut bench = Bench::new(1);
    let birth = bench.arrive(0);
    let (boot, connection) = (Boot(1), birth.connection);
    bench.life(0, Life::Bye { boot, connection });
    assert_eq!(presences(&bench.events()), [Presence::Stopped]);
    bench.pass(24 * 3_600_000);
    assert_eq!(presences(&bench.events()), []);
}

#[test]
fn the_loss_of_a_connection_that_was_only_announced_leaves_the_session() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    let birth = bench.birth(0, None);
    let (boot, connection) = (Boot(1), birth.connection);
    bench.life(0, Life::Lost { boot, connection });
    bench.silent();
    assert_eq!(bench.state(0).presence, Presence::Ready);
}

#[test]
fn silence_is_asked_about_and_then_means_lost() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    bench.pass(25 * 60_000 - 1);
    assert_eq!(presences(&bench.events()), []);
    bench.publishes.clear();
    bench.pass(1);
    bench.head(0);
    bench.pass(KEEP_ALIVE * 3 / 2 - 1);
    assert_eq!(presences(&bench.events()), []);
    bench.pass(1);
    assert_eq!(presences(&bench.events()), [Presence::Lost]);
    // A session that was lost is not believed any more.
    bench.publishes.clear();
    bench.report(0, 9, None, vec![]);
    assert_eq!(bench.response(0).answer, Answer::Announce);
}

#[test]
fn a_node_that_speaks_when_asked_stays_ready() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    let version = bench.version(0);
    for number in 2..6 {
        bench.pass(25 * 60_000);
        bench.head(0);
        bench.report(0, number, Some(version), vec![]);
        bench.publishes.clear();
    }
    assert_eq!(presences(&bench.events()), []);
}

#[test]
fn a_node_that_is_never_heard_is_lost_and_nothing_is_known_without_a_link() {
    let mut bench = Bench::new(1);
    bench.link.handle_disconnected(bench.now);
    bench.pass(24 * 3_600_000);
    bench.silent();
    assert_eq!(bench.state(0).presence, Presence::Unknown);
    bench.link.handle_connected(bench.now);
    bench.pass(60_000);
    bench.head(0);
    assert_eq!(presences(&bench.events()), []);
    bench.pass(KEEP_ALIVE * 3 / 2);
    assert_eq!(presences(&bench.events()), [Presence::Lost]);
}

#[test]
fn the_brokers_hint_gives_a_node_time_to_come_back() {
    let mut bench = Bench::new(2);
    bench.arrive(0);
    bench.arrive(1);
    for board in [0, 1] {
        let name = bench.name(board);
        bench.link.handle_node_disconnected(&name, bench.now);
    }
    bench.pass(KEEP_ALIVE);
    assert_eq!(presences(&bench.events()), []);
    bench.arrive(1);
    bench.pass(KEEP_ALIVE);
    assert_eq!(presences(&bench.events()), [Presence::Lost]);
    assert_eq!(bench.state(0).presence, Presence::Lost);
    assert_eq!(bench.state(1).presence, Presence::Ready);
}

#[test]
fn a_head_that_is_not_taken_is_said_again_ever_more_seldom() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    bench.document(0, objects(&[("a", 3, b"A")]), 20);
    bench.head(0);
    for wait in [30_000, 60_000] {
        bench.pass(wait - 1);
        bench.silent();
        bench.pass(1);
        bench.head(0);
    }
    // It is here and does not hear heads: everything from the beginning.
    bench.pass(120_000);
    let response = bench.response(0);
    assert_eq!(response.nonce, bench.boards[0].session);
    assert_eq!(response.answer, Answer::Announce);
    bench.pass(300_000 - 1);
    bench.silent();
    bench.pass(1);
    bench.head(0);
    let version = bench.version(0);
    bench.report(0, 2, Some(version), vec![]);
    bench.events();
    bench.pass(20 * 60_000);
    bench.silent();
}

#[test]
fn a_node_that_refuses_a_document_is_not_told_to_announce_itself() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    bench.document(0, objects(&[("a", 3, b"A")]), 20);
    bench.head(0);
    let said = bench.said(0, 2, vec![]);
    let rejected = "too large".to_owned();
    bench.say(0, &Said { rejected, ..said });
    bench
        .link
        .handle_durable(&bench.name(0), 2, vec![], bench.now);
    assert!(matches!(bench.response(0).answer, Answer::ReportAck { .. }));
    bench.events();
    for wait in [30_000, 60_000, 120_000, 240_000, 300_000, 300_000] {
        bench.pass(wait);
        bench.head(0);
        bench.silent();
    }
}

#[test]
fn a_newer_connection_of_a_node_that_is_there_is_told() {
    let mut bench = Bench::new(1);
    let name = bench.name(0);
    let reconnected = |bench: &mut Bench| {
        bench.birth(0, None);
        let head = bench.welcome(0);
        bench.report(0, 1, Some(head.version), vec![]);
        let events = bench.events();
        (events.iter()).any(|event| *event == Event::Reconnected(name.clone()))
    };
    assert!(!reconnected(&mut bench), "there was none before");
    // The same boot, then a newer one; nobody told that the connection before had ended.
    assert!(reconnected(&mut bench));
    bench.boards[0].boot = Boot(2);
    assert!(reconnected(&mut bench));
    let (boot, connection) = (Boot(2), Nonce([103; 16]));
    bench.life(0, Life::Lost { boot, connection });
    assert_eq!(bench.state(0).presence, Presence::Lost);
    assert!(!reconnected(&mut bench), "its end was seen");
}
