//! Pods that must not run twice, and endings that were forgotten.

use bramble_wire::object::{Pod, PodUid, RestartPolicy};
use bramble_wire::report::{ContainerState, Phase};

use super::toy::{Toy, pod, uid};
use crate::desired::Host;
use crate::memory::{ENDINGS_MAX, Endings};
use crate::observed::Sandbox;
use crate::report::reports;

fn once(n: u8) -> Pod {
    Pod {
        once: true,
        ..pod(n)
    }
}

fn clear(toy: &mut Toy, cleared: bool) {
    toy.document().cleared = cleared;
}

#[test]
fn a_pod_that_must_not_run_twice_waits_until_it_may_start() {
    let mut toy = Toy::new([once(1), pod(2)]);
    assert_eq!(toy.settle(), ["start sandbox p2", "start p2/c#1"]);
    let plan = toy.plan();
    assert!(plan.uncleared && !plan.converged);
    let desired = toy.desired.as_ref();
    let host = Host::default();
    let said = reports(desired, &host, &toy.observed, &toy.memory, &plan.waiting);
    let said = &said[&uid(1)];
    assert_eq!(said.phase, Phase::Pending);
    let state = &said.containers[0].state;
    assert!(
        matches!(state, ContainerState::Waiting { reason, message }
            if reason == "NotCleared" && message.contains("bramble status")),
        "{state:?}"
    );

    clear(&mut toy, true);
    assert_eq!(toy.settle(), ["start sandbox p1", "start p1/c#1"]);
    let plan = toy.plan();
    assert!(!plan.uncleared && plan.converged);
}

#[test]
fn the_permission_is_on_disk_before_the_start_and_holds_when_the_board_is_alone() {
    let mut toy = Toy::new([once(1)]);
    clear(&mut toy, true);
    toy.pass();
    assert!(toy.disk[&uid(1)].cleared);
    toy.settle();
    clear(&mut toy, false);
    toy.power_cut();
    assert_eq!(toy.settle(), ["start sandbox p1", "start p1/c#1"]);
}

#[test]
fn a_reboot_gives_no_permission() {
    let mut toy = Toy::new([once(1)]);
    toy.settle();
    toy.disk = toy.memory.clone();
    toy.power_cut();
    assert_eq!(toy.settle(), [""; 0]);
}

#[test]
fn what_runs_is_not_touched_by_what_nobody_knows() {
    let mut toy = Toy::new([once(1)]);
    clear(&mut toy, true);
    toy.settle();
    clear(&mut toy, false);
    // The memory is lost, not the pod.
    toy.memory.clear();
    toy.disk.clear();
    assert_eq!(toy.settle(), [""; 0]);
    assert!(toy.runs(1, "c") && toy.memory[&uid(1)].cleared);

    // Nor is a pod that has turned into one that must not run twice.
    let mut toy = Toy::new([pod(1)]);
    toy.settle();
    toy.set([once(1)]);
    assert_eq!(toy.settle(), [""; 0]);
    assert!(toy.runs(1, "c"));
}

#[test]
fn what_is_left_of_a_pod_is_no_permission() {
    let mut toy = Toy::new([once(1)]);
    clear(&mut toy, true);
    toy.settle();
    clear(&mut toy, false);
    toy.memory.clear();
    let seen = toy.observed.pods.get_mut(&uid(1)).expect("pod");
    seen.sandbox = Sandbox::Stopped;
    seen.containers.clear();
    assert_eq!(toy.settle(), [""; 0]);
    assert!(toy.plan().uncleared);
}

#[test]
fn a_pod_that_ended_and_was_forgotten_is_not_started_again() {
    for known in [true, false] {
        let mut toy = Toy::new([pod(1)]);
        toy.settle();
        toy.set([]);
        toy.settle();
        toy.memory.get_mut(&uid(1)).expect("gone").acknowledged = true;
        toy.settle();
        assert!(toy.memory.is_empty() && toy.endings.contains(&uid(1)));
        if !known {
            toy.endings = Default::default();
            toy.started.clear();
        }

        // A controller that lost its memory names it again.
        toy.set([pod(1)]);
        let again = toy.settle();
        assert_eq!(again.is_empty(), known, "{again:?}");
        let desired = toy.desired.as_ref();
        let host = Host::default();
        let said = reports(desired, &host, &toy.observed, &toy.memory, &[]);
        let said = &said[&uid(1)];
        if known {
            assert_eq!((said.phase, &*said.reason), (Phase::Failed, "EndedBefore"));
            assert!(toy.plan().converged);
        }
    }
}

#[test]
fn the_oldest_ending_gives_way() {
    let uid = |n: usize| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(n as u64).to_le_bytes());
        PodUid(bytes)
    };
    let mut endings = Endings::default();
    for n in (0..=ENDINGS_MAX).chain([5]) {
        endings.note(uid(n));
    }
    assert_eq!(endings.iter().count(), ENDINGS_MAX);
    assert!(!endings.contains(&uid(0)) && endings.contains(&uid(1)));
}

/// A pod that is not started again after its end, on a node that has forgotten.
fn job(n: u8) -> Pod {
    Pod {
        restart_policy: RestartPolicy::OnFailure,
        ..pod(n)
    }
}

fn phase(toy: &Toy) -> Phase {
    let desired = toy.desired.as_ref();
    let host = Host::default();
    reports(desired, &host, &toy.observed, &toy.memory, &[])[&uid(1)].phase
}

#[test]
fn where_the_memory_has_gaps_what_may_have_ended_is_not_started() {
    let mut toy = Toy::new([job(1), pod(2)]);
    toy.document().doubted = true;
    let did = toy.settle();
    assert_eq!(did, ["start sandbox p2", "start p2/c#1"]);
    let verdict = toy.memory[&uid(1)].verdict.as_ref().unwrap();
    assert_eq!(verdict.reason, "StateLost");
    assert_eq!(phase(&toy), Phase::Failed);
    // It stays so when the doubt is over, and others begin as ever.
    toy.document().doubted = false;
    toy.document().pods.insert(uid(3), job(3));
    assert_eq!(toy.settle(), ["start sandbox p3", "start p3/c#1"]);
}

#[test]
fn where_the_memory_has_gaps_what_runs_goes_on() {
    let mut toy = Toy::new([job(1)]);
    toy.settle();
    toy.memory.clear();
    toy.document().doubted = true;
    assert_eq!(toy.settle(), [""; 0]);
    assert!(toy.memory[&uid(1)].verdict.is_none());
    assert_eq!(phase(&toy), Phase::Running);
}
