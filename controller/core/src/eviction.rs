//! What becomes of the pods of a node that is not there, or that does not want them.
//!
//! In: a pod, its node, and how many nodes answer. Out: whether the pod counts as ready, and when it
//! is marked for deletion. Marking is all that happens here: the object of a pod on a lost node goes
//! when the node says that nothing of it is left, while its controller may put another in its place
//! at once. A pod that must not run twice is therefore never marked.
//!
//! Upstream's counterparts are `pkg/controller/tainteviction` and `pkg/controller/nodelifecycle`. Two
//! things differ. Loss of most nodes at once holds every eviction, not only in small clusters: it is
//! our own link that has failed then, or the power of a whole site. And time counts from when the
//! taint was put, but never from before this controller began to look.

use bramble_api::time::Timestamp;
use bramble_api::view::{Metadata, Node, Pod, Taint, Toleration};
use serde_json::{Value, json};

use crate::action::{Action, Durability, Note, Observed, Plan, Regarding, Target};
use crate::conditions;
use crate::kinds;
use crate::node::{AGENT_STOPPED, NOT_READY, UNREACHABLE};

/// Nodes that are lost, of a hundred, from which on nothing is evicted; as upstream.
const MOST_PERCENT: usize = 55;
/// So many lost nodes are never most of them; as upstream.
const FEW: usize = 2;
/// How long an agent that said good-bye may take to come back, as upstream's grace for a node.
const AGENT_GRACE_S: i64 = 40;
const NOT_READY_REASON: &str = "NodeNotReady";

/// Whether so many nodes are lost at once that the fault is not theirs.
pub fn is_mass_loss(ready: usize, lost: usize) -> bool {
    let most = lost * 100 >= (ready + lost) * MOST_PERCENT;
    lost > 0 && (ready == 0 || (lost > FEW && most))
}

/// What a pod on a node is decided on.
pub struct Input<'a> {
    /// The pod, bound to the node.
    pub pod: &'a Observed<Pod>,
    /// The node.
    pub node: &'a Node,
    /// Most nodes are lost.
    pub mass_loss: bool,
    /// Since when nodes have been looked at without a mass loss.
    pub calm_since: Timestamp,
    /// When a taint that does not say so was put.
    pub tainted_since: &'a dyn Fn(&Taint) -> Timestamp,
}

/// Decides on a pod.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let pod = input.pod;
    if pod.is_terminated() {
        return plan;
    }
    follow_node(pod, input.node, now, &mut plan);
    if pod.metadata.is_deleting() {
        return plan;
    }
    let Some(due) = due(input) else { return plan };
    if due > now {
        plan.wake_at(due);
        return plan;
    }
    if must_not_run_twice(&pod.metadata) {
        let message = format!(
            "node {} does not answer; this pod must not run twice, so it stays until the node says \
             that it has stopped",
            input.node.metadata.name
        );
        plan.actions.push(Action::Event(Note {
            warning: true,
            ..note(pod, "NotEvicted", message, EVICTION)
        }));
        return plan;
    }
    let Metadata {
        namespace, name, ..
    } = &pod.metadata;
    let message = format!("Marking for deletion Pod {namespace}/{name}");
    plan.actions.push(Action::Delete {
        target: Target::of(kinds::pod(), &pod.metadata),
        uid: pod.metadata.uid.clone(),
        told: Some(conditions::disruption(
            "DeletionByTaintManager",
            "Taint manager: deleting due to NoExecute taint",
            now,
        )),
        note: Some(note(pod, "TaintManagerEviction", message, EVICTION)),
    });
    plan
}

/// The status of a pod whose node is not there any more: it has failed, and why is said as upstream's
/// pod garbage collector says it.
pub fn orphaned(pod: &Pod, now: Timestamp) -> Value {
    let mut list = pod.status.conditions.clone();
    let why = "PodGC: node no longer exists";
    conditions::set(
        &mut list,
        conditions::disruption("DeletionByPodGC", why, now),
    );
    json!({"status": {"phase": "Failed", "conditions": conditions::to_json(&list, false)}})
}

const EVICTION: &str = "taint-eviction-controller";

fn note(pod: &Pod, reason: &'static str, message: String, component: &'static str) -> Note {
    Note {
        regarding: Regarding::of(kinds::pod(), &pod.metadata),
        warning: false,
        reason: reason.into(),
        message,
        component,
        host: String::new(),
    }
}

