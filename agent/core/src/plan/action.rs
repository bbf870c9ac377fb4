//! Steps on pods, with everything that carrying them out takes.

use bramble_wire::object::{ObjectName, PodUid, Resources};

use crate::container::ContainerInput;
use crate::probe::Check;
use crate::volume::VolumeInput;
use crate::whole::Storage;

/// One step on one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "at most one a pod, moved once to its task"
)]
pub enum Action {
    /// Starts shim, namespaces, network and volumes; completes a half-made sandbox.
    StartSandbox(SandboxInput),
    /// Writes the files of the volumes anew.
    WriteVolumes {
        /// Pod.
        uid: PodUid,
        /// All of its volumes.
        volumes: Vec<VolumeInput>,
    },
    /// Makes and starts a life of a container, after removing what is left of the one before
    /// (except its log).
    StartContainer(Box<ContainerInput>),
    /// Ends containers: preStop hook, its stop signal, KILL after the grace. Does not wait for it.
    /// Asked again, a shorter grace shortens it, and one that was held goes on.
    StopContainers {
        /// Pod.
        uid: PodUid,
        /// Which, in no order.
        containers: Vec<StopInput>,
    },
    /// Ends the shim, killing what runs, and releases namespaces and network. Logs stay.
    StopSandbox {
        /// Pod.
        uid: PodUid,
        /// It will not have another one: its volumes on disk go too.
        last: bool,
    },
    /// Removes everything of the pod that is left on the node, killing what runs.
    RemovePod {
        /// Pod.
        uid: PodUid,
    },
}

impl Action {
    /// Whose step it is.
    pub fn uid(&self) -> PodUid {
        match self {
            Self::StartSandbox(input) => input.uid,
            Self::StartContainer(input) => input.uid,
            Self::WriteVolumes { uid, .. }
            | Self::StopContainers { uid, .. }
            | Self::StopSandbox { uid, .. }
            | Self::RemovePod { uid } => *uid,
        }
    }

    /// Removals come before additions.
    pub(super) fn order(&self) -> u8 {
        match self {
            Self::RemovePod { .. } | Self::StopSandbox { .. } => 0,
            Self::StopContainers { .. } => 1,
            Self::StartSandbox(_) | Self::WriteVolumes { .. } | Self::StartContainer(_) => 2,
        }
    }
}

/// How one container is ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StopInput {
    /// Container's name.
    pub container: String,
    /// Which life.
    pub life: u32,
    /// Seconds from now to KILL, the hook's time included; after the hook at least 2 are left.
    pub grace_s: u32,
    /// Run before the signal, within the grace.
    pub pre_stop: Option<Check>,
    /// Only the hook for now; the signal comes when it is asked for again without this.
    pub hold: bool,
    /// Text of the `Killing` event; empty: it has been told.
    pub why: String,
}

/// What a sandbox is made from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SandboxInput {
    /// Pod.
    pub uid: PodUid,
    /// Namespace and name, for log directories and people.
    pub name: ObjectName,
    /// Host name inside.
    pub hostname: String,
    /// Its address; `None` with the board's network.
    pub network: Option<PodNetwork>,
    /// Further lines of `/etc/hosts`: address and names.
    pub host_aliases: Vec<(String, Vec<String>)>,
    /// All containers see each other's processes.
    pub share_process_namespace: bool,
    /// The board's processes' namespace.
    pub host_pid: bool,
    /// The board's IPC namespace.
    pub host_ipc: bool,
    /// Names with dots and values.
    pub sysctls: Vec<(String, String)>,
    /// What all its containers together may use ([`crate::whole::resources`]).
    pub resources: Box<Resources>,
    /// What it may use of the board's disk.
    pub storage: Storage,
    /// Volumes.
    pub volumes: Vec<VolumeInput>,
}

/// A pod's place in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodNetwork {
    /// Address.
    pub address: [u8; 4],
    /// Length of the prefix of the node's range.
    pub prefix: u8,
    /// The node's bridge.
    pub gateway: [u8; 4],
}
