//! ReplicaSets and ReplicationControllers: keep so many pods of a template. The two differ in name
//! only; the older one's plain selector is read as a ReplicaSet's.
//!
//! In: one ReplicaSet and the pods of its namespace that it owns or could own. Out: adoptions,
//! releases, creations, deletions in upstream's order of preference, and the status.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use bramble_api::kind::Kind;
use bramble_api::time::Timestamp;
use bramble_api::view::{Condition, Pod, ReplicaSet, ReplicaSetStatus};
use serde_json::{Value, json};

use crate::action::{
    Action, Durability, Note, Observed, Plan, Regarding, Target, adopt, controller_reference,
    release,
};
use crate::{conditions, kinds};

/// Most pods made or deleted in one round, as upstream.
pub const BURST: usize = 500;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What a ReplicaSet is decided on.
#[derive(Debug)]
pub struct Input<'a> {
    /// Its kind.
    pub kind: &'static Kind,
    /// It.
    pub replica_set: &'a Observed<ReplicaSet>,
    /// The pods of its namespace that it controls, or that nobody controls.
    pub pods: &'a [&'a Observed<Pod>],
    /// Running pods of all ReplicaSets of the same owner, by node: pods on crowded nodes go first.
    pub related_on_node: &'a BTreeMap<String, usize>,
    /// Why creating or deleting failed in the round before.
    pub failure: Option<&'a Failure>,
}

/// Why a round failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Creating failed, else deleting.
    pub creating: bool,
    /// The error.
    pub message: String,
}

/// Decides what to do for a ReplicaSet.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let set = input.replica_set;
    let mut owned = Vec::new();
    for pod in input.pods {
        claim(input, pod, &mut owned, &mut plan);
    }
    let terminating = owned
        .iter()
        .filter(|pod| pod.metadata.is_deleting() && !pod.is_terminated())
        .count();
    owned.retain(|pod| pod.is_active());
    if !set.metadata.is_deleting() {
        scale(input, &owned, now, &mut plan);
    }
    update_status(input, &owned, terminating, now, &mut plan);
    plan
}

/// Takes a matching orphan over and lets go of a pod that no longer matches.
fn claim<'a>(
    input: &Input<'_>,
    pod: &'a Observed<Pod>,
    owned: &mut Vec<&'a Observed<Pod>>,
    plan: &mut Plan,
) {
    let set = input.replica_set;
    let matches = set.spec.selector.matches(&pod.metadata.labels);
    let ours = pod
        .metadata
        .controller()
        .is_some_and(|owner| owner.uid == set.metadata.uid);
    let patch = match (ours, matches) {
        (true, true) => {
            owned.push(pod);
            return;
        }
        (true, false) => release(&set.metadata.uid, &pod.metadata),
        (false, true)
            if pod.metadata.controller().is_none()
                && pod.is_active()
                && !set.metadata.is_deleting()
                && !set.spec.selector.is_empty() =>
        {
            owned.push(pod);
            adopt(input.kind, &set.metadata, &pod.metadata)
        }
        (false, _) => return,
    };
    plan.actions.push(Action::Patch {
        target: Target::of(kinds::pod(), &pod.metadata),
        revision: pod.revision,
        patch,
        durability: Durability::Hard,
        note: None,
    });
}

fn scale(input: &Input<'_>, owned: &[&Observed<Pod>], now: Timestamp, plan: &mut Plan) {
    let set = input.replica_set;
    let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
    match wanted.cmp(&owned.len()) {
        Ordering::Equal => {}
        Ordering::Greater => {
            let count = (wanted - owned.len()).min(BURST);
            let object = pod_of(input);
            plan.actions.extend((0..count).map(|_| Action::Create {
                kind: kinds::pod(),
                namespace: set.metadata.namespace.clone(),
                object: object.clone(),
                note: Some(note(input, "SuccessfulCreate", "Created pod: {}".into())),
            }));
        }
        Ordering::Less => {
            let count = (owned.len() - wanted).min(BURST);
            let victims = victims(owned, input.related_on_node, count, now);
            plan.actions
                .extend(victims.into_iter().map(|pod| Action::Delete {
                    target: Target::of(kinds::pod(), &pod.metadata),
                    uid: pod.metadata.uid.clone(),
                    told: None,
                    note: Some(note(
                        input,
                        "SuccessfulDelete",
                        format!("Deleted pod: {}", pod.metadata.name),
                    )),
                }));
        }
    }
}

fn note(input: &Input<'_>, reason: &'static str, message: String) -> Note {
    Note {
        regarding: Regarding::of(input.kind, &input.replica_set.metadata),
        warning: false,
        reason: reason.into(),
        message,
        component: match input.kind.kind {
            "ReplicationController" => "replication-controller",
            _ => "replicaset-controller",
        },
        host: String::new(),
    }
}

/// The event that tells of a failed creation or deletion.
pub fn failure_note(input: &Input<'_>, failure: &Failure) -> Note {
    let (reason, verb) = if failure.creating {
        ("FailedCreate", "creating")
    } else {
        ("FailedDelete", "deleting")
    };
    let message = format!("Error {verb}: {}", failure.message);
    Note {
        warning: true,
        ..note(input, reason, message)
    }
}

fn pod_of(input: &Input<'_>) -> Value {
    let set = input.replica_set;
    let template = set.spec.template.value();
    let mut metadata = json!({
        "generateName": format!("{}-", set.metadata.name),
        "namespace": set.metadata.namespace,
        "ownerReferences": [controller_reference(input.kind, &set.metadata)],
    });
    for key in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"]
            .get(key)
            .filter(|value| !value.is_null())
        {
            metadata[key] = value.clone();
        }
    }
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": template["spec"]})
}

