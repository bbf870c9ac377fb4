//! Init containers, sidecars, debug containers, hooks, probes, deadlines.

use bramble_wire::object::RestartPolicy::{Always, Never, OnFailure};
use bramble_wire::object::{Container, Handler, Pod, PortRef, Probe};
use bramble_wire::report::{ContainerState, Phase, PodReport};

use super::toy::*;
use crate::observed::{Cause, Verdict};
use crate::report;

fn init(name: &str) -> Container {
    container(name)
}

fn sidecar(name: &str) -> Container {
    Container {
        sidecar: true,
        ..container(name)
    }
}

/// Pod 1 with these init containers before its container `c`.
fn with_inits(inits: impl IntoIterator<Item = Container>) -> Pod {
    Pod {
        init_containers: inits.into_iter().collect(),
        ..pod(1)
    }
}

fn probe() -> Probe {
    Probe {
        handler: Handler::Tcp {
            host: String::new(),
            port: PortRef::Number(80),
        },
        initial_delay_s: 0,
        timeout_s: 1,
        period_s: 10,
        success_threshold: 1,
        failure_threshold: 3,
        termination_grace_s: None,
    }
}

fn hook() -> Handler {
    Handler::Exec(vec!["true".into()])
}

/// Reasons of containers that wait.
fn waits(toy: &Toy) -> Vec<String> {
    let plan = toy.plan();
    let each = plan.waiting.iter().map(|waiting| {
        let name = waiting.container.as_deref().unwrap_or("-");
        format!("{name}: {}", waiting.reason)
    });
    each.collect()
}

fn report(toy: &Toy) -> PodReport {
    let waiting = toy.plan().waiting;
    let desired = toy.desired.as_ref();
    let host = crate::desired::Host::default();
    report::reports(desired, &host, &toy.observed, &toy.memory, &waiting)[&uid(1)].clone()
}

#[test]
fn init_containers_run_one_after_the_other_before_the_others() {
    let mut toy = Toy::new([with_inits([init("a"), init("b")])]);
    assert_eq!(toy.settle(), ["start sandbox p1", "start p1/a#1"]);
    assert_eq!(waits(&toy), ["b: PodInitializing", "c: PodInitializing"]);
    assert_eq!(report(&toy).phase, Phase::Pending);
    toy.exit(1, "a", 0);
    assert_eq!(toy.settle(), ["start p1/b#1"]);
    toy.exit(1, "b", 0);
    assert_eq!(toy.settle(), ["start p1/c#1"]);
    assert!(toy.plan().converged);
    let report = report(&toy);
    assert_eq!(report.phase, Phase::Running);
    assert!(report.init_containers.iter().all(|init| init.ready));
    // What has been done is not done again when a container ends.
    toy.advance(1_000);
    toy.exit(1, "c", 1);
    assert_eq!(toy.settle(), ["start p1/c#2"]);
}

#[test]
fn a_failing_init_container_is_tried_again_with_back_off() {
    for policy in [Always, OnFailure] {
        let mut toy = Toy::new([with_policy(with_inits([init("a")]), policy)]);
        toy.settle();
        toy.exit(1, "a", 1);
        assert_eq!(toy.settle(), ["start p1/a#2"]);
        toy.exit(1, "a", 1);
        assert_eq!(toy.settle(), [""; 0]);
        assert_eq!(waits(&toy), ["a: CrashLoopBackOff", "c: PodInitializing"]);
        assert_eq!(report(&toy).phase, Phase::Pending);
        toy.advance(10_000);
        assert_eq!(toy.settle(), ["start p1/a#3"]);
        toy.exit(1, "a", 0);
        assert_eq!(toy.settle(), ["start p1/c#1"]);
    }
}

#[test]
fn a_failed_init_container_ends_a_pod_that_never_restarts_anything() {
    let mut toy = Toy::new([with_policy(
        with_inits([sidecar("s"), init("a"), init("b")]),
        Never,
    )]);
    toy.settle();
    toy.exit(1, "a", 3);
    assert_eq!(toy.settle(), ["stop p1/s#1 within 30", "stop sandbox p1"]);
    let report = report(&toy);
    assert_eq!(report.phase, Phase::Failed);
    assert!(!toy.memory[&uid(1)].holds_address);
    toy.power_cut();
    assert_eq!(toy.settle(), [""; 0]);
}

