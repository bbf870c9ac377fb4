//! A pod's volumes.

use super::{Errors, Warning, list, text};
use crate::metadata;
use crate::status::Cause;
use crate::support::NOT_SUPPORTED;
use serde_json::Value;

/// Validates the volumes and returns their names, for the mounts.
pub(super) fn validate<'a>(spec: &'a Value, path: &str, errors: &mut Errors) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for (at, volume) in list(spec, "volumes").iter().enumerate() {
        let path = format!("{path}.volumes[{at}]");
        match text(volume, "name") {
            "" => errors.required(format!("{path}.name"), ""),
            name => {
                errors.each(&format!("{path}.name"), name, metadata::dns_label(name));
                if names.contains(&name) {
                    errors.push(Cause::duplicate(format!("{path}.name"), &name.into()));
                }
                names.push(name);
            }
        }
        source(volume, &path, errors);
    }
    names
}

/// A directory on disk has no limit of its own; one in memory has.
pub(super) fn warnings(spec: &Value, path: &str) -> Vec<Warning> {
    let mut out = Vec::new();
    for (at, volume) in list(spec, "volumes").iter().enumerate() {
        let Some(dir) = volume.get("emptyDir") else {
            continue;
        };
        if dir.get("sizeLimit").is_some() && text(dir, "medium") != "Memory" {
            let text = format!(
                "{path}.volumes[{at}].emptyDir.sizeLimit: {NOT_SUPPORTED}: the directory can fill the node's disk"
            );
            out.push(Warning { text });
        }
    }
    out
}

fn source(volume: &Value, path: &str, errors: &mut Errors) {
    let sources = volume
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != "name");
    for (at, (key, source)) in sources.enumerate() {
        let path = format!("{path}.{key}");
        if at > 0 {
            errors.forbidden(&path, "may not specify more than 1 volume type");
            continue;
        }
        match key.as_str() {
            "configMap" => keys_as_files(source, &path, "name", errors),
            "secret" => keys_as_files(source, &path, "secretName", errors),
            "emptyDir" if !matches!(text(source, "medium"), "" | "Memory") => {
                errors.forbidden(format!("{path}.medium"), NOT_SUPPORTED);
            }
            _ => {}
        }
    }
}

fn keys_as_files(source: &Value, path: &str, name: &str, errors: &mut Errors) {
    if text(source, name).is_empty() {
        errors.required(format!("{path}.{name}"), "");
    }
    mode(
        source.get("defaultMode"),
        format!("{path}.defaultMode"),
        errors,
    );
    for (at, item) in list(source, "items").iter().enumerate() {
        let path = format!("{path}.items[{at}]");
        if text(item, "key").is_empty() {
            errors.required(format!("{path}.key"), "");
        }
        match text(item, "path") {
            "" => errors.required(format!("{path}.path"), ""),
            target => relative(target, format!("{path}.path"), errors),
        }
        mode(item.get("mode"), format!("{path}.mode"), errors);
    }
}

fn mode(value: Option<&Value>, path: String, errors: &mut Errors) {
    if let Some(value) = value
        && !value
            .as_i64()
            .is_some_and(|mode| (0..=0o777).contains(&mode))
    {
        errors.invalid(
            path,
            value,
            "must be a number between 0 and 0777 (octal), both inclusive",
        );
    }
}

pub(super) fn relative(target: &str, path: String, errors: &mut Errors) {
    if target.starts_with('/') {
        errors.invalid(path, &target.into(), "must be a relative path");
    } else if target.split('/').any(|part| part == "..") {
        errors.invalid(path, &target.into(), "must not contain '..'");
    } else if target.starts_with("..") {
        errors.invalid(path, &target.into(), "must not start with '..'");
    }
}
