//! Nobody hands on rights that they don't have: writes of roles and bindings are compared with the
//! rules of the writer, unless they may `escalate` or `bind`.
//!
//! Source: `pkg/registry/rbac/{role,clusterrole,rolebinding,clusterrolebinding}/policybased`.

use bramble_api::status::Status;
use bramble_controller_core::rbac::covers::{self, confirm};
use bramble_controller_core::rbac::policy::Error;
use bramble_controller_core::rbac::{Attributes, GROUP, MASTERS, Resource, Role, RoleRef, Rule};
use serde::Deserialize;
use serde_json::Value;

use super::super::Context;
use super::super::request::Info;
use super::user;

/// Checks a Role, a ClusterRole or a binding of one; everything else passes.
pub(super) fn check(
    ctx: &Context,
    info: &Info,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if info.kind.group != GROUP || info.identity.is_in(MASTERS) {
        return Ok(());
    }
    // What only lets go of an object hands nothing on.
    if old.is_some_and(|old| same_rights(new, old)) {
        return Ok(());
    }
    match info.kind.kind {
        "Role" | "ClusterRole" => role(ctx, info, new, old),
        "RoleBinding" | "ClusterRoleBinding" => binding(ctx, info, new),
        _ => Ok(()),
    }
}

/// Whether only finalizers and owners differ, as when the garbage collector is at work.
fn same_rights(new: &Value, old: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in [
                "finalizers",
                "ownerReferences",
                "managedFields",
                "resourceVersion",
            ] {
                metadata.remove(field);
            }
        }
        object
    };
    let metadata = |object: &Value, field: &str| object["metadata"].get(field).cloned();
    let moved = |field| metadata(new, field) != metadata(old, field);
    (moved("finalizers") || moved("ownerReferences")) && rest(new) == rest(old)
}

fn rules_in(object: &Value) -> Vec<Rule> {
    Role::deserialize(object)
        .map(|role| role.rules)
        .unwrap_or_default()
}

fn forbidden(info: &Info, object: &Value, why: &str) -> Status {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Status::forbidden(GROUP, info.kind.plural, name, why)
}

/// Compares rules with those of the writer.
fn confirmed(ctx: &Context, info: &Info, object: &Value, wanted: &[Rule]) -> Result<(), Status> {
    let namespace = info.namespace.as_deref().unwrap_or_default();
    let user = user(&info.identity);
    let outcome = ctx.rbac.index.with(|policy| {
        let (own, unresolved) = policy.rules_for(user, namespace);
        confirm(user, &own, unresolved.as_deref(), wanted)
    });
    outcome.map_err(|error| forbidden(info, object, &error.to_string()))
}

fn role(ctx: &Context, info: &Info, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    let target = Resource {
        group: GROUP,
        resource: info.kind.plural,
        subresource: "",
        namespace: info.namespace.as_deref().unwrap_or_default(),
        // As upstream: a role that is made has no name in the path yet.
        name: info.name(),
    };
    let escalate = Attributes::resource("escalate", target);
    if ctx.rbac.allows(&info.identity, &escalate, None) {
        return Ok(());
    }
    confirmed(ctx, info, new, &rules_in(new))?;
    let gathers = |object: &Value| object.get("aggregationRule").is_some_and(|r| !r.is_null());
    if gathers(new) || old.is_some_and(gathers) {
        // It can gather anything, so only who has everything may say what.
        let own = ctx.rbac.rules_for(&info.identity, "").rules;
        if !covers::is_everything(&own.iter().collect::<Vec<_>>()) {
            let why = "must have cluster-admin privileges to use the aggregationRule";
            return Err(forbidden(info, new, why));
        }
    }
    Ok(())
}

fn binding(ctx: &Context, info: &Info, new: &Value) -> Result<(), Status> {
    let role = RoleRef::deserialize(&new["roleRef"]).unwrap_or_default();
    let namespace = info.namespace.as_deref().unwrap_or_default();
    let plural = match role.kind.as_str() {
        "ClusterRole" => "clusterroles",
        _ => "roles",
    };
    let target = Resource {
        group: &role.api_group,
        resource: plural,
        subresource: "",
        namespace,
        name: &role.name,
    };
    let bind = Attributes::resource("bind", target);
    if ctx.rbac.allows(&info.identity, &bind, None) {
        return Ok(());
    }
    let rules = ctx
        .rbac
        .index
        .with(|policy| policy.rules_of(&role, namespace).cloned());
    match rules {
        Ok(rules) => confirmed(ctx, info, new, &rules),
        Err(Error::NotFound { name, .. }) => Err(Status::not_found(GROUP, plural, &name)),
        Err(error) => Err(Status::internal(error)),
    }
}
