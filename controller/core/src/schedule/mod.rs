//! The scheduler: which node a pod goes to, or why none will have it.
//!
//! [`Cluster`] is what the decision looks at: the nodes and what their pods have asked for. It is
//! kept up to date change by change, so that a decision costs one pass over the nodes. The same
//! cluster and pod give the same node: ties go to the first name.

mod filter;
mod score;

use std::collections::{BTreeMap, HashMap};

use bramble_api::time::Timestamp;
use bramble_api::view::{Node, Pod};
use serde_json::json;

use crate::action::{Action, Durability, Note, Observed, Plan, Regarding, Target};
use crate::{conditions, kinds};

pub use filter::Reason;

const COMPONENT: &str = "default-scheduler";
/// The scheduler that pods name when they name none.
pub const NAME: &str = "default-scheduler";

/// An amount of what pods ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes.
    pub memory: u64,
    /// Pods.
    pub pods: u64,
}

impl Amount {
    /// What a pod asks for: the sum of its containers, or its largest init container if that is more.
    pub fn of(pod: &Pod) -> Self {
        let request = |resource: &str, milli: bool| {
            let amount = |c: &bramble_api::view::ContainerSummary| {
                let list = &c.resources.requests;
                let limits = &c.resources.limits;
                // A limit without a request is the request too, as the API server's default has it.
                let of = |l: &bramble_api::view::ResourceList| {
                    if milli {
                        l.milli(resource)
                    } else {
                        l.units(resource)
                    }
                };
                of(list).or_else(|| of(limits)).unwrap_or(0)
            };
            let sum = pod
                .spec
                .containers
                .iter()
                .map(amount)
                .fold(0, u64::saturating_add);
            let init = pod
                .spec
                .init_containers
                .iter()
                .map(amount)
                .max()
                .unwrap_or(0);
            sum.max(init)
        };
        Self {
            cpu_milli: request("cpu", true),
            memory: request("memory", false),
            pods: 1,
        }
    }

    /// What a node has for pods.
    pub fn allocatable(node: &Node) -> Self {
        let list = &node.status.allocatable;
        Self {
            cpu_milli: list.milli("cpu").unwrap_or(0),
            memory: list.units("memory").unwrap_or(0),
            pods: list.units("pods").unwrap_or(0),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory: self.memory.saturating_add(other.memory),
            pods: self.pods.saturating_add(other.pods),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_sub(other.cpu_milli),
            memory: self.memory.saturating_sub(other.memory),
            pods: self.pods.saturating_sub(other.pods),
        }
    }
}

/// A node with what its pods have asked for.
#[derive(Debug, Clone, Default, PartialEq)]
struct Place {
    /// None while there are pods on a node that is not there (any more).
    node: Option<Node>,
    allocatable: Amount,
    used: Amount,
    /// Pods by UID of their controller.
    siblings: HashMap<String, u32>,
}

/// The nodes, and what their pods have asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    places: BTreeMap<String, Place>,
}

impl Cluster {
    /// A node came, changed or went (`None`).
    pub fn handle_node(&mut self, name: &str, node: Option<&Node>) {
        let place = self.places.entry(name.to_owned()).or_default();
        place.allocatable = node.map(Amount::allocatable).unwrap_or_default();
        place.node = node.cloned();
        self.forget_if_empty(name);
    }

    /// A pod came, changed or went.
    pub fn handle_pod(&mut self, before: Option<&Pod>, after: Option<&Pod>) {
        if let Some(pod) = before.filter(|pod| occupies(pod)) {
            if let Some(place) = self.places.get_mut(&pod.spec.node_name) {
                place.used = place.used.minus(Amount::of(pod));
                if let Some(owner) = pod.metadata.controller()
                    && let Some(count) = place.siblings.get_mut(&owner.uid)
                {
                    *count -= 1;
                    if *count == 0 {
                        place.siblings.remove(&owner.uid);
                    }
                }
            }
            self.forget_if_empty(&pod.spec.node_name);
        }
        if let Some(pod) = after.filter(|pod| occupies(pod)) {
            let place = self.places.entry(pod.spec.node_name.clone()).or_default();
            place.used = place.used.plus(Amount::of(pod));
            if let Some(owner) = pod.metadata.controller() {
                *place.siblings.entry(owner.uid.clone()).or_default() += 1;
            }
        }
    }

    fn forget_if_empty(&mut self, name: &str) {
        let empty = |place: &Place| place.node.is_none() && place.used == Amount::default();
        if self.places.get(name).is_some_and(empty) {
            self.places.remove(name);
        }
    }

