//! What makes pods out of a template: Deployments, ReplicaSets, ReplicationControllers; and
//! PodTemplates, which only keep one.
//!
//! Source of the wording: kubernetes/kubernetes `pkg/apis/apps/validation/validation.go`, and
//! `ValidateReplicationControllerSpec` in `pkg/apis/core/validation/validation.go`.

use super::Errors;
use super::pod::{self, number, selector};
use crate::selector::LabelSelector;
use crate::status::Cause;
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

fn spec_of(object: &Object) -> &Value {
    object.get("spec").unwrap_or(&Value::Null)
}

pub(super) fn validate_deployment(object: &Object, errors: &mut Errors) {
    let spec = spec_of(object);
    not_negative("replicas", spec, errors);
    selector_and_template(spec, errors);
    strategy(spec, errors);
    not_negative("minReadySeconds", spec, errors);
    not_negative("revisionHistoryLimit", spec, errors);
    if let Some(deadline) = number(spec, "progressDeadlineSeconds") {
        let path = "spec.progressDeadlineSeconds";
        not_negative("progressDeadlineSeconds", spec, errors);
        if deadline <= number(spec, "minReadySeconds").unwrap_or(0) {
            let why = "must be greater than minReadySeconds";
            errors.invalid(path, &deadline.into(), why);
        }
    }
}

pub(super) fn validate_replica_set(object: &Object, errors: &mut Errors) {
    let spec = spec_of(object);
    not_negative("replicas", spec, errors);
    not_negative("minReadySeconds", spec, errors);
    selector_and_template(spec, errors);
}

/// Its selector is a plain map, and may change.
pub(super) fn validate_replication_controller(object: &Object, errors: &mut Errors) {
    let spec = spec_of(object);
    not_negative("minReadySeconds", spec, errors);
    let selector = spec.get("selector").and_then(Value::as_object);
    let selector = selector.filter(|labels| !labels.is_empty());
    if selector.is_none() {
        errors.required("spec.selector", "");
    }
    not_negative("replicas", spec, errors);
    let Some(template) = spec.get("template") else {
        return errors.required("spec.template", "");
    };
    if let Some(labels) = selector {
        selected(&LabelSelector::from_labels(labels), template, errors);
    }
    runs_for_ever(template, "ReplicationController", errors);
}

pub(super) fn validate_pod_template(object: &Object, errors: &mut Errors) {
    let template = object.get("template").unwrap_or(&Value::Null);
    pod::validate_template(template, "template", errors);
}

fn not_negative(key: &str, spec: &Value, errors: &mut Errors) {
    errors.not_negative(format!("spec.{key}"), spec.get(key));
}

fn selector_and_template(spec: &Value, errors: &mut Errors) {
    let template = spec.get("template").unwrap_or(&Value::Null);
    match spec.get("selector") {
        None => errors.required("spec.selector", ""),
        Some(value) => {
            selector::validate(value, "spec.selector", errors);
            match LabelSelector::from_object(value) {
                Ok(parsed) if parsed.is_empty() => {
                    // Upstream says so of ReplicaSets too.
                    let why = "empty selector is invalid for deployment";
                    errors.invalid("spec.selector", value, why);
                }
                Ok(parsed) => selected(&parsed, template, errors),
                Err(_) => errors.invalid("spec.selector", value, "invalid label selector"),
            }
        }
    }
    runs_for_ever(template, "ReplicaSet", errors);
}

fn selected(selector: &LabelSelector, template: &Value, errors: &mut Errors) {
    if !selector.matches(template) {
        let labels = template.pointer("/metadata/labels").cloned();
        let why = "`selector` does not match template `labels`";
        errors.invalid(
            "spec.template.metadata.labels",
            &labels.unwrap_or_else(|| json!({})),
            why,
        );
    }
}

