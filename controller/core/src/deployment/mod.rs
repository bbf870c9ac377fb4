//! Deployments: one ReplicaSet for each template, changed over within bounds.
//!
//! In: one Deployment and the ReplicaSets of its namespace. Out: adoptions and releases, the next
//! step of the roll-out, the clean-up of old ReplicaSets, and the status. Each plan is one step; its
//! writes bring the next look. The rules are upstream's, so that `kubectl rollout` works.

mod revision;
mod scale;
mod status;
mod template;

use bramble_api::time::Timestamp;
use bramble_api::view::{Condition, Deployment, ReplicaSet};
use serde_json::{Map, Value, json};

use crate::action::{Action, Durability, Note, Observed, Plan, Regarding, Target, adopt, release};
use crate::kinds;

pub use template::{HASH_LABEL, hash as template_hash};

/// Revision of a Deployment or ReplicaSet.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Revisions that a ReplicaSet had before a roll-back made it the newest again.
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Size of the Deployment when its ReplicaSet was scaled last.
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// That size with the surge.
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

const COMPONENT: &str = "deployment-controller";

/// What a Deployment is decided on.
pub struct Input<'a> {
    /// It.
    pub deployment: &'a Observed<Deployment>,
    /// The ReplicaSets of its namespace that it controls, or that nobody controls.
    pub replica_sets: &'a [&'a Observed<ReplicaSet>],
    /// Whether a ReplicaSet of this name is there already, whoever's.
    pub name_taken: &'a dyn Fn(&str) -> bool,
    /// Pods, by UID of their ReplicaSet, that have not ended; also those that are being deleted.
    pub live_pods: &'a dyn Fn(&str) -> usize,
}

/// Decides the next step of a Deployment.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let mut sync = Sync::new(input, now);
    if sync.claim() {
        return sync.plan;
    }
    if sync.deployment.metadata.is_deleting() {
        sync.plain_status();
    } else if sync.deployment.spec.paused || sync.is_scaling() {
        sync.note_pause();
        // One write to an object in a plan: sizes come with the next look.
        if !sync.find_new(false) {
            sync.scale();
        }
        if sync.deployment.spec.paused {
            sync.clean_up();
        }
        sync.plain_status();
    } else {
        sync.note_pause();
        sync.roll_out();
        sync.progress_status();
    }
    sync.finish()
}

/// A ReplicaSet with the size that this plan gives it.
#[derive(Debug, Clone)]
struct Set<'a> {
    seen: &'a Observed<ReplicaSet>,
    replicas: i32,
}

impl Set<'_> {
    fn available(&self) -> i32 {
        self.seen.status.available_replicas
    }
    fn name(&self) -> &str {
        &self.seen.metadata.name
    }
}

/// One look at a Deployment.
struct Sync<'a> {
    input: &'a Input<'a>,
    deployment: &'a Observed<Deployment>,
    now: Timestamp,
    /// All its ReplicaSets, oldest first.
    sets: Vec<Set<'a>>,
    /// Index in `sets` of the one with the Deployment's template.
    newest: Option<usize>,
    /// Annotations of the Deployment that change.
    annotations: Map<String, Value>,
    conditions: Vec<Condition>,
    collisions: Option<i32>,
    /// The status to write, when it was worked out.
    status: Option<Value>,
    plan: Plan,
}

impl<'a> Sync<'a> {
    fn new(input: &'a Input<'a>, now: Timestamp) -> Self {
        Self {
            input,
            deployment: input.deployment,
            now,
            sets: Vec::new(),
            newest: None,
            annotations: Map::new(),
            conditions: input.deployment.status.conditions.clone(),
            collisions: input.deployment.status.collision_count,
            status: None,
            plan: Plan::default(),
        }
    }

    /// Sorts out which ReplicaSets are its own; true when that takes a write first.
    fn claim(&mut self) -> bool {
        let metadata = &self.deployment.metadata;
        let selector = &self.deployment.spec.selector;
        for set in self.input.replica_sets {
            let matches = selector.matches(&set.metadata.labels);
            let controller = set.metadata.controller();
            let patch = match controller.map(|owner| owner.uid == metadata.uid) {
                Some(true) if matches => {
                    let replicas = set.spec.replicas.unwrap_or(1);
                    self.sets.push(Set {
                        seen: set,
                        replicas,
                    });
                    continue;
                }
                Some(true) => release(&metadata.uid, &set.metadata),
                None if matches
                    && !selector.is_empty()
                    && !metadata.is_deleting()
                    && !set.metadata.is_deleting() =>
                {
                    adopt(kinds::deployment(), metadata, &set.metadata)
                }
                _ => continue,
            };
            self.patch_set(set, patch, None);
        }
        self.sets.sort_by(|a, b| {
            let key = |set: &Set<'_>| set.seen.metadata.creation_timestamp;
            key(a).cmp(&key(b)).then_with(|| a.name().cmp(b.name()))
        });
        let template = template::without_hash(self.deployment.spec.template.value());
        self.newest = self
            .sets
            .iter()
            .position(|set| template::without_hash(set.seen.spec.template.value()) == template);
        !self.plan.actions.is_empty()
    }

