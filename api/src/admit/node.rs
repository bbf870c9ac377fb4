//! Nodes.

use super::pod::{EFFECTS, list, text};
use super::{Errors, kinds};
use crate::metadata;
use crate::status::Cause;
use serde_json::{Map, Value};
use std::collections::HashSet;

type Object = Map<String, Value>;

pub(super) fn validate(object: &Object, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (at, taint) in list(spec, "taints").iter().enumerate() {
        // Upstream names the parent wrongly; scripts know that text.
        let path = format!("metadata.taints[{at}]");
        let (key, effect, value) = (
            text(taint, "key"),
            text(taint, "effect"),
            text(taint, "value"),
        );
        errors.each(&format!("{path}.key"), key, metadata::qualified_name(key));
        errors.each(
            &format!("{path}.value"),
            value,
            metadata::label_value(value),
        );
        if effect.is_empty() {
            errors.required(format!("{path}.effect"), "");
        } else {
            errors.one_of(format!("{path}.effect"), taint.get("effect"), &EFFECTS);
        }
        if seen.contains(&(key, effect)) {
            let why = "taints must be unique by key and effect pair";
            errors.push(Cause::duplicate(path, taint).with_detail(why));
        }
        seen.push((key, effect));
    }
    let ranges = list(spec, "podCIDRs");
    for (at, range) in ranges.iter().enumerate() {
        let path = format!("spec.podCIDRs[{at}]");
        kinds::cidr(&path, range.as_str().unwrap_or_default(), errors);
    }
    let is_v6 = |range: &Value| range.as_str().is_some_and(|r| r.contains(':'));
    let fits = match ranges {
        [] | [_] => true,
        [one, other] => is_v6(one) != is_v6(other),
        _ => false,
    };
    if !fits {
        let why = "may specify no more than one CIDR for each IP family";
        errors.invalid("spec.podCIDRs", &spec["podCIDRs"], why);
    }
    validate_resources(object, errors);
}

/// Amounts that a node has are not negative (upstream's `ValidateNodeResources`).
pub(super) fn validate_resources(object: &Object, errors: &mut Errors) {
    let status = object.get("status").unwrap_or(&Value::Null);
    for of in ["capacity", "allocatable"] {
        let amounts = status.get(of).and_then(Value::as_object);
        for (name, amount) in amounts.into_iter().flatten() {
            kinds::amount(&format!("status.{of}.{name}"), name, amount, errors);
        }
    }
}

/// No address stands twice.
pub(super) fn validate_addresses(object: &Object, errors: &mut Errors) {
    let status = object.get("status").unwrap_or(&Value::Null);
    let mut seen = HashSet::new();
    for (at, address) in list(status, "addresses").iter().enumerate() {
        if !seen.insert((text(address, "type"), text(address, "address"))) {
            errors.push(Cause::duplicate(format!("status.addresses[{at}]"), address));
        }
    }
}

/// What is set once may not change.
pub(super) fn validate_update(old: &Object, new: &Object, errors: &mut Errors) {
    let spec = |object: &Object, key: &str| object.get("spec").and_then(|s| s.get(key)).cloned();
    for (key, why) in [
        (
            "podCIDRs",
            "node updates may not change podCIDR except from \"\" to valid",
        ),
        (
            "podCIDR",
            "node updates may not change podCIDR except from \"\" to valid",
        ),
        (
            "providerID",
            "node updates may not change providerID except from \"\" to valid",
        ),
    ] {
        if let Some(before) = spec(old, key)
            && spec(new, key) != Some(before)
        {
            errors.forbidden(format!("spec.{key}"), why);
        }
    }
    validate_addresses(new, errors);
    if spec(old, "externalID") != spec(new, "externalID") {
        errors.forbidden("spec.externalID", "may not be updated");
    }
}

#[cfg(test)]
mod tests;
