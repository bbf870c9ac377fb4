//! The scheduler: which node a pod goes to, or why none will have it.
//!
//! [`Cluster`] is what the decision looks at: the nodes and what their pods have asked for. It is
//! kept up to date change by change, so that a decision costs one pass over the nodes. The same
//! cluster and pod give the same node: ties go to the first name.

mod cluster;
mod filter;
mod images;
mod peers;
mod preempt;
mod score;
mod spread;

use std::collections::BTreeMap;

use bramble_api::time::Timestamp;
use bramble_api::view::{Node, Pod};
use serde_json::json;

use crate::action::{Action, Durability, Note, Observed, Plan, Regarding, Target};
use crate::{conditions, kinds};

pub use cluster::Cluster;
pub use filter::Reason;
pub use preempt::{Preemption, Victim};

use peers::Peers;

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
    /// Bytes of the node's own disk (`ephemeral-storage`).
    pub storage: u64,
    /// Pods.
    pub pods: u64,
}

impl Amount {
    /// What a pod asks for: the sum of its containers and sidecars, or what its largest init container needs
    /// beside the sidecars that were started before it, if that is more (upstream's `PodRequests`).
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
            let (mut sidecars, mut init) = (0u64, 0);
            for container in &pod.spec.init_containers {
                let needs = sidecars.saturating_add(amount(container));
                if container.restart_policy == "Always" {
                    sidecars = needs;
                }
                init = needs.max(init);
            }
            sum.saturating_add(sidecars).max(init)
        };
        Self {
            cpu_milli: request("cpu", true),
            memory: request("memory", false),
            storage: request("ephemeral-storage", false),
            pods: 1,
        }
    }

    /// What a node has for pods.
    pub fn allocatable(node: &Node) -> Self {
        let list = &node.status.allocatable;
        Self {
            cpu_milli: list.milli("cpu").unwrap_or(0),
            memory: list.units("memory").unwrap_or(0),
            storage: list.units("ephemeral-storage").unwrap_or(0),
            pods: list.units("pods").unwrap_or(0),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory: self.memory.saturating_add(other.memory),
            storage: self.storage.saturating_add(other.storage),
            pods: self.pods.saturating_add(other.pods),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_sub(other.cpu_milli),
            memory: self.memory.saturating_sub(other.memory),
            storage: self.storage.saturating_sub(other.storage),
            pods: self.pods.saturating_sub(other.pods),
        }
    }
}

/// Whether a pod waits for this scheduler.
pub fn is_pending(pod: &Pod) -> bool {
    pod.spec.node_name.is_empty()
        && pod.is_active()
        && pod.spec.scheduling_gates.is_empty()
        && matches!(pod.spec.scheduler_name.as_str(), "" | NAME)
}

/// Where a pod goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// To this node.
    Bind(String),
    /// Nowhere, and why, in upstream's words.
    Unschedulable(String),
    /// Nowhere yet: these pods go first, from this node. The message is that of `Unschedulable`.
    Preempt(String, Vec<Victim>, String),
}

