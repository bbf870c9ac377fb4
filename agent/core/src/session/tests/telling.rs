//! Events.

use bramble_wire::limits::REPORT_EVENTS_MAX;
use bramble_wire::report::Amounts;

use super::*;

fn event(number: u8, message: &str) -> PodEvent {
    PodEvent {
        uid: uid(number),
        container: "c".into(),
        warning: true,
        reason: "Unhealthy".into(),
        message: message.into(),
        at: UnixMs(i64::from(number)),
        count: 1,
    }
}

fn messages(report: &Report) -> Vec<&str> {
    report
        .events
        .iter()
        .map(|event| event.message.as_str())
        .collect()
}

impl Bench {
    fn tell(&mut self, event: PodEvent) {
        self.session.handle_event(event, self.now);
    }
}

#[test]
fn events_gather_and_are_told_once() {
    let mut bench = Bench::settled(&wanted(1, 10, &[]));
    for message in ["a", "b", "a"] {
        bench.tell(event(1, message));
    }
    bench.silent();
    assert_eq!(bench.wait(), TELL_GATHER_MS);
    let report = bench.report();
    assert_eq!(messages(&report), ["a", "b"]);
    assert_eq!(report.events[0].count, 2);
    // What happens while it is out is another event, with the next report.
    bench.tell(event(1, "a"));
    bench.now = bench.now + TELL_GATHER_MS;
    bench.silent();
    bench.ack(&report, &[]);
    let next = bench.report();
    assert_eq!((messages(&next), next.events[0].count), (vec!["a"], 1));
    assert_eq!(next.first_event, report.first_event + 2);
    bench.ack(&next, &[]);
    bench.silent();
    assert!(bench.wait() > 2 * TELL_GATHER_MS, "nothing more to tell");
}

#[test]
fn a_changed_pod_takes_them_along_and_a_repeated_report_says_which_they_were() {
    let mut bench = Bench::settled(&wanted(1, 10, &[]));
    bench.tell(event(1, "a"));
    bench.observe([pod(1, Phase::Running)]);
    let lost = bench.report();
    assert_eq!(messages(&lost), ["a"]);
    bench.tell(event(1, "a"));
    bench.wait();
    let again = bench.report();
    assert_eq!(
        (again.first_event, messages(&again)),
        (lost.first_event, vec!["a", "a"])
    );
    bench.ack(&again, &[]);
    bench.silent();
}

#[test]
fn the_newest_wait_for_a_controller() {
    let newest = wanted(1, 10, &[]);
    let mut bench = Bench::new(1, None);
    let count = REPORT_EVENTS_MAX + 5;
    for n in 0..count {
        bench.tell(event(1, &n.to_string()));
    }
    assert_eq!(bench.session.next_wake(), None);
    let birth = bench.connect();
    bench.welcome(&birth, &newest);
    let report = bench.report();
    let expected: Vec<_> = (5..count).map(|n| n.to_string()).collect();
    assert_eq!(messages(&report), expected);
    assert_eq!(report.first_event, 5);
    // Those that are dropped while they are out do not come back.
    for n in 0..3 {
        bench.tell(event(2, &n.to_string()));
    }
    bench.ack(&report, &[]);
    let rest = bench.wait_for_report();
    assert_eq!(
        (rest.first_event, messages(&rest)),
        (count as u64, vec!["0", "1", "2"])
    );
}

#[test]
fn long_events_are_split() {
    let mut bench = Bench::settled(&wanted(1, 10, &[]));
    for n in 0..20 {
        bench.tell(event(n, &"x".repeat(1000)));
    }
    let first = bench.wait_for_report();
    assert!((10..20).contains(&first.events.len()));
    bench.ack(&first, &[]);
    let second = bench.report();
    assert_eq!(first.events.len() + second.events.len(), 20);
}

impl Bench {
    #[track_caller]
    fn wait_for_report(&mut self) -> Report {
        while !self.has(|said| matches!(said, Said::Report(_))) {
            self.wait();
        }
        self.report()
    }
}

fn usage(cpu_nano: u64) -> Usage {
    let amounts = Amounts {
        cpu_nano,
        memory_bytes: 1 << 20,
    };
    Usage {
        node: amounts,
        ..Usage::default()
    }
}

#[test]
fn usage_is_told_when_it_means_something_and_again_to_a_new_controller() {
    let newest = wanted(1, 10, &[]);
    let mut bench = Bench::new(1, None);
    bench.session.handle_usage(usage(1_000_000_000), bench.now);
    bench.silent();
    let birth = bench.connect();
    bench.welcome(&birth, &newest);
    let first = bench.report();
    assert_eq!(first.usage, Some(usage(1_000_000_000)));
    // While that is out, and after it, only what differs enough is news; the newest counts.
    bench.session.handle_usage(usage(1_900_000_000), bench.now);
    bench.session.handle_usage(usage(1_010_000_000), bench.now);
    bench.ack(&first, &[]);
    bench.accept(&newest);
    bench.settle();
    bench.session.handle_usage(usage(2_000_000_000), bench.now);
    let second = bench.report();
    assert_eq!(second.usage, Some(usage(2_000_000_000)));
    assert!(second.pods.is_empty() && second.facts.is_none());
    bench.session.handle_usage(usage(4_000_000_000), bench.now);
    bench.silent();
    bench.ack(&second, &[]);
    let third = bench.report();
    assert_eq!(third.usage, Some(usage(4_000_000_000)));
    bench.session.handle_disconnected(bench.now);
    let birth = bench.connect();
    bench.welcome(&birth, &newest);
    assert_eq!(bench.report().usage, Some(usage(4_000_000_000)));
}
