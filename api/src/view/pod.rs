//! Pods, as the ReplicaSet controller and the scheduler see them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::meta::{Condition, Labels, Metadata, Requirement, Selector};
use crate::quantity::Quantity;
use crate::time::Timestamp;

/// A pod without what only its node needs; [`super::FullPod`] has that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Metadata.
    pub metadata: Metadata,
    /// Spec.
    pub spec: PodSpec,
    /// Status.
    pub status: PodStatus,
}

/// `spec` of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// The node it is bound to; empty while it is not.
    pub node_name: String,
    /// Who binds it.
    pub scheduler_name: String,
    /// Labels that its node must have.
    #[serde(deserialize_with = "super::nullable")]
    pub node_selector: Labels,
    /// Which nodes and which pods it wants or does not want to be with.
    pub affinity: Option<Box<Affinity>>,
    /// How evenly such pods are spread.
    #[serde(deserialize_with = "super::nullable")]
    pub topology_spread_constraints: Vec<SpreadConstraint>,
    /// Hold it back from the scheduler.
    #[serde(deserialize_with = "super::nullable")]
    pub scheduling_gates: Vec<SchedulingGate>,
    /// `Never`: it takes no room from others; empty or `PreemptLowerPriority`: it may.
    pub preemption_policy: String,
    /// Taints it bears.
    #[serde(deserialize_with = "super::nullable")]
    pub tolerations: Vec<Toleration>,
    /// Containers.
    #[serde(deserialize_with = "super::nullable")]
    pub containers: Vec<ContainerSummary>,
    /// Init containers.
    #[serde(deserialize_with = "super::nullable")]
    pub init_containers: Vec<ContainerSummary>,
    /// Seconds to stop in.
    pub termination_grace_period_seconds: Option<i64>,
    /// Priority.
    pub priority: i32,
    /// Host name.
    pub hostname: String,
    /// The headless Service below whose name its host name is.
    pub subdomain: String,
}

/// An entry of `schedulingGates`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SchedulingGate {
    /// Name.
    pub name: String,
}

/// A term of node affinity: all of its expressions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AffinityTerm {
    /// On labels.
    #[serde(deserialize_with = "super::nullable")]
    pub match_expressions: Vec<Requirement>,
    /// On fields; only `metadata.name` exists.
    #[serde(deserialize_with = "super::nullable")]
    pub match_fields: Vec<Requirement>,
}

/// `spec.affinity`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    /// To nodes.
    #[serde(deserialize_with = "super::nullable")]
    pub node_affinity: NodeAffinity,
    /// To nodes of other pods.
    #[serde(deserialize_with = "super::nullable")]
    pub pod_affinity: PodAffinity,
    /// Away from nodes of other pods.
    #[serde(deserialize_with = "super::nullable")]
    pub pod_anti_affinity: PodAffinity,
}

/// `spec.affinity.nodeAffinity`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeAffinity {
    /// Any of the terms, when there are some.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeTerms>,
    /// As much weight as possible.
    #[serde(
        rename = "preferredDuringSchedulingIgnoredDuringExecution",
        deserialize_with = "super::nullable"
    )]
    pub preferred: Vec<PreferredNode>,
}

/// A node selector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeTerms {
    /// Any of them.
    #[serde(deserialize_with = "super::nullable")]
    pub node_selector_terms: Vec<AffinityTerm>,
}

/// A node term that is wished for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PreferredNode {
    /// 1 to 100.
    pub weight: i64,
    /// What the node should be like.
    pub preference: AffinityTerm,
}

/// `podAffinity` or `podAntiAffinity`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodAffinity {
    /// All of the terms.
    #[serde(
        rename = "requiredDuringSchedulingIgnoredDuringExecution",
        deserialize_with = "super::nullable"
    )]
    pub required: Vec<PodTerm>,
    /// As much weight as possible.
    #[serde(
        rename = "preferredDuringSchedulingIgnoredDuringExecution",
        deserialize_with = "super::nullable"
    )]
    pub preferred: Vec<PreferredPod>,
}

/// A pod term that is wished for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PreferredPod {
    /// 1 to 100.
    pub weight: i64,
    /// Which pods, and what counts as beside them.
    pub pod_affinity_term: PodTerm,
}

/// Other pods, and the node label whose equal values make two nodes one place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTerm {
    /// Which pods; absent selects none.
    pub label_selector: Option<Selector>,
    /// In these namespaces; the pod's own when this and `namespaceSelector` are empty.
    #[serde(deserialize_with = "super::nullable")]
    pub namespaces: Vec<String>,
    /// And in those with such labels; `{}` is all of them.
    pub namespace_selector: Option<Selector>,
    /// The label.
    pub topology_key: String,
    /// Labels of the pod itself that the others have alike.
    #[serde(deserialize_with = "super::nullable")]
    pub match_label_keys: Vec<String>,
    /// Labels of the pod itself that the others have otherwise.
    #[serde(deserialize_with = "super::nullable")]
    pub mismatch_label_keys: Vec<String>,
}

/// An entry of `topologySpreadConstraints`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SpreadConstraint {
    /// Most by which places may differ.
    pub max_skew: i64,
    /// The label whose values are the places.
    pub topology_key: String,
    /// `DoNotSchedule` or `ScheduleAnyway`.
    pub when_unsatisfiable: String,
    /// Which pods are counted; absent counts none.
    pub label_selector: Option<Selector>,
    /// Fewer places than this count as an empty one.
    pub min_domains: Option<i64>,
    /// `Honor` (also when empty) or `Ignore`: nodes that the pod may not choose.
    pub node_affinity_policy: String,
    /// `Ignore` (also when empty) or `Honor`: nodes whose taints it does not bear.
    pub node_taints_policy: String,
    /// Labels of the pod itself that counted pods have alike.
    #[serde(deserialize_with = "super::nullable")]
    pub match_label_keys: Vec<String>,
}

