//! A pod's volumes.
//!
//! Source of the wording: `ValidateVolumes` and what it calls in kubernetes/kubernetes
//! `pkg/apis/core/validation/validation.go`. Sources that upstream removed, or that belong to
//! clouds, are refused elsewhere and not looked into.

use super::super::Errors;
use super::{env, list, number, text};
use crate::metadata;
use crate::quantity::Quantity;
use crate::status::Cause;
use crate::support::NOT_SUPPORTED;
use serde_json::Value;
use std::collections::HashSet;

/// Names of a pod's volumes.
pub(super) type Volumes<'a> = HashSet<&'a str>;

/// Validates the volumes and returns their names, for the mounts.
pub(super) fn validate<'a>(spec: &'a Value, path: &str, errors: &mut Errors) -> Volumes<'a> {
    let mut names = HashSet::new();
    for (at, volume) in list(spec, "volumes").iter().enumerate() {
        let path = format!("{path}.volumes[{at}]");
        match text(volume, "name") {
            "" => errors.required(format!("{path}.name"), ""),
            name => {
                let reasons = metadata::dns_label(name);
                if reasons.is_empty() && !names.insert(name) {
                    errors.push(Cause::duplicate(format!("{path}.name"), &name.into()));
                }
                errors.each(&format!("{path}.name"), name, reasons);
            }
        }
        one_source(volume, &path, errors);
    }
    names
}

fn one_source(volume: &Value, path: &str, errors: &mut Errors) {
    let sources = volume
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != "name");
    for (at, (key, of)) in sources.enumerate() {
        let path = format!("{path}.{key}");
        if at > 0 {
            errors.forbidden(&path, "may not specify more than 1 volume type");
        } else {
            source(key, of, &path, errors);
        }
    }
}

fn source(kind: &str, of: &Value, path: &str, errors: &mut Errors) {
    let mut required = |keys: &[&str]| {
        for key in keys {
            if text(of, key).is_empty() {
                errors.required(format!("{path}.{key}"), "");
            }
        }
    };
    match kind {
        "configMap" => {
            required(&["name"]);
            keys_as_files(of, path, errors);
        }
        "secret" => {
            required(&["secretName"]);
            keys_as_files(of, path, errors);
        }
        "persistentVolumeClaim" => required(&["claimName"]),
        "nfs" => {
            required(&["server", "path"]);
            let target = text(of, "path");
            if !target.starts_with('/') {
                let why = "must be an absolute path";
                errors.invalid(format!("{path}.path"), &target.into(), why);
            }
        }
        "csi" => required(&["driver"]),
        "hostPath" => host_path(of, path, errors),
        "emptyDir" => empty_dir(of, path, errors),
        "downwardAPI" => {
            mode(of.get("defaultMode"), format!("{path}.defaultMode"), errors);
            downward(of, path, errors);
        }
        "projected" => projected(of, path, errors),
        _ => {}
    }
}

fn host_path(of: &Value, path: &str, errors: &mut Errors) {
    let target = text(of, "path");
    if target.is_empty() {
        return errors.required(format!("{path}.path"), "");
    }
    no_backsteps(target, format!("{path}.path"), errors);
    errors.one_of(
        format!("{path}.type"),
        of.get("type"),
        &[
            "",
            "BlockDevice",
            "CharDevice",
            "Directory",
            "DirectoryOrCreate",
            "File",
            "FileOrCreate",
            "Socket",
        ],
    );
}

fn empty_dir(of: &Value, path: &str, errors: &mut Errors) {
    let limit = of.get("sizeLimit").and_then(Value::as_str);
    if limit.is_some_and(|l| Quantity::parse(l).is_ok_and(Quantity::is_negative)) {
        let why = "SizeLimit field must be a valid resource quantity";
        errors.forbidden(format!("{path}.sizeLimit"), why);
    }
    if !matches!(text(of, "medium"), "" | "Memory") {
        errors.forbidden(format!("{path}.medium"), NOT_SUPPORTED);
    }
}

