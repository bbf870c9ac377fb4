//! Boards that are left alone.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{Cluster, Guard, http_get, wait_until};
use serde_json::Value;

use crate::{LIMIT, apply_example, ask, name, pods, text, wait_for};

/// Processes of the example's web server, in every container of the cluster: pid and start time.
pub(crate) fn servers(cluster: &Cluster) -> Result<BTreeMap<u32, u64>> {
    processes(cluster, "httpd")
}

/// Processes in the cluster's containers with a text in their command. A child of such a process is left out: a web
/// server forks for each request, and such a one is gone a moment later.
pub(crate) fn processes(cluster: &Cluster, of: &str) -> Result<BTreeMap<u32, u64>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let cgroup = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let ours = cgroup.contains(&format!("bramble-{}-", cluster.layout.id));
        if ours && String::from_utf8_lossy(&command).contains(of) {
            // One that goes while it is looked at is not there.
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
                continue;
            };
            let after = stat.rsplit(')').next().context("no end of the name")?;
            let field = |n: usize| after.split(' ').nth(n).context("a short stat");
            found.insert(pid, (field(2)?.parse::<u32>()?, field(20)?.parse()?));
        }
    }
    let first = |parent: &u32| !found.contains_key(parent);
    Ok((found.iter())
        .filter(|(_, (parent, _))| first(parent))
        .map(|(pid, (_, start))| (*pid, *start))
        .collect())
}

fn restarts(pod: &Value) -> u64 {
    pod.pointer("/status/containerStatuses/0/restartCount")
        .and_then(Value::as_u64)
        .unwrap_or(99)
}

fn uids(pods: &[Value]) -> Vec<String> {
    let mut uids: Vec<_> = pods
        .iter()
        .map(|pod| text(pod, "/metadata/uid").to_owned())
        .collect();
    uids.sort();
    uids
}

#[test]
fn root_agent_and_controller_come_and_go_and_no_container_notices() -> Result<()> {
    let cluster = Guard::start(2)?;
    apply_example(&cluster)?;
    let (before, processes) = (pods(&cluster)?, servers(&cluster)?);
    ensure!(processes.len() == 2, "two web servers: {processes:?}");

    cluster.kill("board-1")?;
    cluster.kill("controller")?;
    ensure!(
        servers(&cluster)? == processes,
        "containers go on without agent and controller"
    );
    cluster.start_agent(0)?;
    cluster.kill("board-2")?;
    cluster.start_agent(1)?;
    cluster.start_controller()?;
    // The agents' word counts again when a change of the desired state reaches both of them.
    cluster.kubectl(&["scale", "deploy/hello", "--replicas=4"])?;
    crate::rolled_out(&cluster)?;
    let now = servers(&cluster)?;
    for (pid, start) in &processes {
        ensure!(
            now.get(pid) == Some(start),
            "a web server was started again: {processes:?} {now:?}"
        );
    }
    let after = pods(&cluster)?;
    ensure!(after.len() == 4);
    for uid in uids(&before) {
        ensure!(uids(&after).contains(&uid), "a pod was replaced");
    }
    ensure!(after.iter().all(|pod| restarts(pod) == 0), "{after:#?}");
    Ok(())
}

#[test]
fn root_offline_node_restarts_what_dies() -> Result<()> {
    let cluster = Guard::start(1)?;
    apply_example(&cluster)?;
    let before = pods(&cluster)?;
    cluster.kill("controller")?;
    let first = servers(&cluster)?;
    for pid in first.keys() {
        std::process::Command::new("kill")
            .args(["-KILL", &pid.to_string()])
            .status()?;
    }
    for pod in &before {
        ensure!(
            ask(pod)?.contains("Bramble v1"),
            "answers again at the same address"
        );
    }
    cluster.start_controller()?;
    for pod in &before {
        let now = wait_for(&cluster, "pod", name(pod), "to report its restart", |pod| {
            restarts(pod) == 1 && text(pod, "/status/phase") == "Running"
        })?;
        ensure!(text(&now, "/metadata/uid") == text(pod, "/metadata/uid"));
    }
    Ok(())
}

#[test]
fn root_board_comes_back_from_a_power_cut_with_nobody_to_talk_to() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.kubectl(&[
        "create",
        "configmap",
        "page",
        "--from-literal=text=from-config",
    ])?;
    apply_example(&cluster)?;
    cluster.kubectl(&["set", "env", "deploy/hello", "--from=configmap/page"])?;
    crate::rolled_out(&cluster)?;
    let before = pods(&cluster)?;
    cluster.kill("controller")?;
    cluster.power_cut(0)?;
    let address = text(&before[0], "/status/podIP").parse()?;
    ensure!(http_get(address, 8080).is_err(), "the power is off");

    cluster.start_agent(0)?;
    for pod in &before {
        ensure!(ask(pod)?.contains(name(pod)), "same pod, same address");
    }
    cluster.start_controller()?;
    let back = wait_until(LIMIT, || {
        let now = pods(&cluster)?;
        let ready = |pod: &Value| pod["status"]["containerStatuses"][0]["ready"] == true;
        Ok(uids(&now) == uids(&before) && now.iter().all(|pod| ready(pod) && restarts(pod) == 1))
    })?;
    ensure!(back, "{:#?}", pods(&cluster)?);
    Ok(())
}