/// A container, for the sum of its requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ContainerSummary {
    /// Name.
    pub name: String,
    /// Image.
    pub image: String,
    /// `Always` makes an init container a sidecar.
    #[serde(rename = "restartPolicy", deserialize_with = "super::nullable")]
    pub restart_policy: String,
    /// Requests and limits.
    #[serde(deserialize_with = "super::nullable")]
    pub resources: Resources,
    /// Declared ports: Services may mean them by name.
    #[serde(deserialize_with = "super::nullable")]
    pub ports: Vec<ContainerPort>,
}

/// A declared port of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Name.
    pub name: String,
    /// Number.
    pub container_port: i32,
    /// Port of the node; 0 for none.
    pub host_port: i32,
    /// Address of the node for it; empty for all.
    #[serde(rename = "hostIP")]
    pub host_ip: String,
    /// `TCP` (also when empty), `UDP`, `SCTP`.
    pub protocol: String,
}

/// Requests and limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Requests.
    #[serde(deserialize_with = "super::nullable")]
    pub requests: ResourceList,
    /// Limits.
    #[serde(deserialize_with = "super::nullable")]
    pub limits: ResourceList,
}

/// Amounts by resource, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ResourceList(pub BTreeMap<String, serde_json::Value>);

impl ResourceList {
    fn quantity(&self, resource: &str) -> Option<Quantity> {
        match self.0.get(resource)? {
            serde_json::Value::String(text) => Quantity::parse(text).ok(),
            serde_json::Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
            _ => None,
        }
    }

    /// Thousandths of a resource, rounded up; `None` when it is not listed.
    pub fn milli(&self, resource: &str) -> Option<u64> {
        self.quantity(resource)
            .map(|q| u64::try_from(q.milli()).unwrap_or(0))
    }

    /// Whole units of a resource, rounded up; `None` when it is not listed.
    pub fn units(&self, resource: &str) -> Option<u64> {
        self.quantity(resource)
            .map(|q| u64::try_from(q.value()).unwrap_or(0))
    }
}

/// A toleration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// Key; empty for every key.
    pub key: String,
    /// `Equal` (also when empty) or `Exists`.
    pub operator: String,
    /// Value.
    pub value: String,
    /// Effect; empty for every effect.
    pub effect: String,
    /// How long a `NoExecute` taint is borne; `None`: for ever.
    pub toleration_seconds: Option<i64>,
}

impl Toleration {
    /// Whether it bears a taint, by upstream's rule.
    pub fn tolerates(&self, taint: &super::Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && match self.operator.as_str() {
                "" | "Equal" => self.value == taint.value,
                "Exists" => true,
                _ => false,
            }
    }
}

/// `status` of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Phase; empty reads as `Pending`.
    pub phase: String,
    /// Conditions.
    #[serde(deserialize_with = "super::nullable")]
    pub conditions: Vec<Condition>,
    /// Containers.
    #[serde(deserialize_with = "super::nullable")]
    pub container_statuses: Vec<ContainerStatus>,
    /// Init containers.
    #[serde(deserialize_with = "super::nullable")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// The node on which others make room for it.
    pub nominated_node_name: String,
    /// Address.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// When the node saw it first.
    #[serde(deserialize_with = "super::time")]
    pub start_time: Option<Timestamp>,
}

/// A container's status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "StatusAsWritten")]
pub struct ContainerStatus {
    /// How often it was started again.
    pub restart_count: i32,
    /// It waits because its image does not run on its node.
    pub refused: Option<Box<RefusedImage>>,
}

/// An image that a node does not run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefusedImage {
    /// Its name.
    pub image: String,
    /// Platforms that it is for, `linux/amd64, linux/arm64`; empty when the node did not say.
    pub platforms: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StatusAsWritten {
    restart_count: i32,
    image: String,
    #[serde(deserialize_with = "super::nullable")]
    state: StateAsWritten,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StateAsWritten {
    waiting: Option<WaitingAsWritten>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WaitingAsWritten {
    message: String,
}

impl From<StatusAsWritten> for ContainerStatus {
    fn from(status: StatusAsWritten) -> Self {
        let waiting = status.state.waiting.unwrap_or_default();
        let refused = refused_platforms(&waiting.message).map(|platforms| RefusedImage {
            image: status.image,
            platforms: platforms.to_owned(),
        });
        Self {
            restart_count: status.restart_count,
            refused: refused.map(Box::new),
        }
    }
}

/// The platforms of an image in a node's words of why it does not run there; `None` when those are of
/// something else.
fn refused_platforms(message: &str) -> Option<&str> {
    let named = message.split_once("the image is for ");
    let named = named.and_then(|(_, rest)| Some(rest.split_once(", this board is ")?.0));
    let other = ["no matching manifest for", "no match for platform"];
    named.or_else(|| {
        other
            .iter()
            .any(|words| message.contains(words))
            .then_some("")
    })
}

impl Pod {
    /// The condition of a type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == kind)
    }

    /// Whether its Ready condition is true.
    pub fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(Condition::is_true)
    }

    /// Whether it has ended for good.
    pub fn is_terminated(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Whether it counts as a replica: not ended and not being deleted.
    pub fn is_active(&self) -> bool {
        !self.is_terminated() && !self.metadata.is_deleting()
    }

    /// Restarts of all its containers.
    pub fn restarts(&self) -> i32 {
        self.status
            .container_statuses
            .iter()
            .map(|c| c.restart_count)
            .sum()
    }
}
