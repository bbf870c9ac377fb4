//! Pods and containers on this board.
//!
//! In come settled configurations (names, paths, addresses chosen by the plan), out come facts. The
//! loop owns the decisions; this module owns nothing that isn't on the board already: everything it
//! knows it can find again in the run directory, which is how it adopts what runs when the agent
//! starts. Every `ensure_*`, `stop_*` and `delete_*` may be repeated; "already gone" is success.
//!
//! Containers are children of their pod's shim (`agent/shim`), never of the agent.

mod bundle;
pub mod cgroup;
mod client;
mod devices;
mod disk;
mod kernel;
mod mounts;
mod open;
mod options;
mod process;
pub mod rights;
pub mod seccomp;
mod session;
mod shims;
mod signal;
pub mod spec;
mod stdio;
pub mod sysctl;
mod turns;
pub mod user;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use bramble_wire::object::PodUid;
use bramble_wire::shim::{ContainerRecord, ExitRecord, Failure, FailureKind};
use bramble_wire::stream::Stdio;

pub(crate) use mounts::{unescape, unmount_all, unmount_below};

pub use kernel::KernelRuntime;
pub use options::Options;
pub use rights::Rights;
pub use session::{ExecConfig, Exit, Input, Output, Session, Terminal};
pub use signal::number as signal_number;
pub use spec::{BindMount, Console, ContainerConfig, Limits, Processes, User};

/// A pod's surroundings, before its containers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodConfig {
    /// Its UID.
    pub uid: PodUid,
    /// Host name inside it.
    pub hostname: String,
    /// Shares the board's network.
    pub host_network: bool,
    /// Shares the board's IPC.
    pub host_ipc: bool,
    /// Has a process namespace that its containers may join ([`Processes::Pod`]).
    pub share_processes: bool,
    /// Kernel settings of its namespaces, names with dots; see [`sysctl::of`].
    pub sysctls: Vec<(String, String)>,
    /// What all its containers together may use.
    pub limits: Limits,
}

/// A pod whose surroundings exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodHandle {
    /// File of its network namespace; missing for a pod on the board's network.
    pub netns: Option<PathBuf>,
    /// Directory for files that belong to the pod and go with it.
    pub directory: PathBuf,
}

/// A pod found on the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedPod {
    /// Its UID.
    pub uid: PodUid,
    /// Its shim.
    pub shim: Shim,
    /// Containers not yet deleted.
    pub containers: Vec<ObservedContainer>,
}

/// A pod's shim as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shim {
    /// Lives and answers.
    Answers,
    /// Lives and does not answer for now. Nothing can be started in the pod, what ended meanwhile is
    /// not known, and the pod must not be made a second time; it is asked again.
    Silent,
    /// Nothing new can be started in the pod, exits of what still runs have no code, and the pod
    /// should be deleted and made anew.
    Gone,
}

/// A container found on the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedContainer {
    /// Runtime's id.
    pub id: String,
    /// What is known.
    pub state: ContainerFact,
}

/// State of a container, as far as anybody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerFact {
    /// The runtime is at work.
    Creating,
    /// Created, not started.
    Created(ContainerRecord),
    /// Runs.
    Running(ContainerRecord),
    /// Ended; the code is known.
    Exited(ExitRecord),
    /// Gone without a record: the shim was killed, or the board went down.
    Unknown,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container's own fault, as told by the runtime: start again with back-off.
    #[error("{message}")]
    Start {
        /// Sort.
        kind: FailureKind,
        /// For a person.
        message: String,
    },
    /// The bundle could not be prepared.
    #[error("prepare container {id}: {what}")]
    Prepare {
        /// Container.
        id: String,
        /// What failed.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The pod's shim could not be started.
    #[error("start the shim of pod {pod}: {message}")]
    Shim {
        /// Pod.
        pod: PodUid,
        /// What it said.
        message: String,
    },
    /// The pod's shim does not answer (any more).
    #[error("the shim of pod {pod} does not answer")]
    ShimGone {
        /// Pod.
        pod: PodUid,
    },
    /// The shim refused.
    #[error("pod {pod}: {message}")]
    Refused {
        /// Pod.
        pod: PodUid,
        /// Why.
        message: String,
    },
    /// A command could not be executed in a container. The text is what the CRI error says upstream.
    #[error("{message}")]
    Exec {
        /// 127: no such command, 126: it can't be executed, else `None`.
        code: Option<i32>,
        /// For a person.
        message: String,
    },
    /// A command was not done in time.
    #[error("timed out after {limit:?}")]
    TooLate {
        /// What it had.
        limit: Duration,
    },
    /// There is nothing to execute in or attach to.
    #[error("{message}")]
    NotRunning {
        /// As upstream says it.
        message: String,
    },
    /// An attached session ended because its input did, as upstream; nothing went wrong.
    #[error("detached: the input ended")]
    Detached,
    /// A session was cut: its reader was too slow, or the shim is gone.
    #[error("{message}")]
    Cut {
        /// For a person.
        message: String,
    },
    /// Tear-down went on to its end; this is what it met.
    #[error("clean up pod {pod}: {}", .errors.join("; "))]
    CleanUp {
        /// Pod.
        pod: PodUid,
        /// Each failure.
        errors: Vec<String>,
    },
}

