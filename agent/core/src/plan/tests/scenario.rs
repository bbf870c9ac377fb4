//! Scenarios, one story each.

mod failures;

use std::collections::BTreeMap;

use bramble_wire::object::RestartPolicy::{Never, OnFailure};
use bramble_wire::object::{
    KeyFiles, Mount, ObjectName, PullPolicy, SecretData, Volume, VolumeSource,
};

use super::toy::*;
use crate::memory::Life;
use crate::observed::{ImageState, ObservedContainer, ObservedPod, Run, Sandbox, Step};
use crate::time::Moment;

#[track_caller]
fn check(toy: &mut Toy, expected: &[&str]) {
    assert_eq!(toy.pass(), expected);
}

#[test]
fn a_pod_comes_up_step_by_step() {
    let mut toy = Toy::new([pod(1)]);
    check(
        &mut toy,
        &[
            "remember p1 (Hard)",
            "start sandbox p1",
            "p1/c waits: ContainerCreating",
        ],
    );
    check(&mut toy, &["remember p1 c#1 (Soon)", "start p1/c#1"]);
    check(&mut toy, &["converged"]);
}

#[test]
fn without_a_document_nothing_is_touched() {
    let mut toy = Toy::new([pod(1)]);
    toy.settle();
    let document = toy.desired.take();
    check(&mut toy, &[]);
    toy.desired = document;
    check(&mut toy, &["converged"]);
}

#[test]
fn restarts_are_delayed_as_in_kubernetes() {
    let mut toy = Toy::new([pod(1)]);
    toy.settle();
    toy.advance(1_000);
    toy.exit(1, "c", 1);
    // The first restart is immediate.
    check(&mut toy, &["remember p1 c#2 (Ride)", "start p1/c#2"]);
    let pod = "pod=p1_default(01010101-0101-0101-0101-010101010101)";
    for (life, delay, text) in [
        (3, 10_000, "10s"),
        (4, 20_000, "20s"),
        (5, 40_000, "40s"),
        (6, 80_000, "1m20s"),
        (7, 160_000, "2m40s"),
        (8, 300_000, "5m0s"),
        (9, 300_000, "5m0s"),
    ] {
        toy.advance(1_000);
        toy.exit(1, "c", 1);
        let wait = format!(
            "p1/c waits: CrashLoopBackOff back-off {text} restarting failed container=c {pod}"
        );
        let wake = format!("wake {}", toy.now.boot_ms + delay);
        let record = format!("remember p1 c#{}=1 Error (Ride)", life - 1);
        check(&mut toy, &[&record, &wait, &wake]);
        toy.advance(delay - 1);
        check(&mut toy, &[&wait, &wake, "converged"]);
        toy.advance(1);
        let record = format!("remember p1 c#{life} (Ride)");
        check(&mut toy, &[&record, &format!("start p1/c#{life}")]);
    }
    // After ten good minutes it starts again from nothing.
    toy.advance(600_000);
    toy.exit(1, "c", 1);
    assert_eq!(toy.settle(), ["start p1/c#10"]);
    toy.exit(1, "c", 1);
    toy.settle();
    let due = toy.now.boot_ms + 10_000;
    assert_eq!(toy.plan().next_wake, Some(due));
}

#[test]
fn an_end_for_good_is_on_disk_before_the_sandbox_goes_and_the_address_after() {
    let mut toy = Toy::new([with_policy(pod(1), Never)]);
    check(
        &mut toy,
        &[
            "remember p1 (Hard)",
            "start sandbox p1",
            "p1/c waits: ContainerCreating",
        ],
    );
    // It must not run twice, so that it ran is on disk before it runs.
    check(&mut toy, &["remember p1 c#1 (Hard)", "start p1/c#1"]);
    toy.exit(1, "c", 3);
    check(
        &mut toy,
        &["remember p1 c#1=3 Error (Hard)", "stop sandbox p1"],
    );
    assert!(toy.memory[&uid(1)].holds_address);
    check(&mut toy, &["remember p1 c#1=3 Error (Hard)"]);
    assert!(!toy.memory[&uid(1)].holds_address);
    check(&mut toy, &["converged"]);
    toy.power_cut();
    check(&mut toy, &["converged"]);
}