    fn nodes(&self) -> impl Iterator<Item = (&str, &Place, &Node)> {
        self.places
            .iter()
            .filter_map(|(name, place)| Some((name.as_str(), place, place.node.as_ref()?)))
    }

    /// Whether a node of this name exists.
    pub fn has_node(&self, name: &str) -> bool {
        self.places
            .get(name)
            .is_some_and(|place| place.node.is_some())
    }
}

/// Whether a pod takes room on its node: also while it stops.
fn occupies(pod: &Pod) -> bool {
    !pod.spec.node_name.is_empty() && !pod.is_terminated()
}

/// Whether a pod waits for this scheduler.
pub fn is_pending(pod: &Pod) -> bool {
    pod.spec.node_name.is_empty()
        && pod.is_active()
        && matches!(pod.spec.scheduler_name.as_str(), "" | NAME)
}

/// Where a pod goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// To this node.
    Bind(String),
    /// Nowhere, and why, in upstream's words.
    Unschedulable(String),
}

/// Chooses a node for a pod.
pub fn place(cluster: &Cluster, pod: &Pod) -> Verdict {
    let wants = Amount::of(pod);
    let mut best: Option<(u64, &str)> = None;
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut nodes = 0;
    for (name, place, node) in cluster.nodes() {
        nodes += 1;
        match filter::check(pod, wants, place, node) {
            Ok(()) => {
                let score = score::of(pod, wants, place, node);
                if best.is_none_or(|(other, _)| score > other) {
                    best = Some((score, name));
                }
            }
            Err(refusals) => {
                for reason in refusals {
                    *reasons.entry(reason.to_string()).or_default() += 1;
                }
            }
        }
    }
    match best {
        Some((_, name)) => Verdict::Bind(name.to_owned()),
        None if nodes == 0 => Verdict::Unschedulable("no nodes available to schedule pods".into()),
        None => Verdict::Unschedulable(refusal(nodes, &reasons)),
    }
}

/// `0/2 nodes are available: 1 Insufficient memory, …`, sorted as upstream sorts: as text.
fn refusal(nodes: usize, reasons: &BTreeMap<String, usize>) -> String {
    let mut parts: Vec<String> = reasons
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    parts.sort_unstable();
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}

/// Decides for one pending pod: the binding, or the condition and event that say why not.
pub fn plan(cluster: &Cluster, pod: &Observed<Pod>, now: Timestamp) -> (Plan, Option<String>) {
    let mut plan = Plan::default();
    let mut list = pod.status.conditions.clone();
    let set = |list: &mut Vec<_>, status: &str, reason: &str, message: &str| {
        let new = conditions::now("PodScheduled", status, reason, message, now);
        let new = bramble_api::view::Condition {
            last_update_time: None,
            ..new
        };
        let before = list.clone();
        // The message counts too: another reason for waiting is news.
        if let Some(old) = conditions::find(list, "PodScheduled").filter(|c| c.message != message) {
            let since = old.last_transition_time.filter(|_| old.status == status);
            conditions::remove(list, "PodScheduled");
            list.push(bramble_api::view::Condition {
                last_transition_time: since.or(Some(now)),
                ..new
            });
        } else {
            conditions::set(list, new);
        }
        *list != before
    };
    let note = |warning, reason, message| Note {
        regarding: Regarding::of(kinds::pod(), &pod.metadata),
        warning,
        reason,
        message,
        component: COMPONENT,
        host: String::new(),
    };
    let patch = |patch, durability, note| Action::Patch {
        target: Target::of(kinds::pod(), &pod.metadata),
        revision: pod.revision,
        patch,
        durability,
        note,
    };
    match place(cluster, pod) {
        Verdict::Bind(node) => {
            set(&mut list, "True", "", "");
            let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
            let message = format!("Successfully assigned {name} to {node}");
            plan.actions.push(patch(
                json!({"spec": {"nodeName": node},
                    "status": {"conditions": conditions::to_json(&list, false)}}),
                Durability::Hard,
                Some(note(false, "Scheduled", message)),
            ));
            (plan, Some(node))
        }
        Verdict::Unschedulable(message) => {
            if set(&mut list, "False", "Unschedulable", &message) {
                let status = json!({"status": {"conditions": conditions::to_json(&list, false)}});
                plan.actions.push(patch(status, Durability::Soft, None));
            }
            plan.actions
                .push(Action::Event(note(true, "FailedScheduling", message)));
            (plan, None)
        }
    }
}

#[cfg(test)]
mod tests;
