//! What must not be believed.

use bramble_wire::limits::{PACKET_MAX, REPORT_PODS_MAX, REQUEST_OBJECTS_MAX};

use super::*;

fn index() -> Ask {
    Ask::Index {
        version: None,
        from: 0,
    }
}

#[test]
fn an_unknown_session_is_told_to_announce_itself() {
    let mut bench = Bench::new(1);
    let nonce = Nonce([42; 16]);
    bench.boards[0].session = nonce;
    bench.report(0, 1, None, vec![pod(1, Phase::Running)]);
    let response = bench.response(0);
    assert_eq!((response.nonce, response.answer), (nonce, Answer::Announce));
    assert_eq!(bench.answer(0, index()), Answer::Announce);
    let topic = Topic::Sum(bench.name(0));
    let sum = Sum {
        session: nonce,
        accepted: None,
        digest: Digest::default(),
        observed: Digest::default(),
    };
    bench.send(0, &topic, &sum);
    assert_eq!(bench.response(0).answer, Answer::Announce);
    bench.silent();
    assert_eq!(bench.link.counters().unknown_sessions, 3);
    assert_eq!(bench.state(0).presence, Presence::Unknown);
}

#[test]
fn packets_are_dropped_and_counted() {
    let mut bench = Bench::new(2);
    let (zero, one) = (bench.name(0), bench.name(1));
    let birth = Birth {
        boot: Boot(1),
        nonce: Nonce([1; 16]),
        connection: Nonce([2; 16]),
        schemas: (1, 1),
        have: None,
        digest: Digest::default(),
        facts: NodeFacts::default(),
        hardware: None,
        process: Nonce([3; 16]),
        refused: None,
    };
    let topic = Topic::Birth(zero.clone());
    let good = bench.packet(0, &topic, &birth);
    let sign = |key: &SigningKey, topic: &Topic, to: &SigningKey, boot, birth: &Birth| {
        let sequence = Sequence {
            epoch: 2,
            boot: Boot(boot),
            seq: 9,
        };
        let text = topic.text(&cluster());
        envelope::sign(key, &text, KeyId::of(&to.verifying_key()), sequence, birth).unwrap()
    };
    let (mine, other) = (bench.boards[0].key.clone(), bench.boards[1].key.clone());
    let controller = controller_key();
    let altered = {
        let mut packet = good.clone();
        *packet.last_mut().unwrap() ^= 1;
        packet
    };
    let moved = sign(&mine, &Topic::Birth(one), &controller, 1, &birth);
    let text = |topic: Topic| topic.text(&cluster()).to_string();
    let birth_topic = text(topic.clone());
    let table = [
        (
            "a stranger's topic",
            "x/y".into(),
            good.clone(),
            Drop::Topic,
        ),
        (
            "another cluster",
            birth_topic.replace("c1", "c2"),
            good.clone(),
            Drop::Topic,
        ),
        (
            "ours to write",
            text(Topic::Head(zero.clone())),
            good.clone(),
            Drop::Topic,
        ),
        (
            "our own state",
            text(Topic::Controller),
            good.clone(),
            Drop::Signature,
        ),
        (
            "no such node",
            birth_topic.replace("n0", "n9"),
            good.clone(),
            Drop::UnknownNode,
        ),
        (
            "garbage",
            birth_topic.clone(),
            vec![1, 2, 3],
            Drop::Malformed,
        ),
        ("empty", birth_topic.clone(), vec![], Drop::Malformed),
        (
            "another kind",
            text(Topic::Sum(zero.clone())),
            good.clone(),
            Drop::Malformed,
        ),
        (
            "a boot that is not the sender's",
            birth_topic.clone(),
            sign(&mine, &topic, &controller, 2, &birth),
            Drop::Malformed,
        ),
        ("altered", birth_topic.clone(), altered, Drop::Signature),
        (
            "another node's topic",
            text(Topic::Birth(bench.name(1))),
            good.clone(),
            Drop::Signature,
        ),
        (
            "signed for another topic",
            birth_topic.clone(),
            moved,
            Drop::Signature,
        ),
        (
            "another node's",
            birth_topic.clone(),
            sign(&other, &topic, &controller, 1, &birth),
            Drop::Signature,
        ),
        (
            "for another",
            birth_topic.clone(),
            sign(&mine, &topic, &other, 1, &birth),
            Drop::Recipient,
        ),
        (
            "oversize",
            birth_topic,
            vec![1; PACKET_MAX + 1],
            Drop::Oversize,
        ),
    ];
    for (name, topic, packet, reason) in table {
        let before = bench.dropped(reason);
        let all = |bench: &Bench| bench.link.counters().dropped.values().sum::<u64>();
        let total = all(&bench);
        bench.link.handle_packet(&topic, &packet, bench.now);
        assert_eq!(bench.dropped(reason), before + 1, "{name}");
        assert_eq!(all(&bench), total + 1, "{name}");
        let events = bench.events();
        let logged = |event: &Event| matches!(event, Event::Dropped { .. });
        assert!(
            events.iter().all(logged) && bench.publishes.is_empty(),
            "{name}: {events:?}"
        );
    }
    // The same packet where it belongs is taken: once.
    bench.deliver(&topic, &good);
    bench.welcome(0);
    bench.deliver(&topic, &good);
    assert_eq!(bench.dropped(Drop::Replay), 1);
}