#[test]
fn on_failure_restarts_failures_only() {
    let mut toy = Toy::new([with_policy(pod(1), OnFailure)]);
    toy.settle();
    toy.exit(1, "c", 1);
    assert_eq!(toy.settle(), ["start p1/c#2"]);
    toy.exit(1, "c", 0);
    assert_eq!(toy.settle(), ["stop sandbox p1"]);
    assert!(toy.plan().converged);
}

#[test]
fn a_deleted_pod_is_ended_removed_and_then_said_to_be_gone() {
    let mut toy = Toy::new([pod(1)]);
    toy.settle();
    toy.set([stopping(pod(1), 5)]);
    check(
        &mut toy,
        &["remember p1 ending=5 c#1 (Hard)", "stop p1/c#1 within 5"],
    );
    check(
        &mut toy,
        &["remember p1 ending=5 c#1=143 Error (Hard)", "remove p1"],
    );
    assert!(toy.memory[&uid(1)].holds_address);
    check(
        &mut toy,
        &["remember p1 ending=5 gone c#1=143 Error (Hard)"],
    );
    assert!(!toy.memory[&uid(1)].holds_address);
    check(&mut toy, &["converged"]);
    // Forgotten only when the controller has, and the document does not name it.
    toy.memory.get_mut(&uid(1)).expect("known").acknowledged = true;
    check(&mut toy, &["converged"]);
    toy.set([]);
    check(&mut toy, &["forget p1"]);
    check(&mut toy, &["converged"]);
}

#[test]
fn absence_stops_with_the_pods_own_grace() {
    let mut toy = Toy::new([pod(1), pod(2)]);
    toy.settle();
    toy.set([pod(2)]);
    check(
        &mut toy,
        &["remember p1 ending=30 c#1 (Hard)", "stop p1/c#1 within 30"],
    );
    assert_eq!(toy.settle(), ["remove p1"]);
}

#[test]
fn ending_is_one_way() {
    let mut toy = Toy::new([pod(1)]);
    toy.settle();
    toy.set([stopping(pod(1), 5)]);
    toy.settle();
    toy.set([pod(1)]);
    check(&mut toy, &["converged"]);
    toy.power_cut();
    check(&mut toy, &["converged"]);
}

#[test]
fn a_shorter_grace_is_passed_on_and_a_longer_one_is_not() {
    let mut toy = Toy::new([pod(1)]);
    toy.settle();
    toy.stubborn = true;
    toy.set([stopping(pod(1), 30)]);
    check(
        &mut toy,
        &["remember p1 ending=30 c#1 (Hard)", "stop p1/c#1 within 30"],
    );
    toy.set([stopping(pod(1), 60)]);
    check(&mut toy, &[]);
    toy.set([stopping(pod(1), 0)]);
    check(
        &mut toy,
        &["remember p1 ending=0 c#1 (Hard)", "stop p1/c#1 within 0"],
    );
    check(&mut toy, &[]);
}

#[test]
fn a_pod_deleted_before_it_was_seen_is_gone_at_once() {
    let mut toy = Toy::new([stopping(pod(1), 5)]);
    check(&mut toy, &["remember p1 ending=5 gone (Hard)"]);
    check(&mut toy, &["converged"]);
}

#[test]
fn an_orphan_is_ended() {
    let mut toy = Toy::new([]);
    let orphan = ObservedPod {
        sandbox: Sandbox::Ready,
        containers: [("x".to_owned(), life(1, Moment::default()))].into(),
        files: None,
    };
    toy.observed.pods.insert(uid(9), orphan);
    assert_eq!(toy.settle(), ["stop p9/x#1 within 30", "remove p9"]);
    assert!(toy.memory[&uid(9)].gone);
}

#[test]
fn a_pod_that_can_not_be_read_is_left_alone() {
    let mut toy = Toy::new([pod(1)]);
    toy.settle();
    toy.set([]);
    toy.document().unreadable.insert(uid(1));
    check(
        &mut toy,
        &["p1 waits: Unreadable this agent can't read the pod"],
    );
}

