//! The cluster's long-running processes: started in a session of their own, found again by a pid
//! file that also names the start time, so that a reused pid is never taken for ours.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Options, wait_until};

fn pid_file(options: &Options, name: &str) -> PathBuf {
    options.dir.join(format!("{name}.pid"))
}

/// Start time of a process in clock ticks since boot (field 22 of `/proc/PID/stat`, proc(5));
/// `None` when it is gone or a zombie without threads: one that has some still holds its ports.
pub(super) fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let threads: u32 = fields.get(17)?.parse().ok()?;
    if matches!(*fields.first()?, "Z" | "X") && threads <= 1 {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// Pid of a process of ours, when it still runs.
pub(super) fn running(options: &Options, name: &str) -> Option<u32> {
    let text = fs::read_to_string(pid_file(options, name)).ok()?;
    let (pid, started) = text.trim().split_once(' ')?;
    let pid = pid.parse().ok()?;
    (start_time(pid)? == started.parse::<u64>().ok()?).then_some(pid)
}

/// Starts a program unless it runs already; its output goes to the end of its log. The words `around`
/// it name programs that become it in the end.
pub(super) fn ensure(
    options: &Options,
    name: &str,
    program: &str,
    around: &[String],
    args: &[String],
) -> Result<()> {
    if running(options, name).is_some() {
        return Ok(());
    }
    let log_path = options.dir.join("log").join(format!("{name}.log"));
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .with_context(|| format!("opening {}", log_path.display()))?;
    let program = options.programs.join(program);
    // setsid(1) becomes the program as well, so the pid is its own.
    let mut command = Command::new("setsid");
    command.args(around).arg(&program).args(args);
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let mut child = command
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let pid = child.id();
    let started = start_time(pid)
        .with_context(|| format!("{name} ended at once, see {}", log_path.display()))?;
    fs::write(pid_file(options, name), format!("{pid} {started}"))?;
    // Reaps it while this program lives, so that its end can be seen.
    std::thread::spawn(move || child.wait());
    Ok(())
}

fn signal(pid: u32, signal: &str) {
    // An error means that it is gone, which is what a signal is for.
    let _ = Command::new("kill")
        .args([signal, &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// Kills a process as a crash would.
pub(super) fn kill(options: &Options, name: &str) -> Result<()> {
    let pid = running(options, name).with_context(|| format!("{name} does not run"))?;
    signal(pid, "-KILL");
    wait_until(Duration::from_secs(10), || {
        Ok(running(options, name).is_none())
    })?;
    Ok(())
}

/// Asks a process to end, kills it after `patience`.
pub(super) fn stop(options: &Options, name: &str, patience: Duration) {
    if let Some(pid) = running(options, name) {
        signal(pid, "-TERM");
        if !wait_until(patience, || Ok(running(options, name).is_none())).unwrap_or(false) {
            signal(pid, "-KILL");
            let _ = wait_until(patience, || Ok(running(options, name).is_none()));
        }
    }
    forget(options, name);
}

/// Forgets a process that something else ends.
pub(super) fn forget(options: &Options, name: &str) {
    let _ = fs::remove_file(pid_file(options, name));
}
