//! Reports and digests.

use bramble_wire::report::{PodEvent, UnixMs, observed_digest};

use super::*;

fn reports(events: &[Event]) -> Vec<&Report> {
    fn report(event: &Event) -> Option<&Report> {
        match event {
            Event::Report(report) => Some(report),
            _ => None,
        }
    }
    events.iter().filter_map(report).collect()
}

#[test]
fn nothing_is_acknowledged_before_it_is_durable() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    let name = bench.name(0);
    let pods = vec![pod(1, Phase::Running), gone(2)];
    bench.report(0, 2, None, pods.clone());
    let events = bench.events();
    let [report] = reports(&events)[..] else {
        panic!("{events:?}");
    };
    assert!(report.hard, "it has an ending in it");
    assert_eq!((report.number, report.all.as_ref()), (2, None));
    bench.pass(60_000);
    // Said again under the same number: still nothing, and it is not handed out twice.
    bench.report(0, 2, None, pods.clone());
    bench.link.handle_durable(&name, 1, vec![], bench.now);
    bench.hear();
    let answered = |topic: &&Topic| matches!(topic, Topic::Response(..));
    assert_eq!(bench.topics().into_iter().filter(answered).count(), 0);
    assert!(reports(&bench.events()).is_empty());
    bench.link.handle_durable(&name, 2, vec![uid(2)], bench.now);
    let acked = Answer::ReportAck {
        number: 2,
        forget: vec![uid(2)],
    };
    assert_eq!(bench.response(0).answer, acked);
    // The acknowledgement was lost.
    bench.report(0, 2, None, pods);
    assert_eq!(bench.response(0).answer, acked);
    assert!(reports(&bench.events()).is_empty());
}

#[test]
fn a_newer_report_takes_the_place_of_one_that_is_being_written() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    let name = bench.name(0);
    bench.report(0, 2, None, vec![pod(1, Phase::Pending)]);
    bench.report(0, 3, None, vec![pod(1, Phase::Running)]);
    let numbers: Vec<_> = reports(&bench.events())
        .iter()
        .map(|r| (r.number, r.hard))
        .collect();
    assert_eq!(numbers, [(2, false), (3, false)]);
    bench.link.handle_durable(&name, 2, vec![], bench.now);
    bench.silent();
    bench.link.handle_durable(&name, 3, vec![], bench.now);
    assert!(matches!(
        bench.response(0).answer,
        Answer::ReportAck { number: 3, .. }
    ));
}

#[test]
fn a_full_report_is_complete_with_its_last_part() {
    let mut bench = Bench::new(1);
    bench.birth(0, None);
    let accepted = Some(bench.welcome(0).version);
    let name = bench.name(0);
    for (number, more) in [(1, true), (2, true), (3, false)] {
        let said = bench.said(0, number, vec![pod(number as u8, Phase::Running)]);
        let full = Said {
            full: true,
            more,
            accepted,
            ..said
        };
        bench.say(0, &full);
        let events = bench.events();
        let all = (!more).then(|| (1..=3).map(uid).collect());
        assert_eq!(reports(&events)[0].all, all);
        assert!(!bench.link.all_confirmed());
        bench.link.handle_durable(&name, number, vec![], bench.now);
        bench.response(0);
    }
    assert!(bench.link.all_confirmed());
}

#[test]
fn digests_that_differ_ask_for_everything_anew() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    let name = bench.name(0);
    let running = pod(1, Phase::Running);
    bench.report(0, 2, None, vec![running.clone(), gone(2)]);
    bench.link.handle_durable(&name, 2, vec![], bench.now);
    bench.response(0);
    bench.events();
    let topic = Topic::Sum(name);
    let sum = |bench: &Bench, pods: &[&PodReport]| {
        let hashes: Vec<_> = pods.iter().map(|pod| (pod.uid, pod.hash())).collect();
        Sum {
            session: bench.boards[0].session,
            accepted: None,
            digest: Digest::default(),
            observed: observed_digest(hashes.iter().map(|(uid, hash)| (uid, hash))),
        }
    };
    let same = sum(&bench, &[&running]);
    bench.send(0, &topic, &same);
    bench.silent();
    let differs = sum(&bench, &[]);
    bench.send(0, &topic, &differs);
    let response = bench.response(0);
    assert_eq!(response.nonce, bench.boards[0].session);
    assert_eq!(response.answer, Answer::Announce);
    // While a report is being written they differ for a while.
    bench.report(0, 3, None, vec![pod(1, Phase::Succeeded)]);
    bench.send(0, &topic, &differs);
    bench.hear();
    assert!(bench.publishes.is_empty());
}

#[test]
fn durable_after_the_session_ended_acknowledges_nothing() {
    let mut bench = Bench::new(1);
    let birth = bench.arrive(0);
    bench.report(0, 2, None, vec![gone(1)]);
    let (boot, connection) = (Boot(1), birth.connection);
    bench.life(0, Life::Lost { boot, connection });
    let name = bench.name(0);
    bench.link.handle_durable(&name, 2, vec![uid(1)], bench.now);
    bench.hear();
    assert!(bench.publishes.is_empty(), "{:?}", bench.topics());
}

#[test]
fn an_event_is_told_once_in_a_session_however_often_the_node_says_it() {
    let event = |message: &str| PodEvent {
        uid: uid(1),
        container: String::new(),
        warning: false,
        reason: "Pulled".into(),
        message: message.into(),
        at: UnixMs(1),
        count: 1,
    };
    let mut bench = Bench::new(1);
    bench.arrive(0);
    let mut tell = |number: u64, first_event: u64, messages: &[&str]| {
        let said = bench.said(0, number, vec![]);
        let events = messages.iter().map(|message| event(message)).collect();
        bench.say(
            0,
            &Said {
                first_event,
                events,
                ..said
            },
        );
        let events = bench.events();
        let told = reports(&events).into_iter().flat_map(|r| &r.events);
        told.map(|event| event.message.clone()).collect::<Vec<_>>()
    };
    assert_eq!(tell(2, 4, &["e", "f"]), ["e", "f"]);
    // The acknowledgement was lost: the same and one more.
    assert_eq!(tell(3, 4, &["e", "f", "g"]), ["g"]);
    // Some were dropped in between.
    assert_eq!(tell(4, 9, &["j"]), ["j"]);
    assert_eq!(tell(5, 3, &["d", "e"]), [""; 0]);
}