/// Chooses a node for a pod.
pub fn place(cluster: &Cluster, pod: &Pod) -> Verdict {
    let wants = Amount::of(pod);
    let peers = Peers::of(cluster, pod);
    let mut candidates = Vec::new();
    let mut refusals = Vec::new();
    for (name, place, node) in cluster.nodes() {
        match filter::check(cluster, pod, wants, place, node, &peers) {
            Ok(()) => {
                candidates.push(score::Candidate::new(name, pod, wants, place, node, &peers));
            }
            Err(reasons) => refusals.push((name, reasons)),
        }
    }
    // Room that others made for it comes first.
    let nominated = pod.status.nominated_node_name.as_str();
    if candidates.iter().any(|one| one.name == nominated) {
        return Verdict::Bind(nominated.to_owned());
    }
    if let Some(name) = score::best(&candidates, &peers) {
        return Verdict::Bind(name.to_owned());
    }
    if refusals.is_empty() {
        return Verdict::Unschedulable("no nodes available to schedule pods".into());
    }
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for reason in refusals.iter().flat_map(|(_, reasons)| reasons) {
        *reasons.entry(reason.to_string()).or_default() += 1;
    }
    let nodes = refusals.len();
    let message = refusal(nodes, &reasons);
    let with = |why: &str| format!("{message} preemption: {why}");
    match preempt::find(cluster, pod, wants, &refusals) {
        Preemption::Victims(node, victims) => Verdict::Preempt(node, victims, message),
        Preemption::Waiting => Verdict::Unschedulable(with(
            "not eligible due to a terminating pod on the nominated node.",
        )),
        Preemption::NotEligible => {
            Verdict::Unschedulable(with("not eligible due to preemptionPolicy=Never."))
        }
        Preemption::Helpless => {
            // Upstream tells apart where pods might go and where that would not help.
            let helps = |reasons: &&[Reason]| reasons.iter().all(Reason::ends_with_pods);
            let lists = refusals.iter().map(|(_, reasons)| reasons.as_slice());
            let might = lists.filter(helps).count();
            let mut parts = Vec::new();
            if might > 0 {
                parts.push(format!(
                    "{might} No preemption victims found for incoming pod"
                ));
            }
            if nodes > might {
                let rest = nodes - might;
                parts.push(format!("{rest} Preemption is not helpful for scheduling"));
            }
            let parts = parts.join(", ");
            Verdict::Unschedulable(with(&format!("0/{nodes} nodes are available: {parts}.")))
        }
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
    carry_out(place(cluster, pod), pod, now)
}

/// A pending pod that is not to be placed yet, whatever room there is.
pub fn hold(pod: &Observed<Pod>, why: String, now: Timestamp) -> Plan {
    carry_out(Verdict::Unschedulable(why), pod, now).0
}

fn carry_out(verdict: Verdict, pod: &Observed<Pod>, now: Timestamp) -> (Plan, Option<String>) {
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
    let note = |warning, reason: &'static str, message| Note {
        regarding: Regarding::of(kinds::pod(), &pod.metadata),
        warning,
        reason: reason.into(),
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
    match verdict {
        Verdict::Bind(node) => {
            set(&mut list, "True", "", "");
            let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
            let message = format!("Successfully assigned {name} to {node}");
            let mut status = json!({"conditions": conditions::to_json(&list, false)});
            if !pod.status.nominated_node_name.is_empty() {
                // The room is taken now.
                status["nominatedNodeName"] = serde_json::Value::Null;
            }
            plan.actions.push(patch(
                json!({"spec": {"nodeName": node}, "status": status}),
                Durability::Hard,
                Some(note(false, "Scheduled", message)),
            ));
            (plan, Some(node))
        }
        Verdict::Preempt(node, victims, message) => {
            set(&mut list, "False", "Unschedulable", &message);
            let status = json!({"conditions": conditions::to_json(&list, false),
                "nominatedNodeName": node});
            let nominated = json!({"status": status});
            plan.actions.push(patch(nominated, Durability::Soft, None));
            let scheduler = match pod.spec.scheduler_name.as_str() {
                "" => NAME,
                name => name,
            };
            let why = format!("{scheduler}: preempting to accommodate a higher priority pod");
            for victim in victims {
                let target = Target {
                    kind: kinds::pod(),
                    namespace: victim.namespace,
                    name: victim.name,
                };
                let regarding = Regarding {
                    api_version: "v1".into(),
                    kind: "Pod".into(),
                    namespace: target.namespace.clone(),
                    name: target.name.clone(),
                    uid: victim.uid.clone(),
                    field_path: String::new(),
                };
                plan.actions.push(Action::Delete {
                    target,
                    uid: victim.uid,
                    told: Some(conditions::disruption("PreemptionByScheduler", &why, now)),
                    note: Some(Note {
                        regarding,
                        warning: false,
                        reason: "Preempted".into(),
                        message: format!("Preempted by pod {} on node {node}", pod.metadata.uid),
                        component: COMPONENT,
                        host: String::new(),
                    }),
                });
            }
            plan.actions
                .push(Action::Event(note(true, "FailedScheduling", message)));
            (plan, None)
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
