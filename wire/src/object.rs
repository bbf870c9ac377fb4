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
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("node"),
            Self::Pod(uid) => write!(f, "pod/{uid}"),
            Self::ConfigMap(name) => write!(f, "configmap/{name}"),
            Self::Secret(name) => write!(f, "secret/{name}"),
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
pub enum Object {
    /// See [`NodeConfig`].
    Node(NodeConfig),
    /// See [`Pod`].
    Pod(Pod),
    /// See [`ConfigMap`].
    ConfigMap(ConfigMap),
    /// See [`SealedSecret`].
    Secret(SealedSecret),
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Volume's name.
    pub volume: String,
    /// Absolute path in the container.
    pub path: String,
    /// Path inside the volume; empty: its root.
    pub sub_path: String,
    /// Not writable.
    pub read_only: bool,
}
