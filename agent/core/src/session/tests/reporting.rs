//! Reports.

use bramble_wire::limits::{PACKET_MAX, REPORT_PODS_MAX};
use bramble_wire::report::{ContainerReport, ContainerState, Terminated, observed_digest};

use super::*;

fn uids(report: &Report) -> Vec<PodUid> {
    report.pods.iter().map(|pod| pod.uid).collect()
}

#[test]
fn many_pods_are_split_and_only_one_report_is_in_flight() {
    let newest = wanted(1, 10, &[]);
    let count = 2 * REPORT_PODS_MAX as u8 + 3;
    let mut bench = Bench::new(1, None);
    bench.observe((0..count).map(|number| pod(number, Phase::Running)));
    bench.silent();
    let birth = bench.connect();
    bench.welcome(&birth, &newest);
    let mut all = Vec::new();
    for (pods, more) in [(REPORT_PODS_MAX, true), (REPORT_PODS_MAX, true), (3, false)] {
        let report = bench.report();
        assert!(
            !bench.has(|said| matches!(said, Said::Report(_))),
            "one in flight"
        );
        assert_eq!(
            (report.pods.len(), report.more, report.full),
            (pods, more, true)
        );
        all.extend(uids(&report));
        bench.ack(&report, &[]);
    }
    assert_eq!(all, (0..count).map(uid).collect::<Vec<_>>());
    bench.observe((0..count).map(|number| pod(number, Phase::Running)));
    assert!(
        !bench.has(|said| matches!(said, Said::Report(_))),
        "nothing new"
    );
}

#[test]
fn a_report_is_the_difference_from_what_was_acknowledged() {
    let mut bench = Bench::settled(&wanted(1, 10, &[]));
    bench.observe([pod(1, Phase::Pending), pod(2, Phase::Running)]);
    let first = bench.report();
    assert_eq!(uids(&first), [uid(1), uid(2)]);
    // What happens meanwhile is gathered: only its outcome is said.
    bench.observe([pod(1, Phase::Running), pod(2, Phase::Running)]);
    bench.observe([pod(1, Phase::Succeeded), pod(2, Phase::Running)]);
    bench.silent();
    bench.ack(&first, &[]);
    let second = bench.report();
    assert_eq!(second.pods, [pod(1, Phase::Succeeded).1]);
    // The acknowledgement of another report is nothing.
    bench.ack(&first, &[]);
    assert_eq!(bench.session.counters().unasked, 1);
    bench.ack(&second, &[]);
    bench.silent();
}

#[test]
fn an_unacknowledged_report_is_repeated_even_when_all_is_as_before() {
    let mut bench = Bench::settled(&wanted(1, 10, &[]));
    bench.observe([pod(1, Phase::Pending)]);
    bench.settle();
    bench.observe([pod(1, Phase::Running)]);
    let lost = bench.report();
    bench.observe([pod(1, Phase::Pending)]);
    let again = loop {
        bench.wait();
        if bench.has(|said| matches!(said, Said::Report(_))) {
            break bench.report();
        }
    };
    assert!(again.number > lost.number);
    assert_eq!(
        again.pods,
        [pod(1, Phase::Pending).1],
        "the controller may have the other"
    );
    assert!(bench.session.counters().retries > 0);
    bench.ack(&lost, &[]);
    bench.silent();
    bench.ack(&again, &[]);
    bench.silent();
}

#[test]
fn an_ending_is_said_until_the_controller_lets_it_go() {
    let mut bench = Bench::settled(&wanted(1, 10, &[]));
    bench.observe([gone(1)]);
    let report = bench.report();
    assert!(report.pods[0].gone);
    // Acknowledged, but the store still has the pod: it is said again with the next digests.
    bench.ack(&report, &[]);
    bench.silent();
    bench.wait();
    bench.sum();
    let again = bench.report();
    assert_eq!(uids(&again), [uid(1)]);
    bench.ack(&again, &[1]);
    assert_eq!(bench.forget(), [uid(1)]);
    bench.observe([]);
    bench.silent();
}

#[test]
fn an_ending_survives_the_loss_of_the_session() {
    let newest = wanted(1, 10, &[]);
    let mut bench = Bench::settled(&newest);
    bench.observe([gone(1)]);
    bench.report();
    bench.session.handle_disconnected(bench.now);
    let birth = bench.connect();
    bench.welcome(&birth, &newest);
    let report = bench.report();
    assert!(report.full && report.pods[0].gone, "{report:?}");
}

#[test]
fn a_pod_that_the_document_names_is_not_forgotten() {
    let id = ObjectId::Pod(uid(1));
    let with = wanted(1, 10, &[]).with(id, 4, b"pod");
    let mut bench = Bench::settled(&with);
    bench.observe([gone(1), pod(2, Phase::Running)]);
    let report = bench.report();
    // Pod 2 is not gone: nobody may have it forgotten.
    bench.ack(&report, &[1, 2]);
    bench.silent();
    let without = wanted(1, 11, &[]);
    bench.head(&without);
    bench.accept(&without);
    assert_eq!(bench.forget(), [uid(1)]);
}

#[test]
fn both_digests_are_of_what_was_acknowledged() {
    let mut bench = Bench::settled(&wanted(1, 10, &[]));
    bench.observe([pod(1, Phase::Running), gone(2)]);
    let report = bench.report();
    bench.ack(&report, &[2]);
    bench.forget();
    bench.silent();
    bench.wait();
    let running = pod(1, Phase::Running).1.hash();
    assert_eq!(bench.sum().observed, observed_digest([(&uid(1), &running)]));
    bench.silent();
    // Quiet as it is, the digests are compared every quarter of an hour, more or less.
    let waited = bench.wait();
    assert!((450_000..=1_350_000).contains(&waited), "{waited}");
    bench.sum();
}

#[test]
fn any_pods_report_fits_into_a_packet() {
    let mut bench = Bench::settled(&wanted(1, 10, &[]));
    let long = "ä".repeat(5_000);
    let end = Terminated {
        exit_code: 3,
        signal: 0,
        reason: long.clone(),
        message: long.clone(),
        started: UnixMs(0),
        finished: UnixMs(0),
        container_id: long.clone(),
    };
    let container = ContainerReport {
        name: long.clone(),
        state: ContainerState::Terminated(end.clone()),
        last: Some(end),
        restarts: 1,
        ready: false,
        started: false,
        image: long.clone(),
        image_id: long.clone(),
        container_id: long.clone(),
    };
    let (uid, mut report) = gone(1);
    report.message = long.clone();
    report.containers = vec![container; 200];
    bench.observe([(uid, report)]);
    let said = bench.report();
    assert!(said.pods[0].gone);
    assert!(bramble_wire::encode(&said).len() < PACKET_MAX / 4);
    let ContainerState::Terminated(end) = &said.pods[0].containers[0].state else {
        panic!("the ending stays");
    };
    assert_eq!(end.exit_code, 3);
    assert_eq!(bench.session.counters().oversize, 0);
}
