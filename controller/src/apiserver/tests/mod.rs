//! The server over real TLS connections and a store in memory: what clients see.

mod admission;
mod adopt;
mod apply;
mod attacks;
mod bad_input;
mod bindings;
mod client;
mod collections;
mod fields;
mod kinds;
mod limits;
mod objects;
mod paths;
mod rbac;
mod recovery;
mod strangers;
mod tokens;
mod trials;
mod unread;
mod upgraded;
mod usage;
mod verbs;
mod watch_edges;
mod watches;

use client::{Cluster, Reply};
use serde_json::{Value, json};

/// A Deployment that is fine.
fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "i:1"}]},
            },
        },
    })
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    })
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
