//! What an emulated board is asked: a pod runs there, and what holds containers holds on its kernel.
//! Each check is one name, one manifest and what kubectl must show of it.

mod alone;

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::{Board, NODE};
use crate::local::wait_until;

/// How long a pod may take to get where it should; machines without hardware support are slow.
const PATIENCE: Duration = Duration::from_secs(300);

/// One check.
pub struct Check {
    /// What is shown by it.
    pub name: &'static str,
    run: fn(&mut Board) -> Result<String>,
}

impl Check {
    /// Runs it; what was seen, or what was not.
    ///
    /// # Errors
    /// With what was seen instead.
    pub fn run(&self, board: &mut Board) -> Result<(String, Duration)> {
        let begun = Instant::now();
        let seen = (self.run)(board)?;
        Ok((seen, begun.elapsed()))
    }
}

/// Every check, in order.
pub const CHECKS: &[Check] = &[
    Check {
        name: "the kernel has cgroup v2 only",
        run: |board| cgroup_v2(board),
    },
    Check {
        name: "a pod runs, answers and ends",
        run: |board| pod_runs(board),
    },
    Check {
        name: "system calls are filtered",
        run: |board| seccomp(board),
    },
    Check {
        name: "a memory limit kills, and the status says so",
        run: |board| memory(board),
    },
    Check {
        name: "a fork bomb is bounded and dies whole",
        run: |board| processes(board),
    },
    Check {
        name: "devices are denied",
        run: |board| devices(board),
    },
    Check {
        name: "a processor limit is set",
        run: |board| processor(board),
    },
    Check {
        name: "its clock wakes in 1970 and jumps",
        run: |board| clock(board),
    },
    Check {
        name: "it comes back alone",
        run: alone::comes_back,
    },
];

fn manifest(name: &str, script: &str, container: &str, pod: &str) -> String {
    let script = script.replace('\n', "\n        ");
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  \
         terminationGracePeriodSeconds: 1\n{pod}  containers:\n  - name: main\n    image: bramble.test/busybox:1\n    \
         command:\n    - sh\n    - -c\n    - |\n        {script}\n{container}"
    )
}

/// Runs a script to its end and gives its log and how it ended.
fn run_to_end(
    board: &Board,
    name: &str,
    script: &str,
    container: &str,
) -> Result<(String, String)> {
    board.apply(&manifest(name, script, container, ""))?;
    let path = "jsonpath={.status.phase} {.status.containerStatuses[0].state.terminated.reason} \
                {.status.containerStatuses[0].state.terminated.exitCode}";
    let mut last = String::new();
    let ended = wait_until(PATIENCE, || {
        last = board.kubectl(&["get", "pod", name, "-o", path])?.stdout;
        Ok(last.starts_with("Succeeded") || last.starts_with("Failed"))
    })?;
    if !ended {
        let described = board.kubectl(&["describe", "pod", name])?.stdout;
        bail!("{name} is {last:?} after {PATIENCE:?}\n{described}");
    }
    let log = board.kubectl(&["logs", name])?.stdout;
    board.kubectl(&["delete", "pod", name, "--timeout=60s"])?;
    Ok((log, last))
}

fn cgroup_v2(board: &Board) -> Result<String> {
    let (log, _) = run_to_end(board, "cgroup", "cat /proc/self/cgroup; uname -rm", "")?;
    ensure!(
        log.lines().next() == Some("0::/"),
        "/proc/self/cgroup: {log}"
    );
    Ok(log.trim().replace('\n', ", "))
}

fn pod_runs(board: &Board) -> Result<String> {
    board.kubectl(&["run", "hello", "--image=bramble.test/hello:v1"])?;
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    board.kubectl(&["wait", "--for=condition=Ready", "pod/hello", &timeout])?;
    // It is Ready when it runs, and says so a moment later.
    let mut log = String::new();
    let said = wait_until(PATIENCE, || {
        log = board.kubectl(&["logs", "hello"])?.stdout;
        Ok(log.contains("hello v1 listening"))
    })?;
    ensure!(said, "its log: {log}");
    let node = board.kubectl(&["get", "pod", "hello", "-o", "jsonpath={.spec.nodeName}"])?;
    ensure!(node.stdout == NODE, "it is on {}", node.stdout);
    board.kubectl(&["delete", "pod", "hello", "--timeout=60s"])?;
    Ok(log.trim().to_owned())
}

fn seccomp(board: &Board) -> Result<String> {
    // A number that is another call on this processor would let it pass.
    let script = "grep Seccomp: /proc/self/status; unshare -U true && echo made || echo refused";
    let profile =
        |name: &str| format!("    securityContext: {{seccompProfile: {{type: {name}}}}}\n");
    let (log, _) = run_to_end(board, "seccomp", script, &profile("RuntimeDefault"))?;
    let words: Vec<_> = log.split_whitespace().collect();
    ensure!(words.starts_with(&["Seccomp:", "2"]), "filtered: {log}");
    ensure!(
        log.contains("Operation not permitted") && log.contains("refused"),
        "a user namespace was made: {log}"
    );
    // Nothing but the filter was in the way.
    let (open, _) = run_to_end(board, "open", script, &profile("Unconfined"))?;
    let words: Vec<_> = open.split_whitespace().collect();
    ensure!(words == ["Seccomp:", "0", "made"], "unconfined: {open}");
    Ok(log.trim().replace('\n', ", "))
}

