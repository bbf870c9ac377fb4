//! ConfigMaps and Secrets, for the node's document only: informers keep just their metadata.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::meta::{Labels, Metadata};

/// A ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMap {
    /// Metadata.
    pub metadata: Metadata,
    /// Text.
    #[serde(deserialize_with = "super::nullable")]
    pub data: Labels,
    /// Base64.
    #[serde(deserialize_with = "super::nullable")]
    pub binary_data: Labels,
}

/// A Secret. No `Debug`: its data must not reach a log.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Secret {
    /// Metadata.
    pub metadata: Metadata,
    /// Base64.
    #[serde(deserialize_with = "super::nullable")]
    pub data: BTreeMap<String, String>,
}
