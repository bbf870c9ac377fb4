//! A pod bound to this node.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::{Container, ObjectName, PodUid, Volume};

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
    /// Must not run twice: a node starts it only when nothing runs anywhere that the store does not have
    /// ([`crate::message::Answer::Index`]), once it was told so.
    pub once: bool,
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
