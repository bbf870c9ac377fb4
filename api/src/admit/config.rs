//! ConfigMaps, Secrets and Events.

use super::Errors;
use super::pod::text;
use crate::metadata;
use crate::status::Cause;
use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// Largest total of the values.
const MAX_DATA: usize = 1024 * 1024;

pub(super) fn validate_config_map(object: &Object, errors: &mut Errors) {
    let mut total = 0;
    for field in ["data", "binaryData"] {
        for (key, value) in entries(object, field) {
            let path = format!("{field}[{key}]");
            errors.each(&path, key, metadata::config_key(key));
            if field == "data"
                && object
                    .get("binaryData")
                    .is_some_and(|b| b.get(key).is_some())
            {
                errors.invalid(
                    &path,
                    &key.as_str().into(),
                    "duplicate of key present in binaryData",
                );
            }
            let length = value.as_str().map_or(0, str::len);
            total += if field == "data" {
                length
            } else {
                decoded(length)
            };
        }
    }
    if total > MAX_DATA {
        errors.push(Cause::too_long("", MAX_DATA));
    }
}

pub(super) fn validate_secret(object: &Object, errors: &mut Errors) {
    let mut total = 0;
    for (key, value) in entries(object, "data") {
        errors.each(&format!("data[{key}]"), key, metadata::config_key(key));
        total += decoded(value.as_str().map_or(0, str::len));
    }
    if total > MAX_DATA {
        errors.push(Cause::too_long("data", MAX_DATA));
    }
    let needed: &[&str] = match object
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
    {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed {
        if object.get("data").and_then(|d| d.get(*key)).is_none() {
            errors.required(format!("data[{key}]"), "");
        }
    }
}

pub(super) fn validate_event(object: &Object, errors: &mut Errors) {
    let own = object.get("metadata").map_or("", |m| text(m, "namespace"));
    let involved = object
        .get("involvedObject")
        .map_or("", |i| text(i, "namespace"));
    // Events about cluster-scoped objects live in the default namespace.
    let fits = if involved.is_empty() {
        own == "default" || own.is_empty()
    } else {
        own == involved
    };
    if !fits {
        errors.invalid(
            "involvedObject.namespace",
            &involved.into(),
            "does not match event.namespace",
        );
    }
}

pub(super) fn validate_update(old: &Object, new: &Object, errors: &mut Errors) {
    let kind = |object: &Object| object.get("type").cloned().unwrap_or_default();
    if kind(old) != kind(new) {
        errors.invalid("type", &kind(new), "field is immutable");
    }
    if old.get("immutable") != Some(&Value::Bool(true)) {
        return;
    }
    for field in ["immutable", "data", "binaryData"] {
        if old.get(field) != new.get(field) {
            errors.forbidden(field, "field is immutable when `immutable` is set");
        }
    }
}

fn entries<'a>(object: &'a Object, field: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    object
        .get(field)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

/// Bytes behind base64 text of this length, a few too many at most.
fn decoded(length: usize) -> usize {
    length / 4 * 3
}
