//! Runs `bramble-oci`, one short-lived process for each step, and reads what it reports.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bramble_wire::shim::{FRAME_MAX, Failure, FailureKind, OciReport};
use rustix::fs::OFlags;
use rustix::io::FdFlags;
use rustix::pipe::{PipeFlags, pipe_with};

/// A helper that takes longer is killed. Creating takes tens of milliseconds on a loaded board;
/// libcontainer can hang for ever.
const LIMIT: Duration = Duration::from_secs(60);

/// What a helper was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Create { start: bool },
    Start,
    Delete,
    Exec,
}

/// A running helper.
#[derive(Debug)]
pub(crate) struct Helper {
    pub(crate) pid: i32,
    pub(crate) step: Step,
    /// Killed, because it took too long or nobody waits any more.
    pub(crate) killed: bool,
    /// Connection and number of the ask that waits for it.
    pub(crate) asker: Option<(u64, u32)>,
    pub(crate) deadline: Instant,
    report: File,
}

impl Helper {
    /// Starts `bramble-oci` with arguments; `pass` stays open in it under the same numbers.
    pub(crate) fn spawn(
        oci: &Path,
        step: Step,
        args: &[&OsStr],
        pass: &[&OwnedFd],
        asker: Option<(u64, u32)>,
    ) -> io::Result<Self> {
        let (report, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&report, OFlags::NONBLOCK)?;
        // Nothing else can be spawned in between: there is one thread, and the caller closes its
        // copies right after.
        for fd in pass {
            rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
        }
        let child = Command::new(oci)
            .args(args)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::from(write))
            .spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let (deadline, report) = (Instant::now() + LIMIT, File::from(report));
        Ok(Self {
            pid,
            step,
            killed: false,
            asker,
            deadline,
            report,
        })
    }

    /// Reads the report of a helper that has ended.
    pub(crate) fn finish(mut self, status: &str) -> Result<(i32, Vec<String>), Failure> {
        let mut bytes = vec![0; 4096];
        let mut length = 0;
        // A short report: it was written whole before the helper ended.
        loop {
            match self.report.read(&mut bytes[length..]) {
                Ok(0) => break,
                Ok(n) => length += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            }
            if length == bytes.len() {
                if length >= FRAME_MAX {
                    break;
                }
                bytes.resize(length * 2, 0);
            }
        }
        if self.killed {
            let message = format!("the container runtime did not answer within {LIMIT:?}");
            return Err(Failure {
                kind: FailureKind::TimedOut,
                message,
            });
        }
        match bramble_wire::decode(&bytes[..length], "report of bramble-oci") {
            Ok(OciReport::Done { pid, warnings }) => Ok((pid, warnings)),
            Ok(OciReport::Failed(failure)) => Err(failure),
            Err(_) => {
                let message = format!("bramble-oci ended without a report ({status})");
                Err(Failure {
                    kind: FailureKind::Runtime,
                    message,
                })
            }
        }
    }
}