    fn replicas(&self) -> i32 {
        self.deployment.spec.replicas.unwrap_or(1)
    }

    fn is_rolling(&self) -> bool {
        self.deployment.spec.strategy.kind != "Recreate"
    }

    fn new_set(&self) -> Option<&Set<'a>> {
        self.sets.get(self.newest?)
    }

    fn is_old(&self, index: usize) -> bool {
        self.newest != Some(index)
    }

    /// Sizes that were asked for, of all its ReplicaSets.
    fn total(&self) -> i32 {
        self.sets.iter().map(|set| set.replicas).sum()
    }

    /// The roll-out, up to its next step; the write brings the look that takes the one after.
    fn roll_out(&mut self) {
        if self.is_rolling() {
            if self.find_new(true) || self.grow_new() || self.shrink_old() {
                return;
            }
        } else {
            let waits = self.find_new(false) || self.stop_old() || self.old_pods_live();
            if waits || (self.newest.is_none() && self.find_new(true)) || self.grow_new() {
                return;
            }
        }
        if self.is_complete() {
            self.clean_up();
        }
    }

    /// Whether pods of old ReplicaSets are still there, so that a Recreate must wait.
    fn old_pods_live(&self) -> bool {
        let old = self
            .sets
            .iter()
            .enumerate()
            .filter(|(index, _)| self.is_old(*index));
        old.into_iter()
            .any(|(_, set)| (self.input.live_pods)(&set.seen.metadata.uid) > 0)
    }

    fn patch_set(&mut self, set: &Observed<ReplicaSet>, patch: Value, note: Option<Note>) {
        self.plan.actions.push(Action::Patch {
            target: Target::of(kinds::replica_set(), &set.metadata),
            revision: set.revision,
            patch,
            durability: Durability::Hard,
            note,
        });
    }

    fn note(&self, reason: &'static str, message: String) -> Note {
        Note {
            regarding: Regarding::of(kinds::deployment(), &self.deployment.metadata),
            warning: false,
            reason: reason.into(),
            message,
            component: COMPONENT,
            host: String::new(),
        }
    }

    /// Removes old ReplicaSets beyond the history limit, the oldest revisions first.
    fn clean_up(&mut self) {
        let Some(limit) = self.deployment.spec.revision_history_limit else {
            return;
        };
        let mut old: Vec<_> = (0..self.sets.len())
            .filter(|index| self.is_old(*index))
            .map(|index| self.sets[index].seen)
            .filter(|set| !set.metadata.is_deleting())
            .collect();
        let surplus = old
            .len()
            .saturating_sub(usize::try_from(limit).unwrap_or(0));
        old.sort_by_key(|set| revision::of(&set.metadata));
        for set in old.into_iter().take(surplus) {
            let idle = set.status.replicas == 0
                && set.spec.replicas == Some(0)
                && set.metadata.generation <= set.status.observed_generation;
            if idle {
                self.plan.actions.push(Action::Delete {
                    target: Target::of(kinds::replica_set(), &set.metadata),
                    uid: set.metadata.uid.clone(),
                    told: None,
                    note: None,
                });
            }
        }
    }

    /// Annotations and status of the Deployment in one write.
    fn finish(mut self) -> Plan {
        let mut patch = Map::new();
        let hard = !self.annotations.is_empty();
        if hard {
            patch.insert("metadata".into(), json!({"annotations": self.annotations}));
        }
        if let Some(status) = self.status {
            patch.insert("status".into(), status);
        }
        if !patch.is_empty() {
            self.plan.actions.push(Action::Patch {
                target: Target::of(kinds::deployment(), &self.deployment.metadata),
                revision: self.deployment.revision,
                patch: Value::Object(patch),
                durability: if hard {
                    Durability::Hard
                } else {
                    Durability::Soft
                },
                note: None,
            });
        }
        self.plan
    }
}

#[cfg(test)]
mod tests;
