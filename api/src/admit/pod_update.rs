//! What may change in a pod that exists.

use super::Errors;
use super::pod::{list, text};
use serde_json::{Map, Value};

const RULE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn validate(old: &Map<String, Value>, new: &Map<String, Value>, errors: &mut Errors) {
    let (Some(before), Some(after)) = (old.get("spec"), new.get("spec")) else {
        return;
    };
    if before == after {
        return;
    }
    let (had, have) = (list(before, "containers"), list(after, "containers"));
    if had.len() != have.len() {
        errors.forbidden(
            "spec.containers",
            "pod updates may not add or remove containers",
        );
        return;
    }
    let tolerated = list(after, "tolerations");
    if list(before, "tolerations")
        .iter()
        .any(|t| !tolerated.contains(t))
    {
        errors.forbidden(
            "spec.tolerations",
            "existing toleration can not be modified except its tolerationSeconds",
        );
        return;
    }
    // What may change is made equal; anything that then differs may not.
    let mut allowed = after.clone();
    if let Value::Object(map) = &mut allowed {
        super::carry(
            before.as_object().unwrap_or(&Map::new()),
            map,
            "tolerations",
        );
    }
    if let Some(Value::Array(containers)) = allowed.get_mut("containers") {
        for (container, was) in containers.iter_mut().zip(had) {
            if let Value::Object(container) = container
                && !text(was, "image").is_empty()
            {
                container.insert("image".into(), was["image"].clone());
            }
        }
    }
    if allowed != *before {
        let changed = changed_fields(before, &allowed);
        errors.forbidden(
            "spec",
            &format!("{RULE}\n  changed: {}", changed.join(", ")),
        );
    }
}

/// Upstream prints a diff of Go structs here; the names of the fields say the same.
fn changed_fields(before: &Value, after: &Value) -> Vec<String> {
    let empty = Map::new();
    let (before, after) = (
        before.as_object().unwrap_or(&empty),
        after.as_object().unwrap_or(&empty),
    );
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|n| before.get(*n) != after.get(*n))
        .map(|n| format!("spec.{n}"))
        .collect()
}
