//! What every cluster has before anybody asks: namespaces and the system's priority classes.

use bramble_api::admit;
use bramble_api::kind;
use bramble_api::status::Status;
use serde_json::{Value, json};

use super::request::key;
use super::write::put;
use crate::object;
use crate::store::{Error, Expect, Store};

const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Name, value, description.
const PRIORITY_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

/// Creates the namespaces that are missing, durably, and the priority classes.
///
/// # Errors
/// What the store or admission says.
pub async fn ensure_namespaces(store: &dyn Store) -> Result<(), Status> {
    for name in NAMESPACES {
        let object = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}});
        ensure(store, "", "namespaces", object).await?;
    }
    for (name, value, description) in PRIORITY_CLASSES {
        let object = json!({"kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1",
            "metadata": {"name": name}, "value": value, "description": description});
        ensure(store, "scheduling.k8s.io", "priorityclasses", object).await?;
    }
    Ok(())
}

/// Creates a cluster-scoped object unless one of its name is there.
async fn ensure(
    store: &dyn Store,
    group: &str,
    resource: &str,
    mut object: Value,
) -> Result<(), Status> {
    let kind = kind::find(group, "v1", resource)
        .ok_or_else(|| Status::internal(format!("no {resource}")))?;
    let name = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let key = key(kind, "", &name);
    if store.get(&key).is_some() {
        return Ok(());
    }
    let uid = object::uid().map_err(Status::internal)?;
    let context = admit::Create {
        now: object::now(),
        uid: &uid,
        suffix: "",
        namespace: None,
    };
    admit::create(kind, &mut object, &context)?;
    match store.commit(vec![put(kind, key, &object, Expect::Absent)]) {
        Ok(commit) => {
            commit.durable().await.map_err(Status::internal)?;
            Ok(())
        }
        Err(Error::Exists(_)) => Ok(()),
        Err(error) => Err(Status::internal(error)),
    }
}
