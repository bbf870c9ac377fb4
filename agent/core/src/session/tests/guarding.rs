//! What must not be believed.

use bramble_wire::limits::PACKET_MAX;
use bramble_wire::message::ControllerState;

use super::*;

#[test]
fn a_recorded_answer_of_an_earlier_boot_is_not_believed() {
    let newest = wanted(1, 10, &[("a", 3, b"A")]);
    let mut before = Bench::new(1, None);
    let birth = before.connect();
    let topic = Topic::Response(node(), Boot(1));
    let (session, head, unix_s) = (Nonce([3; 16]), newest.head, 0);
    let welcome = Response {
        nonce: birth.nonce,
        answer: Answer::Welcome {
            session,
            head,
            unix_s,
        },
    };
    let mut recorded = vec![before.packet(&topic, &welcome)];
    before.deliver(&topic, &recorded[0]);
    while before.session.document().is_none() {
        let Request { nonce, ask } = before.request();
        let answer = newest.answer(&ask);
        let packet = before.packet(&topic, &Response { nonce, answer });
        before.deliver(&topic, &packet);
        recorded.push(packet);
        if before.has(|said| matches!(said, Said::Persist(_))) {
            (before.session).handle_persisted(newest.head.version, before.now);
        }
    }

    // The board lost its disk and starts anew; the broker plays what it has.
    let mut after = Bench::new(2, None);
    after.connect();
    for packet in &recorded {
        after.deliver(&topic, packet);
        after.deliver(&Topic::Response(node(), Boot(2)), packet);
    }
    after.silent();
    let counters = after.session.counters();
    let times = recorded.len() as u64;
    assert_eq!((counters.topic, counters.signature), (times, times));
    assert!(!after.session.is_welcomed());
}

#[test]
fn answers_to_nothing_that_was_asked_do_nothing() {
    let newest = wanted(1, 10, &[("a", 3, b"A")]);
    let mut bench = Bench::welcomed(1, None, &newest);
    bench.settle();
    let nonce = Nonce([99; 16]);
    let (head, session, unix_s) = (newest.head, Nonce([3; 16]), 0);
    let all = [
        Answer::Welcome {
            session,
            head,
            unix_s,
        },
        Answer::Superseded(newest.head),
        newest.answer(&Ask::Index {
            version: None,
            from: 0,
        }),
        Answer::Objects(vec![newest.body(&config_map("a"))]),
        Answer::ReportAck {
            number: 1,
            forget: vec![uid(1)],
        },
        Answer::Announce,
    ];
    for answer in &all {
        bench.answer(nonce, answer.clone());
    }
    bench.silent();
    assert_eq!(bench.session.counters().unasked, all.len() as u64);
}