/// Whether two at once would be worse than none: its name is its identity.
fn must_not_run_twice(metadata: &Metadata) -> bool {
    metadata
        .controller()
        .is_some_and(|owner| owner.kind == "StatefulSet")
}

/// When the pod has borne its node's taints for long enough; `None` while it bears them.
fn due(input: &Input<'_>) -> Option<Timestamp> {
    let taints = input.node.spec.taints.iter();
    taints
        .filter(|taint| taint.effect == "NoExecute")
        .filter_map(|taint| {
            let ours = taint.key == NOT_READY || taint.key == UNREACHABLE;
            if ours && input.mass_loss {
                return None;
            }
            let mut start = taint
                .time_added
                .unwrap_or_else(|| (input.tainted_since)(taint));
            if ours {
                start = start.max(input.calm_since);
            }
            let seconds = borne(&input.pod.spec.tolerations, taint)?;
            Some(Timestamp {
                seconds: start.seconds.saturating_add(seconds),
                ..start
            })
        })
        .min()
}

/// How long a taint is borne; `None`: for ever.
fn borne(tolerations: &[Toleration], taint: &Taint) -> Option<i64> {
    let mut fitting = tolerations.iter().filter(|t| t.tolerates(taint)).peekable();
    if fitting.peek().is_none() {
        return Some(0);
    }
    fitting
        .filter_map(|toleration| toleration.toleration_seconds)
        .map(|seconds| seconds.max(0))
        .min()
}

/// A pod of a node that is not ready does not count as ready; it counts again with its node, unless
/// the node has said something else about it.
fn follow_node(pod: &Observed<Pod>, node: &Node, now: Timestamp, plan: &mut Plan) {
    let ready = conditions::find(&pod.status.conditions, "Ready");
    let marked = ready.is_some_and(|c| !c.is_true() && c.reason == NOT_READY_REASON);
    let contained = || {
        pod.condition("ContainersReady")
            .is_some_and(|c| c.is_true())
    };
    if node.is_ready() {
        if marked && contained() {
            plan.actions.push(set_ready(pod, "True", "", now, None));
        }
        return;
    }
    // A Node that nobody has spoken for yet says nothing about its pods.
    let of_node = conditions::find(&node.status.conditions, "Ready");
    let Some(of_node) = of_node.filter(|_| pod.is_ready()) else {
        return;
    };
    // An agent that is replaced is back in a moment, and its containers run on.
    if of_node.reason == AGENT_STOPPED
        && let Some(since) = of_node.last_transition_time
    {
        let due = Timestamp::from_seconds(since.seconds + AGENT_GRACE_S);
        if due > now {
            plan.wake_at(due);
            return;
        }
    }
    let told = Note {
        warning: true,
        ..note(
            pod,
            NOT_READY_REASON,
            "Node is not ready".into(),
            "node-controller",
        )
    };
    plan.actions
        .push(set_ready(pod, "False", NOT_READY_REASON, now, Some(told)));
}

fn set_ready(
    pod: &Observed<Pod>,
    status: &str,
    reason: &str,
    now: Timestamp,
    note: Option<Note>,
) -> Action {
    let list: Vec<_> = pod
        .status
        .conditions
        .iter()
        .map(|old| {
            let mut new = old.clone();
            if old.kind == "Ready" {
                new = conditions::now("Ready", status, reason, "", now);
            }
            new
        })
        .collect();
    let list: Value = conditions::to_json(&list, false);
    Action::Patch {
        target: Target::of(kinds::pod(), &pod.metadata),
        revision: pod.revision,
        patch: json!({"status": {"conditions": list}}),
        durability: Durability::Soft,
        note,
    }
}

/// What to tell when a node stops to be ready.
pub fn node_note(node: &Node) -> Note {
    Note {
        regarding: Regarding::of(kinds::node(), &node.metadata),
        warning: false,
        reason: NOT_READY_REASON.into(),
        message: format!(
            "Node {} status is now: {NOT_READY_REASON}",
            node.metadata.name
        ),
        component: "node-controller",
        host: String::new(),
    }
}

#[cfg(test)]
mod disruption_tests;
#[cfg(test)]
mod tests;
