//! After a restore a person sees what waits for a decision, and decides it: one pod, all of them, a node.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bramble_tests::local::{Cluster, Guard, run};
use serde_json::Value;

use crate::backup::restore;
use crate::offline::processes;
use crate::said::running;
use crate::wait_for;

type Processes = BTreeMap<u32, u64>;

fn sleepers(cluster: &Cluster) -> Result<Processes> {
    processes(cluster, "sleep\x001000")
}

fn start(cluster: &Cluster, name: &str, node: &str) -> Result<()> {
    let image = "--image=bramble.test/busybox:1";
    let spec = format!(r#"{{"spec":{{"terminationGracePeriodSeconds":1,"nodeName":"{node}"}}}}"#);
    let spec = format!("--overrides={spec}");
    cluster.kubectl(&["run", name, image, &spec, "--", "sleep", "1000"])?;
    wait_for(cluster, "pod", name, "to run", running)?;
    Ok(())
}

fn standing(cluster: &Cluster) -> Result<Value> {
    let told = cluster.bramble(&["status", "-o", "json"])?.stdout;
    let report: Value = serde_json::from_str(&told)?;
    Ok(report["standing"].clone())
}

/// Exit code and everything that was printed.
fn fails(cluster: &Cluster, args: &[&str]) -> Result<(i32, String)> {
    let mut command = Command::new(cluster.options().programs.join("bramble"));
    let config = cluster.options().dir.join("controller/admin.kubeconfig");
    let told = run(command.args(args).env("KUBECONFIG", config))?;
    Ok((told.code, told.stdout + &told.stderr))
}

#[test]
fn root_what_is_unclaimed_is_shown_released_and_confirmed() -> Result<()> {
    let cluster = Guard::start(2)?;
    start(&cluster, "early", "board-1")?;
    let file = cluster.options().dir.join("saved.tar");
    let path = file.to_str().context("the directory's name")?;
    cluster.bramble(&["backup", path])?;
    let (code, told) = fails(&cluster, &["release", "board-1/default/early"])?;
    ensure!(code == 1 && told.contains("no unclaimed pod"), "{told}");
    start(&cluster, "late-1", "board-1")?;
    start(&cluster, "late-2", "board-1")?;
    start(&cluster, "late-3", "board-2")?;
    let all = sleepers(&cluster)?;
    ensure!(all.len() == 4, "{all:?}");

    // One of the boards is away when the controller comes back, and stays away for a while.
    cluster.kill("board-2")?;
    cluster.kill("controller")?;
    restore(&cluster, &[path, "--force"])?.success()?;
    cluster.start_controller()?;
    let here = |standing: &Value| {
        let pods = standing["unclaimed"].as_array().map_or(0, Vec::len);
        pods > 0 && standing["waitingFor"] == serde_json::json!(["board-2"])
    };
    cluster.wait("board-1 to report", "controller", || {
        Ok(here(&standing(&cluster)?))
    })?;
    let told = cluster.bramble(&["status"])?.stdout;
    let first = "This cluster's store was set back (epoch 2)";
    ensure!(told.starts_with(first), "{told}");
    ensure!(told.contains("Waiting for: board-2"), "{told}");
    let path = r#"jsonpath={.status.conditions[?(@.type=="Unconfirmed")].status}"#;
    cluster.wait("the node to say so", "controller", || {
        let node = cluster.kubectl(&["get", "node", "board-1", "-o", path])?;
        Ok(node.stdout == "True")
    })?;
    cluster.start_agent(1)?;
    cluster.wait("board-2 to report", "controller", || {
        let standing = standing(&cluster)?;
        Ok(standing["waiting"] == 0 && standing["unclaimedTotal"] == 3)
    })?;
    ensure!(sleepers(&cluster)? == all, "something was stopped");

    let pods = standing(&cluster)?["unclaimed"].clone();
    let pod = &pods[0];
    let text = |field: &str| pod[field].as_str().unwrap_or_default().to_owned();
    ensure!(text("name").starts_with("late-"), "{pods:#}");
    let name = format!("{}/{}/{}", text("node"), text("namespace"), text("name"));
    let told = cluster.bramble(&["status"])?.stdout;
    ensure!(told.contains(&format!("bramble release {name}")), "{told}");
    cluster.bramble(&["release", &name])?;
    cluster.wait("one of the late pods to go", "controller", || {
        let standing = standing(&cluster)?;
        Ok(sleepers(&cluster)?.len() == 3 && standing["unclaimedTotal"] == 2)
    })?;

    let (code, told) = fails(&cluster, &["release", "--all"])?;
    ensure!(code == 1 && told.contains("--yes"), "{told}");
    cluster.bramble(&["release", "--all", "--yes"])?;
    cluster.wait("the late pods to go", "controller", || {
        let standing = standing(&cluster)?;
        let done = standing["confirmed"] == 2 && standing["unclaimedTotal"] == 0;
        Ok(done && sleepers(&cluster)?.len() == 1)
    })?;
    let left = sleepers(&cluster)?;
    ensure!(
        left.iter().all(|(pid, start)| all.get(pid) == Some(start)),
        "{left:?} {all:?}"
    );
    let told = cluster.bramble(&["status"])?.stdout;
    ensure!(told.starts_with("Bramble"), "{told}");
    cluster.wait("the node to say so no more", "controller", || {
        let node = cluster.kubectl(&["get", "node", "board-1", "-o", path])?;
        Ok(node.stdout.is_empty())
    })
}

/// Its node says what it is: it comes back under its own UID, with what it reads, and goes on.
#[test]
fn root_an_unclaimed_pod_is_adopted_and_nothing_is_started_again() -> Result<()> {
    let cluster = Guard::start(1)?;
    let file = cluster.options().dir.join("saved.tar");
    let path = file.to_str().context("the directory's name")?;
    cluster.bramble(&["backup", path])?;
    cluster.kubectl(&["create", "configmap", "page", "--from-literal=text=hello"])?;
    cluster.apply(LATE)?;
    let before = wait_for(&cluster, "pod", "late", "to run", running)?;
    let all = sleepers(&cluster)?;
    ensure!(all.len() == 1, "{all:?}");

    cluster.kill("controller")?;
    restore(&cluster, &[path, "--force"])?.success()?;
    cluster.start_controller()?;
    cluster.wait("the pod to be unclaimed", "controller", || {
        Ok(standing(&cluster)?["unclaimedTotal"] == 1)
    })?;
    let told = cluster.bramble(&["status"])?.stdout;
    ensure!(
        told.contains("bramble adopt board-1/default/late"),
        "{told}"
    );
    let told = cluster.bramble(&["adopt", "board-1/default/late"])?.stdout;
    ensure!(
        told.contains("goes on as it is") && told.contains("ConfigMap: page"),
        "{told}"
    );
    cluster.wait("nothing to be unclaimed", "controller", || {
        Ok(standing(&cluster)?["unclaimedTotal"] == 0)
    })?;
    let after = wait_for(&cluster, "pod", "late", "to run", running)?;
    for field in ["uid", "name"] {
        ensure!(
            before["metadata"][field] == after["metadata"][field],
            "{after:#}"
        );
    }
    ensure!(
        after["status"]["podIP"] == before["status"]["podIP"],
        "{after:#}"
    );
    ensure!(
        after["status"]["containerStatuses"][0]["restartCount"] == 0,
        "{after:#}"
    );

    // It is the cluster's again: confirming stops nothing of it, and deleting does.
    cluster.bramble(&["release", "--all", "--yes"])?;
    cluster.wait("the epoch to be confirmed", "controller", || {
        Ok(standing(&cluster)?["confirmed"] == 2)
    })?;
    let text = ["exec", "late", "--", "cat", "/page/text"];
    cluster.wait("the pod to have its page", "board-1", || {
        Ok(cluster.kubectl(&text)?.stdout == "hello")
    })?;
    ensure!(sleepers(&cluster)? == all, "it was started again");
    cluster.kubectl(&["delete", "pod", "late"])?;
    ensure!(sleepers(&cluster)?.is_empty(), "it goes on");
    Ok(())
}

const LATE: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "late"}, "spec": {
    "terminationGracePeriodSeconds": 1, "nodeName": "board-1",
    "volumes": [{"name": "page", "configMap": {"name": "page"}}],
    "containers": [{"name": "c", "image": "bramble.test/busybox:1", "command": ["sleep", "1000"],
        "env": [{"name": "TEXT", "valueFrom": {"configMapKeyRef": {"name": "page", "key": "text"}}}],
        "volumeMounts": [{"name": "page", "mountPath": "/page"}]}]}}"#;