#[test]
fn a_reason_is_logged_once_an_hour() {
    let mut bench = Bench::new(1);
    let topic = Topic::Birth(bench.name(0));
    for (wait, expected) in [(0, 1), (1_000, 0), (3_500_000, 0), (100_000, 1)] {
        bench.pass(wait);
        bench.events.clear();
        bench.deliver(&topic, &[1, 2, 3]);
        let dropped = |event: &&Event| matches!(event, Event::Dropped { .. });
        assert_eq!(
            bench.events().iter().filter(dropped).count(),
            expected,
            "{wait}"
        );
    }
    assert_eq!(bench.dropped(Drop::Malformed), 4);
}

#[test]
fn a_packet_played_again_is_taken_once() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    let topic = Topic::Report(bench.name(0));
    let said = bench.said(0, 2, vec![pod(1, Phase::Running)]);
    let packet = bench.packet(0, &topic, &said);
    bench.deliver(&topic, &packet);
    assert_eq!(bench.events().len(), 1);
    bench.deliver(&topic, &packet);
    assert_eq!(bench.dropped(Drop::Replay), 1);
    let reports = |event: &Event| matches!(event, Event::Report(_));
    assert!(!bench.events().iter().any(reports));
}

#[test]
fn what_an_earlier_life_of_a_node_said_is_not_believed() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    let topic = Topic::Report(bench.name(0));
    let said = bench.said(0, 2, vec![pod(1, Phase::Running)]);
    let recorded = bench.packet(0, &topic, &said);
    (bench.boards[0].boot, bench.boards[0].seq) = (Boot(2), 0);
    bench.arrive(0);
    bench.deliver(&topic, &recorded);
    assert_eq!(bench.dropped(Drop::Replay), 1);
    let reports = |event: &Event| matches!(event, Event::Report(_));
    assert!(!bench.events().iter().any(reports));
}

#[test]
fn a_birth_that_is_played_to_another_life_of_the_controller_changes_nothing() {
    let mut before = Bench::new(1);
    let topic = Topic::Birth(before.name(0));
    let birth = before.birth(0, None);
    let recorded = before.packet(0, &topic, &birth);

    let mut after = Bench::new(1);
    (after.boards[0].boot, after.boards[0].seq) = (Boot(3), 0);
    after.arrive(0);
    after.deliver(&topic, &recorded);
    // It may be welcomed, since it could be news; nothing follows from it.
    after.hear();
    assert_eq!(after.state(0).presence, Presence::Ready);
    after.publishes.clear();
    after.events.clear();
    after.report(0, 2, None, vec![pod(1, Phase::Running)]);
    let events = after.events();
    assert!(
        matches!(events[..], [Event::Report(_)]),
        "the session goes on: {events:?}"
    );
}

#[test]
fn limits_inside_messages() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    let pods = vec![pod(1, Phase::Running); REPORT_PODS_MAX + 1];
    bench.report(0, 2, None, pods);
    assert_eq!(bench.dropped(Drop::Limit), 1);
    let (version, ids) = (
        bench.version(0),
        vec![config_map("a"); REQUEST_OBJECTS_MAX + 1],
    );
    bench.ask(0, 3, Ask::Objects { version, ids });
    assert_eq!(bench.dropped(Drop::Limit), 2);
    bench.hear();
    assert!(bench.publishes.is_empty(), "none of them is answered");
}

