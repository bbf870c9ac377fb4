//! A command executed in a container: a helper starts it, and from then on it is a child of ours that
//! leads a process group of its own.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bramble_wire::shim::Exec;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::fds;
use crate::helper::Helper;
use crate::kill;

/// See the module.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) helper: Option<Helper>,
    pub(crate) pid: Option<i32>,
    pub(crate) outlive: bool,
    pub(crate) term_sent: bool,
    pub(crate) kill_at: Option<Instant>,
}

impl Command {
    /// Asks it to end, and kills it after the grace.
    pub(crate) fn stop(&mut self, grace: Duration, now: Instant) {
        let at = now + grace;
        self.kill_at = Some(self.kill_at.map_or(at, |old| old.min(at)));
        let Some(pid) = self.pid else { return };
        if grace.is_zero() {
            kill::group(pid, libc::SIGKILL);
        } else if !self.term_sent {
            self.term_sent = true;
            kill::group(pid, libc::SIGTERM);
        }
    }

    /// Time has passed.
    pub(crate) fn handle_time(&mut self, now: Instant) {
        if let Some(pid) = self.pid
            && self.kill_at.is_some_and(|at| at <= now)
        {
            kill::group(pid, libc::SIGKILL);
            // Again soon: the kernel may have missed one that was just forking.
            self.kill_at = Some(now + Duration::from_secs(1));
        }
        if let Some(helper) = &mut self.helper
            && !helper.killed
            && helper.deadline <= now
        {
            helper.killed = true;
            let _ = kill::process(helper.pid, libc::SIGKILL);
        }
    }
}

/// A command for the helper, as a file that nobody else sees: on its command line every user of the
/// board could read it.
pub(crate) fn argv(argv: &[String]) -> std::io::Result<OwnedFd> {
    let file = memfd_create("argv", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(&bramble_wire::encode(&argv))?;
    file.rewind()?;
    Ok(file.into())
}

/// Descriptors for the helper, each with the argument that names it.
pub(crate) fn streams(
    exec: &Exec,
    descriptors: Vec<OwnedFd>,
) -> std::io::Result<Vec<(&'static str, OwnedFd)>> {
    let mut descriptors = descriptors.into_iter();
    let mut out = Vec::new();
    if exec.terminal {
        out.extend(descriptors.next().map(|fd| ("--console-fd", fd)));
        return Ok(out);
    }
    if exec.streams.stdin {
        out.extend(descriptors.next().map(|fd| ("--stdin-fd", fd)));
    }
    for (name, wanted) in [
        ("--stdout-fd", exec.streams.stdout),
        ("--stderr-fd", exec.streams.stderr),
    ] {
        let fd = match wanted.then(|| descriptors.next()).flatten() {
            Some(fd) => fd,
            // The helper's own output is its report; its errors are the shim's.
            None => fds::null()?,
        };
        out.push((name, fd));
    }
    Ok(out)
}