#[test]
fn init_containers_run_again_after_a_reboot() {
    let mut toy = Toy::new([with_inits([init("a"), init("b")])]);
    toy.settle();
    toy.exit(1, "a", 0);
    toy.settle();
    toy.exit(1, "b", 0);
    toy.settle();
    toy.disk = toy.memory.clone();
    toy.power_cut();
    toy.advance(600_000);
    assert_eq!(toy.settle(), ["start sandbox p1", "start p1/a#2"]);
    assert_eq!(waits(&toy), ["b: PodInitializing", "c: PodInitializing"]);
    toy.exit(1, "a", 0);
    toy.settle();
    toy.exit(1, "b", 0);
    assert_eq!(toy.settle(), ["start p1/c#2"]);
}

#[test]
fn the_next_begins_when_a_sidecar_has_started() {
    let mut slow = sidecar("s");
    slow.startup = Some(probe());
    slow.post_start = Some(hook());
    let mut toy = Toy::new([with_inits([slow, init("a")])]);
    assert_eq!(toy.settle(), ["start sandbox p1", "start p1/s#1"]);
    assert_eq!(waits(&toy), ["a: PodInitializing", "c: PodInitializing"]);
    toy.says(1, "s", |health| health.hooked = true);
    assert_eq!(toy.settle(), [""; 0]);
    toy.says(1, "s", |health| health.started = true);
    assert_eq!(toy.settle(), ["start p1/a#1"]);
    // While the next one runs it may come and go.
    toy.advance(1_000);
    toy.exit(1, "s", 0);
    assert_eq!(toy.settle(), ["start p1/s#2"]);
    toy.exit(1, "a", 0);
    assert_eq!(toy.settle(), ["start p1/c#1"]);
    assert_eq!(report(&toy).phase, Phase::Running);
}

#[test]
fn sidecars_restart_always_and_keep_no_pod_from_completing() {
    let inits = [sidecar("s"), sidecar("t")];
    let mut toy = Toy::new([with_policy(with_inits(inits), Never)]);
    assert_eq!(
        toy.settle(),
        [
            "start sandbox p1",
            "start p1/s#1",
            "start p1/t#1",
            "start p1/c#1"
        ]
    );
    toy.exit(1, "s", 0);
    assert_eq!(toy.settle(), ["start p1/s#2"]);
    assert_eq!(report(&toy).phase, Phase::Running);
    // The last to come goes first, and the pod has ended when all have.
    toy.stubborn = true;
    toy.exit(1, "c", 0);
    assert_eq!(
        toy.settle(),
        ["stop p1/s#2 within 30 when its turn comes, stop p1/t#1 within 30"]
    );
    assert_eq!(report(&toy).phase, Phase::Running);
    toy.advance(4_000);
    toy.exit(1, "t", 0);
    assert_eq!(toy.settle(), ["stop p1/s#2 within 26"]);
    toy.exit(1, "s", 137);
    assert_eq!(toy.settle(), ["stop sandbox p1"]);
    assert_eq!(report(&toy).phase, Phase::Succeeded);
}

#[test]
fn a_deleted_pod_ends_its_sidecars_after_the_others_within_one_grace() {
    let mut with_hook = sidecar("s");
    with_hook.pre_stop = Some(hook());
    let mut main = with_inits([with_hook, sidecar("t")]);
    main.containers[0].pre_stop = Some(hook());
    let mut toy = Toy::new([main.clone()]);
    toy.settle();
    toy.stubborn = true;
    toy.set([stopping(main.clone(), 10)]);
    // Hooks run at once; signals wait for their turn.
    let all = "stop p1/c#1 within 10 after its hook, \
               stop p1/s#1 within 10 after its hook when its turn comes, \
               stop p1/t#1 within 10 when its turn comes";
    assert_eq!(toy.settle(), [all]);
    let last = toy.now.boot_ms + 10_000;
    assert_eq!(toy.plan().next_wake, Some(last));
    toy.advance(3_000);
    toy.exit(1, "c", 143);
    assert_eq!(toy.settle(), ["stop p1/t#1 within 7"]);
    // The agent is killed and comes back: what was told is told again, in what is left.
    for seen in toy
        .observed
        .pods
        .get_mut(&uid(1))
        .unwrap()
        .containers
        .values_mut()
    {
        if let crate::observed::Run::Running { stopping, .. } = &mut seen.run {
            *stopping = None;
        }
    }
    let again = "stop p1/s#1 within 7 after its hook when its turn comes, stop p1/t#1 within 7";
    assert_eq!(toy.settle(), [again]);
    // The grace is over: whoever waits for its turn has it.
    toy.advance(7_000);
    assert_eq!(toy.settle(), ["stop p1/s#1 within 2"]);
    toy.exit(1, "s", 137);
    toy.exit(1, "t", 137);
    assert_eq!(toy.settle(), ["remove p1"]);
    assert!(toy.memory[&uid(1)].gone);
}

