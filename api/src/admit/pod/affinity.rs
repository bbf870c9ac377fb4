//! Affinity, anti-affinity and topology spread.
//!
//! Source of the wording: `validateAffinity` and `validateTopologySpreadConstraints` in
//! kubernetes/kubernetes `pkg/apis/core/validation/validation.go`.

use super::super::Errors;
use super::selector::{self, label_name};
use super::{list, number, text};
use crate::metadata;
use crate::status::Cause;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn validate(affinity: &Value, path: &str, errors: &mut Errors) {
    if let Some(node) = affinity.get("nodeAffinity") {
        node_affinity(node, &format!("{path}.nodeAffinity"), errors);
    }
    for key in ["podAffinity", "podAntiAffinity"] {
        if let Some(pods) = affinity.get(key) {
            pod_affinity(pods, &format!("{path}.{key}"), errors);
        }
    }
}

fn node_affinity(affinity: &Value, path: &str, errors: &mut Errors) {
    if let Some(required) = affinity.get(REQUIRED) {
        let path = format!("{path}.{REQUIRED}.nodeSelectorTerms");
        let terms = list(required, "nodeSelectorTerms");
        if terms.is_empty() {
            errors.required(&path, "must have at least one node selector term");
        }
        for (at, term) in terms.iter().enumerate() {
            node_term(term, &format!("{path}[{at}]"), errors, true);
        }
    }
    for (at, preferred) in list(affinity, PREFERRED).iter().enumerate() {
        let path = format!("{path}.{PREFERRED}[{at}]");
        weight(preferred, &path, errors);
        let term = preferred.get("preference").unwrap_or(&Value::Null);
        // Upstream lets odd values pass here: a preference that no node fulfils does no harm.
        node_term(term, &format!("{path}.preference"), errors, false);
    }
}

fn node_term(term: &Value, path: &str, errors: &mut Errors, strict: bool) {
    for (at, expression) in list(term, "matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{at}]");
        selector::operator(expression, &path, errors, true);
        label_name(text(expression, "key"), &format!("{path}.key"), errors);
        if strict {
            selector::values(expression, &path, errors);
        }
    }
    for (at, expression) in list(term, "matchFields").iter().enumerate() {
        node_field(expression, &format!("{path}.matchFields[{at}]"), errors);
    }
}

fn node_field(expression: &Value, path: &str, errors: &mut Errors) {
    let values = list(expression, "values");
    match text(expression, "operator") {
        "In" | "NotIn" if values.len() != 1 => errors.required(
            format!("{path}.values"),
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        ),
        "In" | "NotIn" => {}
        other => errors.invalid(
            format!("{path}.operator"),
            &other.into(),
            "not a valid selector operator",
        ),
    }
    match text(expression, "key") {
        "metadata.name" => {
            for (at, name) in values.iter().enumerate() {
                let name = name.as_str().unwrap_or_default();
                let path = format!("{path}.values[{at}]");
                errors.each(&path, name, metadata::dns_subdomain(name));
            }
        }
        key => errors.invalid(
            format!("{path}.key"),
            &key.into(),
            "not a valid field selector key",
        ),
    }
}

fn weight(term: &Value, path: &str, errors: &mut Errors) {
    let weight = number(term, "weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(
            format!("{path}.weight"),
            &weight.into(),
            "must be in the range 1-100",
        );
    }
}

fn pod_affinity(affinity: &Value, path: &str, errors: &mut Errors) {
    for (at, term) in list(affinity, REQUIRED).iter().enumerate() {
        pod_term(term, &format!("{path}.{REQUIRED}[{at}]"), errors);
    }
    for (at, weighted) in list(affinity, PREFERRED).iter().enumerate() {
        let path = format!("{path}.{PREFERRED}[{at}]");
        weight(weighted, &path, errors);
        let term = weighted.get("podAffinityTerm").unwrap_or(&Value::Null);
        pod_term(term, &format!("{path}.podAffinityTerm"), errors);
    }
}

fn pod_term(term: &Value, path: &str, errors: &mut Errors) {
    for key in ["labelSelector", "namespaceSelector"] {
        if let Some(selector) = term.get(key) {
            selector::validate(selector, &format!("{path}.{key}"), errors);
        }
    }
    for name in list(term, "namespaces") {
        let name = name.as_str().unwrap_or_default();
        let path = format!("{path}.namespace");
        errors.each(&path, name, metadata::dns_label(name));
    }
    match_label_keys(term, path, errors);
    let topology = text(term, "topologyKey");
    if topology.is_empty() {
        errors.required(format!("{path}.topologyKey"), "can not be empty");
    }
    label_name(topology, &format!("{path}.topologyKey"), errors);
}

/// `matchLabelKeys` and `mismatchLabelKeys`. The keys have been merged into the selector before;
/// one that is there twice was written by hand as well.
fn match_label_keys(term: &Value, path: &str, errors: &mut Errors) {
    let selector = term.get("labelSelector");
    for key in ["matchLabelKeys", "mismatchLabelKeys"] {
        let names = list(term, key);
        if !names.is_empty() && selector.is_none() {
            let why = "must not be specified when labelSelector is not set";
            errors.forbidden(format!("{path}.{key}"), why);
            continue;
        }
        for (at, name) in names.iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            label_name(name, &format!("{path}.{key}[{at}]"), errors);
        }
    }
    let matched = list(term, "matchLabelKeys");
    if let Some(selector) = selector {
        let places: HashMap<&str, usize> = matched
            .iter()
            .enumerate()
            .filter_map(|(at, name)| Some((name.as_str()?, at)))
            .collect();
        let mut seen: HashSet<&str> = keys_of_labels(selector).collect();
        for expression in list(selector, "matchExpressions") {
            let key = text(expression, "key");
            if let Some(at) = places.get(key)
                && seen.contains(key)
            {
                let why = "exists in both matchLabelKeys and labelSelector";
                errors.invalid(format!("{path}[{at}]"), &key.into(), why);
            }
            seen.insert(key);
        }
    }
    let mismatched: HashSet<&str> = list(term, "mismatchLabelKeys")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for (at, name) in matched.iter().enumerate() {
        if name.as_str().is_some_and(|n| mismatched.contains(n)) {
            let why = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.invalid(format!("{path}.matchLabelKeys[{at}]"), name, why);
        }
    }
}

