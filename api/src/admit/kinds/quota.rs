//! ResourceQuotas (`pkg/apis/core/validation`).

use super::super::pod::{list, text};
use super::{Errors, Object, resource_names};
use serde_json::Value;

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
const CONFLICTS: [(&str, &str); 2] = [
    ("BestEffort", "NotBestEffort"),
    ("Terminating", "NotTerminating"),
];

fn spec(object: &Object) -> &Value {
    object.get("spec").unwrap_or(&Value::Null)
}

fn amounts(path: &str, map: Option<&Value>, errors: &mut Errors) {
    for (name, value) in map.and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{path}[{name}]");
        resource_names::of_quota(&path, name, errors);
        resource_names::amount(&path, name, value, errors);
    }
}

pub(super) fn validate(object: &Object, errors: &mut Errors) {
    let spec = spec(object);
    amounts("spec.hard", spec.get("hard"), errors);
    let hard: Vec<&str> = spec
        .get("hard")
        .and_then(Value::as_object)
        .map(|hard| hard.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let scopes: Vec<&str> = list(spec, "scopes")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            errors.invalid("spec.scopes", &spec["scopes"], "unsupported scope");
        }
        for _ in misfits(scope, &hard) {
            let why = "unsupported scope applied to resource";
            errors.invalid("spec.scopes", &spec["scopes"], why);
        }
    }
    if conflict(&scopes) {
        errors.invalid("spec.scopes", &spec["scopes"], "conflicting scopes");
    }
    if let Some(selector) = spec.get("scopeSelector") {
        validate_selector(selector, &hard, errors);
    }
}

fn misfits<'a>(scope: &'a str, hard: &'a [&str]) -> impl Iterator<Item = &'a str> {
    hard.iter().copied().filter(move |name| {
        resource_names::is_quota(name) && !resource_names::scope_fits(scope, name)
    })
}

fn conflict(scopes: &[&str]) -> bool {
    CONFLICTS
        .iter()
        .any(|(one, other)| scopes.contains(one) && scopes.contains(other))
}

fn validate_selector(selector: &Value, hard: &[&str], errors: &mut Errors) {
    let path = "spec.scopeSelector.matchExpressions";
    let expressions = list(selector, "matchExpressions");
    for expression in expressions {
        let (scope, operator) = (text(expression, "scopeName"), text(expression, "operator"));
        if !SCOPES.contains(&scope) {
            let at = format!("{path}.scopeName");
            errors.invalid(at, &scope.into(), "unsupported scope");
        }
        for _ in misfits(scope, hard) {
            errors.invalid(path, selector, "unsupported scope applied to resource");
        }
        let exists_only = matches!(
            scope,
            "BestEffort"
                | "NotBestEffort"
                | "Terminating"
                | "NotTerminating"
                | "CrossNamespacePodAffinity"
        );
        if exists_only && operator != "Exists" {
            errors.invalid(
                format!("{path}.operator"),
                &operator.into(),
                "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
            );
        }
        let values = list(expression, "values");
        match operator {
            "In" | "NotIn" if values.is_empty() => errors.required(
                format!("{path}.values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.invalid(
                format!("{path}.values"),
                &expression["values"],
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            "Exists" | "DoesNotExist" => {}
            other => errors.invalid(
                format!("{path}.operator"),
                &other.into(),
                "not a valid selector operator",
            ),
        }
    }
    let scopes: Vec<&str> = expressions.iter().map(|e| text(e, "scopeName")).collect();
    if conflict(&scopes) {
        errors.invalid(path, selector, "conflicting scopes");
    }
}

pub(super) fn validate_update(old: &Object, new: &Object, errors: &mut Errors) {
    let scopes = |object: &Object| {
        let mut scopes: Vec<String> = list(spec(object), "scopes")
            .iter()
            .filter_map(|s| s.as_str().map(str::to_owned))
            .collect();
        scopes.sort();
        scopes.dedup();
        scopes
    };
    if scopes(old) != scopes(new) {
        let now = spec(new).get("scopes").cloned().unwrap_or_default();
        errors.invalid("spec.scopes", &now, "field is immutable");
    }
}

pub(super) fn validate_status(object: &Object, errors: &mut Errors) {
    let status = object.get("status").unwrap_or(&Value::Null);
    amounts("status.hard", status.get("hard"), errors);
    amounts("status.used", status.get("used"), errors);
}
