//! The objects of a node's document: compiled by the controller from Kubernetes objects, stored by
//! the agent as they came. An agent never parses JSON or YAML of a person.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

use crate::seal::Sealed;

/// Names an object of a document, for ever: an id is not used again for something else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectId {
    /// What the node itself needs to know ([`NodeConfig`]); always present.
    Node,
    /// A pod, by UID.
    Pod(PodUid),
    /// A ConfigMap.
    ConfigMap(ObjectName),
    /// A Secret.
    Secret(ObjectName),
    /// The service-account tokens of a pod's projected volumes.
    Tokens(PodUid),
}

impl ObjectId {
    /// Whether its object is sealed to its node: the bytes differ each time, and an index covers
    /// only the id and the revision.
    pub fn is_sealed(&self) -> bool {
        match self {
            Self::Secret(_) | Self::Tokens(_) => true,
            Self::Node | Self::Pod(_) | Self::ConfigMap(_) => false,
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("node"),
            Self::Pod(uid) => write!(f, "pod/{uid}"),
            Self::ConfigMap(name) => write!(f, "configmap/{name}"),
            Self::Secret(name) => write!(f, "secret/{name}"),
            Self::Tokens(uid) => write!(f, "tokens/{uid}"),
        }
    }
}

/// Namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// UID of a pod (16 bytes of a UUID), shown in the usual form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct PodUid(pub [u8; 16]);

impl PodUid {
    /// Parses the 36-character form of RFC 9562; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 36 {
            return None;
        }
        let mut out = [0u8; 16];
        let mut nibbles = 0;
        for (i, byte) in bytes.iter().enumerate() {
            if matches!(i, 8 | 13 | 18 | 23) {
                if *byte != b'-' {
                    return None;
                }
                continue;
            }
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return None,
            };
            out[nibbles / 2] = out[nibbles / 2] << 4 | digit;
            nibbles += 1;
        }
        Some(Self(out))
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PodUid({self})")
    }
}

/// One object of a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(
    clippy::large_enum_variant,
    reason = "one is decoded at a time; most are pods"
)]
pub enum Object {
    /// See [`NodeConfig`].
    Node(NodeConfig),
    /// See [`Pod`].
    Pod(Pod),
    /// See [`ConfigMap`].
    ConfigMap(ConfigMap),
    /// See [`SealedSecret`].
    Secret(SealedSecret),
    /// The tokens of a pod, sealed to this node. The plain text is the postcard encoding of
    /// [`Tokens`].
    Tokens(Sealed),
}

/// The service-account tokens of one pod, one for each audience and lifetime that its projected
/// volumes ask for. The controller replaces the object when a token is at 80 % of its life; offline
/// the last one stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tokens(pub Vec<Token>);

/// One service-account token (a JWT); never logged.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Token {
    /// As the volume asks; empty is the API server.
    pub audience: String,
    /// As the volume asks, seconds.
    pub expiration_s: u64,
    /// The token.
    pub token: String,
    /// When it ends, seconds of the Unix epoch.
    pub expires_unix_s: i64,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("audience", &self.audience)
            .field("expires_unix_s", &self.expires_unix_s)
            .finish_non_exhaustive()
    }
}

/// What the node itself needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeConfig {
    /// Range of this node's pods; `.1` is the node's bridge.
    pub pod_cidr: Cidr,
    /// Range of Services (informative until the service proxy exists).
    pub service_cidr: Cidr,
    /// A person has confirmed the difference after the epoch rose to this one. While it is below the
    /// epoch of the document, the node keeps running what the document lacks and reports it as
    /// unclaimed ([`crate::report::PodReport::unclaimed`]).
    pub confirmed_epoch: u64,
}

/// An IPv4 range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cidr {
    /// Network address, most significant byte first.
    pub address: [u8; 4],
    /// Length of the prefix, 0 to 32.
    pub prefix: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.address;
        write!(f, "{a}.{b}.{c}.{d}/{}", self.prefix)
    }
}