#[test]
fn a_debug_container_starts_once_and_its_pod_does_not_care() {
    let mut toy = Toy::new([with_policy(pod(1), OnFailure)]);
    toy.settle();
    let mut debugged = with_policy(pod(1), OnFailure);
    let mut debug = container("d");
    debug.target = Some("c".into());
    debugged.ephemeral_containers.push(debug);
    toy.set([debugged]);
    assert_eq!(toy.settle(), ["start p1/d#1"]);
    toy.exit(1, "d", 1);
    assert_eq!(toy.settle(), [""; 0]);
    let said = report(&toy);
    assert_eq!(said.phase, Phase::Running);
    assert!(matches!(
        said.ephemeral_containers[0].state,
        ContainerState::Terminated(_)
    ));
    toy.power_cut();
    toy.advance(600_000);
    assert_eq!(toy.settle(), ["start sandbox p1", "start p1/c#2"]);
    toy.exit(1, "c", 0);
    assert_eq!(toy.settle(), ["stop sandbox p1"]);
    assert_eq!(report(&toy).phase, Phase::Succeeded);
}

#[test]
fn a_failed_probe_ends_the_container_with_its_own_grace_and_it_starts_again() {
    for (policy, cause, again) in [
        (Always, Cause::Liveness, true),
        (OnFailure, Cause::Startup, true),
        (Never, Cause::Liveness, false),
    ] {
        let mut probed = with_policy(pod(1), policy);
        let mut liveness = probe();
        liveness.termination_grace_s = Some(7);
        probed.containers[0].startup = Some(liveness.clone());
        probed.containers[0].liveness = Some(liveness);
        probed.containers[0].pre_stop = Some(hook());
        let mut toy = Toy::new([probed]);
        toy.settle();
        toy.advance(60_000);
        toy.stubborn = true;
        toy.says(1, "c", |health| health.failed = Some(cause));
        assert_eq!(toy.settle(), ["stop p1/c#1 within 7 after its hook"]);
        toy.stubborn = false;
        // It ends well when it is told to, and is started again all the same.
        toy.exit(1, "c", 0);
        let next = toy.settle();
        assert_eq!(
            next,
            [if again {
                "start p1/c#2"
            } else {
                "stop sandbox p1"
            }]
        );
        assert_eq!(report(&toy).containers[0].restarts, u32::from(again));
    }
}

#[test]
fn killing_says_why() {
    let mut probed = pod(1);
    probed.containers[0].liveness = Some(probe());
    let cases = [
        (
            Always,
            Cause::Liveness,
            "Container c failed liveness probe, will be restarted",
        ),
        (Never, Cause::Liveness, "Container c failed liveness probe"),
        (
            Always,
            Cause::Startup,
            "Container c failed startup probe, will be restarted",
        ),
        (Always, Cause::PostStart, "FailedPostStartHook"),
    ];
    for (policy, cause, expected) in cases {
        let mut toy = Toy::new([with_policy(probed.clone(), policy)]);
        toy.settle();
        toy.says(1, "c", |health| health.failed = Some(cause));
        let plan = toy.plan();
        let [crate::plan::Action::StopContainers { containers, .. }] = &plan.actions[..] else {
            panic!("{plan:?}");
        };
        assert_eq!(containers[0].why, expected);
    }
    let mut toy = Toy::new([probed.clone()]);
    toy.settle();
    toy.set([stopping(probed, 5)]);
    let plan = toy.plan();
    let [crate::plan::Action::StopContainers { containers, .. }] = &plan.actions[..] else {
        panic!("{plan:?}");
    };
    assert_eq!(containers[0].why, "Stopping container c");
}