fn keys_of_labels(selector: &Value) -> impl Iterator<Item = &str> {
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    labels.into_iter().flatten().map(|entry| entry.0.as_str())
}

/// `topologySpreadConstraints`.
pub(super) fn spread(spec: &Value, path: &str, errors: &mut Errors) {
    let constraints = list(spec, "topologySpreadConstraints");
    let pair = |c: &Value| {
        (
            text(c, "topologyKey").to_owned(),
            text(c, "whenUnsatisfiable").to_owned(),
        )
    };
    // Upstream reports the earlier one of two that are alike.
    let mut later = HashSet::new();
    let repeats: HashSet<usize> = (0..constraints.len())
        .rev()
        .filter(|at| !later.insert(pair(&constraints[*at])))
        .collect();
    for (at, constraint) in constraints.iter().enumerate() {
        let path = format!("{path}.topologySpreadConstraints[{at}]");
        let (key, when) = pair(constraint);
        let skew = number(constraint, "maxSkew").unwrap_or(0);
        if skew <= 0 {
            errors.invalid(
                format!("{path}.maxSkew"),
                &skew.into(),
                "must be greater than zero",
            );
        }
        if key.is_empty() {
            errors.required(format!("{path}.topologyKey"), "can not be empty");
        }
        if !matches!(when.as_str(), "DoNotSchedule" | "ScheduleAnyway") {
            errors.push(Cause::not_supported(
                format!("{path}.whenUnsatisfiable"),
                &when.as_str().into(),
                &["DoNotSchedule", "ScheduleAnyway"],
            ));
        }
        if repeats.contains(&at) {
            errors.push(Cause::duplicate(
                format!("{path}.{{topologyKey, whenUnsatisfiable}}"),
                &format!("{{{key}, {when}}}").into(),
            ));
        }
        min_domains(constraint, &when, &path, errors);
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            errors.one_of(
                format!("{path}.{policy}"),
                constraint.get(policy),
                &["Honor", "Ignore"],
            );
        }
        spread_keys(constraint, &path, errors);
        if let Some(selector) = constraint.get("labelSelector") {
            selector::validate(selector, &format!("{path}.labelSelector"), errors);
        }
    }
}

fn min_domains(constraint: &Value, when: &str, path: &str, errors: &mut Errors) {
    let Some(domains) = constraint.get("minDomains") else {
        return;
    };
    let path = format!("{path}.minDomains");
    if domains.as_i64().is_some_and(|n| n <= 0) {
        errors.invalid(&path, domains, "must be greater than zero");
    }
    if when != "DoNotSchedule" {
        let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
        errors.invalid(&path, domains, &why);
    }
}

fn spread_keys(constraint: &Value, path: &str, errors: &mut Errors) {
    let names = list(constraint, "matchLabelKeys");
    if names.is_empty() {
        return;
    }
    let path = format!("{path}.matchLabelKeys");
    let none = json!({});
    let selector = constraint.get("labelSelector").unwrap_or_else(|| {
        errors.forbidden(&path, "must not be specified when labelSelector is not set");
        &none
    });
    let expressions = list(selector, "matchExpressions").iter();
    let written: HashSet<&str> = keys_of_labels(selector)
        .chain(expressions.map(|e| text(e, "key")))
        .collect();
    for (at, name) in names.iter().enumerate() {
        let name = name.as_str().unwrap_or_default();
        let path = format!("{path}[{at}]");
        label_name(name, &path, errors);
        if written.contains(name) {
            let why = "exists in both matchLabelKeys and labelSelector";
            errors.invalid(&path, &name.into(), why);
        }
    }
}

/// Writes the values behind `matchLabelKeys` and `mismatchLabelKeys` of affinity terms into their
/// selectors, as upstream does when a pod is created.
pub(super) fn merge_label_keys(spec: &mut Value, labels: &Value) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.get_mut("affinity").and_then(|a| a.get_mut(kind)) else {
            continue;
        };
        for (key, inner) in [(REQUIRED, None), (PREFERRED, Some("podAffinityTerm"))] {
            let terms = affinity.get_mut(key).and_then(Value::as_array_mut);
            for term in terms.into_iter().flatten() {
                let term = match inner {
                    Some(inner) => term.get_mut(inner),
                    None => Some(term),
                };
                if let Some(term) = term {
                    merge_term(term, labels);
                }
            }
        }
    }
}

fn merge_term(term: &mut Value, labels: &Value) {
    let mut added = Vec::new();
    for (keys, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in list(term, keys).iter().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    let Some(Value::Object(selector)) = term.get_mut("labelSelector") else {
        return;
    };
    if !added.is_empty()
        && let Value::Array(expressions) = selector
            .entry("matchExpressions")
            .or_insert_with(|| json!([]))
    {
        expressions.extend(added);
    }
}
