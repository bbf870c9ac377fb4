//! Protocol of a shim's socket (`<pod dir>/shim.sock`): the agent asks, the shim answers and pushes
//! exits. It is versioned because a shim outlives the agent that started it: an upgraded agent must
//! still steer the shims of its predecessor.
//!
//! A frame is a little-endian `u32` length (at most [`FRAME_MAX`]) followed by that many bytes of
//! postcard. The agent sends [`Ask`]s, the shim [`Answer`]s with the same number; event answers
//! carry number 0. The first ask of a connection is [`Request::Hello`]. New variants are added at
//! the end of an enum only, so that an old peer refuses what it doesn't know and keeps the rest.
//!
//! The same file holds what shim and agent share on disk ([`ExitRecord`], [`ShimRecord`],
//! [`ContainerRecord`]) and what `bramble-oci` reports back ([`OciReport`]).

mod frame;

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

pub use frame::{FrameError, Split, frame, split_frame};

/// Version spoken by this build.
pub const VERSION: u16 = 2;

/// First version with [`Request::CreateWith`] and what follows it.
pub const VERSION_SESSIONS: u16 = 2;

/// Largest frame body, in bytes. A peer that announces more is cut off.
pub const FRAME_MAX: usize = 64 * 1024;

/// Most containers (all lives not yet deleted) of one shim.
pub const CONTAINERS_MAX: usize = 64;

/// Most sessions (executed commands, attached clients) of one shim; one more is refused.
pub const SESSIONS_MAX: usize = 32;

/// Most agent connections at once; one more is closed at once.
pub const CONNECTIONS_MAX: usize = 8;

/// Files under a pod's directory, relative to it.
pub mod path {
    /// The socket.
    pub const SOCKET: &str = "shim.sock";
    /// [`super::ShimRecord`] of the shim.
    pub const SHIM: &str = "shim";
    /// What the shim printed when it could not go on.
    pub const SHIM_ERRORS: &str = "shim.err";
    /// Bind mounts of the pod's namespaces: `net`, `ipc`, `uts`.
    pub const NAMESPACES: &str = "ns";
    /// State directory of the OCI runtime.
    pub const OCI: &str = "oci";
    /// One directory for each container id: bundle and records.
    pub const CONTAINERS: &str = "c";
    /// [`super::ContainerRecord`], in the container's directory.
    pub const CONTAINER: &str = "pid";
    /// [`super::ExitRecord`], in the container's directory.
    pub const EXIT: &str = "exit";
}

/// What the agent sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Chosen by the agent, not 0; comes back in the answer.
    pub number: u32,
    /// What is wanted.
    pub request: Request,
}

/// Requests. All but [`Request::Create`] are idempotent: what is already so is success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Says which version the agent speaks; answered by [`Reply::Hello`].
    Hello {
        /// Highest version the agent speaks.
        version: u16,
    },
    /// Every container; answered by [`Reply::State`].
    State,
    /// Creates a container; answered by [`Reply::Running`] or [`Reply::Created`].
    Create(Create),
    /// Starts a created container.
    Start {
        /// Which.
        id: String,
    },
    /// Sends a signal to a container's first process. Success when it has ended already.
    Signal {
        /// Which.
        id: String,
        /// Number of the signal.
        signal: i32,
    },
    /// Sends TERM, and KILL to everything in it after the grace. Answered at once; the end comes
    /// as an event. A second stop may shorten the grace, never lengthen it.
    Stop {
        /// Which.
        id: String,
        /// Milliseconds between TERM and KILL; 0 kills at once.
        grace_ms: u32,
    },
    /// Frees an ended container: runtime state, cgroup. Kills it first if it still runs. The
    /// bundle is the agent's to remove.
    Delete {
        /// Which.
        id: String,
    },
    /// Kills what runs, frees the namespaces and ends the shim. Answered when that is done.
    Shutdown,
    /// From now on this connection gets events; answered by [`Reply::Done`], then
    /// [`Reply::Event`]s with number 0. Exits that happened before are in [`Request::State`].
    WaitEvents,
    /// As [`Request::Create`], with more (version 2).
    CreateWith(CreateWith),
    /// Executes a command in a running container (version 2). Answered by [`Reply::Attached`] once
    /// it runs, and under the same number by [`Reply::Ended`] when it has ended.
    Exec(Exec),
    /// Joins the streams of a running container (version 2). Answered as [`Request::Exec`]; where
    /// input is wanted, the descriptor to write to comes through [`Streams::stdin`]'s socket.
    Attach(Attach),
    /// The input of an attached session has ended (version 2). Ends a container's input that is
    /// open once; in every other case it ends the session, as upstream.
    EndInput {
        /// Number of the session's ask.
        session: u32,
    },
    /// Ends a session (version 2): an executed command gets TERM, and KILL after the grace; both go
    /// to everything in its process group.
    EndSession {
        /// Number of the session's ask.
        session: u32,
        /// Milliseconds between TERM and KILL; 0 kills at once.
        grace_ms: u32,
    },
}

/// A container that is more than a process with output.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreateWith {
    /// As before.
    pub create: Create,
    /// Has a terminal (its `config.json` says the same): one output, and the shim holds the other end.
    pub terminal: bool,
    /// Its input is held open; else it is `/dev/null`.
    pub stdin: bool,
    /// Its input ends with the first session that wrote to it.
    pub stdin_once: bool,
    /// Signal that a stop begins with; 0 is TERM.
    pub stop_signal: i32,
    /// Directories of its cgroup that can kill or freeze it (`cgroup.kill`, `cgroup.freeze`,
    /// `freezer.state`). Everything in them is killed when the container is killed, and when its
    /// first process ends. Empty where the kernel does that by itself (a pid namespace).
    pub kill: Vec<String>,
}

