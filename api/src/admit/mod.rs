//! Between decoding and the store: defaults, validation, immutability, and what is not supported.
//!
//! `create` and `update` change the object in place into what will be stored and return the
//! warnings for the client. They never look at other objects.

mod config;
mod defaults;
mod ephemeral;
mod errors;
mod kinds;
mod meta;
mod namespace;
mod node;
mod pod;
mod pod_status;
mod pod_update;
#[cfg(test)]
mod tests;
mod workload;

use crate::kind::Kind;
use crate::status::Status;
use crate::support;
use crate::time::Timestamp;
use errors::Errors;
use serde_json::{Map, Value, json};

/// A text for a `Warning: 299 - "…"` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The text.
    pub text: String,
}

/// What a new object needs from outside.
#[derive(Debug, Clone, Copy)]
pub struct Create<'a> {
    /// Creation time.
    pub now: Timestamp,
    /// A fresh UUID.
    pub uid: &'a str,
    /// Five random characters out of `metadata::SUFFIX_ALPHABET`, for `generateName`.
    pub suffix: &'a str,
    /// Namespace of the request path; `None` for cluster-scoped kinds.
    pub namespace: Option<&'a str>,
}

/// What a change needs from outside.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// Time of the change.
    pub now: Timestamp,
    /// `Some("status")` when the request came through that subresource.
    pub subresource: Option<&'a str>,
}

/// Makes a decoded object ready to be stored for the first time: name, uid, creation time,
/// generation, defaults, no status that the client may not set; or says what is wrong.
pub fn create(kind: &Kind, object: &mut Value, ctx: &Create<'_>) -> Result<Vec<Warning>, Status> {
    create_with(kind, object, ctx, &mut |_| Ok(()))
}

/// Fills in an object's defaults and nothing else: what a client wrote as it is stored.
pub(crate) fn defaulted(kind: &Kind, object: &mut Map<String, Value>) {
    defaults::apply(kind, object);
    kinds::defaults(kind, object);
}

/// What may change an object between its defaults and its validation: admission, which looks at
/// other objects too.
pub type Mutate<'a> = &'a mut dyn FnMut(&mut Value) -> Result<(), Status>;

/// As [`create`], with `mutate` between defaults and validation.
pub fn create_with(
    kind: &Kind,
    object: &mut Value,
    ctx: &Create<'_>,
    mutate: Mutate<'_>,
) -> Result<Vec<Warning>, Status> {
    let (mut warnings, refusals) = support::review(kind, object);
    warnings.extend(value_warnings(kind, object));
    let map = object_of(object)?;
    meta::prepare_create(kind, map, ctx)?;
    match kind.kind {
        "Deployment" | "ReplicaSet" | "ReplicationController" => {
            map.insert("status".into(), json!({}));
        }
        "Namespace" => {
            namespace::prepare_create(map);
        }
        _ => {}
    }
    kinds::prepare_create(kind, map);
    defaulted(kind, map);
    mutate(object)?;
    let map = object_of(object)?;
    if kind.kind == "Pod" {
        pod::prepare(map);
    }
    let mut errors = Errors::default();
    if kind.kind == "Pod" {
        pod::validate_create(map, &mut errors);
    }
    meta::validate(kind, map, &mut errors);
    validate(kind, map, &mut errors);
    kinds::validate_create(kind, map, &mut errors);
    errors.extend_new(refusals);
    errors.into_result(kind, name_of(map))?;
    Ok(warnings)
}

/// Makes `new` ready to replace `old`: system-owned metadata is carried over, the generation moves
/// when the spec changed. Through a subresource only what belongs to it moves: `status` with labels
/// and annotations, `spec.replicas` for `scale`, the spec of a namespace for `finalize`,
/// `spec.ephemeralContainers` for `ephemeralcontainers`. Warnings that the old object would bring as well are not repeated.
///
/// The caller compares `resourceVersion` first and skips the write when `new == old` afterwards.
pub fn update(
    kind: &Kind,
    old: &Value,
    new: &mut Value,
    ctx: &Update<'_>,
) -> Result<Vec<Warning>, Status> {
    update_with(kind, old, new, ctx, &mut |_| Ok(()))
}

/// As [`update`], with `mutate` between defaults and validation; subresources have none.
pub fn update_with(
    kind: &Kind,
    old: &Value,
    new: &mut Value,
    ctx: &Update<'_>,
    mutate: Mutate<'_>,
) -> Result<Vec<Warning>, Status> {
    let empty = Map::new();
    let old_value = old;
    let old = old.as_object().unwrap_or(&empty);
    if ctx.subresource == Some("ephemeralcontainers") {
        return ephemeral::update(kind, old_value, new);
    }
    if let Some(subresource) = ctx.subresource {
        return through_subresource(kind, old, object_of(new)?, subresource).map(|()| Vec::new());
    }
    let (mut warnings, refusals) = support::review(kind, new);
    warnings.extend(value_warnings(kind, new));
    let known = support::review(kind, old_value).0;
    let known_values = value_warnings(kind, old_value);
    warnings.retain(|w| !known.contains(w) && !known_values.contains(w));
    let map = object_of(new)?;
    meta::prepare_update(kind, old, map)?;
    if kind.has_status() {
        carry(old, map, "status");
    }
    if kind.kind == "Namespace" {
        // Finalizers of a namespace move through `finalize` only.
        carry(old, map, "spec");
    }
    kinds::prepare_update(kind, old, map);
    defaulted(kind, map);
    mutate(new)?;
    let map = object_of(new)?;
    let mut errors = Errors::default();
    meta::validate(kind, map, &mut errors);
    meta::validate_update(old, map, &mut errors);
    validate(kind, map, &mut errors);
    validate_update(kind, old, map, &mut errors);
    errors.extend_new(refusals);
    errors.into_result(kind, name_of(map))?;
    if kind.has_generation() && content_changed(kind, old, map) {
        meta::bump_generation(map);
    }
    Ok(warnings)
}