impl Error {
    fn from_failure(pod: PodUid, failure: Failure) -> Self {
        let Failure { kind, message } = failure;
        match kind {
            FailureKind::CommandNotFound
            | FailureKind::CommandNotExecutable
            | FailureKind::WorkingDirectory
            | FailureKind::Runtime
            | FailureKind::TimedOut => Self::Start { kind, message },
            FailureKind::NotFound | FailureKind::Exists | FailureKind::Invalid => {
                Self::Refused { pod, message }
            }
        }
    }

    /// Kubernetes' reason for a container that waits because of this.
    pub fn waiting_reason(&self) -> &'static str {
        match self {
            Self::Start { .. } => "RunContainerError",
            Self::Prepare { .. } => "CreateContainerError",
            _ => "CreatePodSandboxError",
        }
    }

    /// Exit code and reason that Kubernetes shows for the life that never began; `None` when there
    /// was no life to speak of.
    pub fn terminated(&self) -> Option<(i32, &'static str)> {
        matches!(self, Self::Start { .. }).then_some((128, "StartError"))
    }
}

/// What the loop needs of a container runtime. Small, so that tests can bring their own.
pub trait Runtime: Send + Sync + 'static {
    /// Makes the pod's namespaces and shim.
    fn ensure_pod(&self, pod: &PodConfig) -> impl Future<Output = Result<PodHandle, Error>> + Send;

    /// Creates and starts one life of a container. An id is used once.
    fn start_container(
        &self,
        pod: PodUid,
        config: &ContainerConfig,
    ) -> impl Future<Output = Result<ContainerRecord, Error>> + Send;

    /// Asks it to end, and kills it after the grace. Returns at once; its end is observed later.
    fn stop_container(
        &self,
        pod: PodUid,
        id: &str,
        grace: Duration,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Executes a command in a running container, in its namespaces and cgroup. Bounded: at most
    /// [`bramble_wire::shim::SESSIONS_MAX`] sessions in a pod, one of them being started.
    ///
    /// # Errors
    /// [`Error::Exec`], [`Error::TooLate`], [`Error::NotRunning`], [`Error::ShimGone`].
    fn exec(
        &self,
        pod: PodUid,
        id: &str,
        config: &ExecConfig,
    ) -> impl Future<Output = Result<Session, Error>> + Send;

    /// Joins the streams of a running container: output from now on, input when the container has
    /// one (`stdin: true`); `tty` is the container's own affair.
    fn attach(
        &self,
        pod: PodUid,
        id: &str,
        stdio: Stdio,
    ) -> impl Future<Output = Result<Session, Error>> + Send;

    /// Removes an ended container (one that runs is killed); its log stays with the pod.
    fn delete_container(
        &self,
        pod: PodUid,
        id: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Kills what runs and takes the pod off the board, except its log files. The network is the
    /// caller's to take away first.
    fn stop_pod(&self, pod: PodUid) -> impl Future<Output = Result<(), Error>> + Send;

    /// As [`Runtime::stop_pod`], and removes its log files too.
    fn delete_pod(&self, pod: PodUid) -> impl Future<Output = Result<(), Error>> + Send;

    /// Everything on the board. Changes nothing.
    fn observe(&self) -> impl Future<Output = Vec<ObservedPod>> + Send;

    /// Ticks whenever [`Runtime::observe`] may have something new to say.
    fn changes(&self) -> tokio::sync::watch::Receiver<u64>;
}
