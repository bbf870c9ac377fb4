//! Pods, as the ReplicaSet controller and the scheduler see them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::meta::{Condition, Labels, Metadata, Requirement};
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
    /// Required node affinity: any of the terms.
    #[serde(rename = "affinity", deserialize_with = "required_terms")]
    pub node_affinity: Option<Vec<AffinityTerm>>,
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

/// A term of required node affinity: all of its expressions.
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

fn required_terms<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<AffinityTerm>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Affinity {
        node_affinity: Option<NodeAffinity>,
    }
    #[derive(Deserialize)]
    struct NodeAffinity {
        #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
        required: Option<Terms>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Terms {
        #[serde(default)]
        node_selector_terms: Vec<AffinityTerm>,
    }
    let affinity: Option<Affinity> = Deserialize::deserialize(deserializer)?;
    let required = affinity
        .and_then(|a| a.node_affinity)
        .and_then(|a| a.required);
    Ok(required.map(|terms| terms.node_selector_terms))
}

/// A container, for the sum of its requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ContainerSummary {
    /// Name.
    pub name: String,
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
    /// Address.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// When the node saw it first.
    #[serde(deserialize_with = "super::time")]
    pub start_time: Option<Timestamp>,
}

/// A container's status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// How often it was started again.
    pub restart_count: i32,
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
