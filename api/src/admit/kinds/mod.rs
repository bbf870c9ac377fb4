//! Kinds beside pods and what runs pods: what is set for them, and what is wrong with them.
//!
//! The rules and their words are those of upstream's `pkg/apis/*/v1/defaults.go`,
//! `pkg/apis/*/validation` and `pkg/registry/*/strategy.go`; each file names its own.

mod endpoints;
mod event;
mod ip;
mod limits;
mod quota;
mod rbac;
mod resource_names;
mod service;
mod service_defaults;
mod service_status;
mod small;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_service;

pub(super) use ip::cidr;
pub(super) use resource_names::amount;

use super::Errors;
use super::defaults::{child, each, set};
use crate::kind::Kind;
use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// What upstream's strategies set or clear before an object is created.
pub(super) fn prepare_create(kind: &Kind, object: &mut Object) {
    match kind.kind {
        "Service" => service_defaults::prepare_create(object),
        "ResourceQuota" => {
            object.insert("status".into(), Value::Object(Map::new()));
        }
        _ => {}
    }
}

/// The same before a change, with what the old object had.
pub(super) fn prepare_update(kind: &Kind, old: &Object, new: &mut Object) {
    if kind.kind == "Service" {
        service_defaults::prepare_update(old, new);
    }
}

pub(super) fn defaults(kind: &Kind, object: &mut Object) {
    match kind.kind {
        "Service" => service_defaults::apply(object),
        "Endpoints" => endpoints::defaults(object),
        "EndpointSlice" => endpoints::slice_defaults(object),
        "ReplicationController" => small::replication_controller_defaults(object),
        "PodTemplate" => small::pod_template_defaults(object),
        "LimitRange" => limits::defaults(object),
        "PriorityClass" => small::priority_class_defaults(object),
        "RoleBinding" | "ClusterRoleBinding" => rbac::binding_defaults(object),
        _ => {}
    }
}

pub(super) fn validate(kind: &Kind, object: &Object, errors: &mut Errors) {
    match kind.kind {
        "Service" => service::validate(object, errors),
        "Endpoints" => endpoints::validate(object, errors),
        "EndpointSlice" => endpoints::validate_slice(object, errors),
        "Lease" => small::validate_lease(object, errors),
        "PriorityClass" => small::validate_priority_class(object, errors),
        "ControllerRevision" => small::validate_controller_revision(object, errors),
        "ResourceQuota" => quota::validate(object, errors),
        "LimitRange" => limits::validate(object, errors),
        "Role" => rbac::validate_role(object, true, errors),
        "ClusterRole" => rbac::validate_role(object, false, errors),
        "RoleBinding" => rbac::validate_binding(object, true, errors),
        "ClusterRoleBinding" => rbac::validate_binding(object, false, errors),
        "Event" => event::validate(kind, object, errors),
        _ => {}
    }
}

/// Rules for the new object alone that hold when it is made, and not when it changes.
pub(super) fn validate_create(kind: &Kind, object: &Object, errors: &mut Errors) {
    match kind.kind {
        "EndpointSlice" => endpoints::validate_new_slice(object, errors),
        "Event" => event::validate_create(kind, object, errors),
        _ => {}
    }
}

pub(super) fn validate_update(kind: &Kind, old: &Object, new: &Object, errors: &mut Errors) {
    match kind.kind {
        "Service" => service::validate_update(old, new, errors),
        "EndpointSlice" => endpoints::validate_slice_update(old, new, errors),
        "PriorityClass" => small::validate_priority_class_update(old, new, errors),
        "ControllerRevision" => small::validate_controller_revision_update(old, new, errors),
        "ResourceQuota" => quota::validate_update(old, new, errors),
        "RoleBinding" | "ClusterRoleBinding" => rbac::validate_binding_update(old, new, errors),
        "Event" => event::validate_update(kind, old, new, errors),
        _ => {}
    }
}

/// Defaults of a status that a client or controller writes.
pub(super) fn status_defaults(kind: &Kind, object: &mut Object) {
    if kind.kind == "Service" {
        service_status::defaults(object);
    }
}

/// Rules of a status that a client or controller writes.
pub(super) fn validate_status(kind: &Kind, object: &Object, errors: &mut Errors) {
    match kind.kind {
        "ResourceQuota" => quota::validate_status(object, errors),
        "Service" => service_status::validate(object, errors),
        _ => {}
    }
}

/// A field that may not change: upstream's `ValidateImmutableField`.
fn immutable(path: &str, old: Option<&Value>, new: Option<&Value>, errors: &mut Errors) {
    if old != new {
        errors.invalid(path, new.unwrap_or(&Value::Null), "field is immutable");
    }
}
