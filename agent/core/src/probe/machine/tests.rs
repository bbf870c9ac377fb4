//! Probes on a virtual clock.

use proptest::prelude::*;

use super::*;

const START_MS: u64 = 100_000;

fn watch(check: Check) -> Watch {
    Watch {
        check,
        initial_delay_ms: 0,
        timeout_ms: 1_000,
        period_ms: 10_000,
        success_threshold: 1,
        failure_threshold: 3,
    }
}

fn tcp() -> Check {
    Check::Tcp {
        host: "10.42.0.2".into(),
        port: 80,
    }
}

fn exec() -> Check {
    Check::Exec(vec!["true".into()])
}

fn target(n: u8) -> Target {
    Target {
        uid: PodUid([n; 16]),
        container: "c".into(),
        life: 1,
        started_boot_ms: START_MS,
        initial: Health {
            hooked: true,
            started: true,
            ready: true,
            failed: None,
        },
        post_start: None,
        startup: None,
        liveness: None,
        readiness: None,
    }
}

fn with(n: u8, startup: bool, liveness: bool, readiness: bool) -> Target {
    let of = |wanted: bool| wanted.then(|| watch(tcp()));
    let mut target = target(n);
    target.initial.started = !startup;
    target.initial.ready = !readiness;
    (target.startup, target.liveness, target.readiness) =
        (of(startup), of(liveness), of(readiness));
    target
}

fn key(n: u8, life: u32) -> Key {
    Key {
        uid: PodUid([n; 16]),
        container: "c".into(),
        life,
    }
}

/// A node's probes, whose tries end at once as the test says.
struct Node {
    probes: Probes,
    now: u64,
    log: Vec<String>,
}

impl Node {
    fn new(targets: Vec<Target>) -> Self {
        let places = Places {
            commands: 2,
            requests: 4,
        };
        let mut node = Self {
            probes: Probes::new(places),
            now: START_MS,
            log: Vec::new(),
        };
        node.set(targets);
        node
    }

    fn set(&mut self, targets: Vec<Target>) {
        self.probes.set(targets, |_| None, self.now);
    }

    /// Until so many seconds after the start; each try ends at once with what `outcome` says.
    fn run(&mut self, until_s: u64, mut outcome: impl FnMut(&Try, u64) -> Outcome) {
        let until = START_MS + until_s * 1000;
        loop {
            while let Some(tried) = self.probes.poll(self.now) {
                let s = (self.now - START_MS) / 1000;
                let outcome = outcome(&tried, s);
                let n = tried.key.uid.0[0];
                self.log
                    .push(format!("{s} {n} {:?} {outcome:?}", tried.role));
                self.probes
                    .handle(&tried.key, tried.role, outcome, self.now);
            }
            match self.probes.next_wake().filter(|at| *at <= until) {
                Some(at) => self.now = self.now.max(at),
                None => {
                    self.now = until;
                    return;
                }
            }
        }
    }

    fn health(&self) -> String {
        let health = self.probes.health(&key(1, 1)).expect("watched");
        let mut said = Vec::new();
        said.extend((!health.hooked).then_some("hook".to_owned()));
        said.extend((!health.started).then_some("starting".to_owned()));
        said.extend((!health.ready).then_some("unready".to_owned()));
        said.extend(health.failed.map(|cause| format!("{cause:?} failed")));
        said.join(", ")
    }
}

fn well(_: &Try, _: u64) -> Outcome {
    Outcome::Success
}

fn badly(_: &Try, _: u64) -> Outcome {
    Outcome::Failure
}

#[test]
fn readiness_is_asked_right_away_and_then_each_period() {
    let mut node = Node::new(vec![with(1, false, false, true)]);
    assert_eq!(node.health(), "unready");
    node.run(25, well);
    assert_eq!(node.health(), "");
    assert_eq!(
        node.log,
        [
            "0 1 Readiness Success",
            "10 1 Readiness Success",
            "20 1 Readiness Success"
        ]
    );
}

#[test]
fn the_initial_delay_counts_from_the_start_of_the_container() {
    let mut target = with(1, false, false, true);
    target.readiness.as_mut().unwrap().initial_delay_ms = 7_000;
    let mut node = Node::new(vec![]);
    node.now += 3_000;
    node.set(vec![target.clone()]);
    node.run(8, well);
    assert_eq!(node.log, ["7 1 Readiness Success"]);
    // Known late, it is asked at once.
    let mut node = Node::new(vec![]);
    node.now += 60_000;
    node.set(vec![target]);
    node.run(61, well);
    assert_eq!(node.log, ["60 1 Readiness Success"]);
}

#[test]
fn thresholds_count_results_in_a_row() {
    let mut target = with(1, false, true, true);
    target.readiness.as_mut().unwrap().success_threshold = 2;
    let mut node = Node::new(vec![target]);
    // Two failures, a success, two failures: no row of three.
    let results = [false, false, true, false, false, true, true];
    let fails = |_: &Try, s: u64| match results[(s / 10) as usize] {
        true => Outcome::Success,
        false => Outcome::Failure,
    };
    node.run(55, fails);
    assert_eq!(node.health(), "unready");
    node.run(65, fails);
    assert_eq!(node.health(), "");
    node.run(89, badly);
    assert_eq!(node.health(), "");
    node.run(90, badly);
    assert_eq!(node.health(), "unready, Liveness failed");
}

