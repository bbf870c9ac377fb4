//! One container: its state, its pipes and log, the helper at work on it, and its records on disk.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bramble_wire::shim::{ContainerState, Failure, FailureKind};

use crate::helper::{Helper, Step};
use crate::log::Lines;
use crate::sink::Sink;

/// Most bytes read from one pipe in one turn, so that a flood doesn't keep the others waiting.
pub(crate) const READ_TURN: usize = 64 * 1024;

/// A container and what belongs to it.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    pub(crate) state: ContainerState,
    pub(crate) log: Sink,
    pub(crate) pipes: Vec<Pipe>,
    pub(crate) oom_events: PathBuf,
    pub(crate) created_unix_ms: i64,
    pub(crate) helper: Option<Helper>,
    pub(crate) term_sent: bool,
    pub(crate) kill_at: Option<Instant>,
    /// Who waits for its deletion, once it has ended.
    pub(crate) delete: Option<(u64, u32)>,
}

#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) file: File,
    pub(crate) lines: Lines,
}

impl Container {
    pub(crate) fn pid(&self) -> Option<i32> {
        match self.state {
            ContainerState::Created(r) | ContainerState::Running(r) => Some(r.pid),
            ContainerState::Creating | ContainerState::Exited(_) => None,
        }
    }

    /// Signals the first process. It is our child and not reaped, so the number is still its own.
    pub(crate) fn send(&self, signal: i32) -> io::Result<()> {
        self.pid().map_or(Ok(()), |pid| kill(pid, signal))
    }

    pub(crate) fn stop(&mut self, grace_ms: u32) {
        if matches!(self.state, ContainerState::Exited(_)) {
            return;
        }
        let at = Instant::now() + Duration::from_millis(u64::from(grace_ms));
        self.kill_at = Some(self.kill_at.map_or(at, |old| old.min(at)));
        if grace_ms == 0 || matches!(self.state, ContainerState::Created(_)) {
            // The first process leads its pid namespace: the kernel kills the rest with it.
            let _ = self.send(libc::SIGKILL);
        } else if !self.term_sent && self.pid().is_some() {
            self.term_sent = true;
            let _ = self.send(libc::SIGTERM);
        }
    }

    pub(crate) fn spawn(
        &mut self,
        oci: &Path,
        root: &Path,
        step: Step,
        asker: Option<(u64, u32)>,
    ) -> Result<(), Failure> {
        let verb = if step == Step::Start {
            "start"
        } else {
            "delete"
        };
        let mut args: Vec<&OsStr> = [verb, "--postcard", "--id", self.id.as_str(), "--root"]
            .map(OsStr::new)
            .to_vec();
        args.push(root.as_os_str());
        let helper = Helper::spawn(oci, step, &args, &[], asker)
            .map_err(|e| failure(FailureKind::Runtime, format!("start bramble-oci: {e}")))?;
        self.helper = Some(helper);
        Ok(())
    }

    /// Reads at most about `limit` bytes from a pipe into the log; true when it has ended.
    pub(crate) fn read(&mut self, pipe: usize, buffer: &mut [u8], limit: usize) -> bool {
        let Pipe { file, lines } = &mut self.pipes[pipe];
        let mut total = 0;
        let mut out = Vec::new();
        let ended = loop {
            match file.read(buffer) {
                Ok(0) => break true,
                Ok(n) => {
                    lines.push(&buffer[..n], &mut out);
                    self.log.write(&out);
                    out.clear();
                    total += n;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break false,
                Err(_) => break true,
            }
            if total >= limit {
                break false;
            }
        };
        if ended {
            lines.finish(&mut out);
            self.log.write(&out);
        }
        ended
    }

    /// The container has ended: what it wrote is in the pipes and goes to the log now. Bounded,
    /// because a process that slipped out of it might hold the other end and write for ever.
    pub(crate) fn drain_to_end(&mut self, buffer: &mut [u8]) {
        for pipe in 0..self.pipes.len() {
            // Room first: the last lines say why it ended, and must not be the ones that are dropped.
            self.log.wait();
            if !self.read(pipe, buffer, 4 * READ_TURN) {
                let mut out = Vec::new();
                self.pipes[pipe].lines.finish(&mut out);
                self.log.write(&out);
            }
        }
        self.log.finish();
        self.pipes.clear();
    }
}

/// A failure to report.
pub(crate) fn failure(kind: FailureKind, message: String) -> Failure {
    Failure { kind, message }
}

/// Signals a process that is our child and not reaped; one that has ended is fine.
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    if pid <= 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill takes no pointers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            e => Err(e),
        },
    }
}

/// `memory.events` (v2) and `memory.oom_control` (v1) both have a line `oom_kill N`.
pub(crate) fn oom_killed(file: &Path) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|l| l.strip_prefix("oom_kill "))
        .any(|n| n.trim().parse::<u64>().is_ok_and(|n| n > 0))
}

/// Writes a record so that a reader sees all of it or nothing.
pub(crate) fn write_record<T: serde::Serialize>(dir: &Path, name: &str, record: &T) {
    let temporary = dir.join(format!(".{name}"));
    let result = File::create(&temporary)
        .and_then(|mut f| f.write_all(&bramble_wire::encode(record)))
        .and_then(|()| fs::rename(&temporary, dir.join(name)));
    if let Err(error) = result {
        eprintln!("bramble-shim: write {}/{name}: {error}", dir.display());
    }
}
