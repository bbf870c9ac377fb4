//! A container's environment, and what a volume says of the pod it is in.
//!
//! Source of the wording: `ValidateEnv` and its neighbours in kubernetes/kubernetes
//! `pkg/apis/core/validation/validation.go`.

use super::super::Errors;
use super::{list, text};
use crate::metadata;
use crate::quantity::Quantity;
use crate::status::Cause;
use serde_json::Value;

pub(super) fn validate(container: &Value, path: &str, errors: &mut Errors) {
    for (at, variable) in list(container, "env").iter().enumerate() {
        let path = format!("{path}.env[{at}]");
        match text(variable, "name") {
            "" => errors.required(format!("{path}.name"), ""),
            name => errors.each(&format!("{path}.name"), name, metadata::env_name(name)),
        }
        value_from(variable, &format!("{path}.valueFrom"), errors);
    }
    env_from(container, &format!("{path}.envFrom"), errors);
}

fn value_from(variable: &Value, path: &str, errors: &mut Errors) {
    let Some(Value::Object(from)) = variable.get("valueFrom") else {
        return;
    };
    for (kind, reference) in from {
        let path = format!("{path}.{kind}");
        match kind.as_str() {
            "fieldRef" => field_ref(reference, &path, errors, &ENV_FIELDS),
            "resourceFieldRef" => resource_ref(reference, &path, errors, false),
            "configMapKeyRef" | "secretKeyRef" => key_ref(reference, &path, errors),
            _ => {}
        }
    }
    let empty = &"".into();
    if from.is_empty() {
        let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.invalid(path, empty, why);
    } else if !text(variable, "value").is_empty() {
        let why = "may not be specified when `value` is not empty";
        errors.invalid(path, empty, why);
    } else if from.len() > 1 {
        let why = "may not have more than one field specified at a time";
        errors.invalid(path, empty, why);
    }
}

fn key_ref(reference: &Value, path: &str, errors: &mut Errors) {
    let name = text(reference, "name");
    errors.each(&format!("{path}.name"), name, metadata::dns_subdomain(name));
    match text(reference, "key") {
        "" => errors.required(format!("{path}.key"), ""),
        key => errors.each(&format!("{path}.key"), key, metadata::config_key(key)),
    }
}

/// Paths that `fieldRef` may name in an environment, beside single labels and annotations.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Those that it may name in a volume.
pub(super) const VOLUME_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
/// Paths that exist but that neither place may name.
const CONVERTED: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "spec.restartPolicy",
    "spec.schedulerName",
    "status.phase",
];

/// Upstream's `validateObjectFieldSelector`.
pub(super) fn field_ref(reference: &Value, path: &str, errors: &mut Errors, allowed: &[&str]) {
    let field = text(reference, "fieldPath");
    let at = format!("{path}.fieldPath");
    if field.is_empty() {
        return errors.required(at, "");
    }
    let version = text(reference, "apiVersion");
    if !version.is_empty() && version != "v1" {
        let why = format!("error converting fieldPath: unsupported pod version: {version}");
        return errors.invalid(at, &field.into(), &why);
    }
    if let Some((head, key)) = subscript(field) {
        return match head {
            "metadata.annotations" => {
                let key = key.to_lowercase();
                errors.each(path, &key, metadata::qualified_name(&key));
            }
            "metadata.labels" => errors.each(path, key, metadata::qualified_name(key)),
            _ => {
                let why = format!(
                    "error converting fieldPath: field label does not support subscript: {field}"
                );
                errors.invalid(at, &field.into(), &why);
            }
        };
    }
    if allowed.contains(&field) {
    } else if ENV_FIELDS.contains(&field) || CONVERTED.contains(&field) {
        errors.push(Cause::not_supported(at, &field.into(), allowed));
    } else {
        let why = format!("error converting fieldPath: field label not supported: {field}");
        errors.invalid(at, &field.into(), &why);
    }
}

/// `metadata.labels['KEY']` in two.
fn subscript(field: &str) -> Option<(&str, &str)> {
    let (head, rest) = field.split_once("['")?;
    Some((head, rest.strip_suffix("']")?))
}

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const DIVISORS: &str = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei";

/// Upstream's `validateContainerResourceFieldSelector`.
pub(super) fn resource_ref(reference: &Value, path: &str, errors: &mut Errors, volume: bool) {
    let resource = text(reference, "resource");
    let huge = ["requests.hugepages-", "limits.hugepages-"]
        .iter()
        .any(|head| resource.starts_with(head));
    if volume && text(reference, "containerName").is_empty() {
        errors.required(format!("{path}.containerName"), "");
    } else if resource.is_empty() {
        errors.required(format!("{path}.resource"), "");
    } else if !huge && !RESOURCES.contains(&resource) {
        errors.push(Cause::not_supported(
            format!("{path}.resource"),
            &resource.into(),
            &RESOURCES,
        ));
    }
    let divisor = text(reference, "divisor");
    let zero = Quantity::parse(divisor).is_ok_and(|q| q.milli() == 0);
    if divisor.is_empty() || zero {
        return;
    }
    let (fine, what) = match resource {
        "limits.cpu" | "requests.cpu" => (
            matches!(divisor, "1m" | "1"),
            "divisor's values 1m and 1 are supported with the cpu resource".to_owned(),
        ),
        _ => {
            let known = DIVISORS.split(", ").any(|d| d == divisor);
            let what = match resource.split_once('.') {
                Some((_, "memory")) => "memory",
                Some((_, "ephemeral-storage")) => "local ephemeral storage",
                _ if huge => "hugepages",
                _ => return,
            };
            let text =
                format!("divisor's values {DIVISORS} are supported with the {what} resource");
            (known, text)
        }
    };
    if !fine {
        errors.invalid(
            format!("{path}.divisor"),
            &resource.into(),
            &format!("only {what}"),
        );
    }
}

fn env_from(container: &Value, base: &str, errors: &mut Errors) {
    for (at, source) in list(container, "envFrom").iter().enumerate() {
        let path = format!("{base}[{at}]");
        let prefix = text(source, "prefix");
        if !prefix.is_empty() {
            let path = format!("{path}.prefix");
            errors.each(&path, prefix, metadata::env_name(prefix));
        }
        let mut count = 0;
        for key in ["configMapRef", "secretRef"] {
            let Some(reference) = source.get(key) else {
                continue;
            };
            count += 1;
            match text(reference, "name") {
                "" => errors.required(format!("{path}.{key}.name"), ""),
                name => errors.each(
                    &format!("{path}.{key}.name"),
                    name,
                    metadata::dns_subdomain(name),
                ),
            }
        }
        // Upstream leaves the index out here.
        match count {
            0 => errors.invalid(
                base,
                &"".into(),
                "must specify one of: `configMapRef` or `secretRef`",
            ),
            1 => {}
            _ => errors.invalid(
                base,
                &"".into(),
                "may not have more than one field specified at a time",
            ),
        }
    }
}
