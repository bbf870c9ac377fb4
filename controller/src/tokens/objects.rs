//! The little that tokens need to know of stored objects.

use std::collections::BTreeMap;

use bramble_api::time::Timestamp;
use serde::Deserialize;

use crate::store::{Key, Store};

/// An object that a token belongs to or is bound to.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Object {
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
    /// Of a Secret: base64.
    pub(super) data: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) uid: String,
    pub(super) deletion_timestamp: Option<String>,
}

/// Of a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) service_account_name: String,
    pub(super) node_name: String,
}

impl Object {
    /// The stored object of the core group, if it is there and readable.
    pub(super) fn read(
        store: &dyn Store,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Self> {
        let entry = store.get(&Key::new("", resource, namespace, name))?;
        serde_json::from_slice(&entry.json).ok()
    }

    /// Whether its time was up before `leeway` seconds ago. A pod's deletion carries the end of its
    /// grace, so its tokens serve it to the end. By the clock that wrote that time.
    pub(super) fn is_gone(&self, leeway: i64) -> bool {
        let Some(text) = &self.metadata.deletion_timestamp else {
            return false;
        };
        // What can't be read is not a reason to let somebody in.
        let before = crate::object::now().seconds - leeway;
        Timestamp::parse(text).is_none_or(|at| at.seconds < before)
    }
}