#[test]
fn packets_are_dropped_and_counted() {
    let newest = wanted(1, 10, &[("a", 3, b"A")]);
    let head = Topic::Head(node());
    let text = head.text(&cluster());
    let sequence = |boot, seq| Sequence {
        epoch: 1,
        boot: Boot(boot),
        seq,
    };
    let me = KeyId::of(&node_key().verifying_key());
    let sign = |key: &SigningKey, topic: &str, to, sequence| {
        envelope::sign(key, topic, to, sequence, &newest.head).unwrap()
    };
    let controller = controller_key();
    let good = sign(&controller, &text, me, sequence(1, 500));
    let altered = {
        let mut packet = good.clone();
        *packet.last_mut().unwrap() ^= 1;
        packet
    };
    let other_version = [&[9], &good[1..]].concat();
    let stranger = SigningKey::from_bytes(&[8; 32]);
    let to_other = KeyId::of(&stranger.verifying_key());
    let birth = Topic::Birth(node()).text(&cluster());
    let other_node = Topic::Head(NodeName::new("n2").unwrap()).text(&cluster());
    let other_boot = Topic::Response(node(), Boot(9)).text(&cluster());
    let response = Topic::Response(node(), Boot(1)).text(&cluster());
    let earlier = sign(&controller, &text, me, sequence(0, 501));

    type Of = fn(&Counters) -> u64;
    let table: Vec<(&str, &str, Vec<u8>, Of)> = vec![
        ("a stranger's topic", "x/y", good.clone(), |c| c.topic),
        (
            "no topic of ours",
            "bramble/v1/c2/nodes/n1/d/head",
            good.clone(),
            |c| c.topic,
        ),
        ("another node's", &other_node, good.clone(), |c| c.topic),
        ("another boot's", &other_boot, good.clone(), |c| c.topic),
        ("our own", &birth, good.clone(), |c| c.topic),
        ("garbage", &text, vec![1, 2, 3], |c| c.malformed),
        ("empty", &text, vec![], |c| c.malformed),
        ("another protocol", &text, other_version, |c| c.malformed),
        ("bytes left over", &text, [&good[..], &[0]].concat(), |c| {
            c.malformed
        }),
        (
            "another kind",
            &response,
            sign(&controller, &response, me, sequence(1, 502)),
            |c| c.malformed,
        ),
        ("altered", &text, altered, |c| c.signature),
        (
            "a stranger's",
            &text,
            sign(&stranger, &text, me, sequence(1, 503)),
            |c| c.signature,
        ),
        (
            "moved to us",
            &text,
            sign(&controller, &other_node, me, sequence(1, 504)),
            |c| c.signature,
        ),
        (
            "for another",
            &text,
            sign(&controller, &text, to_other, sequence(1, 505)),
            |c| c.recipient,
        ),
        ("oversize", &text, vec![1; PACKET_MAX + 1], |c| c.oversize),
        ("of an earlier life", &text, earlier, |c| c.replay),
    ];
    for (name, topic, packet, of) in table {
        let mut bench = Bench::settled(&newest);
        let before = bench.session.counters();
        bench.session.handle_packet(topic, &packet, bench.now);
        bench.silent();
        let after = bench.session.counters();
        assert_eq!(of(&after), of(&before) + 1, "{name}: {after:?}");
        let sum = |c: &Counters| {
            c.oversize + c.topic + c.malformed + c.signature + c.recipient + c.replay
        };
        assert_eq!(sum(&after), sum(&before) + 1, "{name}: counted once");
    }

    let mut bench = Bench::settled(&newest);
    bench.deliver(&head, &good);
    assert_eq!(bench.session.counters().replay, 0);
    bench.sum();
    bench.deliver(&head, &good);
    bench.silent();
    assert_eq!(bench.session.counters().replay, 1);
}

#[test]
fn a_restored_controller_with_an_older_boot_is_believed_when_it_echoes_our_nonce() {
    let newest = wanted(1, 10, &[("a", 3, b"A")]);
    let mut bench = Bench::new(1, None);
    bench.controller = Boot(9);
    let birth = bench.connect();
    bench.welcome(&birth, &newest);
    bench.accept(&newest);
    bench.settle();

    bench.session.handle_disconnected(bench.now);
    let birth = bench.connect();
    (bench.controller, bench.seq) = (Boot(4), 0);
    let next = wanted(2, 3, &[]);
    bench.head(&next);
    assert_eq!(bench.session.counters().replay, 1, "a head proves nothing");
    bench.welcome(&birth, &next);
    bench.accept(&next);
}

#[test]
fn a_node_that_is_told_to_announces_itself() {
    let newest = wanted(1, 10, &[("a", 3, b"A")]);
    let mut bench = Bench::welcomed(1, None, &newest);
    let report = bench.report();
    let request = bench.request();
    bench.answer(request.nonce, Answer::Announce);
    let birth = bench.birth();
    assert!(!bench.session.is_welcomed());
    bench.answer(report.session, Answer::Announce);
    assert_eq!(
        bench.session.counters().unasked,
        1,
        "said of an earlier session"
    );
    bench.answer(request.nonce, newest.answer(&request.ask));
    assert_eq!(bench.session.counters().unasked, 2);
    bench.welcome(&birth, &newest);
    bench.accept(&newest);
}

