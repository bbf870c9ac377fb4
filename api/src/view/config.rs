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

impl ConfigMap {
    /// Every key with its bytes. A value that is not base64 is left out: the API server refuses it.
    pub fn bytes(&self) -> BTreeMap<String, Vec<u8>> {
        let text = self
            .data
            .iter()
            .map(|(key, text)| (key.clone(), text.clone().into_bytes()));
        text.chain(decoded(&self.binary_data)).collect()
    }
}

impl Secret {
    /// Every key with its bytes. A value that is not base64 is left out: the API server refuses it.
    pub fn bytes(&self) -> BTreeMap<String, Vec<u8>> {
        decoded(&self.data).collect()
    }
}

fn decoded(data: &BTreeMap<String, String>) -> impl Iterator<Item = (String, Vec<u8>)> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    data.iter()
        .filter_map(|(key, text)| Some((key.clone(), STANDARD.decode(text).ok()?)))
}
