//! What the node sees of itself: one snapshot for each pass.

use std::collections::{BTreeMap, BTreeSet};

use bramble_wire::object::{Container, PodUid};

use serde::{Deserialize, Serialize};

use crate::time::Moment;

/// A snapshot of the node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// Every pod of which anything is left on the node: a shim, a namespace, a directory.
    pub pods: BTreeMap<PodUid, ObservedPod>,
    /// The images that the document names, by reference as written there.
    pub images: BTreeMap<String, ImageState>,
    /// What pulls of images came to.
    pub pulls: crate::image::Pulls,
    /// Pods with an action under way: left alone until it is done.
    pub busy: BTreeSet<PodUid>,
    /// What failed last on a container, or (with an empty name) on a pod as a whole, until a step
    /// on the same succeeds.
    pub failures: BTreeMap<(PodUid, String), Failure>,
    /// Pods that broke a bound of the node (a volume over its limit) and have to go.
    pub evicted: BTreeMap<PodUid, Verdict>,
}

/// Why a pod has failed as a whole. One-way: it ends and is not started again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// CamelCase reason of the phase: `Evicted`, `DeadlineExceeded`.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// Seconds between TERM and KILL; `None`: the pod's own.
    pub grace_s: Option<u32>,
}

impl Observed {
    /// What failed last on a container; an empty name is the pod as a whole.
    pub fn failure(&self, uid: PodUid, container: &str) -> Option<&Failure> {
        self.failures.get(&(uid, container.to_owned()))
    }
}

/// What is there of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedPod {
    /// Its shim and namespaces.
    pub sandbox: Sandbox,
    /// The newest life of each container that there is something of.
    pub containers: BTreeMap<String, ObservedContainer>,
    /// Digest of the volumes' files as last written ([`crate::volume::digest`]).
    pub files: Option<[u8; 32]>,
}

/// State of a pod's shim and namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// The shim answers and the network is there: containers can be started.
    Ready,
    /// The shim lives and does not answer for now: what runs goes on, what ended meanwhile is not
    /// known, and nothing is started, above all no second sandbox.
    Silent,
    /// Partly there (the shim died, a start was interrupted): stopped before anything else.
    Lost,
    /// Nothing runs and no address is used; logs or volumes are left.
    Stopped,
}

/// The newest life of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedContainer {
    /// Number of the life, from 1.
    pub life: u32,
    /// The runtime's id of it.
    pub id: String,
    /// Reference of the image it was made from, as written in the document.
    pub image: String,
    /// Digest of that image.
    pub image_id: String,
    /// What it does.
    pub run: Run,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Run {
    /// Running.
    Running {
        /// Since.
        started: Moment,
        /// It has been told to stop.
        stopping: Option<Stopping>,
        /// What its hook and its probes say; `None` while nobody has looked.
        health: Option<Health>,
    },
    /// Ended.
    Exited(Exit),
}

/// A container that has been told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopping {
    /// Seconds of grace that it was given.
    pub grace_s: u32,
    /// Its preStop hook runs or has run and TERM waits for its turn.
    pub held: bool,
}

/// What a container's postStart hook and probes say of one life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Its postStart hook, if it has one, has succeeded.
    pub hooked: bool,
    /// It has passed its startup probe, if it has one.
    pub started: bool,
    /// It passes its readiness probe, if it has one.
    pub ready: bool,
    /// It has to be ended.
    pub failed: Option<Cause>,
}

impl Health {
    /// Before anything was tried, by the kubelet's initial values.
    pub fn initial(container: &Container) -> Self {
        Self {
            hooked: container.post_start.is_none(),
            started: container.startup.is_none(),
            ready: container.readiness.is_none(),
            failed: None,
        }
    }
}

/// Why a container has to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// Its postStart hook failed.
    PostStart,
    /// Its startup probe failed.
    Startup,
    /// Its liveness probe failed.
    Liveness,
}

/// How a life ended, as the shim saw it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exit {
    /// Exit code; 128 + signal for a signal.
    pub code: i32,
    /// Signal, or 0.
    pub signal: i32,
    /// The kernel killed it for its memory limit.
    pub oom_killed: bool,
    /// What it wrote to its termination message path.
    pub message: String,
    /// Start.
    pub started: Moment,
    /// End.
    pub finished: Moment,
}

/// A container image on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageState {
    /// Unpacked and ready.
    Present(Image),
    /// Not on the node.
    Absent,
    /// Being loaded or unpacked.
    Loading,
    /// The reference can't be parsed.
    InvalidName(String),
    /// It is here and unusable (corrupt, hostile, another architecture).
    Broken {
        /// CamelCase reason.
        reason: String,
        /// For a person.
        message: String,
    },
}

/// What the planner needs of an image's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// `sha256:…`
    pub id: String,
    /// `Entrypoint`
    pub entrypoint: Vec<String>,
    /// `Cmd`
    pub cmd: Vec<String>,
    /// `Env`, as `NAME=value`.
    pub env: Vec<String>,
    /// `WorkingDir`; may be empty.
    pub working_dir: String,
    /// `User`: empty, `uid`, `uid:gid`, `name`, `name:group`.
    pub user: String,
    /// `StopSignal`; may be empty.
    pub stop_signal: String,
}

/// An action on a pod that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was tried.
    pub step: Step,
    /// For a person.
    pub message: String,
    /// When.
    pub at: Moment,
    /// How often in a row.
    pub count: u32,
}

impl Failure {
    /// When to try again ([`Moment::boot_ms`]).
    pub fn retry_at(&self) -> u64 {
        self.at
            .boot_ms
            .saturating_add(crate::backoff::retry_ms(self.count))
    }
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A container could not be made: tried again, the life does not count.
    Create {
        /// Which life.
        life: u32,
        /// What was told of it can't be had (`CreateContainerConfigError`).
        config: bool,
    },
    /// A container was made and its program could not be started: that life has ended.
    Start {
        /// Which life.
        life: u32,
    },
    /// Anything else: the shim, the network, a volume, ending something.
    Pod,
}
