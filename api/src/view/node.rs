//! Nodes, as the scheduler and the node lifecycle see them.

use serde::Deserialize;

use super::meta::{Condition, Metadata};
use super::pod::ResourceList;
use crate::time::Timestamp;

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Metadata.
    pub metadata: Metadata,
    /// Spec.
    pub spec: NodeSpec,
    /// Status.
    pub status: NodeStatus,
}

impl Node {
    /// Whether its Ready condition is true.
    pub fn is_ready(&self) -> bool {
        self.status
            .conditions
            .iter()
            .any(|c| c.kind == "Ready" && c.is_true())
    }
}

/// `spec` of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// Cordoned.
    pub unschedulable: bool,
    /// Range of its pods.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: String,
    /// Taints.
    #[serde(deserialize_with = "super::nullable")]
    pub taints: Vec<Taint>,
}

/// A taint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
    /// When it was added.
    #[serde(deserialize_with = "super::time")]
    pub time_added: Option<Timestamp>,
}

/// `status` of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// What pods may use.
    #[serde(deserialize_with = "super::nullable")]
    pub allocatable: ResourceList,
    /// Conditions.
    #[serde(deserialize_with = "super::nullable")]
    pub conditions: Vec<Condition>,
    /// Addresses.
    #[serde(deserialize_with = "super::nullable")]
    pub addresses: Vec<NodeAddress>,
    /// The board.
    #[serde(rename = "nodeInfo", deserialize_with = "super::nullable")]
    pub node_info: NodeInfo,
}

/// `status.nodeInfo` of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeInfo {
    /// Of this start of its system.
    #[serde(rename = "bootID")]
    pub boot_id: String,
}

/// An address of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// `InternalIP`, `Hostname`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The address.
    pub address: String,
}
