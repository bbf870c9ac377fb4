//! The node: memory with 0 to 100 pods, from a manifest to a process, restarts, idle use, logs, pulls and
//! commands; each beside what people use otherwise, where that can run here.

mod images;
mod memory;
pub(crate) mod times;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bramble_tests::local::{Cluster, Guard, run, wait_until};

use crate::budget::Budgets;
use memory::memory;
use times::{Times, sleeping};

/// How long a bulk step may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    /// Repetitions of what is timed.
    pub(crate) runs: usize,
    /// Seconds of looking at an idle node.
    pub(crate) idle: u64,
}

/// Measures a node of its own cluster.
pub(crate) fn measure(scope: Scope, budgets: &Budgets) -> Result<()> {
    let cluster = Guard::start(1)?;
    println!("programs: {}", cluster.options().programs.display());
    let empty = memory(&cluster, "idle, no pods")?;
    budgets.check(
        "agent resident, no pods",
        empty.agent_rss_kib as f64 / 1024.0,
        10.0,
        "MiB",
    );
    budgets.check(
        "controller resident, idle",
        empty.controller_rss_kib as f64 / 1024.0,
        32.0,
        "MiB",
    );
    idle(&cluster, scope.idle, budgets)?;
    let started = starts(&cluster, scope.runs, budgets)?;
    let runtime = times::crun(scope.runs)?;
    times::podman(scope.runs)?;
    budgets.check(
        "create -> process, after kubectl, beyond what crun takes, p50",
        started.at(0.5) - runtime.at(0.5),
        60.0,
        "ms",
    );
    restarts(&cluster, scope.runs.min(10), budgets)?;
    commands(&cluster, scope.runs)?;
    logs(&cluster)?;
    for pods in [10, 20, 50, 100] {
        scale(&cluster, pods, budgets)?;
    }
    images::pulls(&cluster)
}

/// What controller and agent do with nobody asking anything of them.
fn idle(cluster: &Cluster, seconds: u64, budgets: &Budgets) -> Result<()> {
    let names = ["controller", "board-1"];
    let read = |name: &str| -> Result<(u64, u64)> {
        let pid = cluster
            .pid(name)
            .with_context(|| format!("{name} does not run"))?;
        let io = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
        let line = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().collect())
            .unwrap_or_default();
        // utime and stime, hundredths of a second (proc(5)).
        let ticks = [11, 12]
            .iter()
            .filter_map(|n| fields.get(*n)?.parse::<u64>().ok())
            .sum();
        Ok((line.context("no write_bytes")?.parse()?, ticks))
    };
    let before = names
        .iter()
        .map(|name| read(name))
        .collect::<Result<Vec<_>>>()?;
    let time = Duration::from_secs(seconds);
    let begun = Instant::now();
    wait_until(time, || Ok(begun.elapsed() >= time))?;
    println!();
    for (name, before) in names.iter().zip(before) {
        let (written, ticks) = read(name)?;
        let (written, ticks) = (written - before.0, ticks - before.1);
        println!(
            "{name}: idle for {seconds} s: {written} bytes written, {:.2} s of processor ({:.2} %)",
            ticks as f64 / 100.0,
            ticks as f64 / seconds as f64
        );
        budgets.check(
            &format!("{name}, written while idle"),
            written as f64,
            0.0,
            "bytes",
        );
    }
    Ok(())
}

fn pod(name: &str, command: &str, policy: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"restartPolicy":"{policy}",
        "terminationGracePeriodSeconds":0,"containers":[{{"name":"c","image":"bramble.test/busybox:1",
        "command":{command}}}]}}}}"#
    )
}

