//! Processes by number and start time, for containers that lost their shim, and our own rights.

use std::fs;
use std::time::Duration;

use bramble_wire::shim::ContainerRecord;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;

/// Whether the process is still the one of the record.
pub(super) fn alive(pid: i32, start_time: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The command in parentheses may itself hold spaces and parentheses.
    let fields: Vec<_> = stat
        .rsplit_once(')')
        .map_or("", |(_, r)| r)
        .split_whitespace()
        .collect();
    fields.get(19).and_then(|f| f.parse().ok()) == Some(start_time)
        && fields
            .first()
            .is_some_and(|state| !matches!(*state, "Z" | "X"))
}

/// TERM now and KILL after the grace, for a container that lost its shim.
pub(super) fn stop_process(record: ContainerRecord, grace: Duration, changes: watch::Sender<u64>) {
    let ContainerRecord {
        pid, start_time, ..
    } = record;
    // The descriptor is taken before the check, so what we signal is what we checked.
    let Some(fd) = Pid::from_raw(pid).and_then(|p| pidfd_open(p, PidfdFlags::empty()).ok()) else {
        return;
    };
    if !alive(pid, start_time) {
        return;
    }
    let first = if grace.is_zero() {
        Signal::KILL
    } else {
        Signal::TERM
    };
    let _ = pidfd_send_signal(&fd, first);
    tokio::spawn(async move {
        tokio::time::sleep(grace).await;
        let _ = pidfd_send_signal(&fd, Signal::KILL);
        wait_for_end(pid, start_time).await;
        changes.send_modify(|n| *n += 1);
    });
}

/// Waits until a process that was told to end has done so; kills it when it takes too long.
pub(super) async fn wait_for_end(pid: i32, start_time: u64) {
    let mut waited = Duration::ZERO;
    let step = Duration::from_millis(5);
    while alive(pid, start_time) {
        if waited > Duration::from_secs(2) {
            kill(pid, start_time);
            waited = Duration::ZERO;
        }
        tokio::time::sleep(step).await;
        waited += step;
    }
}

fn kill(pid: i32, start_time: u64) {
    let fd = Pid::from_raw(pid).and_then(|p| pidfd_open(p, PidfdFlags::empty()).ok());
    // The descriptor is taken before the check, so what we signal is what we checked.
    if let Some(fd) = fd.filter(|_| alive(pid, start_time)) {
        let _ = pidfd_send_signal(&fd, Signal::KILL);
    }
}

/// Capabilities that this process could hand on.
pub(super) fn own_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("CapPrm:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_alone_is_not_a_process() {
        let own = std::process::id() as i32;
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let start = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .nth(19)
            .unwrap();
        let start: u64 = start.parse().unwrap();
        assert!(alive(own, start));
        assert!(!alive(own, start + 1));
        assert!(!alive(-1, 0));
    }
}
