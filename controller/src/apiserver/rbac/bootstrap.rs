//! The roles and bindings that every cluster has, brought up to date before the first request.

use std::collections::BTreeMap;

use bramble_api::status::Status;
use bramble_api::{admit, kind};
use bramble_controller_core::rbac::aggregate::{ClusterRole, plan_aggregation};
use bramble_controller_core::rbac::defaults::{self, Step};
use bramble_controller_core::rbac::{GROUP, Rule};
use serde_json::{Value, json};

use super::super::request::key;
use super::super::write::put;
use crate::object;
use crate::store::{Durability, Error, Expect, Key, Op, Page, Scope, Store};

/// An object that is written: its key, what must be there now, and what is there then.
type Write = (Key, Expect, Value);

/// Creates what is missing and adds what was taken away, in one commit; none when all is there.
///
/// # Errors
/// What the store or admission says.
pub(crate) async fn ensure_roles(store: &dyn Store) -> Result<(), Status> {
    let mut removals = Vec::new();
    let mut writes: BTreeMap<Key, Write> = BTreeMap::new();
    let mut cluster_roles: BTreeMap<String, (Key, Expect, Value)> = BTreeMap::new();
    for default in defaults::all() {
        let kind = kind::find(GROUP, "v1", default.resource)
            .ok_or_else(|| Status::internal("roles are not served"))?;
        let key = key(kind, default.namespace, default.name);
        let stored = store.get(&key);
        let existing = match &stored {
            // What does not read is not ours to mend.
            Some(entry) => match serde_json::from_slice::<Value>(&entry.json) {
                Ok(value) => Some((entry.modified, value)),
                Err(error) => {
                    tracing::error!(object = %entry.key, %error, "left as it is");
                    continue;
                }
            },
            None => None,
        };
        let step = match &existing {
            Some((_, value)) => defaults::reconcile(value, &default.object),
            None => Step::Replace,
        };
        let (expect, object) = match (step, existing) {
            (Step::Keep, Some((revision, value))) => {
                if default.resource == "clusterroles" {
                    let role = (key, Expect::Revision(revision), value);
                    cluster_roles.insert(default.name.to_owned(), role);
                }
                continue;
            }
            (Step::Update(object), Some((revision, _))) => (Expect::Revision(revision), object),
            (_, existing) => {
                let mut object = default.object;
                fill(kind, default.namespace, &mut object)?;
                if let Some((revision, _)) = existing {
                    removals.push(Op::Delete {
                        key: key.clone(),
                        expect: Expect::Revision(revision),
                        durability: Durability::Hard,
                    });
                }
                (Expect::Absent, object)
            }
        };
        if default.resource == "clusterroles" {
            let role = (key.clone(), expect, object.clone());
            cluster_roles.insert(default.name.to_owned(), role);
        }
        writes.insert(key.clone(), (key, expect, object));
    }
    add_gathered(store, &mut cluster_roles, &mut writes)?;
    if !removals.is_empty() {
        commit(store, removals).await?;
    }
    let mut ops = Vec::new();
    for (key, expect, mut object) in writes.into_values() {
        let kind = kind::find(GROUP, "v1", &key.resource)
            .ok_or_else(|| Status::internal("roles are not served"))?;
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
        }
        ops.push(put(kind, key, &object, expect));
    }
    if ops.is_empty() {
        return Ok(());
    }
    tracing::info!(objects = ops.len(), "brought the default roles up to date");
    commit(store, ops).await
}

async fn commit(store: &dyn Store, ops: Vec<Op>) -> Result<(), Status> {
    match store.commit(ops) {
        Ok(commit) => commit.durable().await.map(|_| ()).map_err(Status::internal),
        // Nobody else writes yet; if they did, the next start looks again.
        Err(Error::Exists(_) | Error::Conflict { .. }) => Ok(()),
        Err(error) => Err(Status::internal(error)),
    }
}

fn fill(kind: &kind::Kind, namespace: &str, object: &mut Value) -> Result<(), Status> {
    let uid = object::uid().map_err(Status::internal)?;
    let context = admit::Create {
        now: object::now(),
        uid: &uid,
        suffix: "",
        namespace: (!namespace.is_empty()).then_some(namespace),
    };
    admit::create(kind, object, &context).map(drop)
}

/// What the roles that are put together are put together from, so that `view` means something from
/// the first request on. Later changes are a controller's.
fn add_gathered(
    store: &dyn Store,
    defaults: &mut BTreeMap<String, Write>,
    writes: &mut BTreeMap<Key, Write>,
) -> Result<(), Status> {
    let mut roles = BTreeMap::new();
    let scope = Scope::all(GROUP, "clusterroles");
    let listing = store
        .list(&scope, &Page::default())
        .map_err(Status::internal)?;
    for entry in listing.entries {
        let object = serde_json::from_slice::<Value>(&entry.json).ok();
        if let Some(role) = object.as_ref().and_then(ClusterRole::read) {
            roles.insert(entry.key.name.to_string(), role);
        }
    }
    for (name, (_, _, object)) in &*defaults {
        if let Some(role) = ClusterRole::read(object) {
            roles.insert(name.clone(), role);
        }
    }
    for (name, rules) in plan_aggregation(&roles) {
        let Some((key, expect, mut object)) = defaults.remove(&name) else {
            continue;
        };
        object["rules"] = json!(rules as Vec<Rule>);
        writes.insert(key.clone(), (key, expect, object));
    }
    Ok(())
}
