//! Another controller of the same identity.

use super::*;

/// A controller of this boot and epoch, whose broker is the caller.
fn controller(boot: u64, epoch: u64, seed: u8) -> NodeLink {
    let config = Config {
        cluster: cluster(),
        identity: controller_key(),
        boot: Boot(boot),
        epoch,
        term: 1,
        history: HISTORY,
        recovered: Vec::new(),
        limits: Limits::default(),
    };
    let mut link = NodeLink::new(config, &[seed; 32]);
    link.handle_connected(Millis(0));
    link
}

/// What a controller does now: its states as they would be published, and what it tells of the other.
fn hear(link: &mut NodeLink) -> (Vec<Vec<u8>>, Vec<bool>) {
    let (mut states, mut told) = (Vec::new(), Vec::new());
    while let Some(output) = link.poll(Millis(0)) {
        match output {
            Output::Publish(publish) => {
                assert_eq!(publish.topic, Topic::Controller);
                states.push(publish.payload);
            }
            Output::Event(Event::Rival { higher, .. }) => told.push(higher),
            Output::Event(event) => panic!("{event:?}"),
        }
    }
    (states, told)
}

fn say(link: &mut NodeLink, state: &[u8]) {
    let topic = Topic::Controller.text(&cluster());
    link.handle_packet(&topic, state, Millis(0));
}

/// Both hear everything that is said, until nobody says anything; whether the first and the second have
/// yielded, and what was retained last.
fn meet(first: &mut NodeLink, second: &mut NodeLink) -> ((bool, bool), Vec<u8>) {
    let mut retained = Vec::new();
    for round in 0.. {
        assert!(round < 10, "they talk for ever");
        let states: Vec<Vec<u8>> = [&mut *first, &mut *second]
            .into_iter()
            .flat_map(|link| hear(link).0)
            .collect();
        if states.is_empty() {
            break;
        }
        for state in states {
            say(first, &state);
            say(second, &state);
            retained = state;
        }
    }
    ((first.has_yielded(), second.has_yielded()), retained)
}

fn instance_of(state: &[u8]) -> Nonce {
    let opened = envelope::read_unverified::<ControllerState>(state).unwrap();
    assert!(opened.message.online);
    opened.message.instance
}

#[test]
fn of_two_controllers_the_higher_goes_on() {
    for (first, second, higher) in [
        ((4, 2), (5, 2), false),
        ((5, 2), (4, 2), true),
        ((9, 2), (4, 3), false),
        ((9, 3), (4, 2), true),
    ] {
        let mut one = controller(first.0, first.1, 1);
        let mut other = controller(second.0, second.1, 2);
        let (yielded, retained) = meet(&mut one, &mut other);
        assert_eq!(yielded, (!higher, higher), "{first:?} {second:?}");
        let winner = if higher { &one } else { &other };
        assert_eq!(
            instance_of(&retained),
            winner.instance,
            "{first:?} {second:?}"
        );
    }
    // Copies that were started as often.
    let (mut one, mut other) = (controller(4, 2, 1), controller(4, 2, 2));
    let (yielded, _) = meet(&mut one, &mut other);
    assert_ne!(yielded.0, yielded.1);
}

#[test]
fn nobody_yields_to_what_a_broker_plays_again() {
    let mut other = controller(9, 2, 2);
    let mut before = controller(4, 2, 1);
    let mut recorded: Vec<Vec<u8>> = hear(&mut other).0;
    let said = hear(&mut before).0;
    say(&mut other, &said[0]);
    // It named the one before, not this one.
    recorded.extend(hear(&mut other).0);
    recorded.push(other.offline().payload);
    let mut link = controller(5, 2, 3);
    hear(&mut link);
    for state in &recorded {
        say(&mut link, state);
    }
    let (states, told) = hear(&mut link);
    assert!(!link.has_yielded() && told.is_empty());
    assert_eq!(states.len(), 1, "what is retained is said anew");
    assert_eq!(instance_of(&states[0]), link.instance);
    // Its own word is nobody else's, and a stranger's none.
    say(&mut link, &states[0]);
    let mut foreign = states[0].clone();
    *foreign.last_mut().unwrap() ^= 1;
    say(&mut link, &foreign);
    assert_eq!(link.counters().dropped[&Drop::Signature], 1);
    assert_eq!(link.counters().dropped.len(), 1);
}

#[test]
fn who_has_yielded_says_and_believes_nothing() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    let mut other = controller(9, 2, 2);
    let (yielded, _) = meet(&mut bench.link, &mut other);
    assert_eq!(yielded, (true, false));
    assert!(bench.events().is_empty());
    bench.birth(0, None);
    bench.report(0, 2, None, vec![pod(1, Phase::Running)]);
    bench.document(0, objects(&[("a", 3, b"A")]), 20);
    bench.pass(48 * 3_600_000);
    bench.silent();
    assert_eq!(
        bench.state(0).presence,
        Presence::Ready,
        "silence says nothing"
    );
    bench.link.handle_disconnected(bench.now);
    bench.link.handle_connected(bench.now);
    bench.pass(3_600_000);
    bench.silent();
    assert!(!bench.link.all_confirmed() || !bench.link.cleared);
}