#[test]
fn a_failed_hook_ends_the_container_as_if_it_had_failed_itself() {
    let mut hooked = with_policy(pod(1), Never);
    hooked.containers[0].post_start = Some(hook());
    let mut toy = Toy::new([hooked]);
    toy.settle();
    assert!(!report(&toy).containers[0].started);
    toy.says(1, "c", |health| health.failed = Some(Cause::PostStart));
    assert_eq!(toy.settle(), ["stop p1/c#1 within 30", "stop sandbox p1"]);
    assert_eq!(report(&toy).phase, Phase::Failed);
}

#[test]
fn readiness_and_start_up_are_said_as_they_are() {
    let mut probed = pod(1);
    probed.containers[0].startup = Some(probe());
    probed.containers[0].readiness = Some(probe());
    let mut toy = Toy::new([probed]);
    toy.settle();
    let said = |toy: &Toy| {
        let report = report(toy);
        (report.containers[0].started, report.containers[0].ready)
    };
    assert_eq!(said(&toy), (false, false));
    toy.says(1, "c", |health| health.ready = true);
    assert_eq!(said(&toy), (false, false));
    toy.says(1, "c", |health| health.started = true);
    assert_eq!(said(&toy), (true, true));
    toy.says(1, "c", |health| health.ready = false);
    assert_eq!(said(&toy), (true, false));
    // That it is not ready is no reason to do anything.
    assert!(toy.plan().converged);
}

#[test]
fn only_what_runs_is_watched_and_while_a_pod_ends_only_its_readiness() {
    let mut probed = pod(1);
    probed.containers[0].startup = Some(probe());
    probed.containers[0].liveness = Some(probe());
    probed.containers[0].readiness = Some(probe());
    probed.containers.push(container("d"));
    let mut toy = Toy::new([probed.clone()]);
    assert!(toy.plan().watch.is_empty());
    toy.settle();
    let watch = toy.plan().watch;
    assert_eq!(watch.len(), 1, "{watch:?}");
    assert!(watch[0].startup.is_some() && watch[0].liveness.is_some());
    let address = toy.memory[&uid(1)].address.unwrap();
    let host = address.map(|byte| byte.to_string()).join(".");
    let expected = crate::probe::Check::Tcp { host, port: 80 };
    assert_eq!(watch[0].readiness.as_ref().unwrap().check, expected);
    toy.stubborn = true;
    toy.set([stopping(probed, 5)]);
    toy.settle();
    let watch = toy.plan().watch;
    assert!(watch[0].startup.is_none() && watch[0].liveness.is_none());
    assert!(watch[0].readiness.is_some());
    toy.exit(1, "c", 0);
    assert!(toy.plan().watch.is_empty());
}

#[test]
fn a_pod_over_its_deadline_fails_and_stays_for_its_logs() {
    let mut limited = pod(1);
    limited.active_deadline_s = Some(60);
    let mut toy = Toy::new([limited]);
    let due = toy.now.boot_ms + 60_000;
    toy.settle();
    assert_eq!(toy.plan().next_wake, Some(due));
    toy.advance(59_999);
    assert_eq!(toy.settle(), [""; 0]);
    toy.advance(1);
    assert_eq!(toy.settle(), ["stop p1/c#1 within 30", "stop sandbox p1"]);
    let said = report(&toy);
    assert_eq!(said.phase, Phase::Failed);
    assert_eq!(
        (said.reason.as_str(), said.message.as_str()),
        (
            "DeadlineExceeded",
            "Pod was active on the node longer than the specified deadline"
        )
    );
    // It is on disk before anything ends, and holds after a reboot.
    toy.power_cut();
    assert_eq!(toy.settle(), [""; 0]);
    assert_eq!(report(&toy).phase, Phase::Failed);
}

#[test]
fn an_evicted_pod_fails_with_the_grace_that_it_is_given() {
    let mut toy = Toy::new([pod(1), pod(2)]);
    toy.settle();
    let verdict = Verdict {
        reason: "Evicted".into(),
        message: "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ".into(),
        grace_s: Some(1),
    };
    toy.observed.evicted.insert(uid(1), verdict.clone());
    assert_eq!(toy.settle(), ["stop p1/c#1 within 1", "stop sandbox p1"]);
    let said = report(&toy);
    assert_eq!((said.phase, said.reason), (Phase::Failed, verdict.reason));
    toy.observed.evicted.clear();
    assert_eq!(toy.settle(), [""; 0]);
    assert!(toy.runs(2, "c"));
}