#[test]
fn a_changed_image_restarts_that_container_only() {
    let mut two = pod(1);
    two.containers.push(container("d"));
    let mut toy = Toy::new([two.clone()]);
    let present = ImageState::Present(image());
    toy.observed.images.insert("new".into(), present);
    toy.settle();
    two.containers[1].image = "new".into();
    toy.set([two]);
    assert_eq!(toy.settle(), ["stop p1/d#1 within 30", "start p1/d#2"]);
}

#[test]
fn what_runs_is_adopted() {
    let mut toy = Toy::new([pod(1)]);
    toy.settle();
    toy.exit(1, "c", 1);
    toy.settle();
    // An agent killed now has lost the record of the second life, and starts nothing for it.
    toy.memory = toy.disk.clone();
    assert_eq!(toy.settle(), [""; 0]);
    assert_eq!(toy.memory[&uid(1)].containers["c"].restarts(), 1);
}

#[test]
fn a_life_that_a_killed_agent_only_wrote_down_is_not_lost() {
    let mut toy = Toy::new([with_policy(pod(1), Never)]);
    toy.settle();
    // The record of the life is on disk, and the shim was never asked for it.
    toy.observed.pods.get_mut(&uid(1)).expect("pod").containers = BTreeMap::new();
    toy.started.clear();
    toy.memory = toy.disk.clone();
    assert_eq!(toy.settle(), ["start p1/c#1"]);
    assert_eq!(toy.memory[&uid(1)].containers["c"].restarts(), 0);
}

#[test]
fn after_a_reboot_everything_comes_back_with_the_same_address() {
    let mut toy = Toy::new([pod(1), with_policy(pod(2), Never)]);
    toy.settle();
    let address = toy.memory[&uid(1)].address;
    toy.power_cut();
    check(
        &mut toy,
        &[
            "remember p1 c#1=137 ContainerStatusUnknown (Ride)",
            "remember p2 c#1=137 ContainerStatusUnknown (Hard)",
            "start sandbox p1",
            "p1/c waits: ContainerCreating",
        ],
    );
    assert_eq!(toy.settle(), ["start p1/c#2"]);
    assert_eq!(toy.memory[&uid(1)].address, address);
    // A power cut is no failure of what it ended.
    assert_eq!(toy.memory[&uid(1)].containers["c"].delay_ms, 0);
    assert!(!toy.memory[&uid(2)].holds_address);
}

#[test]
fn a_dead_shim_takes_its_pod_through_a_new_sandbox() {
    let mut toy = Toy::new([pod(1)]);
    toy.settle();
    toy.observed.pods.get_mut(&uid(1)).expect("pod").sandbox = Sandbox::Lost;
    assert_eq!(
        toy.settle(),
        ["stop sandbox p1", "start sandbox p1", "start p1/c#2"]
    );
    let known = &toy.memory[&uid(1)].containers["c"];
    let previous = known.previous.as_ref().expect("an end");
    assert_eq!(previous.reason, "ContainerStatusUnknown");
}

#[test]
fn a_stray_older_life_is_stopped_before_anything_new() {
    let mut toy = Toy::new([pod(1)]);
    toy.settle();
    let known = toy.memory.get_mut(&uid(1)).expect("known");
    let known = known.containers.get_mut("c").expect("known");
    known.lives = 5;
    known.life = Life::Begun;
    assert_eq!(toy.settle(), ["stop p1/c#1 within 0", "start p1/c#6"]);
}

#[test]
fn busy_pods_are_left_alone() {
    let mut toy = Toy::new([pod(1), pod(2)]);
    toy.settle();
    toy.observed.busy.insert(uid(1));
    toy.exit(1, "c", 1);
    check(&mut toy, &[]);
    toy.observed.busy.clear();
    assert_eq!(toy.settle(), ["start p1/c#2"]);
}

fn life(life: u32, started: Moment) -> ObservedContainer {
    ObservedContainer {
        life,
        id: format!("x-{life}"),
        image: "i".into(),
        image_id: String::new(),
        run: Run::Running {
            started,
            stopping: None,
            health: None,
        },
    }
}