/// A command in a running container. Everything but the command is the container's own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Exec {
    /// Container.
    pub id: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Which descriptors come with the ask; what doesn't is `/dev/null`. With a terminal only
    /// `stdin` is set: a socket through which the terminal's descriptor comes back.
    pub streams: Streams,
    /// Has a terminal.
    pub terminal: bool,
    /// Goes on when the connection ends.
    pub outlive: bool,
}

/// Streams of a running container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attach {
    /// Container.
    pub id: String,
    /// Which descriptors come with the ask: pipes for the outputs, a socket through which the
    /// descriptor of the input comes back (a terminal's is good for its size as well).
    pub streams: Streams,
}

/// Which descriptors come with an ask, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Streams {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Streams {
    /// How many descriptors that is.
    pub fn count(self) -> usize {
        usize::from(self.stdin) + usize::from(self.stdout) + usize::from(self.stderr)
    }
}

/// How to create a container. Its bundle is `<pod dir>/c/<id>` with `config.json` in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Create {
    /// Runtime's id: letters, digits, `-`, `_`, `.`.
    pub id: String,
    /// Absolute path of the log file; its directory exists.
    pub log: String,
    /// Written to `oom_score_adj` where the kernel allows it.
    pub oom_score_adj: i32,
    /// File with an `oom_kill N` line of the container's cgroup; empty: not known.
    pub oom_events: String,
    /// Start it as soon as it has been created.
    pub start: bool,
}

/// What the shim sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Number of the ask, or 0 for an event.
    pub number: u32,
    /// The answer.
    pub reply: Reply,
}

/// Answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello(Hello),
    /// To [`Request::State`].
    State(Vec<ContainerInfo>),
    /// Created, not started.
    Created(ContainerRecord),
    /// Created and started.
    Running(ContainerRecord),
    /// Done.
    Done,
    /// Not done, and why.
    Failed(Failure),
    /// A container ended.
    Event(Event),
    /// A session has begun (version 2).
    Attached(Attached),
    /// A session has ended (version 2).
    Ended(SessionEnd),
}

/// A session that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Process id of the executed command, or of the container's first process.
    pub pid: i32,
    /// The container attached to has a terminal.
    pub terminal: bool,
    /// A descriptor came through the socket of [`Streams::stdin`].
    pub stdin: bool,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionEnd {
    /// The command, or the container attached to, ended.
    Exited {
        /// Exit code; 128 + signal when a signal ended it.
        code: i32,
    },
    /// Its input ended, and with it the session.
    Detached,
    /// Its reader took nothing for too long while the container was held up for it.
    TooSlow,
}

/// Who the shim is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version this connection speaks: the lower of both.
    pub version: u16,
    /// UID of its pod.
    pub pod: String,
    /// The shim itself.
    pub shim: ShimRecord,
}

/// A process, safe against reuse of its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimRecord {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot (`/proc/<pid>/stat`, field 22).
    pub start_time: u64,
}

/// First process of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Process id as the host sees it.
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
    /// When it was created, milliseconds of the Unix epoch.
    pub created_unix_ms: i64,
}

/// A container as the shim knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerInfo {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: ContainerState,
}

/// Life of a container under its shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// The runtime is at work.
    Creating,
    /// Waits for its start.
    Created(ContainerRecord),
    /// Runs.
    Running(ContainerRecord),
    /// Ended.
    Exited(ExitRecord),
}

/// How a container's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// The signal, or 0.
    pub signal: i32,
    /// The kernel killed something in it for want of memory.
    pub oom_killed: bool,
    /// When it was created, milliseconds of the Unix epoch.
    pub created_unix_ms: i64,
    /// When it ended, milliseconds of the Unix epoch.
    pub finished_unix_ms: i64,
}

/// Pushed to connections that asked for events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A container ended; its exit record is on disk.
    Exited {
        /// Which.
        id: String,
        /// How.
        exit: ExitRecord,
    },
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Sort of failure.
    pub kind: FailureKind,
    /// For a person.
    pub message: String,
}

/// Sorts of failure that the agent tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// No such container.
    NotFound,
    /// The id is taken.
    Exists,
    /// The request makes no sense (bad id, wrong state, limit reached).
    Invalid,
    /// The command isn't in the image.
    CommandNotFound,
    /// The command can't be executed (not a file, no execute bit, a directory).
    CommandNotExecutable,
    /// The working directory can't be entered.
    WorkingDirectory,
    /// The runtime failed for another reason.
    Runtime,
    /// The runtime took too long and was killed.
    TimedOut,
}

/// Last thing `bramble-oci` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OciReport {
    /// Done. The pid of a created or executed process, else 0; and what was left out.
    Done {
        /// Process id.
        pid: i32,
        /// What couldn't be honoured and doesn't endanger the workload.
        warnings: Vec<String>,
    },
    /// Not done.
    Failed(Failure),
}

/// Whether a text may be a container id: it becomes a directory and a cgroup name.
pub fn valid_container_id(id: &str) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !id.is_empty() && id.len() <= 128 && !id.starts_with('.') && id.bytes().all(ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_would_leave_their_directory_are_refused() {
        for bad in ["", ".", "..", "a/b", "../x", "a b", ".hidden", "ü"] {
            assert!(!valid_container_id(bad), "{bad:?}");
        }
        for good in ["a", "web-0", "A_b.c"] {
            assert!(valid_container_id(good), "{good:?}");
        }
    }
}
