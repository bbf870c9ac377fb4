//! Writes of nodes.

use bramble_api::status::Status;
use bramble_controller_core::rbac::node;
use bramble_controller_core::rbac::restrict::{self, Operation};
use serde_json::Value;

use super::super::Context;
use super::super::request::Info;
use super::user;
use crate::store::Key;

/// Whether a node may have that token; everybody else may.
pub(super) fn token(ctx: &Context, info: &Info, wish: &Value) -> Result<(), Status> {
    if node::node_of(user(&info.identity)).is_none() {
        return Ok(());
    }
    let pod = wish
        .pointer("/spec/boundObjectRef/name")
        .and_then(Value::as_str);
    let pod = pod.and_then(|name| {
        let namespace = info.namespace.as_deref().unwrap_or_default();
        let entry = ctx.store.get(&Key::new("", "pods", namespace, name))?;
        serde_json::from_slice::<Value>(&entry.json).ok()
    });
    restrict(info, Operation::Create, Some(wish), pod.as_ref())
}

/// Whether a node may write that; everybody else may.
pub(super) fn restrict(
    info: &Info,
    operation: Operation,
    new: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), Status> {
    let Some(node) = node::node_of(user(&info.identity)) else {
        return Ok(());
    };
    let said = new.and_then(|object| object.pointer("/metadata/name"));
    // Something new has its name inside.
    let name = match (info.subresource, operation) {
        (None, Operation::Create) => said.and_then(Value::as_str).unwrap_or_default(),
        _ => info.name(),
    };
    let write = restrict::Write {
        node,
        operation,
        group: info.kind.group,
        resource: info.kind.plural,
        subresource: info.subresource.map_or("", |sub| sub.name),
        namespace: info.namespace.as_deref().unwrap_or_default(),
        name,
        new,
        old,
    };
    restrict::admit(&write)
        .map_err(|why| Status::forbidden(info.kind.group, info.kind.plural, name, &why))
}
