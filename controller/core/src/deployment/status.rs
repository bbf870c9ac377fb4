//! A Deployment's status: counts, and the conditions that `kubectl rollout status` reads.

use bramble_api::time::Timestamp;
use bramble_api::view::{Condition, DeploymentStatus};
use serde_json::{Value, json};

use super::Sync;
use super::scale::{count, max_unavailable};
use crate::conditions;

const PROGRESSING: &str = "Progressing";
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

impl Sync<'_> {
    pub(super) fn has_deadline(&self) -> bool {
        self.deployment
            .spec
            .progress_deadline_seconds
            .is_some_and(|s| s != i32::MAX)
    }

    pub(super) fn progressing(&mut self, status: &str, reason: &str, message: &str) {
        let new = conditions::now(PROGRESSING, status, reason, message, self.now);
        conditions::set(&mut self.conditions, new);
    }

    /// Says that it is paused, or no longer: a pause must not run into the deadline.
    pub(super) fn note_pause(&mut self) {
        if !self.has_deadline() {
            return;
        }
        let reason = conditions::find(&self.conditions, PROGRESSING).map(|c| c.reason.clone());
        let paused = self.deployment.spec.paused;
        match reason.as_deref() {
            Some(TIMED_OUT) => {}
            Some(PAUSED) if !paused => {
                self.progressing("Unknown", "DeploymentResumed", "Deployment is resumed");
            }
            reason if paused && reason != Some(PAUSED) => {
                self.progressing("Unknown", PAUSED, "Deployment is paused");
            }
            _ => {}
        }
    }

    fn counts(&self) -> DeploymentStatus {
        let all = |of: fn(&super::Set<'_>) -> i32| self.sets.iter().map(of).sum::<i32>();
        let available = all(|set| set.seen.status.available_replicas);
        DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: all(|set| set.seen.status.replicas),
            updated_replicas: self.new_set().map_or(0, |set| set.seen.status.replicas),
            ready_replicas: all(|set| set.seen.status.ready_replicas),
            available_replicas: available,
            unavailable_replicas: (self.total() - available).max(0),
            collision_count: self.collisions,
            conditions: Vec::new(),
        }
    }

    fn is_complete_at(&self, status: &DeploymentStatus) -> bool {
        let wanted = self.replicas();
        status.updated_replicas == wanted
            && status.replicas == wanted
            && status.available_replicas == wanted
            && status.observed_generation >= self.deployment.metadata.generation
    }

    /// Whether the roll-out is through, as far as the stored status knows.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete_at(&self.deployment.status)
    }

    /// Status without a judgement of progress: while paused, scaling or being deleted.
    pub(super) fn plain_status(&mut self) {
        let status = self.counts();
        self.availability(&status);
        self.write(status);
    }

    /// Status with the judgement of progress.
    pub(super) fn progress_status(&mut self) {
        let status = self.counts();
        self.availability(&status);
        if self.has_deadline() {
            self.judge(&status);
        } else {
            conditions::remove(&mut self.conditions, PROGRESSING);
        }
        self.pass_on_failures();
        self.write(status);
    }

    fn availability(&mut self, status: &DeploymentStatus) {
        let enough = status.available_replicas >= self.replicas() - max_unavailable(self);
        let (value, reason, message) = if enough {
            (
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            )
        } else {
            (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            )
        };
        let new = conditions::now("Available", value, reason, message, self.now);
        conditions::set(&mut self.conditions, new);
    }

    fn judge(&mut self, status: &DeploymentStatus) {
        let current = conditions::find(&self.deployment.status.conditions, PROGRESSING).cloned();
        let done = status.replicas == status.updated_replicas
            && current.as_ref().is_some_and(|c| c.reason == COMPLETE);
        if done {
            return;
        }
        let subject = match self.new_set() {
            Some(set) => format!("ReplicaSet \"{}\"", set.name()),
            None => format!("Deployment \"{}\"", self.deployment.metadata.name),
        };
        let old = &self.deployment.status;
        let moved = status.updated_replicas > old.updated_replicas
            || status.replicas - status.updated_replicas < old.replicas - old.updated_replicas
            || status.ready_replicas > old.ready_replicas
            || status.available_replicas > old.available_replicas;
        if self.is_complete_at(status) {
            let message = format!("{subject} has successfully progressed.");
            self.progressing("True", COMPLETE, &message);
        } else if moved {
            let message = format!("{subject} is progressing.");
            let mut new =
                conditions::now(PROGRESSING, "True", "ReplicaSetUpdated", &message, self.now);
            if let Some(current) = current.filter(Condition::is_true) {
                new.last_transition_time = current.last_transition_time;
            }
            // Replaced even when status and reason stay: the update time is what the deadline
            // counts from.
            conditions::remove(&mut self.conditions, PROGRESSING);
            self.conditions.push(new);
        } else if self.deadline().is_some_and(|deadline| deadline < self.now) {
            let message = format!("{subject} has timed out progressing.");
            self.progressing("False", TIMED_OUT, &message);
        }
        if let Some(deadline) = self.deadline() {
            let at = Timestamp {
                seconds: deadline.seconds + 1,
                nanos: deadline.nanos,
            };
            self.plan.wake_at(at.max(self.now));
        }
    }

    /// When the roll-out will have made no progress for too long; none when that is settled.
    fn deadline(&self) -> Option<Timestamp> {
        let current = conditions::find(&self.conditions, PROGRESSING)?;
        if matches!(current.reason.as_str(), COMPLETE | TIMED_OUT) {
            return None;
        }
        let from = current.last_update_time.or(current.last_transition_time)?;
        let seconds = self.deployment.spec.progress_deadline_seconds?;
        Some(Timestamp {
            seconds: from.seconds + i64::from(seconds),
            nanos: from.nanos,
        })
    }

    /// A ReplicaSet that can't make its pods says so on the Deployment, the newest first.
    fn pass_on_failures(&mut self) {
        let failed = |set: &super::Set<'_>| {
            conditions::find(&set.seen.status.conditions, "ReplicaFailure").cloned()
        };
        let newest = self.new_set().and_then(failed);
        match newest.or_else(|| self.sets.iter().find_map(failed)) {
            Some(failure) => {
                let new = conditions::now(
                    "ReplicaFailure",
                    &failure.status,
                    &failure.reason,
                    &failure.message,
                    self.now,
                );
                conditions::set(&mut self.conditions, new);
            }
            None => conditions::remove(&mut self.conditions, "ReplicaFailure"),
        }
    }

    fn write(&mut self, mut status: DeploymentStatus) {
        status.conditions = std::mem::take(&mut self.conditions);
        if status != self.deployment.status {
            self.status = Some(to_json(&status));
        }
    }
}

fn to_json(status: &DeploymentStatus) -> Value {
    json!({
        "observedGeneration": status.observed_generation,
        "replicas": count(status.replicas),
        "updatedReplicas": count(status.updated_replicas),
        "readyReplicas": count(status.ready_replicas),
        "availableReplicas": count(status.available_replicas),
        "unavailableReplicas": count(status.unavailable_replicas),
        "collisionCount": status.collision_count.map_or(Value::Null, Value::from),
        "conditions": conditions::to_json(&status.conditions, true),
    })
}
