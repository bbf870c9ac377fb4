//! A pod's containers: what runs, with what around it, under which rights, and what asks after it.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::{PodField, ResourceField};

/// One container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Container {
    /// Its name, unique in the pod.
    pub name: String,
    /// Image reference as written in the manifest.
    pub image: String,
    /// When to pull.
    pub pull_policy: PullPolicy,
    /// Replaces the image's entrypoint when not empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments when not empty.
    pub args: Vec<String>,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// Whole maps as environment, before `env`.
    pub env_from: Vec<EnvFrom>,
    /// Environment in order; later entries may refer to earlier ones as `$(NAME)`.
    pub env: Vec<EnvVar>,
    /// Limits and requests.
    pub resources: Resources,
    /// Rights.
    pub security: Security,
    /// Where volumes appear.
    pub mounts: Vec<Mount>,
    /// Where the termination message is read from.
    pub termination_message_path: String,
    /// A terminal is wanted.
    pub tty: bool,
    /// Keep standard input open for those who attach.
    pub stdin: bool,
    /// Close standard input when the first who attached leaves.
    pub stdin_once: bool,
    /// An init container that goes on beside what follows (`restartPolicy: Always`).
    pub sidecar: bool,
    /// Of an ephemeral container: the container whose processes it sees.
    pub target: Option<String>,
    /// The last lines of the log stand in for an empty termination message after a failure
    /// (`FallbackToLogsOnError`).
    pub termination_message_from_logs: bool,
    /// Declared ports: probes may mean them by name.
    pub ports: Vec<Port>,
    /// Restarts it when failing.
    pub liveness: Option<Probe>,
    /// Takes it out of Services when failing.
    pub readiness: Option<Probe>,
    /// Holds the other probes back until it succeeds; restarts when failing.
    pub startup: Option<Probe>,
    /// Run right after its start; a failure ends it.
    pub post_start: Option<Handler>,
    /// Run before TERM, within the grace.
    pub pre_stop: Option<Handler>,
    /// Signal instead of the image's or TERM (`lifecycle.stopSignal`), as `SIGUSR1`.
    pub stop_signal: Option<String>,
}

/// A declared port.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Port {
    /// Name; may be empty.
    pub name: String,
    /// Number in the pod.
    pub port: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// Port of the board, or 0.
    pub host_port: u16,
    /// Address of the board for it; empty is every one.
    pub host_ip: String,
}

/// `protocol` of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A probe, its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What is tried.
    pub handler: Handler,
    /// Seconds from the container's start to the first try.
    pub initial_delay_s: u32,
    /// Seconds a try may take; at least 1.
    pub timeout_s: u32,
    /// Seconds between tries; at least 1.
    pub period_s: u32,
    /// Successes in a row that count; at least 1.
    pub success_threshold: u32,
    /// Failures in a row that count; at least 1.
    pub failure_threshold: u32,
    /// Grace when this probe ends the container; `None`: the pod's.
    pub termination_grace_s: Option<u32>,
}

/// What a probe or a lifecycle hook does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Handler {
    /// Runs a command in the container; 0 is success.
    Exec(Vec<String>),
    /// GETs; 200 to 399 is success.
    Http(HttpGet),
    /// Connects.
    Tcp {
        /// Name or address; empty is the pod's.
        host: String,
        /// Which port.
        port: PortRef,
    },
    /// `grpc.health.v1.Health/Check`, in clear text (probes only).
    Grpc {
        /// Number.
        port: u16,
        /// Service asked for; may be empty.
        service: String,
    },
    /// Waits (hooks only).
    Sleep {
        /// Seconds.
        seconds: u32,
    },
}

/// `httpGet`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpGet {
    /// Name or address; empty is the pod's.
    pub host: String,
    /// Which port.
    pub port: PortRef,
    /// Path with query; begins with `/`.
    pub path: String,
    /// Over TLS, without looking at the certificate, as upstream.
    pub https: bool,
    /// Header lines; a `Host` among them stands for the host.
    pub headers: Vec<(String, String)>,
}

/// A port by number or by the name of a declared one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortRef {
    /// Number.
    Number(u16),
    /// Name.
    Name(String),
}

