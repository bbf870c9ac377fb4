//! Deployments and ReplicaSets.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::meta::{Condition, Labels, Metadata, Selector};

/// A Deployment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Deployment {
    /// Metadata.
    pub metadata: Metadata,
    /// Spec.
    pub spec: DeploymentSpec,
    /// Status.
    pub status: DeploymentStatus,
}

/// `spec` of a Deployment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentSpec {
    /// Wanted pods; 1 when absent.
    pub replicas: Option<i32>,
    /// Which pods are its own.
    pub selector: Selector,
    /// The pod.
    pub template: Template,
    /// How to change over.
    #[serde(deserialize_with = "super::nullable")]
    pub strategy: Strategy,
    /// Seconds that a pod must be ready to count as available.
    pub min_ready_seconds: i32,
    /// Old ReplicaSets to keep.
    pub revision_history_limit: Option<i32>,
    /// No roll-out for now.
    pub paused: bool,
    /// Seconds without progress after which it says so.
    pub progress_deadline_seconds: Option<i32>,
}

/// `spec.strategy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Strategy {
    /// `RollingUpdate` (also when empty) or `Recreate`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bounds of a rolling update.
    #[serde(deserialize_with = "super::nullable")]
    pub rolling_update: RollingUpdate,
}

/// `spec.strategy.rollingUpdate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    /// Pods above the wanted number; 25 % when absent.
    pub max_surge: Option<IntOrPercent>,
    /// Pods below it; 25 % when absent.
    pub max_unavailable: Option<IntOrPercent>,
}

/// A number or a percentage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntOrPercent {
    /// A number.
    Int(i32),
    /// A percentage.
    Percent(i32),
}

impl IntOrPercent {
    /// The number that it means of `total`.
    pub fn of(self, total: i32, round_up: bool) -> i32 {
        match self {
            Self::Int(value) => value,
            Self::Percent(percent) => {
                let product = i64::from(percent) * i64::from(total);
                let extra = if round_up { 99 } else { 0 };
                i32::try_from((product + extra) / 100).unwrap_or(i32::MAX)
            }
        }
    }
}

impl<'de> Deserialize<'de> for IntOrPercent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Int(i32),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Int(value) => Ok(Self::Int(value)),
            Either::Text(text) => text
                .strip_suffix('%')
                .and_then(|digits| digits.parse().ok())
                .map(Self::Percent)
                .ok_or_else(|| serde::de::Error::custom("neither a number nor a percentage")),
        }
    }
}

/// `status` of a Deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    /// The generation that this status is about.
    pub observed_generation: i64,
    /// Pods.
    pub replicas: i32,
    /// Pods of the newest template.
    pub updated_replicas: i32,
    /// Ready pods.
    pub ready_replicas: i32,
    /// Pods ready for long enough.
    pub available_replicas: i32,
    /// Pods that are missing.
    pub unavailable_replicas: i32,
    /// How often a hash met another template's name.
    pub collision_count: Option<i32>,
    /// Conditions.
    #[serde(deserialize_with = "super::nullable")]
    pub conditions: Vec<Condition>,
}

/// A ReplicaSet.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    /// Metadata.
    pub metadata: Metadata,
    /// Spec.
    pub spec: ReplicaSetSpec,
    /// Status.
    pub status: ReplicaSetStatus,
}

/// `spec` of a ReplicaSet.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetSpec {
    /// Wanted pods; 1 when absent.
    pub replicas: Option<i32>,
    /// Which pods are its own.
    pub selector: Selector,
    /// The pod.
    pub template: Template,
    /// Seconds that a pod must be ready to count as available.
    pub min_ready_seconds: i32,
}

/// `status` of a ReplicaSet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetStatus {
    /// The generation that this status is about.
    pub observed_generation: i64,
    /// Pods.
    pub replicas: i32,
    /// Pods with all labels of the template.
    pub fully_labeled_replicas: i32,
    /// Ready pods.
    pub ready_replicas: i32,
    /// Pods ready for long enough.
    pub available_replicas: i32,
    /// Pods that are being deleted and not gone; none from a controller that does not count them.
    pub terminating_replicas: Option<i32>,
    /// Conditions.
    #[serde(deserialize_with = "super::nullable")]
    pub conditions: Vec<Condition>,
}

/// A ReplicationController: a ReplicaSet but for its selector, which is plain labels.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ReplicationController {
    metadata: Metadata,
    spec: ReplicationControllerSpec,
    status: ReplicaSetStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReplicationControllerSpec {
    replicas: Option<i32>,
    #[serde(deserialize_with = "super::nullable")]
    selector: Labels,
    template: Template,
    min_ready_seconds: i32,
}

impl From<ReplicationController> for ReplicaSet {
    fn from(controller: ReplicationController) -> Self {
        let ReplicationController {
            metadata,
            spec,
            status,
        } = controller;
        Self {
            metadata,
            spec: ReplicaSetSpec {
                replicas: spec.replicas,
                selector: Selector {
                    match_labels: spec.selector,
                    match_expressions: Vec::new(),
                },
                template: spec.template,
                min_ready_seconds: spec.min_ready_seconds,
            },
            status,
        }
    }
}

/// A pod template, kept as its JSON text: it is only compared, hashed and copied.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Template(Option<Box<RawValue>>);

impl Template {
    /// From a value.
    pub fn new(value: &serde_json::Value) -> Self {
        Self(serde_json::value::to_raw_value(value).ok())
    }

    /// As a value; an absent template is an empty object.
    pub fn value(&self) -> serde_json::Value {
        let parsed = self
            .0
            .as_ref()
            .and_then(|raw| serde_json::from_str(raw.get()).ok());
        parsed.unwrap_or_else(|| serde_json::Value::Object(serde_json::Map::new()))
    }

    /// Its labels.
    pub fn labels(&self) -> Labels {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Labelled {
            metadata: Metadata,
        }
        let text = self.0.as_ref().map_or("{}", |raw| raw.get());
        serde_json::from_str::<Labelled>(text)
            .unwrap_or_default()
            .metadata
            .labels
    }
}