fn keys_as_files(of: &Value, path: &str, errors: &mut Errors) {
    mode(of.get("defaultMode"), format!("{path}.defaultMode"), errors);
    for (at, item) in list(of, "items").iter().enumerate() {
        let path = format!("{path}.items[{at}]");
        if text(item, "key").is_empty() {
            errors.required(format!("{path}.key"), "");
        }
        file(item, &path, errors);
    }
}

/// `path` and `mode` of something that becomes a file.
fn file(item: &Value, path: &str, errors: &mut Errors) {
    match text(item, "path") {
        "" => errors.required(format!("{path}.path"), ""),
        target => not_reserved(target, format!("{path}.path"), errors),
    }
    mode(item.get("mode"), format!("{path}.mode"), errors);
}

fn downward(of: &Value, path: &str, errors: &mut Errors) {
    for (at, item) in list(of, "items").iter().enumerate() {
        let path = format!("{path}.items[{at}]");
        file(item, &path, errors);
        match (item.get("fieldRef"), item.get("resourceFieldRef")) {
            (Some(field), resource) => {
                let at = format!("{path}.fieldRef");
                env::field_ref(field, &at, errors, &env::VOLUME_FIELDS);
                if resource.is_some() {
                    let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                    errors.invalid(&path, &"resource".into(), why);
                }
            }
            (None, Some(resource)) => {
                env::resource_ref(resource, &format!("{path}.resourceFieldRef"), errors, true);
            }
            (None, None) => {
                errors.required(&path, "one of fieldRef and resourceFieldRef is required");
            }
        }
    }
}

fn projected(of: &Value, path: &str, errors: &mut Errors) {
    mode(of.get("defaultMode"), format!("{path}.defaultMode"), errors);
    let sources = list(of, "sources");
    if sources.len() > 1000 {
        return errors.push(Cause::too_many(
            format!("{path}.sources"),
            sources.len(),
            1000,
        ));
    }
    for (at, source) in sources.iter().enumerate() {
        let path = format!("{path}.sources[{at}]");
        let kinds = source.as_object().into_iter().flatten();
        for (count, (kind, of)) in kinds.enumerate() {
            if count > 0 {
                let why = "may not specify more than 1 volume type per source";
                errors.forbidden(&path, why);
                break;
            }
            let path = format!("{path}.{kind}");
            match kind.as_str() {
                "configMap" | "secret" => {
                    if text(of, "name").is_empty() {
                        errors.required(format!("{path}.name"), "");
                    }
                    keys_as_files(of, &path, errors);
                }
                "downwardAPI" => downward(of, &path, errors),
                "serviceAccountToken" => token(of, &path, errors),
                _ => {}
            }
        }
    }
}

fn token(of: &Value, path: &str, errors: &mut Errors) {
    if let Some(seconds) = number(of, "expirationSeconds") {
        let path = format!("{path}.expirationSeconds");
        if seconds < 600 {
            let why = "may not specify a duration less than 10 minutes";
            errors.invalid(path, &seconds.into(), why);
        } else if seconds > 1 << 32 {
            let why = "may not specify a duration larger than 2^32 seconds";
            errors.invalid(path, &seconds.into(), why);
        }
    }
    match text(of, "path") {
        "" => errors.required(format!("{path}.path"), ""),
        target => not_reserved(target, format!("{path}.path"), errors),
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

fn no_backsteps(target: &str, path: String, errors: &mut Errors) {
    if target.split('/').any(|part| part == "..") {
        errors.invalid(path, &target.into(), "must not contain '..'");
    }
}

/// A path that stays below where it starts.
pub(super) fn descending(target: &str, path: String, errors: &mut Errors) {
    if target.starts_with('/') {
        errors.invalid(path.clone(), &target.into(), "must be a relative path");
    }
    no_backsteps(target, path, errors);
}

/// As [`descending`], and not a name that the node keeps for itself.
fn not_reserved(target: &str, path: String, errors: &mut Errors) {
    descending(target, path.clone(), errors);
    if target.starts_with("..") && !target.starts_with("../") {
        errors.invalid(path, &target.into(), "must not start with '..'");
    }
}
