//! Namespaces (`pkg/registry/core/namespace/strategy.go`, `ValidateNamespace*` in
//! `pkg/apis/core/validation/validation.go`).

use super::Errors;
use super::meta::finalizer;
use super::pod::{list, text};
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// Holds a namespace until its content is gone.
const KUBERNETES: &str = "kubernetes";

/// A new namespace is active, and held by us beside whoever else its maker names.
pub(super) fn prepare_create(object: &mut Object) {
    object.insert("status".into(), json!({"phase": "Active"}));
    let spec = object.entry("spec").or_insert_with(|| json!({}));
    if !spec.is_object() {
        *spec = json!({});
    }
    let mut finalizers = list(spec, "finalizers").to_vec();
    if !finalizers.iter().any(|one| one == KUBERNETES) {
        finalizers.push(KUBERNETES.into());
    }
    spec["finalizers"] = finalizers.into();
}

fn finalizers(object: &Object) -> &[Value] {
    list(object.get("spec").unwrap_or(&Value::Null), "finalizers")
}

pub(super) fn validate(object: &Object, errors: &mut Errors) {
    for name in finalizers(object).iter().filter_map(Value::as_str) {
        finalizer("spec.finalizers", name, errors);
    }
}

/// Those that come through `finalize`.
pub(super) fn validate_finalizers(object: &Object, errors: &mut Errors) {
    for (at, name) in finalizers(object).iter().enumerate() {
        let path = format!("spec.finalizers[{at}]");
        finalizer(&path, name.as_str().unwrap_or_default(), errors);
    }
}

pub(super) fn validate_status(object: &Object, errors: &mut Errors) {
    let none = &Value::Null;
    let deleting = (object.get("metadata")).is_some_and(|m| m.get("deletionTimestamp").is_some());
    let (phase, when) = if deleting {
        ("Terminating", "`deletionTimestamp` is not empty")
    } else {
        ("Active", "`deletionTimestamp` is empty")
    };
    let said = text(object.get("status").unwrap_or(none), "phase");
    if said != phase {
        let why = format!("may only be '{phase}' if {when}");
        // Upstream writes the field so.
        errors.invalid("status.Phase", &said.into(), &why);
    }
}

#[cfg(test)]
mod tests;