/// A ConfigMap: `data` as text bytes and `binaryData` decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfigMap {
    /// Its name.
    pub name: ObjectName,
    /// Every key with its bytes.
    pub data: BTreeMap<String, Vec<u8>>,
}

/// A Secret whose data only this node can open. The plain text is the postcard encoding of
/// [`SecretData`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// Its name.
    pub name: ObjectName,
    /// Its data, sealed to this node.
    pub sealed: Sealed,
}

/// The data of a Secret; never logged (no `Debug` of the values).
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SecretData(pub BTreeMap<String, Vec<u8>>);

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretData").field(&self.0.keys()).finish()
    }
}

/// A pod bound to this node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pod {
    /// UID; a pod of the same name with another UID is another pod.
    pub uid: PodUid,
    /// Namespace and name.
    pub name: ObjectName,
    /// Labels, for the downward API.
    pub labels: BTreeMap<String, String>,
    /// Annotations, for the downward API.
    pub annotations: BTreeMap<String, String>,
    /// Host name inside the pod: `spec.hostname`, else the pod's name, cut to 63 characters.
    pub hostname: String,
    /// When to start an ended container again.
    pub restart_policy: RestartPolicy,
    /// Seconds between TERM and KILL.
    pub termination_grace_s: u32,
    /// Set when the API object has a deletion timestamp; one-way.
    pub stop: Option<Stop>,
    /// Uses the board's network instead of an address of its own.
    pub host_network: bool,
    /// Service account (for `spec.serviceAccountName`).
    pub service_account: String,
    /// Containers, in the order of the manifest.
    pub containers: Vec<Container>,
    /// Volumes by name.
    pub volumes: Vec<Volume>,
    /// Init containers, in the order of the manifest; those with [`Container::sidecar`] go on beside
    /// what follows.
    pub init_containers: Vec<Container>,
    /// Ephemeral containers (`kubectl debug`), in the order they were added. Never started again.
    pub ephemeral_containers: Vec<Container>,
    /// Seconds after [`crate::report::PodReport::started`] at which the pod fails with
    /// `DeadlineExceeded`.
    pub active_deadline_s: Option<u32>,
    /// All containers see each other's processes.
    pub share_process_namespace: bool,
    /// Uses the board's processes' namespace.
    pub host_pid: bool,
    /// Uses the board's IPC namespace.
    pub host_ipc: bool,
    /// `securityContext.sysctls`, names with dots.
    pub sysctls: Vec<(String, String)>,
    /// Group that volumes belong to, a further group of every container.
    pub fs_group: Option<u32>,
    /// Volumes that have the right group at their root are left as they are
    /// (`fsGroupChangePolicy: OnRootMismatch`).
    pub fs_group_on_root_mismatch: bool,
    /// Further lines of `/etc/hosts`: address and names.
    pub host_aliases: Vec<(String, Vec<String>)>,
    /// Secrets (`kubernetes.io/dockerconfigjson`, `kubernetes.io/dockercfg`) of the pod's namespace
    /// for pulling images.
    pub pull_secrets: Vec<String>,
}

impl Pod {
    /// Init containers, containers and ephemeral containers.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        (self.init_containers.iter())
            .chain(&self.containers)
            .chain(&self.ephemeral_containers)
    }
}

/// A request to end a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Seconds between TERM and KILL; 0 kills at once.
    pub grace_s: u32,
}

/// `spec.restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Always.
    #[default]
    Always,
    /// Only after a failure.
    OnFailure,
    /// Never.
    Never,
}

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

/// `resourceFieldRef`. A limit that is not set is what the node has to give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceField {
    /// Which container; empty is the one that asks.
    pub container: String,
    /// Which amount.
    pub resource: ResourceName,
    /// Of the limits, else of the requests.
    pub limit: bool,
    /// Unit, in thousandths; the result is rounded up. Never 0.
    pub divisor_milli: u64,
}

