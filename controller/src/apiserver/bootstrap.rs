//! The namespaces that every cluster has.

use bramble_api::admit;
use bramble_api::kind;
use bramble_api::status::Status;
use serde_json::json;

use super::request::key;
use super::write::put;
use crate::object;
use crate::store::{Error, Expect, Store};

const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Creates the namespaces that are missing, durably.
///
/// # Errors
/// What the store or admission says.
pub async fn ensure_namespaces(store: &dyn Store) -> Result<(), Status> {
    let kind =
        kind::find("", "v1", "namespaces").ok_or_else(|| Status::internal("no namespaces"))?;
    for name in NAMESPACES {
        let key = key(kind, "", name);
        if store.get(&key).is_some() {
            continue;
        }
        let mut object =
            json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}});
        let uid = object::uid().map_err(Status::internal)?;
        let context = admit::Create {
            now: object::now(),
            uid: &uid,
            suffix: "",
            namespace: None,
        };
        admit::create(kind, &mut object, &context)?;
        match store.commit(vec![put(kind, key, &object, Expect::Absent)]) {
            Ok(commit) => commit
                .durable()
                .await
                .map(|_| ())
                .map_err(Status::internal)?,
            Err(Error::Exists(_)) => {}
            Err(error) => return Err(Status::internal(error)),
        }
    }
    Ok(())
}
