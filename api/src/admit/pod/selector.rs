//! Label selectors as fields, and names of labels.
//!
//! Source of the wording: apimachinery's `pkg/apis/meta/v1/validation/validation.go`.

use super::super::Errors;
use super::{list, text};
use crate::metadata;
use serde_json::Value;

pub(in super::super) fn label_name(name: &str, path: &str, errors: &mut Errors) {
    errors.each(path, name, metadata::qualified_name(name));
}

/// Upstream's `ValidateLabelSelector`; a missing selector is the caller's business.
pub(in super::super) fn validate(selector: &Value, path: &str, errors: &mut Errors) {
    errors.labels(&format!("{path}.matchLabels"), selector.get("matchLabels"));
    for (at, expression) in list(selector, "matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{at}]");
        operator(expression, &path, errors, false);
        label_name(text(expression, "key"), &format!("{path}.key"), errors);
        values(expression, &path, errors);
    }
}

/// Whether operator and number of values belong together. `numbers`: a node selector, which also
/// has `Gt` and `Lt`.
pub(super) fn operator(expression: &Value, path: &str, errors: &mut Errors, numbers: bool) {
    let values = list(expression, "values");
    match text(expression, "operator") {
        "In" | "NotIn" if values.is_empty() => errors.required(
            format!("{path}.values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        ),
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" if !values.is_empty() => errors.forbidden(
            format!("{path}.values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
        "Exists" | "DoesNotExist" => {}
        "Gt" | "Lt" if numbers && values.len() != 1 => errors.required(
            format!("{path}.values"),
            "must be specified single value when `operator` is 'Lt' or 'Gt'",
        ),
        "Gt" | "Lt" if numbers => {}
        other => errors.invalid(
            format!("{path}.operator"),
            &other.into(),
            "not a valid selector operator",
        ),
    }
}

pub(super) fn values(expression: &Value, path: &str, errors: &mut Errors) {
    for (at, value) in list(expression, "values").iter().enumerate() {
        let value = value.as_str().unwrap_or_default();
        errors.each(
            &format!("{path}.values[{at}]"),
            value,
            metadata::label_value(value),
        );
    }
}
