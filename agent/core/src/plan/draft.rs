//! What will be remembered of a pod, while it is being planned.

use bramble_wire::object::{Pod, PodUid};

use super::{Durability, Record};
use crate::memory::{Ending, PodMemory};
use crate::time::Moment;

/// Grace of a pod that nothing is known of but that it runs.
const ORPHAN_GRACE_S: u32 = 30;

/// A pod's memory while it is being planned.
pub(super) struct Draft {
    pub(super) uid: PodUid,
    pub(super) memory: PodMemory,
    durability: Durability,
    forget: bool,
}

impl Draft {
    pub(super) fn new(
        uid: PodUid,
        spec: Option<&Pod>,
        old: Option<&PodMemory>,
        now: Moment,
    ) -> Self {
        let memory = old.cloned().unwrap_or_else(|| PodMemory {
            first_seen: now.unix,
            first_seen_boot_ms: now.boot_ms,
            grace_s: ORPHAN_GRACE_S,
            ..PodMemory::default()
        });
        let mut draft = Self {
            uid,
            memory,
            durability: Durability::Ride,
            forget: false,
        };
        if let Some(pod) = spec {
            draft.memory.name.clone_from(&pod.name);
            draft.memory.restart_policy = pod.restart_policy;
            draft.memory.grace_s = pod.termination_grace_s;
        }
        draft
    }

    pub(super) fn mark(&mut self, durability: Durability) {
        self.durability = self.durability.max(durability);
    }

    pub(super) fn end(&mut self, ending: Ending) {
        if self.memory.ending != Some(ending) {
            self.memory.ending = Some(ending);
            self.mark(Durability::Hard);
        }
    }

    pub(super) fn forget(&mut self) {
        self.forget = true;
    }

    pub(super) fn into_record(self, old: Option<&PodMemory>) -> Option<Record> {
        if self.forget {
            return old.map(|_| Record {
                uid: self.uid,
                memory: None,
                durability: Durability::Ride,
            });
        }
        (old != Some(&self.memory)).then_some(Record {
            uid: self.uid,
            memory: Some(self.memory),
            durability: self.durability,
        })
    }
}