#[test]
fn what_could_not_be_tried_counts_for_nothing() {
    let mut node = Node::new(vec![with(1, false, true, false)]);
    node.run(19, badly);
    node.run(100, |_, _| Outcome::Unknown);
    assert_eq!(node.health(), "");
    node.run(110, badly);
    assert_eq!(node.health(), "Liveness failed");
}

#[test]
fn startup_holds_the_others_back_and_then_they_are_asked_at_once() {
    let mut node = Node::new(vec![with(1, true, true, true)]);
    assert_eq!(node.health(), "starting, unready");
    node.run(12, |_, s| match s {
        0 => Outcome::Failure,
        _ => Outcome::Success,
    });
    assert_eq!(
        node.log,
        [
            "0 1 Startup Failure",
            "10 1 Startup Success",
            "10 1 Liveness Success",
            "10 1 Readiness Success"
        ]
    );
    assert_eq!(node.health(), "");
    node.log.clear();
    node.run(29, well);
    assert_eq!(
        node.log,
        ["20 1 Liveness Success", "20 1 Readiness Success"]
    );
}

#[test]
fn a_failed_startup_is_not_asked_again_until_there_is_another_life() {
    let mut node = Node::new(vec![with(1, true, true, true)]);
    node.run(300, badly);
    assert_eq!(node.log.len(), 3, "{:?}", node.log);
    assert_eq!(node.health(), "starting, unready, Startup failed");
    let mut next = with(1, true, true, true);
    next.life = 2;
    next.started_boot_ms = node.now;
    node.set(vec![next]);
    assert!(!node.probes.watches(&key(1, 1)));
    node.log.clear();
    node.run(301, well);
    assert_eq!(node.log.len(), 3, "{:?}", node.log);
}

#[test]
fn a_hook_runs_once_before_any_probe() {
    let mut hooked = with(1, false, true, true);
    hooked.post_start = Some(exec());
    hooked.initial.hooked = false;
    let mut node = Node::new(vec![hooked.clone()]);
    assert_eq!(node.health(), "hook, unready");
    let tried = node.probes.poll(node.now).expect("the hook");
    assert_eq!((tried.role, tried.timeout_ms), (Role::PostStart, None));
    // While it runs nothing else is tried, however often the list comes.
    node.set(vec![hooked.clone()]);
    assert_eq!(node.probes.poll(node.now + 60_000), None);
    node.now += 60_000;
    let now = node.now;
    node.probes
        .handle(&tried.key, tried.role, Outcome::Success, now);
    node.run(60, well);
    assert_eq!(
        node.log,
        ["60 1 Liveness Success", "60 1 Readiness Success"]
    );
    // A hook that fails, or can't be tried, ends the container.
    for bad in [Outcome::Failure, Outcome::Unknown] {
        let mut node = Node::new(vec![hooked.clone()]);
        node.run(60, |_, _| bad);
        assert_eq!(node.log.len(), 1, "{:?}", node.log);
        assert_eq!(node.health(), "hook, unready, PostStart failed");
    }
}

#[test]
fn a_pod_that_is_being_ended_is_asked_for_its_readiness_only() {
    let mut node = Node::new(vec![with(1, true, true, true)]);
    node.run(5, badly);
    let mut leaving = with(1, true, true, true);
    (leaving.startup, leaving.liveness) = (None, None);
    node.set(vec![leaving]);
    node.log.clear();
    node.run(16, well);
    assert_eq!(
        node.log,
        ["5 1 Readiness Success", "15 1 Readiness Success"]
    );
    assert_eq!(node.health(), "");
}

#[test]
fn what_was_known_before_this_agent_holds_until_a_probe_says_otherwise() {
    let known = Health {
        hooked: true,
        started: true,
        ready: true,
        failed: None,
    };
    let mut hooked = with(1, true, true, true);
    hooked.post_start = Some(exec());
    hooked.initial.hooked = false;
    let mut node = Node::new(vec![]);
    node.probes.set(vec![hooked], |_| Some(known), node.now);
    assert_eq!(node.health(), "");
    node.run(15, badly);
    assert_eq!(node.health(), "");
    node.run(25, badly);
    assert_eq!(node.health(), "unready, Liveness failed");
    assert!(!node.log.iter().any(|line| line.contains("Start")));
}

#[test]
fn changes_are_told_once() {
    let mut node = Node::new(vec![with(1, false, false, true)]);
    let changed = node.probes.take_changed();
    assert!(matches!(&changed[..], [(_, health)] if !health.ready));
    node.run(35, well);
    let changed = node.probes.take_changed();
    assert!(matches!(&changed[..], [(_, health)] if health.ready));
    node.run(65, well);
    assert_eq!(node.probes.take_changed(), []);
}