/// The pods to delete first, by upstream's order.
pub fn victims<'a>(
    pods: &[&'a Observed<Pod>],
    related_on_node: &BTreeMap<String, usize>,
    count: usize,
    now: Timestamp,
) -> Vec<&'a Observed<Pod>> {
    let mut ranked: Vec<_> = pods.to_vec();
    if count < ranked.len() {
        ranked.sort_by_cached_key(|pod| preference(pod, related_on_node, now));
    }
    ranked.truncate(count);
    ranked
}

/// Sorts before the others what should go first: not bound, pending, not ready, cheap to delete, on
/// a crowded node, ready for a shorter time, often restarted, newer. Ages count by powers of two, so
/// that pods of about the same age go evenly; the UID decides between them.
fn preference(
    pod: &Observed<Pod>,
    related_on_node: &BTreeMap<String, usize>,
    now: Timestamp,
) -> impl Ord + use<> {
    let phase = match pod.status.phase.as_str() {
        "" | "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let ready = pod.is_ready();
    let cost = pod.metadata.annotations.get(DELETION_COST);
    let cost: i32 = cost.and_then(|cost| cost.parse().ok()).unwrap_or(0);
    let related = related_on_node
        .get(&pod.spec.node_name)
        .copied()
        .unwrap_or(0);
    let ready_since = pod.condition("Ready").and_then(|c| c.last_transition_time);
    let ready_rank = if ready { age_rank(ready_since, now) } else { 0 };
    let age = age_rank(pod.metadata.creation_timestamp, now);
    (
        !pod.spec.node_name.is_empty(),
        phase,
        ready,
        cost,
        Reverse(related),
        ready_rank,
        Reverse(pod.restarts()),
        age,
        pod.metadata.uid.clone(),
    )
}

fn age_rank(since: Option<Timestamp>, now: Timestamp) -> u32 {
    let seconds = since.map_or(0, |since| now.since(since));
    u64::try_from(seconds)
        .unwrap_or(0)
        .checked_ilog2()
        .map_or(0, |log| log + 1)
}

/// Whether a ready pod has been ready for long enough; else when it will have been.
pub fn available(
    pod: &Pod,
    min_ready_seconds: i32,
    now: Timestamp,
) -> Result<(), Option<Timestamp>> {
    if !pod.is_ready() {
        return Err(None);
    }
    if min_ready_seconds <= 0 {
        return Ok(());
    }
    let since = pod
        .condition("Ready")
        .and_then(|c| c.last_transition_time)
        .unwrap_or(now);
    let due = Timestamp {
        seconds: since.seconds + i64::from(min_ready_seconds),
        ..since
    };
    if due <= now { Ok(()) } else { Err(Some(due)) }
}

fn update_status(
    input: &Input<'_>,
    owned: &[&Observed<Pod>],
    terminating: usize,
    now: Timestamp,
    plan: &mut Plan,
) {
    let set = input.replica_set;
    let labels = set.spec.template.labels();
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let mut status = ReplicaSetStatus {
        observed_generation: set.metadata.generation,
        replicas: count(owned.len()),
        // ReplicationControllers do not tell.
        terminating_replicas: (input.kind.kind == "ReplicaSet").then(|| count(terminating)),
        conditions: set.status.conditions.clone(),
        ..Default::default()
    };
    for pod in owned {
        let fully = labels
            .iter()
            .all(|(key, value)| pod.metadata.labels.get(key) == Some(value));
        status.fully_labeled_replicas += i32::from(fully);
        status.ready_replicas += i32::from(pod.is_ready());
        match available(pod, set.spec.min_ready_seconds, now) {
            Ok(()) => status.available_replicas += 1,
            Err(Some(due)) => plan.wake_at(due),
            Err(None) => {}
        }
    }
    fail_condition(&mut status.conditions, input.failure, now);
    // A generation that never moved through 0 would rewrite the same status for ever.
    if status == set.status {
        return;
    }
    plan.actions.push(Action::Patch {
        target: Target::of(input.kind, &set.metadata),
        revision: set.revision,
        patch: json!({"status": status_json(&status)}),
        durability: Durability::Soft,
        note: None,
    });
}

fn fail_condition(conditions: &mut Vec<Condition>, failure: Option<&Failure>, now: Timestamp) {
    match failure {
        Some(failure) => {
            let reason = if failure.creating {
                "FailedCreate"
            } else {
                "FailedDelete"
            };
            let new = conditions::now("ReplicaFailure", "True", reason, &failure.message, now);
            let new = Condition {
                last_update_time: None,
                ..new
            };
            conditions::set(conditions, new);
        }
        None => conditions::remove(conditions, "ReplicaFailure"),
    }
}

fn status_json(status: &ReplicaSetStatus) -> Value {
    // Null takes a field away, so that zeros are absent as they are upstream.
    let count = |n: i32| if n == 0 { Value::Null } else { n.into() };
    let conditions = match status.conditions.as_slice() {
        [] => Value::Null,
        list => conditions::to_json(list, false),
    };
    json!({
        "replicas": status.replicas,
        "fullyLabeledReplicas": count(status.fully_labeled_replicas),
        "readyReplicas": count(status.ready_replicas),
        "availableReplicas": count(status.available_replicas),
        "terminatingReplicas": status.terminating_replicas,
        "observedGeneration": status.observed_generation,
        "conditions": conditions,
    })
}

#[cfg(test)]
mod tests;
