//! What a node says of its pods. Reports are levels, not events: a later one of a pod replaces the
//! earlier, so an agent that was away for months says what is, once.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::document::{Digest, Hash};
use crate::object::{ObjectName, PodUid};

/// A moment by the node's own clock, milliseconds of the Unix epoch. Never used to order anything.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct UnixMs(pub i64);

/// State of one pod on its node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PodReport {
    /// Which pod.
    pub uid: PodUid,
    /// Phase, by Kubernetes' rules.
    pub phase: Phase,
    /// CamelCase reason of a phase that needs one (`Evicted`, `NodeShutdown`), else empty.
    pub reason: String,
    /// Text for a person, else empty.
    pub message: String,
    /// Its address.
    pub pod_ip: Option<[u8; 4]>,
    /// When the agent first saw it.
    pub started: UnixMs,
    /// One for each container of the document's pod.
    pub containers: Vec<ContainerReport>,
    /// Everything of it has stopped for good, its address and volumes are released: the API object
    /// of a pod with a deletion timestamp may go. One-way, on the node's disk before it is said.
    pub gone: bool,
    /// Runs although the document does not name it, because the epoch rose and nobody confirmed the
    /// difference ([`crate::object::NodeConfig::confirmed_epoch`]).
    pub unclaimed: bool,
    /// One for each init container.
    pub init_containers: Vec<ContainerReport>,
    /// One for each ephemeral container.
    pub ephemeral_containers: Vec<ContainerReport>,
    /// Its shim, namespaces and network are there (condition `PodReadyToStartContainers`).
    pub sandbox: bool,
    /// Further conditions, as the token that ends soon.
    pub conditions: Vec<Condition>,
    /// Its name, of an unclaimed one: the store does not have it.
    pub name: Option<ObjectName>,
}

impl PodReport {
    /// Must be durable at the controller before it is acknowledged: an ending. Everything else can
    /// be rebuilt from the node.
    pub fn is_terminal(&self) -> bool {
        self.gone || matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Hash of the whole report, for [`observed_digest`].
    pub fn hash(&self) -> Hash {
        Hash(*blake3::hash(&crate::encode(self)).as_bytes())
    }
}

/// Digest over what was acknowledged of a node's pods, without those that are gone: both ends compute
/// it and compare.
pub fn observed_digest<'a>(pods: impl IntoIterator<Item = (&'a PodUid, &'a Hash)>) -> Digest {
    let mut sorted: Vec<_> = pods.into_iter().collect();
    sorted.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"bramble/observed/1\0");
    for (uid, hash) in sorted {
        hasher.update(&uid.0);
        hasher.update(&hash.0);
    }
    Digest(*hasher.finalize().as_bytes())
}

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Phase {
    /// Not all containers have been started.
    #[default]
    Pending,
    /// At least one runs or is being restarted.
    Running,
    /// All ended with 0 and none will be restarted.
    Succeeded,
    /// All ended, at least one with a failure, none will be restarted.
    Failed,
}

/// State of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerReport {
    /// Its name.
    pub name: String,
    /// Now.
    pub state: ContainerState,
    /// How its life before ended.
    pub last: Option<Terminated>,
    /// How often it was started again.
    pub restarts: u32,
    /// Passes its readiness (running, while there are no probes).
    pub ready: bool,
    /// Has been started and passed its start-up.
    pub started: bool,
    /// Resolved image reference.
    pub image: String,
    /// Digest of what runs, `sha256:…`; empty when unknown.
    pub image_id: String,
    /// Runtime's id of the current life, else empty.
    pub container_id: String,
}

/// `status.containerStatuses[].state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Not running yet or not running just now.
    Waiting {
        /// `ContainerCreating`, `CrashLoopBackOff`, `ErrImageNeverPull`, …
        reason: String,
        /// For a person.
        message: String,
    },
    /// Running.
    Running {
        /// Since.
        started: UnixMs,
    },
    /// Ended.
    Terminated(Terminated),
}