fn value_warnings(kind: &Kind, object: &Value) -> Vec<Warning> {
    let (template, path) = match kind.kind {
        "Pod" => (Some(object), ""),
        "Deployment" | "ReplicaSet" | "ReplicationController" => {
            (object.pointer("/spec/template"), "spec.template")
        }
        "PodTemplate" => (object.get("template"), "template"),
        _ => return Vec::new(),
    };
    template.map_or_else(Vec::new, |template| pod::warnings(template, path))
}

fn validate(kind: &Kind, object: &Map<String, Value>, errors: &mut Errors) {
    match kind.kind {
        "Pod" => pod::validate(object, errors),
        "Deployment" => workload::validate_deployment(object, errors),
        "ReplicaSet" => workload::validate_replica_set(object, errors),
        "ReplicationController" => workload::validate_replication_controller(object, errors),
        "PodTemplate" => workload::validate_pod_template(object, errors),
        "ConfigMap" => config::validate_config_map(object, errors),
        "Secret" => config::validate_secret(object, errors),
        "Namespace" => namespace::validate(object, errors),
        "Node" => node::validate(object, errors),
        _ => kinds::validate(kind, object, errors),
    }
}

fn validate_update(
    kind: &Kind,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    errors: &mut Errors,
) {
    match kind.kind {
        "Pod" => pod_update::validate(old, new, errors),
        "Deployment" | "ReplicaSet" => workload::validate_update(old, new, errors),
        "ConfigMap" | "Secret" => config::validate_update(old, new, errors),
        "Node" => node::validate_update(old, new, errors),
        _ => kinds::validate_update(kind, old, new, errors),
    }
}

fn validate_status(
    kind: &Kind,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    errors: &mut Errors,
) {
    match kind.kind {
        "Pod" => pod_status::validate(old, new, errors),
        "Deployment" | "ReplicaSet" | "ReplicationController" => {
            workload::validate_status(old, new, errors);
        }
        "Namespace" => namespace::validate_status(new, errors),
        "Node" => {
            node::validate_resources(new, errors);
            node::validate_addresses(new, errors);
        }
        _ => {}
    }
}

/// A write through a subresource moves only what belongs to it.
fn through_subresource(
    kind: &Kind,
    old: &Map<String, Value>,
    new: &mut Map<String, Value>,
    subresource: &str,
) -> Result<(), Status> {
    meta::prepare_update(kind, old, new)?;
    let sent = std::mem::replace(new, old.clone());
    match subresource {
        "scale" => {
            let replicas = sent.get("spec").and_then(|s| s.get("replicas"));
            if let (Some(Value::Object(spec)), Some(replicas)) = (new.get_mut("spec"), replicas) {
                spec.insert("replicas".into(), replicas.clone());
            }
            let mut errors = Errors::default();
            let replicas = new.get("spec").and_then(|s| s.get("replicas"));
            errors.not_negative("spec.replicas".into(), replicas);
            errors.into_result(kind, name_of(new))?;
        }
        "finalize" => carry(&sent, new, "spec"),
        _ => {
            carry(&sent, new, "status");
            if kind.kind == "Pod" {
                pod_status::prepare(old, new);
            }
            kinds::status_defaults(kind, new);
            if let (Some(Value::Object(own)), Some(Value::Object(sent))) =
                (new.get_mut("metadata"), sent.get("metadata"))
            {
                carry(sent, own, "labels");
                carry(sent, own, "annotations");
            }
        }
    }
    let mut errors = Errors::default();
    meta::validate(kind, new, &mut errors);
    kinds::validate_status(kind, new, &mut errors);
    match subresource {
        "status" => validate_status(kind, old, new, &mut errors),
        "finalize" => namespace::validate_finalizers(new, &mut errors),
        _ => {}
    }
    errors.into_result(kind, name_of(new))?;
    if kind.has_generation() && content_changed(kind, old, new) {
        meta::bump_generation(new);
    }
    Ok(())
}

/// Whether what the generation counts differs.
fn content_changed(kind: &Kind, old: &Map<String, Value>, new: &Map<String, Value>) -> bool {
    match kind.kind {
        "EndpointSlice" => ["addressType", "endpoints", "ports"]
            .iter()
            .any(|key| old.get(*key) != new.get(*key)),
        "PodTemplate" => old.get("template") != new.get("template"),
        _ => old.get("spec") != new.get("spec"),
    }
}

fn object_of(value: &mut Value) -> Result<&mut Map<String, Value>, Status> {
    value
        .as_object_mut()
        .ok_or_else(|| Status::bad_request("the object must be a JSON object"))
}

fn name_of(map: &Map<String, Value>) -> &str {
    map.get("metadata")
        .and_then(|m| m.get("name"))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn carry(old: &Map<String, Value>, new: &mut Map<String, Value>, key: &str) {
    match old.get(key) {
        Some(value) => drop(new.insert(key.into(), value.clone())),
        None => drop(new.remove(key)),
    }
}
