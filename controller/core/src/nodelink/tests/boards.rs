//! Which board speaks for a node.

use super::*;

const CARD: HardwareId = HardwareId([1; 16]);
const COPY: HardwareId = HardwareId([2; 16]);

/// The same card in another board: the same keys and the next start, another process.
fn elsewhere(bench: &mut Bench, hardware: Option<HardwareId>, process: u8) -> (Boot, Nonce) {
    let board = &mut bench.boards[0];
    board.hardware = hardware;
    let process = Nonce([process; 16]);
    (board.boot, std::mem::replace(&mut board.process, process))
}

/// A birth that is refused; what was told of it.
#[track_caller]
fn refused(bench: &mut Bench) -> Vec<Event> {
    let birth = bench.birth(0, None);
    let response = bench.response(0);
    let Answer::Refused { challenge } = response.answer else {
        panic!("{response:?}");
    };
    assert_eq!(response.nonce, birth.nonce);
    bench.boards[0].refused = Some(challenge);
    bench.events()
}

fn duplicate(bench: &Bench, hardware: Option<HardwareId>) -> Event {
    let node = bench.name(0);
    Event::Duplicate { node, hardware }
}

/// A board that is there, with its hardware known from its join.
fn there(hardware: Option<HardwareId>) -> Bench {
    let mut bench = Bench::new(1);
    bench.boards[0].hardware = hardware;
    bench.link.set_hardware(&bench.name(0), hardware);
    bench.arrive(0);
    bench
}

#[test]
fn a_copied_card_is_refused_as_long_as_its_board_is_there() {
    let mut bench = there(Some(CARD));
    let session = bench.boards[0].session;
    elsewhere(&mut bench, Some(COPY), 9);
    assert_eq!(refused(&mut bench), [], "an old birth may be played");
    let told = [duplicate(&bench, Some(COPY))];
    assert_eq!(refused(&mut bench), told);
    // However long the board has nothing to say: it is asked, and answers.
    let version = bench.version(0);
    for number in 2..5 {
        bench.pass(200_000);
        let copy = refused(&mut bench);
        assert_eq!(copy, told);
        bench.head(0);
        let other = std::mem::replace(&mut bench.boards[0].session, session);
        bench.report(0, number, Some(version), vec![]);
        let name = bench.name(0);
        bench.link.handle_durable(&name, number, vec![], bench.now);
        bench.hear();
        bench.publishes.clear();
        bench.events.clear();
        bench.boards[0].session = other;
        assert_eq!(bench.state(0).presence, Presence::Ready);
    }
    assert!(bench.link.all_confirmed());
    // It is switched off.
    bench.pass(15 * 60_000 - 1);
    assert_eq!(bench.events(), []);
    bench.pass(1);
    assert_eq!(bench.events(), [Event::Alone(bench.name(0))]);
}

#[test]
fn a_card_that_was_moved_is_the_node_once_its_board_is_silent() {
    let mut bench = there(Some(CARD));
    let session = bench.link.nodes[&bench.name(0)].session.as_ref();
    let connection = session.unwrap().connection;
    let (boot, _) = elsewhere(&mut bench, Some(COPY), 9);
    refused(&mut bench);
    refused(&mut bench);
    bench.life(0, Life::Lost { boot, connection });
    bench.events();
    bench.pass(89_999);
    refused(&mut bench);
    bench.events();
    bench.pass(1);
    bench.birth(0, None);
    bench.welcome(0);
    assert_eq!(bench.events(), [], "nothing is proved yet");
    bench.report(0, 1, None, vec![]);
    let events = bench.events();
    let node = bench.name(0);
    let (before, now) = (Some(CARD), COPY);
    assert!(events.contains(&Event::Board {
        node: node.clone(),
        before,
        now
    }));
    assert!(events.contains(&Event::Alone(node)), "{events:?}");
    // The board that it came from is the other one from now on.
    elsewhere(&mut bench, Some(CARD), 0);
    refused(&mut bench);
    assert_eq!(refused(&mut bench), [duplicate(&bench, Some(CARD))]);
}

#[test]
fn after_a_start_the_board_that_is_known_gets_the_time_to_speak_first() {
    let mut bench = Bench::new(1);
    bench.link.set_hardware(&bench.name(0), Some(CARD));
    elsewhere(&mut bench, Some(COPY), 9);
    refused(&mut bench);
    bench.pass(90_000);
    bench.birth(0, None);
    bench.welcome(0);
}

#[test]
fn boards_that_nothing_tells_apart_are_told_apart_by_their_agents() {
    for hardware in [None, Some(CARD)] {
        let mut bench = there(hardware);
        let first = bench.boards[0].process;
        // An agent that starts anew is followed, not refused.
        for process in [9, 10] {
            elsewhere(&mut bench, hardware, process);
            bench.arrive(0);
        }
        bench.boards[0].process = first;
        refused(&mut bench);
        assert_eq!(refused(&mut bench), [duplicate(&bench, hardware)]);
    }
}

#[test]
fn what_the_hardware_does_not_say_is_no_difference() {
    let mut bench = there(None);
    // A newer release can tell.
    elsewhere(&mut bench, Some(CARD), 9);
    bench.birth(0, None);
    bench.welcome(0);
    bench.report(0, 1, None, vec![]);
    let (node, before, now) = (bench.name(0), None, CARD);
    assert!(bench.events().contains(&Event::Board { node, before, now }));
    elsewhere(&mut bench, None, 10);
    bench.birth(0, None);
    bench.welcome(0);
}

#[test]
fn a_refused_birth_that_is_played_again_tells_nothing() {
    let mut bench = there(Some(CARD));
    elsewhere(&mut bench, Some(COPY), 9);
    refused(&mut bench);
    bench.boards[0].refused = Some(Nonce([77; 16]));
    assert_eq!(refused(&mut bench), []);
    let topic = Topic::Birth(bench.name(0));
    let birth = bench.birth(0, None);
    bench.response(0);
    bench.send(0, &topic, &birth);
    bench.hear();
    assert_eq!(bench.dropped(Drop::Replay), 1);
    assert!(bench.publishes.is_empty(), "{:?}", bench.topics());
}