/// How a container's life ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Terminated {
    /// Exit code; 128 + signal for a signal, as Kubernetes has it.
    pub exit_code: i32,
    /// Signal that ended it, or 0.
    pub signal: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`.
    pub reason: String,
    /// Termination message.
    pub message: String,
    /// Start.
    pub started: UnixMs,
    /// End.
    pub finished: UnixMs,
    /// Runtime's id of that life.
    pub container_id: String,
}

/// A condition of a pod or node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Condition {
    /// Type.
    pub kind: String,
    /// `None` is `Unknown`.
    pub status: Option<bool>,
    /// CamelCase.
    pub reason: String,
    /// For a person.
    pub message: String,
}

/// Something that happened to a pod, told once and lost without harm: becomes an Event. At most
/// [`crate::limits::REPORT_EVENTS_MAX`] wait; then the oldest is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodEvent {
    /// Which pod.
    pub uid: PodUid,
    /// Which container; empty is the pod as a whole.
    pub container: String,
    /// A warning, else normal.
    pub warning: bool,
    /// `Pulling`, `Pulled`, `Created`, `Started`, `Killing`, `Unhealthy`, `BackOff`, `FailedMount`, …
    pub reason: String,
    /// For a person.
    pub message: String,
    /// When it was last so.
    pub at: UnixMs,
    /// How often since it was last told.
    pub count: u32,
}

/// What containers use, from their cgroups (`metrics.k8s.io`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// When it was measured.
    pub at: UnixMs,
    /// Over how long, milliseconds.
    pub window_ms: u32,
    /// The board as a whole.
    pub node: Amounts,
    /// Running containers, by pod.
    pub pods: Vec<PodUsage>,
}

/// Usage of one pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PodUsage {
    /// Which pod.
    pub uid: PodUid,
    /// Containers with their amounts.
    pub containers: Vec<(String, Amounts)>,
}

/// Amounts in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amounts {
    /// Processor, billionths of a core.
    pub cpu_nano: u64,
    /// Working set (usage less inactive file pages), bytes.
    pub memory_bytes: u64,
}

/// An image on a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeImage {
    /// Names, digests among them.
    pub names: Vec<String>,
    /// Unpacked size, bytes.
    pub size_bytes: u64,
}

/// Facts of a node, sent with its birth and when they change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeFacts {
    /// `GOARCH`-style architecture (`amd64`, `arm64`, `arm`).
    pub architecture: String,
    /// Kernel release.
    pub kernel: String,
    /// Pretty name of the operating system.
    pub os_image: String,
    /// `/etc/machine-id`, or the agent's own id of the board.
    pub machine_id: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Name and version of the container runtime.
    pub runtime_version: String,
    /// Address of the node towards its controller.
    pub address: Option<[u8; 4]>,
    /// Host name.
    pub hostname: String,
    /// Processor, thousandths of a core.
    pub cpu_milli: u64,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Most pods.
    pub pods: u32,
    /// Size of the file system of the data directory, bytes.
    pub storage_bytes: u64,
    /// Kept for the board itself: processor, thousandths of a core.
    pub reserved_cpu_milli: u64,
    /// Kept for the board itself: memory, bytes.
    pub reserved_memory_bytes: u64,
    /// Kept for the board itself: disk, bytes.
    pub reserved_storage_bytes: u64,
    /// Platforms of container images that run here, best first: `linux/arm/v7`, `linux/arm/v6`.
    pub platforms: Vec<String>,
    /// Largest images, at most [`crate::limits::NODE_IMAGES_MAX`].
    pub images: Vec<NodeImage>,
    /// Conditions beside `Ready`: `MemoryPressure`, `DiskPressure`, `PIDPressure`, …
    pub conditions: Vec<Condition>,
    /// Every address of the board that others may use, the one in `address` first.
    pub addresses: Vec<[u8; 4]>,
}
