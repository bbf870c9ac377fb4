//! A controller that comes back with an older store. Whatever way it was put back, nodes stop nothing
//! of what it lacks until a person confirms it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use bramble_tests::local::{Cluster, Guard, run};
use serde_json::Value;

use crate::offline::processes;
use crate::said::running;
use crate::{text, wait_for};

type Processes = BTreeMap<u32, u64>;

fn start(cluster: &Cluster, name: &str) -> Result<()> {
    let image = "--image=bramble.test/busybox:1";
    let soon = r#"--overrides={"spec":{"terminationGracePeriodSeconds":1}}"#;
    cluster.kubectl(&["run", name, image, soon, "--", "sleep", "1000"])?;
    wait_for(cluster, "pod", name, "to run", running)?;
    Ok(())
}

fn sleepers(cluster: &Cluster) -> Result<Processes> {
    processes(cluster, "sleep\x001000")
}

fn data_dir(cluster: &Cluster) -> PathBuf {
    cluster.options().dir.join("controller")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("cp");
    run(command.arg("-a").arg(from).arg(to))?.success()?;
    Ok(())
}

/// The controller on the copy has found out that it is one: `late`, which it lacks, goes on with `early`,
/// and goes when a person confirms the epoch that began.
fn keeps_what_it_lacks(cluster: &Cluster, early: &Processes, both: &Processes) -> Result<()> {
    let hint = "bramble.dev/confirmed-epoch=2";
    cluster.wait("the late pod to be unclaimed", "controller", || {
        let log = cluster.log("controller");
        Ok(log.contains("unclaimed pod") && log.contains(hint))
    })?;
    wait_for(cluster, "pod", "early", "to run", running)?;
    let now = sleepers(cluster)?;
    ensure!(now == *both, "{now:?} {both:?}");

    cluster.kubectl(&["annotate", "namespace", "kube-system", hint])?;
    cluster.wait("the late pod to go", "controller", || {
        Ok(sleepers(cluster)? == *early)
    })
}

/// As with a snapshot of the machine, or a card that was copied while it was in use.
#[test]
fn root_a_copy_put_back_by_hand_stops_nothing() -> Result<()> {
    put_back_by_hand(false)
}

/// Two lives of the controller begin at one point then.
#[test]
fn root_a_copy_from_before_a_restart_stops_nothing() -> Result<()> {
    put_back_by_hand(true)
}

fn put_back_by_hand(restart: bool) -> Result<()> {
    let cluster = Guard::start(1)?;
    start(&cluster, "early")?;
    // Nothing is missing after this one, so no epoch begins by it.
    cluster.kill("controller")?;
    cluster.start_controller()?;
    wait_for(&cluster, "pod", "early", "to run", running)?;
    let early = sleepers(&cluster)?;
    let (data, kept) = (data_dir(&cluster), cluster.options().dir.join("copy"));
    copy(&data, &kept)?;
    if restart {
        cluster.kill("controller")?;
        cluster.start_controller()?;
    }
    start(&cluster, "late")?;
    let both = sleepers(&cluster)?;
    ensure!((early.len(), both.len()) == (1, 2), "{both:?}");

    cluster.kill("controller")?;
    std::fs::remove_dir_all(&data)?;
    std::fs::rename(&kept, &data)?;
    cluster.start_controller()?;
    keeps_what_it_lacks(&cluster, &early, &both)
}

/// A person says it.
#[test]
fn root_a_store_that_is_called_restored_stops_nothing() -> Result<()> {
    let cluster = Guard::start(1)?;
    start(&cluster, "early")?;
    let early = sleepers(&cluster)?;
    let data = data_dir(&cluster);
    let (store, kept) = (data.join("store"), data.join("copy"));
    cluster.kill("controller")?;
    copy(&store, &kept)?;
    cluster.start_controller()?;
    start(&cluster, "late")?;
    let both = sleepers(&cluster)?;
    ensure!((early.len(), both.len()) == (1, 2), "{both:?}");

    cluster.kill("controller")?;
    std::fs::remove_dir_all(&store)?;
    std::fs::rename(&kept, &store)?;
    let program = cluster.options().programs.join("bramble-controller");
    let mut command = Command::new(program);
    let told = run(command.arg("--restored").arg("--data-dir").arg(&data))?.success()?;
    ensure!(told.stdout.contains("epoch 2 begins"), "{}", told.stdout);
    cluster.start_controller()?;
    keeps_what_it_lacks(&cluster, &early, &both)
}

/// Where a copy of it may run nobody knows before every node has spoken.
#[test]
fn root_a_pod_that_must_not_run_twice_waits_until_every_node_has_reported() -> Result<()> {
    let cluster = Guard::start(2)?;
    let start = |name: &str| {
        let image = "--image=bramble.test/busybox:1";
        let here =
            r#"--overrides={"spec":{"nodeName":"board-1","terminationGracePeriodSeconds":1}}"#;
        let once = "--annotations=bramble.dev/once=true";
        cluster.kubectl(&["run", name, image, once, here, "--", "sleep", "1000"])
    };
    start("first")?;
    wait_for(&cluster, "pod", "first", "to run", running)?;
    let first = sleepers(&cluster)?;

    cluster.kill("board-2")?;
    cluster.kill("controller")?;
    cluster.start_controller()?;
    start("second")?;
    let waits = |pod: &Value| {
        let state = "/status/containerStatuses/0/state/waiting/reason";
        text(pod, state) == "NotCleared"
    };
    wait_for(&cluster, "pod", "second", "to wait", waits)?;
    ensure!(sleepers(&cluster)? == first, "what runs goes on, alone");
    cluster.start_agent(1)?;
    wait_for(&cluster, "pod", "second", "to run", running)?;
    Ok(())
}
