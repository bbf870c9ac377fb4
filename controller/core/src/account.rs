//! What every namespace has from its first moment: the `default` ServiceAccount and the ConfigMap
//! with the cluster's CA.
//!
//! In: a namespace and what it has of these. Out: what to make or to put right. Upstream's
//! counterparts are `pkg/controller/serviceaccount/serviceaccounts_controller.go` and
//! `pkg/controller/certificates/rootcacertpublisher/publisher.go`; name, annotation and content are
//! theirs.

use bramble_api::view::{ConfigMap, Metadata};
use serde_json::{Map, Value, json};

use crate::action::{Action, Durability, Observed, Target};
use crate::kinds;

/// The account of pods that name none.
pub const DEFAULT_ACCOUNT: &str = "default";
/// The ConfigMap with the cluster's CA.
pub const ROOT_CA: &str = "kube-root-ca.crt";
const CA_KEY: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver \
     when using internal endpoints such as the internal service IP or kubernetes.default.svc. No \
     other usage is guaranteed across distributions of Kubernetes clusters.";

/// What a namespace has of what it must have.
#[derive(Debug)]
pub struct Input<'a> {
    /// The namespace.
    pub namespace: &'a Metadata,
    /// It has the `default` account.
    pub account: bool,
    /// The ConfigMap with the CA.
    pub root_ca: Option<&'a Observed<ConfigMap>>,
    /// The cluster's CA, PEM.
    pub ca: &'a str,
}

/// What is missing or was edited. A namespace that is ending gets nothing.
pub fn equip(input: &Input<'_>) -> Vec<Action> {
    let namespace = &input.namespace.name;
    if input.namespace.is_deleting() {
        return Vec::new();
    }
    let mut actions = Vec::new();
    if !input.account {
        actions.push(Action::Create {
            kind: kinds::service_account(),
            namespace: namespace.clone(),
            object: json!({
                "kind": "ServiceAccount",
                "apiVersion": "v1",
                "metadata": {"name": DEFAULT_ACCOUNT, "namespace": namespace},
            }),
            note: None,
        });
    }
    match input.root_ca {
        None => actions.push(Action::Create {
            kind: kinds::config_map(),
            namespace: namespace.clone(),
            object: json!({
                "kind": "ConfigMap",
                "apiVersion": "v1",
                "metadata": {
                    "name": ROOT_CA,
                    "namespace": namespace,
                    "annotations": {DESCRIPTION: DESCRIPTION_TEXT},
                },
                "data": {CA_KEY: input.ca},
            }),
            note: None,
        }),
        Some(found) => actions.extend(corrected(found, input.ca)),
    }
    actions
}

fn corrected(found: &Observed<ConfigMap>, ca: &str) -> Option<Action> {
    let right = found.data.len() == 1 && found.data.get(CA_KEY).is_some_and(|data| data == ca);
    let described = |text: &String| !text.is_empty();
    if right
        && found
            .metadata
            .annotations
            .get(DESCRIPTION)
            .is_some_and(described)
    {
        return None;
    }
    // Null takes away what somebody added.
    let mut data: Map<String, Value> = found
        .data
        .keys()
        .map(|key| (key.clone(), Value::Null))
        .collect();
    data.insert(CA_KEY.into(), ca.into());
    Some(Action::Patch {
        target: Target::of(kinds::config_map(), &found.metadata),
        revision: found.revision,
        patch: json!({
            "metadata": {"annotations": {DESCRIPTION: DESCRIPTION_TEXT}},
            "data": data,
        }),
        durability: Durability::Hard,
        note: None,
    })
}

#[cfg(test)]
mod tests;