#[test]
fn another_controller_is_greeted_within_half_a_minute() {
    let newest = wanted(1, 10, &[("a", 3, b"A")]);
    let mut bench = Bench::settled(&newest);
    let state = |boot, online| ControllerState {
        instance: Nonce::default(),
        heard: None,
        epoch: 1,
        term: 1,
        boot: Boot(boot),
        history: newest.head.history,
        online,
    };
    for (boot, online) in [(1, true), (1, false), (2, false)] {
        let due = bench.session.next_wake();
        bench.send(&Topic::Controller, &state(boot, online));
        assert_eq!(bench.session.next_wake(), due, "{boot} {online}");
    }
    bench.send(&Topic::Controller, &state(2, true));
    assert!(bench.wait() < 30_000);
    assert_eq!(bench.birth().have.unwrap().0, newest.head.version);
}

#[test]
fn births_are_repeated_with_back_off_on_the_same_connection() {
    let mut bench = Bench::new(1, None);
    let first = bench.connect();
    let mut waits = Vec::new();
    for _ in 0..6 {
        waits.push(bench.wait());
        let again = bench.birth();
        assert_eq!(again.connection, first.connection);
        assert_ne!(again.nonce, first.nonce);
        bench.silent();
    }
    for (attempt, waited) in waits.into_iter().enumerate() {
        let middle = (10_000u64 << attempt).min(300_000);
        assert!(
            (middle / 2..=middle / 2 * 3).contains(&waited),
            "{attempt}: {waited}"
        );
    }
    let newest = wanted(1, 10, &[]);
    let (head, session, unix_s) = (newest.head, Nonce([3; 16]), 0);
    let welcome = Answer::Welcome {
        session,
        head,
        unix_s,
    };
    bench.answer(first.nonce, welcome);
    assert!(!bench.session.is_welcomed(), "only the newest birth counts");
}

#[test]
fn a_stream_of_an_earlier_boot_is_not_opened() {
    let mut bench = Bench::settled(&wanted(1, 10, &[]));
    let open = |boot| stream::Open {
        boot: Boot(boot),
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
    let topic = Topic::StreamOpen(node(), StreamId(4));
    bench.send(&topic, &open(9));
    bench.silent();
    assert_eq!(bench.session.counters().replay, 1);
    bench.send(&topic, &open(1));
    bench.send(&Topic::StreamIn(node(), StreamId(4)), &stream::In::Close);
    bench.hear();
    assert!(
        matches!(bench.said[..], [Said::StreamOpen, Said::StreamIn]),
        "{:?}",
        bench.said
    );
}

#[test]
fn a_restored_controller_that_uses_a_boot_number_again_is_heard() {
    let newest = wanted(1, 10, &[("a", 3, b"A")]);
    let mut bench = Bench::settled(&newest);
    // Its next life after the restore has the number of a life that said much more.
    let topic = Topic::Head(node());
    bench.seq = 500;
    let recorded = bench.packet(&topic, &newest.head);
    bench.deliver(&topic, &recorded);
    bench.settle();

    bench.session.handle_disconnected(bench.now);
    let birth = bench.connect();
    bench.seq = 0;
    let next = wanted(2, 3, &[]);
    bench.welcome(&birth, &next);
    bench.accept(&next);
    bench.settle();

    // Its acknowledgements are heard, even when the other life is played in between.
    let replays = bench.session.counters().replay;
    bench.deliver(&topic, &recorded);
    bench.observe([pod(1, Phase::Running)]);
    let report = bench.report();
    bench.ack(&report, &[]);
    bench.silent();
    assert_eq!(bench.session.counters().replay, replays);
}
