//! What every object has, and what is only metadata.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::time::Timestamp;

/// Labels or annotations.
pub type Labels = BTreeMap<String, String>;

/// `metadata`. The revision is not here: the store's entry knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// UID.
    pub uid: String,
    /// Generation of the spec.
    pub generation: i64,
    /// When it was made.
    #[serde(deserialize_with = "super::time")]
    pub creation_timestamp: Option<Timestamp>,
    /// When it is to be gone.
    #[serde(deserialize_with = "super::time")]
    pub deletion_timestamp: Option<Timestamp>,
    /// Seconds that the deletion allows.
    pub deletion_grace_period_seconds: Option<i64>,
    /// Labels.
    #[serde(deserialize_with = "super::nullable")]
    pub labels: Labels,
    /// Annotations.
    #[serde(deserialize_with = "super::nullable")]
    pub annotations: Labels,
    /// Owners.
    #[serde(deserialize_with = "super::nullable")]
    pub owner_references: Vec<OwnerReference>,
    /// What must happen before it may go.
    #[serde(deserialize_with = "super::nullable")]
    pub finalizers: Vec<String>,
}

impl Metadata {
    /// The owner that controls it.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// Whether its deletion has begun.
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

/// An entry of `ownerReferences`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// It manages the object.
    pub controller: bool,
    /// A foreground deletion of the owner waits for the object.
    pub block_owner_deletion: bool,
}

/// Any object, for garbage collection and namespace deletion.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Object {
    /// Kind.
    pub kind: String,
    /// Group and version.
    pub api_version: String,
    /// Metadata.
    pub metadata: Metadata,
}

/// A namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Namespace {
    /// Metadata.
    pub metadata: Metadata,
    /// Spec.
    pub spec: NamespaceSpec,
    /// Status.
    pub status: NamespaceStatus,
}

/// `status` of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NamespaceStatus {
    /// `Active` or `Terminating`.
    pub phase: String,
    /// What keeps it from going.
    #[serde(deserialize_with = "super::nullable")]
    pub conditions: Vec<Condition>,
}

/// `spec` of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NamespaceSpec {
    /// Hold the namespace until its content is gone.
    #[serde(deserialize_with = "super::nullable")]
    pub finalizers: Vec<String>,
}

/// An entry of `status.conditions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// CamelCase reason.
    pub reason: String,
    /// Text for a person.
    pub message: String,
    /// When the status changed.
    #[serde(deserialize_with = "super::time")]
    pub last_transition_time: Option<Timestamp>,
    /// When it was last heard of (nodes).
    #[serde(deserialize_with = "super::time")]
    pub last_heartbeat_time: Option<Timestamp>,
    /// When it was last touched (Deployments).
    #[serde(deserialize_with = "super::time")]
    pub last_update_time: Option<Timestamp>,
}

impl Condition {
    /// Whether its status is `True`.
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// A label selector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    /// All of these.
    #[serde(deserialize_with = "super::nullable")]
    pub match_labels: Labels,
    /// And all of these.
    #[serde(deserialize_with = "super::nullable")]
    pub match_expressions: Vec<Requirement>,
}

/// An entry of `matchExpressions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Requirement {
    /// Label.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`; on nodes also `Gt` and `Lt`.
    pub operator: String,
    /// Values.
    #[serde(deserialize_with = "super::nullable")]
    pub values: Vec<String>,
}

impl Selector {
    /// Whether it has no condition at all, so that it would select everything.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether labels fulfil every condition.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self
                .match_expressions
                .iter()
                .all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    /// Whether labels fulfil it. An operator that nobody knows is fulfilled by nothing.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let number = |text: &String| text.parse::<i64>().ok();
        let compared = || Some(number(value?)?.cmp(&number(self.values.first()?)?));
        match self.operator.as_str() {
            "In" => value.is_some_and(|value| self.values.contains(value)),
            "NotIn" => value.is_none_or(|value| !self.values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => compared().is_some_and(std::cmp::Ordering::is_gt),
            "Lt" => compared().is_some_and(std::cmp::Ordering::is_lt),
            _ => false,
        }
    }
}
