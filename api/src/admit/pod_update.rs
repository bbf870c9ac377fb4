//! What may change in a pod that exists.
//!
//! Source of the wording: `ValidatePodUpdate` in kubernetes/kubernetes
//! `pkg/apis/core/validation/validation.go`.

use super::Errors;
use super::pod::{list, number, text};
use crate::status::Cause;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

const RULE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

pub(super) fn validate(old: &Map<String, Value>, new: &Map<String, Value>, errors: &mut Errors) {
    annotations(old, new, errors);
    let (Some(before), Some(after)) = (old.get("spec"), new.get("spec")) else {
        return;
    };
    if before == after {
        return;
    }
    for key in ["containers", "initContainers"] {
        if list(before, key).len() != list(after, key).len() {
            let why = "pod updates may not add or remove containers";
            return errors.forbidden(format!("spec.{key}"), why);
        }
    }
    if !deadline(before, after, errors) {
        return;
    }
    tolerations(before, after, errors);
    gates(before, after, errors);
    // What may change is made equal; anything that then differs may not.
    let mut allowed = after.clone();
    if let Value::Object(allowed) = &mut allowed {
        level(before, allowed, errors);
    }
    if allowed != *before {
        let changed = changed_fields(before, &allowed);
        errors.forbidden(
            "spec",
            &format!("{RULE}\n  changed: {}", changed.join(", ")),
        );
    }
}

fn annotations(old: &Map<String, Value>, new: &Map<String, Value>, errors: &mut Errors) {
    const KEY: &str = "kubernetes.io/config.mirror";
    let of = |object: &Map<String, Value>| {
        let annotations = object.get("metadata")?.get("annotations")?;
        annotations.get(KEY).cloned()
    };
    let path = format!("metadata.annotations[{KEY}]");
    match (of(old), of(new)) {
        (Some(before), after) if after.as_ref() != Some(&before) => {
            errors.forbidden(path, "may not remove or update mirror pod annotation");
        }
        (None, Some(_)) => errors.forbidden(path, "may not add mirror pod annotation"),
        _ => {}
    }
}

/// A deadline comes, and comes nearer; it never goes. False when the rest is not worth looking at.
fn deadline(before: &Value, after: &Value, errors: &mut Errors) -> bool {
    const KEY: &str = "activeDeadlineSeconds";
    let path = "spec.activeDeadlineSeconds";
    match (number(before, KEY), number(after, KEY)) {
        (_, Some(new)) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            let why = "must be between 0 and 2147483647, inclusive";
            errors.invalid(path, &new.into(), why);
            false
        }
        (Some(old), Some(new)) if old < new => {
            let why = "must be less than or equal to previous value";
            errors.invalid(path, &new.into(), why);
            false
        }
        (Some(_), None) => {
            let why = "must not update from a positive integer to nil value";
            errors.invalid(path, &Value::Null, why);
            true
        }
        _ => true,
    }
}

fn tolerations(before: &Value, after: &Value, errors: &mut Errors) {
    // Seconds may change, so they are left out of the comparison.
    let bare = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Value::Object(map) = &mut toleration {
            map.remove("tolerationSeconds");
        }
        toleration.to_string()
    };
    let kept: HashSet<String> = list(after, "tolerations").iter().map(bare).collect();
    if list(before, "tolerations")
        .iter()
        .any(|t| !kept.contains(&bare(t)))
    {
        errors.forbidden(
            "spec.tolerations",
            "existing toleration can not be modified except its tolerationSeconds",
        );
    }
}

fn gates(before: &Value, after: &Value, errors: &mut Errors) {
    let known: HashSet<&str> = list(before, "schedulingGates")
        .iter()
        .map(|gate| text(gate, "name"))
        .collect();
    for (at, gate) in list(after, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        if !known.contains(name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(format!("spec.schedulingGates[{at}].name"), &why);
        }
    }
}

/// Undoes in `after` what may have changed.
fn level(before: &Value, after: &mut Map<String, Value>, errors: &mut Errors) {
    let empty = Map::new();
    let old = before.as_object().unwrap_or(&empty);
    for key in ["tolerations", "schedulingGates", "activeDeadlineSeconds"] {
        super::carry(old, after, key);
    }
    for key in ["containers", "initContainers"] {
        if let Some(Value::Array(containers)) = after.get_mut(key) {
            for (container, was) in containers.iter_mut().zip(list(before, key)) {
                if let Value::Object(container) = container {
                    super::carry(was.as_object().unwrap_or(&empty), container, "image");
                }
            }
        }
    }
    let grace = "terminationGracePeriodSeconds";
    let negative = number(before, grace).is_some_and(|n| n < 0);
    if negative && after.get(grace) == Some(&json!(1)) {
        super::carry(old, after, grace);
    }
    if !list(before, "schedulingGates").is_empty() {
        gated(before, after, errors);
    }
}

/// A pod that nobody looks for a place for yet may become choosier.
fn gated(before: &Value, after: &mut Map<String, Value>, errors: &mut Errors) {
    let empty = Map::new();
    let old = before.as_object().unwrap_or(&empty);
    let labels = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    let had = labels(old.get("nodeSelector")).unwrap_or_default();
    let has = labels(after.get("nodeSelector")).unwrap_or_default();
    if had.iter().any(|(key, value)| has.get(key) != Some(value)) {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.invalid("spec.nodeSelector", &Value::Object(has), why);
    }
    super::carry(old, after, "nodeSelector");

    let node = |spec: Option<&Value>| spec.and_then(|a| a.get("nodeAffinity")).cloned();
    let had = node(old.get("affinity"));
    let has = node(after.get("affinity"));
    if had == has {
        return;
    }
    if let Some(had) = &had {
        only_additions(had, has.as_ref().unwrap_or(&Value::Null), errors);
    }
    let mut affinity = match after.remove("affinity") {
        Some(Value::Object(affinity)) => affinity,
        _ => Map::new(),
    };
    match had {
        Some(had) => drop(affinity.insert("nodeAffinity".into(), had)),
        None => drop(affinity.remove("nodeAffinity")),
    }
    if !affinity.is_empty() || old.contains_key("affinity") {
        after.insert("affinity".into(), affinity.into());
    }
}

fn only_additions(had: &Value, has: &Value, errors: &mut Errors) {
    let terms = |of: &Value| {
        let required = of.get(REQUIRED).unwrap_or(&Value::Null);
        list(required, "nodeSelectorTerms").to_vec()
    };
    let (before, after) = (terms(had), terms(has));
    let path = format!("spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms");
    if before.is_empty() {
        return;
    }
    if before.len() != after.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return errors.invalid(path, &Value::Array(after), why);
    }
    for (at, (was, is)) in before.iter().zip(&after).enumerate() {
        let kept = |key| list(is, key).starts_with(list(was, key));
        let size = |of: &Value| list(of, "matchExpressions").len() + list(of, "matchFields").len();
        // A term without conditions matches nothing; with one it would match something.
        let filled = size(was) == 0 && size(is) > 0;
        if filled || !kept("matchExpressions") || !kept("matchFields") {
            let why = "only additions are allowed (no mutations or deletions)";
            errors.push(Cause::invalid(format!("{path}[{at}]"), is, why));
        }
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