fn memory(board: &Board) -> Result<String> {
    let limit = "    resources: {limits: {memory: 16Mi}}\n";
    let script = "echo limit $(cat /sys/fs/cgroup/memory.max) swap $(cat /sys/fs/cgroup/memory.swap.max 2> /dev/null || echo none)\ndd if=/dev/zero of=/dev/null bs=64M count=1";
    let (log, end) = run_to_end(board, "memory", script, limit)?;
    ensure!(end == "Failed OOMKilled 137", "it ended {end}; {log}");
    ensure!(log.contains("limit 16777216"), "{log}");
    Ok(format!("{end}; {}", log.trim()))
}

fn processes(board: &Board) -> Result<String> {
    // Every second of it starts two more; the limit is the board's own.
    let script = "f() { f | f & }; f; f; sleep 2; cat /sys/fs/cgroup/pids.max; sleep 600";
    board.apply(&manifest("bomb", script, "", ""))?;
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    board.kubectl(&["wait", "--for=condition=Ready", "pod/bomb", &timeout])?;
    // Others go on beside it.
    let (log, _) = run_to_end(board, "beside", "echo alive", "")?;
    ensure!(log.trim() == "alive", "beside it: {log}");
    board.kubectl(&["delete", "pod", "bomb", "--timeout=90s"])?;
    Ok("another pod ran beside it; it is gone".to_owned())
}

fn devices(board: &Board) -> Result<String> {
    // Writing to the kernel's log needs no capability, and `/dev` has no `nodev`: nothing but the filter of
    // the control group is in the way.
    let script = "mknod /dev/log c 1 11 && echo made; (echo hi > /dev/log && echo written) 2>&1; \
                  echo null > /dev/null && echo null works; echo done";
    let add = "    securityContext: {capabilities: {add: [MKNOD]}}\n";
    let (log, _) = run_to_end(board, "devices", script, add)?;
    for wanted in ["made", "Operation not permitted", "null works", "done"] {
        ensure!(log.contains(wanted), "no `{wanted}`: {log}");
    }
    ensure!(!log.contains("written"), "a device was opened: {log}");
    // Who may have every device has it.
    let add = "    securityContext: {privileged: true}\n";
    let (all, _) = run_to_end(board, "all-devices", script, add)?;
    ensure!(all.contains("written"), "privileged: {all}");
    Ok(log.trim().replace('\n', ", "))
}

fn processor(board: &Board) -> Result<String> {
    let limit = "    resources: {limits: {cpu: 100m}}\n";
    let (log, _) = run_to_end(board, "processor", "cat /sys/fs/cgroup/cpu.max", limit)?;
    ensure!(log.trim() == "10000 100000", "{log}");
    Ok(log.trim().to_owned())
}

/// The board has joined and been Ready by then. Its clock is set to what it should be, back, and half a
/// century ahead; nothing that runs is started again, and each time another pod comes and is told of.
fn clock(board: &Board) -> Result<String> {
    let probe =
        "    livenessProbe: {exec: {command: [\"true\"]}, periodSeconds: 1, timeoutSeconds: 60}\n";
    board.apply(&manifest("steady", "sleep 100000", probe, ""))?;
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    board.kubectl(&["wait", "--for=condition=Ready", "pod/steady", &timeout])?;
    let path = "jsonpath={.status.containerStatuses[0].containerID} \
                {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}";
    let steady = || anyhow::Ok(board.kubectl(&["get", "pod", "steady", "-o", path])?.stdout);
    let before = steady()?;
    ensure!(before.ends_with(" 0 true"), "{before}");
    let (first, _) = run_to_end(board, "first", "date +%Y", "")?;
    ensure!(first.trim() == "1970", "it wakes in {first}");
    let privileged = "    securityContext: {privileged: true}\n";
    for (name, time) in [
        ("set", "2026-11-21 12:00:00"),
        ("back", "1970-01-02 00:00:00"),
        ("ahead", "2076-01-01 00:00:00"),
    ] {
        let script = format!("date -s '{time}' > /dev/null && date +%Y");
        let (log, end) = run_to_end(board, name, &script, privileged)?;
        ensure!(log.trim() == &time[..4], "set to {time}: {log} {end}");
        let now = steady()?;
        let state = || board.kubectl(&["describe", "pod", "steady"]);
        ensure!(
            now == before,
            "after {time}: {now}, before {before}\n{}",
            state()?.stdout
        );
        let (log, end) = run_to_end(board, "next", "date +%Y", "")?;
        ensure!(end.starts_with("Succeeded"), "after {time}: {log} {end}");
    }
    board.wait_ready()?;
    ensure!(steady()? == before, "at the end: {}", steady()?);
    board.kubectl(&["delete", "pod", "steady", "--timeout=60s"])?;
    Ok("1970, 2026, 1970, 2076: nothing was started again".to_owned())
}
