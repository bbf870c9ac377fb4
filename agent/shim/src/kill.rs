//! Killing: one process, its group, or everything in a container's cgroup.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A freezer needs a moment to freeze; a cgroup that isn't empty after so many rounds is left to the
/// next attempt (deletion kills again).
const ROUNDS: usize = 16;

/// Signals a process that is our child and not reaped; one that has ended is fine.
pub(crate) fn process(pid: i32, signal: i32) -> io::Result<()> {
    if pid <= 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    send(pid, signal)
}

/// Signals the process group that a child of ours leads.
pub(crate) fn group(pid: i32, signal: i32) {
    if pid > 1 {
        let _ = send(-pid, signal);
    }
}

fn send(target: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes no pointers.
    match unsafe { libc::kill(target, signal) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            e => Err(e),
        },
    }
}

/// Kills everything in a cgroup, by the best means that the directories offer: `cgroup.kill` (Linux
/// 5.14), else each process while all are frozen, so that nothing forks away.
pub(crate) fn cgroup(directories: &[PathBuf]) {
    for directory in directories {
        if fs::write(directory.join("cgroup.kill"), "1").is_ok() {
            continue;
        }
        for _ in 0..ROUNDS {
            freeze(directory, true);
            let left = each(directory);
            // A frozen process of v1 dies when it is thawed.
            freeze(directory, false);
            if left == 0 {
                break;
            }
        }
    }
}

fn freeze(directory: &Path, frozen: bool) {
    let (v2, v1) = match frozen {
        true => ("1", "FROZEN"),
        false => ("0", "THAWED"),
    };
    if fs::write(directory.join("cgroup.freeze"), v2).is_err() {
        let _ = fs::write(directory.join("freezer.state"), v1);
    }
}

/// Kills each process; returns how many there were.
fn each(directory: &Path) -> usize {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let pids = text.lines().filter_map(|l| l.parse::<i32>().ok());
    pids.filter(|pid| process(*pid, libc::SIGKILL).is_ok())
        .count()
}
