//! What the node must not forget of its pods. The edge keeps it in the state log.

use std::collections::BTreeMap;

use bramble_wire::object::{ObjectName, PodUid, RestartPolicy};
use bramble_wire::report::{Terminated, UnixMs};
use serde::{Deserialize, Serialize};

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
    /// Everything of it has stopped and is released. One-way.
    pub gone: bool,
    /// The controller knows that it is gone and has forgotten it.
    pub acknowledged: bool,
    /// Its containers.
    pub containers: BTreeMap<String, ContainerMemory>,
}

/// A pod's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Seconds between TERM and KILL.
    pub grace_s: u32,
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
}

impl ContainerMemory {
    /// How often it was started again.
    pub fn restarts(&self) -> u32 {
        self.lives.saturating_sub(1)
    }

    /// Notes that life number `lives + 1` begins.
    pub fn begin(&mut self, image_id: String) {
        if let Life::Ended(end) = std::mem::take(&mut self.life) {
            self.previous = Some(end);
        }
        self.lives += 1;
        self.life = Life::Begun;
        self.image_id = image_id;
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