#[test]
fn no_more_at_the_same_time_than_there_are_places() {
    let mut targets: Vec<Target> = (0..20).map(|n| with(n, false, true, false)).collect();
    for (n, target) in targets.iter_mut().enumerate() {
        // One pod.
        (target.uid, target.container) = (PodUid([1; 16]), format!("c{n}"));
    }
    for target in &mut targets[..10] {
        target.liveness = Some(watch(exec()));
    }
    let mut node = Node::new(targets.clone());
    let mut running: Vec<Try> = std::iter::from_fn(|| node.probes.poll(node.now)).collect();
    assert_eq!(running.len(), 6);
    assert_eq!(
        node.probes.next_wake(),
        None,
        "a place has to come free first"
    );
    // A life that goes gives its place back, and its result is dropped.
    let gone = running.remove(0);
    targets.retain(|target| *target.container != *gone.key.container);
    node.set(targets);
    let next = node.probes.poll(node.now).expect("a free place");
    assert_eq!(
        matches!(next.check, Check::Exec(_)),
        matches!(gone.check, Check::Exec(_))
    );
    node.probes
        .handle(&gone.key, gone.role, Outcome::Success, node.now);
    assert_eq!(node.probes.poll(node.now), None);
}

/// Commands of a few pods that never end.
#[test]
fn tries_that_hang_hold_up_no_other_pod() {
    let mut targets: Vec<Target> = (0..50).map(|n| with(n, false, true, true)).collect();
    for target in &mut targets {
        target.liveness = Some(watch(exec()));
        target.readiness = Some(watch(exec()));
    }
    let mut node = Node::new(targets.clone());
    while node.probes.poll(node.now).is_some() {}
    targets.push(with(100, false, true, false));
    targets[50].liveness = Some(watch(exec()));
    node.set(targets);
    node.run(1, well);
    assert_eq!(node.log, ["0 100 Liveness Success"]);
}

#[test]
fn thousands_are_each_asked_in_their_period() {
    let targets: Vec<Target> = (0..4000u32)
        .map(|n| {
            let mut target = with(0, false, true, true);
            target.uid.0[..4].copy_from_slice(&n.to_be_bytes());
            target
        })
        .collect();
    let mut node = Node::new(targets);
    let mut count = 0;
    node.run(59, |_, _| {
        count += 1;
        Outcome::Success
    });
    assert_eq!(count, 4000 * 2 * 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever targets come and go and whatever the probes say: places add up, nothing is tried
    /// twice at once, and what is watched is asked again.
    #[test]
    fn no_place_is_lost(seed in proptest::collection::vec((0u8..6, 0u8..8, any::<bool>(), 0u64..20_000), 1..80)) {
        let mut node = Node::new(vec![]);
        let mut targets: BTreeMap<u8, Target> = BTreeMap::new();
        let mut running: Vec<Try> = Vec::new();
        for (n, what, flag, pause) in seed {
            match what {
                0 => { targets.remove(&n); }
                1 | 2 => {
                    let mut target = with(n, what == 1, flag, true);
                    if flag { target.readiness = Some(watch(exec())); }
                    target.life = 1 + u32::from(targets.get(&n).map_or(0, |old| old.life as u8));
                    target.started_boot_ms = node.now;
                    targets.insert(n, target);
                }
                _ => {
                    if let Some(done) = running.pop() {
                        let outcome = if flag { Outcome::Success } else { Outcome::Failure };
                        node.probes.handle(&done.key, done.role, outcome, node.now);
                    }
                }
            }
            node.set(targets.values().cloned().collect());
            running.retain(|tried| node.probes.watches(&tried.key));
            node.now += pause;
            while let Some(tried) = node.probes.poll(node.now) {
                prop_assert!(!running.iter().any(|r| (&r.key, r.role) == (&tried.key, tried.role)));
                running.push(tried);
            }
            let mut taken: BTreeMap<PodUid, Places> = BTreeMap::new();
            for tried in &running {
                let of = taken.entry(tried.key.uid).or_default();
                match tried.check {
                    Check::Exec(_) => of.commands += 1,
                    _ => of.requests += 1,
                }
            }
            prop_assert!(taken.values().all(|of| of.commands <= 2 && of.requests <= 4));
            prop_assert_eq!(&node.probes.taken, &taken);
        }
        for done in running {
            node.probes.handle(&done.key, done.role, Outcome::Success, node.now);
        }
        node.log.clear();
        let until = (node.now - START_MS) / 1000 + 40;
        node.run(until, well);
        for (n, target) in targets {
            let asked = node.log.iter().filter(|line| line.contains(&format!(" {n} Readiness"))).count();
            // One that has failed before it started is not asked any more.
            let health = node.probes.health(&key(n, target.life)).expect("watched");
            prop_assert!(asked >= 2 || health.failed.is_some(), "{n} was asked {asked} times");
        }
    }
}