/// Amounts that `resourceFieldRef` can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResourceName {
    /// `cpu`
    Cpu,
    /// `memory`
    Memory,
    /// `ephemeral-storage`
    EphemeralStorage,
}

/// Fields that `fieldRef` can name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodField {
    /// `metadata.name`
    Name,
    /// `metadata.namespace`
    Namespace,
    /// `metadata.uid`
    Uid,
    /// `metadata.labels['KEY']`
    Label(String),
    /// `metadata.annotations['KEY']`
    Annotation(String),
    /// `spec.nodeName`
    NodeName,
    /// `spec.serviceAccountName`
    ServiceAccountName,
    /// `status.podIP`
    PodIp,
    /// `status.hostIP`
    HostIp,
    /// `status.podIPs`
    PodIps,
    /// `status.hostIPs`
    HostIps,
    /// `metadata.labels`, as files only
    Labels,
    /// `metadata.annotations`, as files only
    Annotations,
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

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name, unique in the pod.
    pub name: String,
    /// What it is.
    pub source: VolumeSource,
}

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// Empty at the pod's start, gone with it.
    EmptyDir {
        /// In memory.
        memory: bool,
        /// Limit in bytes.
        size_limit_bytes: Option<u64>,
    },
    /// Keys of a ConfigMap as files.
    ConfigMap(KeyFiles),
    /// Keys of a Secret as files, in memory.
    Secret(KeyFiles),
    /// A path of the board.
    HostPath {
        /// Absolute path.
        path: String,
        /// What must be there or is made.
        kind: HostPathKind,
    },
    /// Fields of the pod as files.
    DownwardApi {
        /// Files.
        items: Vec<FieldFile>,
        /// Mode of files without one of their own.
        default_mode: u32,
    },
    /// Several sources in one directory; on the same path the later one wins. In memory when it holds
    /// a Secret or a token.
    Projected {
        /// Sources in order.
        sources: Vec<Projection>,
        /// Mode of files without one of their own.
        default_mode: u32,
    },
}

/// `hostPath.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum HostPathKind {
    /// Nothing is checked.
    #[default]
    Any,
    /// A directory, made (0755) if missing.
    DirectoryOrCreate,
    /// A directory.
    Directory,
    /// A file, made (0644) if missing; its directory is not.
    FileOrCreate,
    /// A file.
    File,
    /// A UNIX socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// One field as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldFile {
    /// Relative path, without `..`.
    pub path: String,
    /// What it says.
    pub value: FieldSource,
    /// Mode of the file.
    pub mode: Option<u32>,
}

/// What a [`FieldFile`] says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FieldSource {
    /// A field of the pod.
    Field(PodField),
    /// A request or limit.
    Resource(ResourceField),
}

/// A source of a projected volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Projection {
    /// Keys of a ConfigMap; its `default_mode` is the volume's.
    ConfigMap(KeyFiles),
    /// Keys of a Secret; its `default_mode` is the volume's.
    Secret(KeyFiles),
    /// Fields of the pod.
    DownwardApi(Vec<FieldFile>),
    /// A token of the pod's service account, from [`ObjectId::Tokens`] of the pod.
    Token {
        /// Empty is the API server.
        audience: String,
        /// Seconds.
        expiration_s: u64,
        /// Relative path, without `..`.
        path: String,
    },
}

/// Keys of an object as files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFiles {
    /// Name of the ConfigMap or Secret in the pod's namespace.
    pub name: String,
    /// Key, path and mode; empty: every key under its own name.
    pub items: Vec<KeyFile>,
    /// Mode of files without one of their own.
    pub default_mode: u32,
    /// A missing object is no error: the directory is empty.
    pub optional: bool,
}

/// One key as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFile {
    /// Key.
    pub key: String,
    /// Relative path, without `..`.
    pub path: String,
    /// Mode of the file.
    pub mode: Option<u32>,
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
