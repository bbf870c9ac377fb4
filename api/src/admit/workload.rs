//! Deployments and ReplicaSets.

use super::Errors;
use super::pod;
use crate::selector::LabelSelector;
use crate::status::Cause;
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

pub(super) fn validate_deployment(object: &Object, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    validate_common(spec, "deployment", errors);
    strategy(spec, errors);
    let number = |key: &str| spec.get(key).and_then(Value::as_i64);
    errors.not_negative(
        "spec.revisionHistoryLimit".into(),
        spec.get("revisionHistoryLimit"),
    );
    if let Some(deadline) = number("progressDeadlineSeconds") {
        let path = "spec.progressDeadlineSeconds";
        errors.not_negative(path.into(), spec.get("progressDeadlineSeconds"));
        if deadline <= number("minReadySeconds").unwrap_or(0) {
            errors.invalid(
                path,
                &deadline.into(),
                "must be greater than minReadySeconds",
            );
        }
    }
}

pub(super) fn validate_replica_set(object: &Object, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    validate_common(spec, "replicaset", errors);
}

/// Replicas, selector and template.
fn validate_common(spec: &Value, what: &str, errors: &mut Errors) {
    errors.not_negative("spec.replicas".into(), spec.get("replicas"));
    errors.not_negative("spec.minReadySeconds".into(), spec.get("minReadySeconds"));
    let empty = Value::Null;
    let template = spec.get("template").unwrap_or(&empty);
    let labels = template.pointer("/metadata/labels");
    match spec.get("selector") {
        None => errors.required("spec.selector", ""),
        Some(selector) => {
            validate_selector(selector, errors);
            match LabelSelector::from_object(selector) {
                Ok(parsed) if parsed.is_empty() => {
                    let why = format!("empty selector is invalid for {what}");
                    errors.invalid("spec.selector", selector, &why);
                }
                Ok(parsed) if !parsed.matches(template) => {
                    let labels = labels.cloned().unwrap_or_else(|| json!({}));
                    let why = "`selector` does not match template `labels`";
                    errors.invalid("spec.template.metadata.labels", &labels, why);
                }
                // A bad operator is reported by path above.
                Ok(_) | Err(_) => {}
            }
        }
    }
    errors.labels("spec.template.metadata.labels", labels);
    let pod_spec = template.get("spec").unwrap_or(&empty);
    pod::validate(pod_spec, "spec.template.spec", errors);
    if let Some(policy @ ("OnFailure" | "Never")) =
        pod_spec.get("restartPolicy").and_then(Value::as_str)
    {
        errors.push(Cause::not_supported(
            "spec.template.spec.restartPolicy",
            &policy.into(),
            &["Always"],
        ));
    }
}

fn validate_selector(selector: &Value, errors: &mut Errors) {
    errors.labels("spec.selector.matchLabels", selector.get("matchLabels"));
    for (at, expression) in pod::list(selector, "matchExpressions").iter().enumerate() {
        let path = format!("spec.selector.matchExpressions[{at}]");
        let values = pod::list(expression, "values");
        match pod::text(expression, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required(format!("{path}.values"), why);
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(format!("{path}.values"), why);
            }
            "Exists" | "DoesNotExist" => {}
            operator => errors.invalid(
                format!("{path}.operator"),
                &operator.into(),
                "not a valid selector operator",
            ),
        }
        let key = pod::text(expression, "key");
        errors.each(
            &format!("{path}.key"),
            key,
            crate::metadata::qualified_name(key),
        );
    }
}

fn strategy(spec: &Value, errors: &mut Errors) {
    let Some(strategy) = spec.get("strategy") else {
        return;
    };
    errors.one_of(
        "spec.strategy.type".into(),
        strategy.get("type"),
        &["Recreate", "RollingUpdate"],
    );
    let Some(rolling) = strategy.get("rollingUpdate") else {
        return;
    };
    let path = "spec.strategy.rollingUpdate";
    if pod::text(strategy, "type") == "Recreate" {
        errors.forbidden(
            path,
            "may not be specified when strategy `type` is 'Recreate'",
        );
        return;
    }
    let surge = int_or_percent(rolling.get("maxSurge"), &format!("{path}.maxSurge"), errors);
    let unavailable = int_or_percent(
        rolling.get("maxUnavailable"),
        &format!("{path}.maxUnavailable"),
        errors,
    );
    if surge == Some(0) && unavailable == Some(0) {
        let why = "may not be 0 when `maxSurge` is 0";
        errors.invalid(
            format!("{path}.maxUnavailable"),
            &rolling["maxUnavailable"],
            why,
        );
    }
    if rolling.get("maxUnavailable").is_some_and(Value::is_string)
        && unavailable.is_some_and(|percent| percent > 100)
    {
        let path = format!("{path}.maxUnavailable");
        errors.invalid(
            path,
            &rolling["maxUnavailable"],
            "must not be greater than 100%",
        );
    }
}

/// The number in an integer or percentage.
fn int_or_percent(value: Option<&Value>, path: &str, errors: &mut Errors) -> Option<i64> {
    let value = value?;
    if let Some(number) = value.as_i64() {
        errors.not_negative(path.to_owned(), Some(value));
        return Some(number);
    }
    let digits = value
        .as_str()
        .and_then(|text| text.strip_suffix('%'))
        .unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return digits.parse().ok();
    }
    errors.invalid(path, value, "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')");
    None
}

pub(super) fn validate_update(old: &Object, new: &Object, errors: &mut Errors) {
    let selector = |object: &Object| object.get("spec").and_then(|s| s.get("selector")).cloned();
    let (before, after) = (selector(old), selector(new));
    if before != after {
        errors.invalid(
            "spec.selector",
            &after.unwrap_or_default(),
            "field is immutable",
        );
    }
}
