//! Object metadata: what the system sets, what the client may, and the rules for both.

use super::{Create, Errors};
use crate::kind::Kind;
use crate::metadata;
use crate::status::{Cause, Status};
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// Largest total of annotation keys and values.
const MAX_ANNOTATIONS: usize = 256 * 1024;
/// Fields that only the system moves.
const SYSTEM: [&str; 7] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "selfLink",
    "uid",
];

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn metadata_of(object: &mut Map<String, Value>) -> Result<&mut Map<String, Value>, Status> {
    object
        .entry("metadata")
        .or_insert_with(|| json!({}))
        .as_object_mut()
        .ok_or_else(|| Status::bad_request("metadata must be an object"))
}

pub(super) fn prepare_create(
    kind: &Kind,
    object: &mut Map<String, Value>,
    ctx: &Create<'_>,
) -> Result<(), Status> {
    let meta = metadata_of(object)?;
    if !text(meta, "resourceVersion").is_empty() {
        return Err(Status::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    meta.remove("resourceVersion");
    set_namespace(meta, ctx.namespace)?;
    for key in SYSTEM {
        meta.remove(key);
    }
    if text(meta, "name").is_empty() && !text(meta, "generateName").is_empty() {
        let name = metadata::generated_name(text(meta, "generateName"), ctx.suffix);
        meta.insert("name".into(), name.into());
    }
    meta.insert("uid".into(), ctx.uid.into());
    meta.insert("creationTimestamp".into(), ctx.now.rfc3339().into());
    if kind.has_generation() {
        meta.insert("generation".into(), 1.into());
    }
    if kind.kind == "Namespace" {
        let name = meta.get("name").cloned().unwrap_or_default();
        let labels = meta.entry("labels").or_insert_with(|| json!({}));
        labels["kubernetes.io/metadata.name"] = name;
    }
    Ok(())
}

fn set_namespace(meta: &mut Map<String, Value>, namespace: Option<&str>) -> Result<(), Status> {
    match namespace {
        None => drop(meta.remove("namespace")),
        Some(namespace) => {
            let said = text(meta, "namespace");
            if !said.is_empty() && said != namespace {
                return Err(Status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            meta.insert("namespace".into(), namespace.into());
        }
    }
    Ok(())
}

pub(super) fn prepare_update(
    kind: &Kind,
    old: &Map<String, Value>,
    new: &mut Map<String, Value>,
) -> Result<(), Status> {
    let empty = Map::new();
    let old = old
        .get("metadata")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let meta = metadata_of(new)?;
    for (key, what) in [("name", "name"), ("namespace", "namespace")] {
        let (said, want) = (text(meta, key).to_owned(), text(old, key));
        if said.is_empty() {
            super::carry(old, meta, key);
        } else if said != want {
            return Err(Status::bad_request(format!(
                "the {what} of the object ({said}) does not match the {what} on the URL ({want})"
            )));
        }
    }
    let (said, want) = (text(meta, "uid"), text(old, "uid"));
    if !said.is_empty() && said != want {
        let why =
            format!("Precondition failed: UID in precondition: {said}, UID in object meta: {want}");
        return Err(Status::conflict(
            kind.group,
            kind.plural,
            text(old, "name"),
            &why,
        ));
    }
    for key in SYSTEM.into_iter().chain(["resourceVersion"]) {
        super::carry(old, meta, key);
    }
    Ok(())
}

pub(super) fn bump_generation(object: &mut Map<String, Value>) {
    if let Some(Value::Object(meta)) = object.get_mut("metadata") {
        let next = meta
            .get("generation")
            .and_then(Value::as_i64)
            .unwrap_or(0)
            .saturating_add(1);
        meta.insert("generation".into(), next.into());
    }
}

pub(super) fn validate(kind: &Kind, object: &Map<String, Value>, errors: &mut Errors) {
    let Some(Value::Object(meta)) = object.get("metadata") else {
        return;
    };
    let rule = match kind.kind {
        "Namespace" => metadata::dns_label,
        "Service" => metadata::dns_1035_label,
        "Role" | "ClusterRole" | "RoleBinding" | "ClusterRoleBinding" => metadata::path_segment,
        // Upstream's core group takes any name that fits a path; the newer group does not.
        "Event" if kind.group.is_empty() => metadata::path_segment,
        _ => metadata::dns_subdomain,
    };
    let generate = text(meta, "generateName");
    if !generate.is_empty() {
        // The random part follows, so a dash at the end is fine.
        let base = generate.strip_suffix('-').unwrap_or(generate);
        errors.each("metadata.generateName", generate, rule(base));
    }
    match text(meta, "name") {
        "" => errors.required("metadata.name", "name or generateName is required"),
        name => errors.each("metadata.name", name, rule(name)),
    }
    errors.labels("metadata.labels", meta.get("labels"));
    annotations(meta, errors);
    owners(meta, errors);
    finalizers(meta, errors);
}

fn annotations(meta: &Map<String, Value>, errors: &mut Errors) {
    let mut total = 0;
    for (key, value) in meta
        .get("annotations")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        // Upstream checks the lower-case form: annotations are older than the rule.
        let reasons = metadata::qualified_name(&key.to_lowercase());
        errors.each("metadata.annotations", key, reasons);
        total += key.len() + value.as_str().map_or(0, str::len);
    }
    if total > MAX_ANNOTATIONS {
        errors.push(Cause::too_long("metadata.annotations", MAX_ANNOTATIONS));
    }
}

fn owners(meta: &Map<String, Value>, errors: &mut Errors) {
    let mut controller: Option<&str> = None;
    let list = meta
        .get("ownerReferences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    for (at, owner) in list.enumerate() {
        let path = format!("metadata.ownerReferences[{at}]");
        let field = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        for (key, detail) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if field(key).is_empty() {
                errors.invalid(format!("{path}.{key}"), &"".into(), detail);
            }
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            if let Some(first) = controller {
                let text = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {}",
                    field("name")
                );
                errors.invalid("metadata.ownerReferences", &meta["ownerReferences"], &text);
            }
            controller = Some(field("name"));
        }
    }
}

fn finalizers(meta: &Map<String, Value>, errors: &mut Errors) {
    let list = meta
        .get("finalizers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    for name in list.filter_map(Value::as_str) {
        finalizer("metadata.finalizers", name, errors);
    }
}

/// The name of a finalizer: qualified, or one of the standard ones.
pub(super) fn finalizer(path: &str, name: &str, errors: &mut Errors) {
    let reasons = metadata::qualified_name(name);
    let standard = matches!(name, "kubernetes" | "orphan" | "foregroundDeletion");
    if reasons.is_empty() && !name.contains('/') && !standard {
        let why = "name is neither a standard finalizer name nor is it fully qualified";
        errors.invalid(path, &name.into(), why);
    }
    errors.each(path, name, reasons);
}

pub(super) fn validate_update(
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    errors: &mut Errors,
) {
    let finalizers = |object: &Map<String, Value>| -> Vec<String> {
        let list = object
            .get("metadata")
            .and_then(|m| m.get("finalizers"))
            .and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|f| f.as_str().map(str::to_owned))
            .collect()
    };
    let deleting = old
        .get("metadata")
        .is_some_and(|m| m.get("deletionTimestamp").is_some());
    if !deleting {
        return;
    }
    let before: HashSet<String> = finalizers(old).into_iter().collect();
    let added: Vec<String> = finalizers(new)
        .into_iter()
        .filter(|f| !before.contains(f))
        .map(|f| format!("{f:?}"))
        .collect();
    if !added.is_empty() {
        let text = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.join(", ")
        );
        errors.forbidden("metadata.finalizers", &text);
    }
}