/// `imagePullPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum PullPolicy {
    /// Pull at each start.
    Always,
    /// Pull when missing.
    #[default]
    IfNotPresent,
    /// Never pull.
    Never,
}

/// One entry of `envFrom`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvFrom {
    /// Put before each key.
    pub prefix: String,
    /// Whose keys.
    pub source: EnvFromSource,
    /// A missing source is no error.
    pub optional: bool,
}

/// Source of [`EnvFrom`]; the namespace is the pod's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnvFromSource {
    /// Name of a ConfigMap.
    ConfigMap(String),
    /// Name of a Secret.
    Secret(String),
}

/// One entry of `env`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Variable's name.
    pub name: String,
    /// Where its value comes from.
    pub value: EnvValue,
}

/// Value of an [`EnvVar`]; the namespace of references is the pod's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnvValue {
    /// Text, with `$(NAME)` and `$$` as in Kubernetes.
    Literal(String),
    /// A key of a ConfigMap.
    ConfigMapKey {
        /// ConfigMap's name.
        name: String,
        /// Key in it.
        key: String,
        /// Missing is no error: the variable is left out.
        optional: bool,
    },
    /// A key of a Secret.
    SecretKey {
        /// Secret's name.
        name: String,
        /// Key in it.
        key: String,
        /// Missing is no error: the variable is left out.
        optional: bool,
    },
    /// A field of the pod.
    Field(PodField),
    /// A request or limit of a container.
    Resource(ResourceField),
}

/// Requests and limits of a container; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Requested processor, thousandths of a core.
    pub cpu_request_milli: Option<u64>,
    /// Processor limit, thousandths of a core.
    pub cpu_limit_milli: Option<u64>,
    /// Requested memory, bytes.
    pub memory_request_bytes: Option<u64>,
    /// Memory limit, bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Requested disk (logs, root file system, emptyDir), bytes.
    pub storage_request_bytes: Option<u64>,
    /// Disk limit, bytes; over it the pod is evicted.
    pub storage_limit_bytes: Option<u64>,
}

/// Rights of a container: pod and container `securityContext` merged by the controller.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Security {
    /// Runs as this user; `None`: the image's.
    pub run_as_user: Option<u32>,
    /// Runs as this group; `None`: the image's.
    pub run_as_group: Option<u32>,
    /// Refuse to start as user 0.
    pub run_as_non_root: bool,
    /// Further groups.
    pub supplemental_groups: Vec<u32>,
    /// Everything allowed.
    pub privileged: bool,
    /// `no_new_privs` is off only when this is true (the default upstream).
    pub allow_privilege_escalation: bool,
    /// Root file system is read-only.
    pub read_only_root: bool,
    /// Capabilities added to the default set, without `CAP_`.
    pub capabilities_add: Vec<String>,
    /// Capabilities removed from it; `ALL` empties it.
    pub capabilities_drop: Vec<String>,
    /// System calls it may make.
    pub seccomp: Seccomp,
    /// `/proc` is shown whole (`procMount: Unmasked`).
    pub proc_unmasked: bool,
}

/// `seccompProfile`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Seccomp {
    /// All calls, as upstream where nothing is asked for.
    #[default]
    Unconfined,
    /// Our default profile.
    RuntimeDefault,
    /// A profile on the board: path relative to the agent's `seccomp` directory, without `..`.
    Localhost(String),
}

/// Where a volume appears in a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mount {
    /// Volume's name.
    pub volume: String,
    /// Absolute path in the container.
    pub path: String,
    /// Path inside the volume; empty: its root.
    pub sub_path: String,
    /// Not writable.
    pub read_only: bool,
    /// Like `sub_path`, with `$(NAME)` of the container's environment; empty: none.
    pub sub_path_expr: String,
    /// Whether mounts made later are seen on the other side.
    pub propagation: Propagation,
    /// Mounts below are read-only too.
    pub recursive_read_only: bool,
}

/// `mountPropagation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Propagation {
    /// Neither way.
    #[default]
    None,
    /// What the board mounts appears in the container.
    HostToContainer,
    /// Both ways (privileged containers only).
    Bidirectional,
}
