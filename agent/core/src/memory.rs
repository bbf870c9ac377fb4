//! What the node must not forget of its pods. The edge keeps it in the state log.

use std::collections::{BTreeMap, VecDeque};

use bramble_wire::object::{Container, ObjectName, Pod, PodUid, RestartPolicy};
use bramble_wire::report::{Terminated, UnixMs};
use serde::{Deserialize, Serialize};

use crate::observed::Verdict;

/// Everything remembered, by pod.
pub type Memory = BTreeMap<PodUid, PodMemory>;

/// What is remembered of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PodMemory {
    /// Namespace and name, for when the document does not have it any more.
    pub name: ObjectName,
    /// When the agent first saw it.
    pub first_seen: UnixMs,
    /// Its restart policy.
    pub restart_policy: RestartPolicy,
    /// Grace of its own.
    pub grace_s: u32,
    /// Its address; kept for reports after it is given back.
    pub address: Option<[u8; 4]>,
    /// The address is still the pod's.
    pub holds_address: bool,
    /// It is being ended. One-way.
    pub ending: Option<Ending>,
    /// It has failed as a whole: ended, kept for its logs, never started again. One-way.
    pub verdict: Option<Verdict>,
    /// It has come to its end by itself, or by its verdict, and what still runs is being ended.
    pub finishing: Option<Ending>,
    /// When the agent first saw it, by the clock that never jumps ([`crate::time::Moment::boot_ms`]).
    pub first_seen_boot_ms: u64,
    /// How many sandboxes it has had since init containers ran in one; they run once in each.
    pub sandbox: u32,
    /// Everything of it has stopped and is released. One-way.
    pub gone: bool,
    /// The controller knows that it is gone and has forgotten it.
    pub acknowledged: bool,
    /// It must not run twice, and may run here. One-way, on disk before anything of it is started.
    pub cleared: bool,
    /// Its containers.
    pub containers: BTreeMap<String, ContainerMemory>,
}

/// How many endings are remembered.
pub const ENDINGS_MAX: usize = 1024;

/// Pods that came to their end here and were forgotten, the newest of them: should a controller that
/// lost its memory name one again, it is not started a second time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endings(VecDeque<PodUid>);

impl Endings {
    /// One more; the oldest gives way.
    pub fn note(&mut self, uid: PodUid) {
        if self.contains(&uid) {
            return;
        }
        if self.0.len() == ENDINGS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(uid);
    }

    /// Whether a pod is among them.
    pub fn contains(&self, uid: &PodUid) -> bool {
        self.0.contains(uid)
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &PodUid> {
        self.0.iter()
    }
}

/// A pod's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Seconds between TERM and KILL.
    pub grace_s: u32,
    /// When it began, by the clock that never jumps. Means nothing after a reboot, when nothing runs.
    pub since_boot_ms: u64,
}

/// What is remembered of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerMemory {
    /// How many lives have begun; the newest has this number.
    pub lives: u32,
    /// The newest life.
    pub life: Life,
    /// How the one before ended.
    pub previous: Option<Terminated>,
    /// Delay that holds for the next restart, see [`crate::backoff::restart_after`].
    pub delay_ms: u32,
    /// Digest of the image of the newest life.
    pub image_id: String,
    /// What sort of container it is.
    pub kind: Kind,
    /// [`PodMemory::sandbox`] of the newest life.
    pub sandbox: u32,
    /// The node ended the newest life to start the next (a failed probe, another image): it is
    /// started again although it may have ended well, unless its policy is never.
    pub again: bool,
}

impl ContainerMemory {
    /// How often it was started again.
    pub fn restarts(&self) -> u32 {
        self.lives.saturating_sub(1)
    }

    /// Notes that life number `lives + 1` begins.
    pub fn begin(&mut self, image_id: String) {
        self.again = false;
        if let Life::Ended(end) = std::mem::take(&mut self.life) {
            self.previous = Some(end);
        }
        self.lives += 1;
        self.life = Life::Begun;
        self.image_id = image_id;
    }

    /// It has ended and is not started again, in a pod with this policy.
    pub fn has_finished(&self, policy: RestartPolicy) -> bool {
        match &self.life {
            Life::Ended(end) => !self.restarts_after(policy, end.exit_code),
            Life::None | Life::Begun => false,
        }
    }

    /// Whether it is started again after ending so.
    pub fn restarts_after(&self, policy: RestartPolicy, exit_code: i32) -> bool {
        match (self.kind, policy) {
            (Kind::Sidecar, _) => true,
            (Kind::Ephemeral, _) | (_, RestartPolicy::Never) => false,
            _ if self.again => true,
            (Kind::Main, RestartPolicy::Always) => true,
            // An init container that has succeeded is done, whatever the policy.
            (Kind::Main, RestartPolicy::OnFailure) | (Kind::Init, _) => exit_code != 0,
        }
    }

    /// Takes back a life that could not begin.
    pub fn take_back(&mut self) {
        self.lives = self.lives.saturating_sub(1);
        self.life = match self.previous.take() {
            Some(end) if self.lives > 0 => Life::Ended(end),
            _ => Life::None,
        };
    }
}

/// Sorts of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Kind {
    /// One of `containers`.
    #[default]
    Main,
    /// Runs to its end before the next one begins.
    Init,
    /// An init container that goes on beside what follows; started again whatever the policy.
    Sidecar,
    /// Added to a running pod; never started again, and its pod does not care.
    Ephemeral,
}

impl Kind {
    /// The sort of a container of a pod; `None` for one that the pod does not have.
    pub fn of(pod: &Pod, name: &str) -> Option<Self> {
        let named = |container: &&Container| container.name == name;
        if pod.containers.iter().any(|container| named(&container)) {
            return Some(Self::Main);
        }
        match pod.init_containers.iter().find(named) {
            Some(container) if container.sidecar => Some(Self::Sidecar),
            Some(_) => Some(Self::Init),
            None => (pod
                .ephemeral_containers
                .iter()
                .any(|container| named(&container)))
            .then_some(Self::Ephemeral),
        }
    }
}

/// The newest life of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Life {
    /// None yet.
    #[default]
    None,
    /// Begun; whether it runs is the runtime's to say.
    Begun,
    /// Ended.
    Ended(Terminated),
}
