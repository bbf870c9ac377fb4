//! A cluster that is left alone: what a cold boot with nobody to talk to takes, what an idle node sends and
//! writes, what a small change costs on the link, and the return of a fleet to a restarted controller.

mod comeback;
mod disk;
mod fleet;
mod uplink;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bramble_tests::local::{Cluster, Guard, wait_until};

use crate::budget::Budgets;
use crate::node::times::{Times, sleepers};
use disk::Disk;

pub(crate) use comeback::comeback;

/// From the agent's start to the last process of [`PODS`] pods.
const BOOT_MS: f64 = 3000.0;
const PODS: usize = 10;
const BOOTS: usize = 5;
/// Argument of the containers' `sleep`, by which they are found.
const MARK: &str = "314159";

/// Everything about one board, whose cluster is on a disk of its own.
pub(crate) fn measure(idle_s: u64, budgets: &Budgets) -> Result<()> {
    let disk = Disk::new()?;
    let cluster = Guard::start_in(1, disk.path())?;
    println!("programs: {}", cluster.options().programs.display());
    cluster.apply(&format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"page"}},"data":{{"line":"first"}}}}
---
{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"ten"}},"spec":{{"replicas":{PODS},
        "selector":{{"matchLabels":{{"app":"ten"}}}},"template":{{"metadata":{{"labels":{{"app":"ten"}}}},
        "spec":{{"terminationGracePeriodSeconds":0,"containers":[{{"name":"c","image":"bramble.test/busybox:1",
        "command":["sleep","{MARK}"],"volumeMounts":[{{"name":"page","mountPath":"/page"}}]}}],
        "volumes":[{{"name":"page","configMap":{{"name":"page"}}}}]}}}}}}}}"#
    ))?;
    cluster.kubectl(&["rollout", "status", "deployment/ten", "--timeout=120s"])?;
    uplink::idle(&cluster, &disk, idle_s, budgets)?;
    uplink::changes(&cluster)?;
    boots(&cluster, budgets)
}

/// A board that boots with no controller; its images and what it should run are on its disk.
fn boots(cluster: &Cluster, budgets: &Budgets) -> Result<()> {
    cluster.kill("controller")?;
    let (mut first, mut all) = (Times::default(), Times::default());
    for _ in 0..BOOTS {
        cluster.power_cycle(0)?;
        ensure!(sleepers(MARK).is_empty(), "a pod outlived its board");
        let begun = Instant::now();
        cluster.start_agent(0)?;
        let mut some = None;
        let up = wait_until(Duration::from_secs(60), || {
            let running = sleepers(MARK).len();
            if running > 0 {
                some.get_or_insert(begun.elapsed());
            }
            Ok(running >= PODS)
        })?;
        ensure!(up, "not every pod runs again");
        all.add(begun.elapsed());
        first.add(some.unwrap_or_default());
    }
    println!("\ncold boot with no controller, {PODS} pods, {BOOTS} times; from the agent's start");
    first.print("the first process");
    all.print("the last process");
    budgets.check(
        &format!("cold boot alone, {PODS} pods running, p50"),
        all.at(0.5),
        BOOT_MS,
        "ms",
    );
    Ok(())
}
