//! What containers ask for.
//!
//! Source of the wording: `validateResourceRequirements` in kubernetes/kubernetes
//! `pkg/apis/core/validation/validation.go`; of which resources are whose:
//! `pkg/apis/core/helper/helpers.go`.

use super::super::Errors;
use crate::metadata;
use crate::quantity::Quantity;
use crate::support::NOT_SUPPORTED;
use serde_json::Value;

/// What this release accounts for.
const CARRIED_OUT: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

pub(super) fn validate(container: &Value, path: &str, errors: &mut Errors) {
    let Some(resources) = container.get("resources") else {
        return;
    };
    let path = format!("{path}.resources");
    let amount = |set: &str, name: &str| {
        let text = resources.get(set)?.get(name)?.as_str()?;
        Some((text, Quantity::parse(text).ok()?))
    };
    for set in ["limits", "requests"] {
        let named = resources.get(set).and_then(Value::as_object);
        for name in named.into_iter().flatten().map(|entry| entry.0) {
            let at = format!("{path}.{set}[{name}]");
            resource_name(name, &at, errors);
            let Some((text, own)) = amount(set, name) else {
                continue;
            };
            if own.is_negative() {
                errors.invalid(&at, &text.into(), "must be greater than or equal to 0");
            }
            if is_extended(name) && !own.is_whole() {
                errors.invalid(&at, &text.into(), "must be an integer");
            }
            if set == "requests" {
                within_limit(name, (text, own), amount("limits", name), &path, errors);
            }
        }
    }
}

fn within_limit(
    name: &str,
    (text, request): (&str, Quantity),
    limit: Option<(&str, Quantity)>,
    path: &str,
    errors: &mut Errors,
) {
    let exact = !is_native(name) || is_huge(name);
    let at = format!("{path}.requests");
    match limit {
        Some((limit_text, limit)) if exact && request != limit => {
            let why = format!("must be equal to {name} limit of {limit_text}");
            errors.invalid(at, &text.into(), &why);
        }
        Some((limit_text, limit)) if request > limit => {
            let why = format!("must be less than or equal to {name} limit of {limit_text}");
            errors.invalid(at, &text.into(), &why);
        }
        None if exact => errors.required(
            format!("{path}.limits"),
            "Limit must be set for non overcommitable resources",
        ),
        _ => {}
    }
}

/// Resources that belong to Kubernetes: without a prefix, or with its own.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.")
}

fn resource_name(name: &str, path: &str, errors: &mut Errors) {
    let reasons = metadata::qualified_name(name);
    if !reasons.is_empty() {
        return errors.each(path, name, reasons);
    }
    let value = &name.into();
    if !name.contains('/') {
        if CARRIED_OUT.contains(&name) {
            return;
        }
        if !is_huge(name) {
            if !STANDARD.contains(&name) {
                let why = "must be a standard resource type or fully qualified";
                errors.invalid(path, value, why);
            }
            return errors.invalid(path, value, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        let why = "doesn't follow extended resource name standard";
        return errors.invalid(path, value, why);
    }
    errors.forbidden(path, NOT_SUPPORTED);
}

/// Names that upstream knows, though only quotas may use them.
const STANDARD: [&str; 17] = [
    "storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
