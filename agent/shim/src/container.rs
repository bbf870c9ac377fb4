//! One container: its state, its streams and log, the helper at work on it, and its records on disk.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bramble_wire::shim::{ContainerState, Failure, FailureKind};

use crate::helper::{Helper, Step};
use crate::kill;
use crate::log::{Lines, Stream};
use crate::sink::Sink;

/// Most bytes read from one pipe in one turn, so that a flood doesn't keep the others waiting.
pub(crate) const READ_TURN: usize = 64 * 1024;

/// Output is cut into lines in pieces of this size, and lines are written when there are so many bytes.
const PIECE: usize = 1024;
const WRITE: usize = 16 * 1024;

/// A container and what belongs to it.
#[derive(Debug)]
pub(crate) struct Container {
    /// Number within this shim; never used again.
    pub(crate) key: u32,
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    pub(crate) state: ContainerState,
    pub(crate) log: Sink,
    /// Standard output and error, or the terminal.
    pub(crate) pipes: Vec<Pipe>,
    pub(crate) input: Input,
    /// Was made to be talked to: it waits for its readers.
    pub(crate) interactive: bool,
    /// Where the terminal's descriptor will come from.
    pub(crate) console: Option<UnixStream>,
    pub(crate) terminal: bool,
    /// Signal that a stop begins with.
    pub(crate) stop_signal: i32,
    /// Directories of its cgroup, if everything in it is killed with it.
    pub(crate) kill: Vec<PathBuf>,
    pub(crate) oom_events: PathBuf,
    pub(crate) created_unix_ms: i64,
    pub(crate) helper: Option<Helper>,
    pub(crate) term_sent: bool,
    pub(crate) kill_at: Option<Instant>,
    /// Who waits for its deletion, once it has ended.
    pub(crate) delete: Option<(u64, u32)>,
}

/// A container's standard input, which we hold open whoever else comes and goes.
#[derive(Debug)]
pub(crate) enum Input {
    /// None, or ended.
    Closed,
    /// A pipe; `once`: until the first session that wrote to it ends.
    Pipe { end: OwnedFd, once: bool },
    /// The terminal.
    Terminal,
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
        self.pid().map_or(Ok(()), |pid| kill::process(pid, signal))
    }

    /// Kills all of it. The first process usually leads a pid namespace, and the kernel kills the
    /// rest with it; where it doesn't, the cgroup knows the rest.
    pub(crate) fn kill(&self) {
        if self.pid().is_some() {
            kill::cgroup(&self.kill);
        }
        let _ = self.send(libc::SIGKILL);
    }

    pub(crate) fn stop(&mut self, grace_ms: u32) {
        if matches!(self.state, ContainerState::Exited(_)) {
            return;
        }
        let at = Instant::now() + Duration::from_millis(u64::from(grace_ms));
        self.kill_at = Some(self.kill_at.map_or(at, |old| old.min(at)));
        if grace_ms == 0 || matches!(self.state, ContainerState::Created(_)) {
            self.kill();
        } else if !self.term_sent && self.pid().is_some() {
            self.term_sent = true;
            let _ = self.send(self.stop_signal);
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

    /// Reads at most about `limit` bytes from a pipe into the log, and tells them as they are to
    /// `tell`, which says whether to go on. True when the pipe has ended.
    pub(crate) fn read(
        &mut self,
        pipe: usize,
        buffer: &mut [u8],
        limit: usize,
        tell: &mut Tell<'_>,
    ) -> bool {
        let Pipe { file, lines } = &mut self.pipes[pipe];
        let mut total = 0;
        let mut out = Vec::new();
        let ended = loop {
            match file.read(buffer) {
                Ok(0) => break true,
                Ok(n) => {
                    // A byte of output may be a line, and a line weighs forty bytes at least.
                    for piece in buffer[..n].chunks(PIECE) {
                        lines.push(piece, &mut out);
                        if out.len() >= WRITE {
                            self.log.write(&out);
                            out.clear();
                        }
                    }
                    self.log.write(&out);
                    out.clear();
                    total += n;
                    if !tell(lines.stream(), &buffer[..n]) {
                        break false;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break false,
                // A terminal that nobody holds any more ends with an error.
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
    pub(crate) fn drain_to_end(&mut self, buffer: &mut [u8], tell: &mut Tell<'_>) {
        for pipe in 0..self.pipes.len() {
            // Room first: the last lines say why it ended, and must not be the ones that are dropped.
            self.log.wait();
            if !self.read(pipe, buffer, 4 * READ_TURN, tell) {
                let mut out = Vec::new();
                self.pipes[pipe].lines.finish(&mut out);
                self.log.write(&out);
            }
        }
        self.log.finish();
        self.pipes.clear();
        self.input = Input::Closed;
        self.console = None;
    }
}

/// Who else wants what a container wrote.
pub(crate) type Tell<'a> = dyn FnMut(Stream, &[u8]) -> bool + 'a;

/// A failure to report.
pub(crate) fn failure(kind: FailureKind, message: String) -> Failure {
    Failure { kind, message }
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