/// From a manifest to a process; the times from kubectl's end.
fn starts(cluster: &Cluster, runs: usize, budgets: &Budgets) -> Result<Times> {
    let (mut from_start, mut kubectl, mut after) =
        (Times::default(), Times::default(), Times::default());
    for run in 0..runs {
        // The container's own argument tells it apart.
        let mark = format!("{}", 100_000 + run);
        let manifest = pod(
            &format!("bench-{run}"),
            &format!(r#"["sleep","{mark}"]"#),
            "Always",
        );
        let begun = Instant::now();
        let (at, returned) = std::thread::scope(|scope| -> Result<(Duration, Duration)> {
            let handle = scope.spawn(|| -> Result<Duration> {
                cluster
                    .kubectl_with_input(&["create", "-f", "-"], &manifest)?
                    .success()?;
                Ok(begun.elapsed())
            });
            let at = until(begun, || sleeping(&mark).is_some());
            let returned = handle.join().expect("the thread does not panic")?;
            Ok((at.context("the container did not start")?, returned))
        })?;
        from_start.add(at);
        kubectl.add(returned);
        after.add(at.saturating_sub(returned));
    }
    println!("\nkubectl create -> process in the container, {runs} runs");
    from_start.print("from the start of kubectl");
    kubectl.print("kubectl itself, to its end");
    after.print("from the end of kubectl");
    budgets.check(
        "create -> process, after kubectl, p99",
        after.at(0.99),
        500.0,
        "ms",
    );
    cluster.kubectl(&["delete", "pods", "--all", "--timeout=120s"])?;
    Ok(after)
}

/// When a condition holds first, looked at each millisecond for 20 s.
fn until(begun: Instant, mut holds: impl FnMut() -> bool) -> Option<Duration> {
    while begun.elapsed() < Duration::from_secs(20) {
        if holds() {
            return Some(begun.elapsed());
        }
        std::thread::sleep(Duration::from_millis(1)); // poll
    }
    None
}

/// A container's process is killed; each pod once, so that no back-off is due.
fn restarts(cluster: &Cluster, runs: usize, budgets: &Budgets) -> Result<()> {
    let mut times = Times::default();
    for run in 0..runs {
        let mark = format!("{}", 200_000 + run);
        cluster.apply(&pod(
            &format!("killed-{run}"),
            &format!(r#"["sleep","{mark}"]"#),
            "Always",
        ))?;
        let name = format!("pod/killed-{run}");
        cluster.kubectl(&["wait", "--for=condition=Ready", &name, "--timeout=60s"])?;
        let old = sleeping(&mark).context("the container does not run")?;
        let begun = Instant::now();
        bramble_tests::local::run(Command::new("kill").args(["-KILL", &old.to_string()]))?
            .success()?;
        let at = until(begun, || sleeping(&mark).is_some_and(|pid| pid != old));
        times.add(at.context("the container did not start again")?);
    }
    println!("\na container is killed -> its next process, {runs} runs");
    times.print("first restart");
    budgets.check("restart after a kill, p50", times.at(0.5), 150.0, "ms");
    cluster.kubectl(&["delete", "pods", "--all", "--timeout=120s"])?;
    Ok(())
}

/// `kubectl exec` beside what kubectl takes for anything.
fn commands(cluster: &Cluster, runs: usize) -> Result<()> {
    cluster.apply(&pod("commands", r#"["sleep","1000000"]"#, "Always"))?;
    cluster.kubectl(&[
        "wait",
        "--for=condition=Ready",
        "pod/commands",
        "--timeout=60s",
    ])?;
    let (mut exec, mut get) = (Times::default(), Times::default());
    for _ in 0..runs {
        let begun = Instant::now();
        cluster.kubectl(&["get", "pod", "commands", "-o", "name"])?;
        get.add(begun.elapsed());
        let begun = Instant::now();
        cluster.kubectl(&["exec", "commands", "--", "true"])?;
        exec.add(begun.elapsed());
    }
    println!("\nkubectl exec, {runs} runs");
    exec.print("kubectl exec POD -- true");
    get.print("kubectl get pod, beside it");
    cluster.kubectl(&["delete", "pods", "--all", "--timeout=120s"])?;
    Ok(())
}

/// A container that writes as fast as it may.
fn logs(cluster: &Cluster) -> Result<()> {
    const BYTES: u64 = 400_000_000;
    let script = format!(
        r#"["sh","-c","yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -c {BYTES}"]"#
    );
    let begun = Instant::now();
    cluster.apply(&pod("flood", &script, "Never"))?;
    let path = "jsonpath={.status.phase}";
    let mut peak = 0;
    let ended = wait_until(PATIENCE, || {
        peak = peak.max(memory::shims_peak_kib());
        Ok(cluster
            .kubectl(&["get", "pod", "flood", "-o", path])?
            .stdout
            == "Succeeded")
    })?;
    anyhow::ensure!(ended, "the container did not end");
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "\na container writes {} MB to its log: {seconds:.1} s, {:.0} MB/s; its shim's peak {peak} KiB resident",
        BYTES / 1_000_000,
        BYTES as f64 / 1e6 / seconds
    );
    memory(cluster, "after the flood")?;
    cluster.kubectl(&["delete", "pods", "--all", "--timeout=120s"])?;
    Ok(())
}

/// A Deployment from nothing to all replicas ready, and what the node holds then.
fn scale(cluster: &Cluster, replicas: u32, budgets: &Budgets) -> Result<()> {
    let begun = Instant::now();
    cluster.apply(&format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"many"}},"spec":{{"replicas":{replicas},
        "selector":{{"matchLabels":{{"app":"many"}}}},"template":{{"metadata":{{"labels":{{"app":"many"}}}},
        "spec":{{"terminationGracePeriodSeconds":0,"containers":[{{"name":"c","image":"bramble.test/busybox:1",
        "command":["sleep","1000000"]}}]}}}}}}}}"#
    ))?;
    cluster.kubectl(&["rollout", "status", "deployment/many", "--timeout=300s"])?;
    println!(
        "\n{replicas} replicas ready: {:.1} s after `kubectl apply`",
        begun.elapsed().as_secs_f64()
    );
    let seen = memory(cluster, &format!("with {replicas} pods"))?;
    budgets.check(
        &format!("a pod's shim, its part of what is resident, of {replicas}"),
        seen.shims_pss_kib as f64 / f64::from(replicas) / 1024.0,
        1.0,
        "MiB",
    );
    cluster.kubectl(&["delete", "deployment", "many", "--timeout=120s"])?;
    let gone = wait_until(PATIENCE, || {
        Ok(cluster
            .kubectl(&["get", "pods", "-o", "name"])?
            .stdout
            .is_empty())
    })?;
    anyhow::ensure!(gone, "pods are left");
    Ok(())
}

/// Runs a shell script; its output when it succeeds.
fn shell(script: &str, args: &[&str]) -> Result<bramble_tests::local::Output> {
    run(Command::new("sh").args(["-c", script, "sh"]).args(args))?.success()
}