#[test]
fn new_keys_end_the_session_and_a_removed_node_is_nobody() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    let (name, version) = (bench.name(0), bench.version(0));
    let identity = SigningKey::from_bytes(&[99; 32]);
    let keys = NodeKeys {
        identity: identity.verifying_key(),
        sealing: bench.link.nodes[&name].keys.sealing,
    };
    bench.link.set_node(&name, keys, bench.now);
    bench.report(0, 2, None, vec![]);
    assert_eq!(bench.dropped(Drop::Signature), 1);
    bench.boards[0].key = identity;
    bench.report(0, 3, None, vec![]);
    assert_eq!(bench.response(0).answer, Answer::Announce);
    assert_eq!(bench.version(0), version, "the name goes on");
    bench.arrive(0);

    bench.document(0, objects(&[("a", 3, b"A")]), 20);
    bench.link.remove_node(&name);
    bench.birth(0, None);
    assert_eq!(bench.dropped(Drop::UnknownNode), 1);
    bench.pass(3_600_000);
    assert!(bench.publishes.is_empty(), "{:?}", bench.topics());
    assert_eq!(bench.link.node(&name), None);
}

#[test]
fn streams_open_only_on_a_node_that_is_there_and_in_its_boot() {
    let mut bench = Bench::new(1);
    let (name, id) = (bench.name(0), StreamId(7));
    let open = stream::Open {
        boot: Boot(0),
        credit: 1,
        what: stream::What::Logs(stream::Logs {
            pod: uid(1),
            container: "c".into(),
            follow: false,
            previous: false,
            timestamps: false,
            tail_lines: None,
            since_unix_s: None,
            limit_bytes: None,
            resume: None,
        }),
    };
    assert_eq!(bench.link.stream_open(&name, id, open.clone()), None);
    bench.arrive(0);
    let publish = bench.link.stream_open(&name, id, open).unwrap();
    bench.publishes.push(publish);
    let opened: stream::Open = bench.take(0, &Topic::StreamOpen(name.clone(), id));
    assert_eq!(opened.boot, Boot(1));
    let topic = Topic::StreamOut(name, id);
    let end = stream::Out::End {
        offset: 0,
        error: None,
    };
    bench.send(0, &topic, &end);
    let events = bench.events();
    assert!(
        matches!(
            events[..],
            [Event::StreamOut {
                id: StreamId(7),
                ..
            }]
        ),
        "{events:?}"
    );
}

#[test]
fn a_node_that_lost_its_state_and_counts_from_the_beginning_is_heard() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    bench.boards[0].seq = 500;
    bench.report(0, 2, None, vec![pod(1, Phase::Running)]);
    assert_eq!(bench.events().len(), 1);

    // The same boot number, and the first of messages.
    bench.boards[0].seq = 0;
    bench.birth(0, None);
    bench.welcome(0);
    assert_eq!(bench.answer(0, index()), {
        let head = bench
            .link
            .head_of(&bench.link.nodes[&bench.name(0)])
            .unwrap();
        let (total, from, entries) = (0, 0, Vec::new());
        Answer::Index {
            head,
            total,
            from,
            entries,
            cleared: false,
        }
    });
    bench.report(0, 1, None, vec![pod(2, Phase::Running)]);
    let reports = |event: &Event| matches!(event, Event::Report(_));
    assert!(bench.events().iter().any(reports));
    assert_eq!(bench.dropped(Drop::Replay), 0);
}

#[test]
fn an_old_birth_played_again_does_not_hold_up_the_node_for_long() {
    let mut bench = Bench::new(1);
    let topic = Topic::Birth(bench.name(0));
    bench.boards[0].seq = 800;
    let birth = bench.birth(0, None);
    let recorded = bench.packet(0, &topic, &birth);
    bench.welcome(0);
    // Then the node lost its state; the broker plays the birth of its life before.
    bench.boards[0].seq = 0;
    bench.deliver(&topic, &recorded);
    bench.birth(0, None);
    bench.hear();
    bench.publishes.clear();
    bench.pass(30_000);
    bench.birth(0, None);
    bench.welcome(0);
    bench.report(0, 1, None, vec![]);
    assert_eq!(bench.state(0).presence, Presence::Ready);
}
