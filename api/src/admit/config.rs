//! ConfigMaps and Secrets.

use super::Errors;
use super::pod::text;
use crate::metadata;
use crate::status::Cause;
use base64::Engine as _;
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
    secret_type(object, errors);
}

/// What a type of Secret must carry.
fn secret_type(object: &Object, errors: &mut Errors) {
    let data = |key: &str| object.get("data").and_then(|data| data.get(key));
    let mut need = |key: &str| {
        if data(key).is_none() {
            errors.required(format!("data[{key}]"), "");
        }
    };
    match object
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
    {
        "kubernetes.io/service-account-token" => {
            // Token and the rest come later, by a controller.
            let key = "kubernetes.io/service-account.name";
            let account = object
                .get("metadata")
                .and_then(|meta| meta.get("annotations"))
                .map_or("", |annotations| text(annotations, key));
            if account.is_empty() {
                errors.required(format!("metadata.annotations[{key}]"), "");
            }
        }
        "kubernetes.io/tls" => {
            need("tls.crt");
            need("tls.key");
        }
        "kubernetes.io/dockercfg" => json_object(".dockercfg", data(".dockercfg"), errors),
        "kubernetes.io/dockerconfigjson" => {
            json_object(".dockerconfigjson", data(".dockerconfigjson"), errors);
        }
        // Either may be missing or empty, not both missing.
        "kubernetes.io/basic-auth" if data("username").is_none() && data("password").is_none() => {
            need("username");
            need("password");
        }
        "kubernetes.io/ssh-auth" if data("ssh-privatekey").is_none_or(|key| *key == "") => {
            errors.required("data[ssh-privatekey]", "");
        }
        _ => {}
    }
}

/// A value that must be there and hold a JSON object.
fn json_object(key: &str, value: Option<&Value>, errors: &mut Errors) {
    let path = format!("data[{key}]");
    let Some(value) = value.and_then(Value::as_str) else {
        errors.required(path, "");
        return;
    };
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(value)
        .unwrap_or_default();
    if let Err(why) = serde_json::from_slice::<Map<String, Value>>(&bytes) {
        let why = if bytes.is_empty() {
            "unexpected end of JSON input".to_owned()
        } else {
            why.to_string()
        };
        errors.invalid(path, &"<secret contents redacted>".into(), &why);
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
