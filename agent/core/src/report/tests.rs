use bramble_wire::object::{Container, RestartPolicy};
use bramble_wire::report::UnixMs;

use super::*;
use crate::memory::Ending;
use crate::observed::Sandbox;
use crate::time::Moment;

/// One container each: `-` never begun, `r` running, a number: ended with it; then what the kubelet
/// calls the phase.
fn check(policy: RestartPolicy, containers: &[&str], change: impl FnOnce(&mut PodMemory)) -> Phase {
    let mut pod = Pod {
        restart_policy: policy,
        ..Pod::default()
    };
    let mut known = PodMemory {
        restart_policy: policy,
        ..PodMemory::default()
    };
    let mut seen = ObservedPod {
        sandbox: Sandbox::Ready,
        containers: BTreeMap::new(),
        files: None,
    };
    for (i, state) in containers.iter().enumerate() {
        let name = format!("c{i}");
        pod.containers.push(Container {
            name: name.clone(),
            ..Container::default()
        });
        let mut memory = ContainerMemory::default();
        if *state != "-" {
            memory.begin("sha256:1".into());
        }
        if let Ok(code) = state.parse() {
            memory.life = Life::Ended(ended(code));
        }
        if *state == "r" {
            let run = Run::Running {
                started: Moment::new(1, 1),
                stopping: None,
                health: None,
            };
            let running = ObservedContainer {
                life: 1,
                id: "id".into(),
                image: "i".into(),
                image_id: "sha256:1".into(),
                run,
            };
            seen.containers.insert(name.clone(), running);
        }
        known.containers.insert(name, memory);
    }
    change(&mut known);
    let host = Host::default();
    pod_report(
        PodUid::default(),
        Some(&pod),
        &host,
        &known,
        Some(&seen),
        &[],
    )
    .phase
}

fn ended(exit_code: i32) -> Terminated {
    Terminated {
        exit_code,
        signal: 0,
        reason: String::new(),
        message: String::new(),
        started: UnixMs(1),
        finished: UnixMs(2),
        container_id: "id".into(),
    }
}

#[test]
fn phases_are_the_kubelets() {
    use Phase::{Failed, Pending, Running, Succeeded};
    use RestartPolicy::{Always, Never, OnFailure};
    let cases: [(RestartPolicy, &[&str], Phase); 14] = [
        (Always, &["-"], Pending),
        (Always, &["r"], Running),
        (Always, &["r", "-"], Pending),
        (Always, &["r", "1"], Running),
        (Always, &["0"], Running),
        (Always, &["1", "0"], Running),
        (OnFailure, &["0", "0"], Succeeded),
        (OnFailure, &["0", "1"], Running),
        (OnFailure, &["r", "0"], Running),
        (Never, &["0"], Succeeded),
        (Never, &["1"], Failed),
        (Never, &["0", "1"], Failed),
        (Never, &["r", "1"], Running),
        (Never, &["1", "-"], Pending),
    ];
    for (policy, containers, expected) in cases {
        let phase = check(policy, containers, |_| {});
        assert_eq!(phase, expected, "{policy:?} {containers:?}");
    }
}

#[test]
fn an_ended_pod_is_terminal_whatever_its_policy() {
    let end = |known: &mut PodMemory| {
        known.ending = Some(Ending {
            grace_s: 1,
            since_boot_ms: 0,
        })
    };
    let always = RestartPolicy::Always;
    assert_eq!(check(always, &["0"], end), Phase::Succeeded);
    assert_eq!(check(always, &["143"], end), Phase::Failed);
    assert_eq!(check(always, &["r"], end), Phase::Running);
    let gone = |known: &mut PodMemory| known.gone = true;
    assert_eq!(check(always, &["-"], gone), Phase::Failed);
}

#[test]
fn a_back_off_shows_the_end_before_it() {
    let mut known = PodMemory::default();
    let mut container = ContainerMemory::default();
    container.begin("sha256:1".into());
    container.life = Life::Ended(ended(1));
    container.begin("sha256:1".into());
    container.life = Life::Ended(ended(2));
    known.containers.insert("c".into(), container);
    let waiting = Waiting {
        uid: PodUid::default(),
        container: Some("c".into()),
        reason: "CrashLoopBackOff".into(),
        message: "x".repeat(5000),
    };
    let host = Host::default();
    let report = pod_report(PodUid::default(), None, &host, &known, None, &[&waiting]);
    let container = &report.containers[0];
    let ContainerState::Waiting { reason, message } = &container.state else {
        panic!("{container:?}");
    };
    assert_eq!(
        (reason.as_str(), message.len()),
        ("CrashLoopBackOff", TEXT_MAX)
    );
    assert_eq!(container.last.as_ref().expect("an end").exit_code, 2);
    assert_eq!(container.restarts, 1);
    assert_eq!(report.phase, Phase::Running);
}