/// A template of pods that are started again when they end.
fn runs_for_ever(template: &Value, kind: &str, errors: &mut Errors) {
    pod::validate_template(template, "spec.template", errors);
    let spec = template.get("spec").unwrap_or(&Value::Null);
    if let Some(policy @ ("OnFailure" | "Never")) =
        spec.get("restartPolicy").and_then(Value::as_str)
    {
        errors.push(Cause::not_supported(
            "spec.template.spec.restartPolicy",
            &policy.into(),
            &["Always"],
        ));
    }
    if spec.get("activeDeadlineSeconds").is_some() {
        errors.forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            &format!("activeDeadlineSeconds in {kind} is not Supported"),
        );
    }
}

fn strategy(spec: &Value, errors: &mut Errors) {
    let Some(strategy) = spec.get("strategy") else {
        return;
    };
    let rolling = strategy.get("rollingUpdate");
    let path = "spec.strategy.rollingUpdate";
    match (pod::text(strategy, "type"), rolling) {
        ("Recreate", Some(_)) => errors.forbidden(
            path,
            "may not be specified when strategy `type` is 'Recreate'",
        ),
        ("Recreate", None) => {}
        ("RollingUpdate", Some(rolling)) => rolling_update(rolling, path, errors),
        ("RollingUpdate", None) => {
            errors.required(path, "this should be defaulted and never be nil");
        }
        _ => errors.push(Cause::not_supported(
            "spec.strategy",
            strategy,
            &["Recreate", "RollingUpdate"],
        )),
    }
}

fn rolling_update(rolling: &Value, path: &str, errors: &mut Errors) {
    let mut amount = |key: &str| int_or_percent(rolling.get(key), format!("{path}.{key}"), errors);
    let (unavailable, surge) = (amount("maxUnavailable"), amount("maxSurge"));
    let path = format!("{path}.maxUnavailable");
    let shown = rolling.get("maxUnavailable").unwrap_or(&Value::Null);
    if surge == Some(0) && unavailable == Some(0) {
        errors.invalid(&path, shown, "may not be 0 when `maxSurge` is 0");
    }
    if shown.is_string() && unavailable.is_some_and(|percent| percent > 100) {
        errors.invalid(&path, shown, "must not be greater than 100%");
    }
}

/// The number in an integer or percentage.
fn int_or_percent(value: Option<&Value>, path: String, errors: &mut Errors) -> Option<i64> {
    let value = value?;
    if let Some(number) = value.as_i64() {
        errors.not_negative(path, Some(value));
        return Some(number);
    }
    let digits = value
        .as_str()
        .and_then(|text| text.strip_suffix('%'))
        .unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Some(digits.parse().unwrap_or(i64::MAX));
    }
    errors.invalid(path, value, "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')");
    None
}

/// In apps/v1 the selector stays.
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

/// A status that is written through its subresource.
pub(super) fn validate_status(old: &Object, new: &Object, errors: &mut Errors) {
    let status = |object: &Object| object.get("status").cloned().unwrap_or_default();
    let (before, after) = (status(old), status(new));
    for key in [
        "observedGeneration",
        "replicas",
        "fullyLabeledReplicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "collisionCount",
    ] {
        errors.not_negative(format!("status.{key}"), after.get(key));
    }
    let count = |key: &str| number(&after, key).unwrap_or(0);
    let mut at_most = |key: &str, other: &str, shown: &str| {
        if count(key) > count(other) {
            let why = format!("cannot be greater than {shown}");
            errors.invalid(format!("status.{key}"), &count(key).into(), &why);
        }
    };
    for key in [
        "fullyLabeledReplicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
    ] {
        at_most(key, "replicas", "status.replicas");
    }
    at_most("availableReplicas", "readyReplicas", "readyReplicas");
    if let Some(collisions) = number(&before, "collisionCount")
        && count("collisionCount") < collisions
    {
        let shown = &count("collisionCount").into();
        errors.invalid("status.collisionCount", shown, "cannot be decremented");
    }
}
