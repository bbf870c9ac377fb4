//! Which resource names mean something where (`pkg/apis/core/helper`), and what their amounts may be.

use super::Errors;
use crate::metadata;
use crate::quantity::Quantity;
use serde_json::Value;

const COMPUTE: [&str; 6] = [
    "cpu",
    "memory",
    "limits.cpu",
    "limits.memory",
    "requests.cpu",
    "requests.memory",
];
const COUNTED: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
const STORAGE: [&str; 4] = [
    "ephemeral-storage",
    "limits.ephemeral-storage",
    "requests.ephemeral-storage",
    "requests.storage",
];

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

/// Names without a prefix that upstream knows.
fn is_standard(name: &str) -> bool {
    COMPUTE.contains(&name)
        || COUNTED.contains(&name)
        || STORAGE.contains(&name)
        || name == "storage"
        || is_huge_page(name)
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub(super) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && metadata::qualified_name(&format!("requests.{name}")).is_empty()
}

fn is_whole(name: &str) -> bool {
    COUNTED.contains(&name) || is_extended(name)
}

/// Whether more of it may be promised than there is.
pub(super) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

/// Any resource's name; says whether it is fine.
pub(super) fn any(path: &str, name: &str, errors: &mut Errors) -> bool {
    let reasons = metadata::qualified_name(name);
    if !reasons.is_empty() {
        errors.each(path, name, reasons);
        return false;
    }
    if !name.contains('/') && !is_standard(name) {
        let why = "must be a standard resource type or fully qualified";
        errors.invalid(path, &name.into(), why);
        return false;
    }
    true
}

/// A resource that a container can have.
pub(super) fn of_container(path: &str, name: &str, errors: &mut Errors) {
    any(path, name, errors);
    if !name.contains('/') {
        let known = matches!(name, "cpu" | "memory" | "ephemeral-storage");
        if !known && !name.starts_with("hugepages-") {
            let why = "must be a standard resource for containers";
            errors.invalid(path, &name.into(), why);
        }
    } else if !is_native(name) && !is_extended(name) {
        let why = "doesn't follow extended resource name standard";
        errors.invalid(path, &name.into(), why);
    }
}

/// A resource that a quota can bound.
pub(super) fn of_quota(path: &str, name: &str, errors: &mut Errors) {
    any(path, name, errors);
    if !name.contains('/') && !is_quota(name) {
        let why = "must be a standard resource for quota";
        errors.invalid(path, &name.into(), why);
    }
}

pub(super) fn is_quota(name: &str) -> bool {
    COMPUTE.contains(&name)
        || COUNTED.contains(&name)
        || STORAGE.contains(&name)
        || is_huge_page(name)
}

/// Whether a quota's scope can bound a resource.
pub(super) fn scope_fits(scope: &str, name: &str) -> bool {
    match scope {
        "BestEffort" => name == "pods",
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => name == "pods" || COMPUTE.contains(&name),
        _ => true,
    }
}

/// Amounts are not negative, and whole where things are counted.
pub(in crate::admit) fn amount(path: &str, name: &str, value: &Value, errors: &mut Errors) {
    // What does not parse was refused when it was decoded.
    let Some(amount) = parse(value) else { return };
    if amount.is_negative() {
        errors.invalid(path, value, "must be greater than or equal to 0");
    }
    if is_whole(name) && !amount.is_whole() {
        errors.invalid(path, value, "must be an integer");
    }
}

pub(super) fn parse(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}
