//! LimitRanges (`pkg/apis/core/v1/defaults.go`, `pkg/apis/core/validation`).

use super::super::pod::{list, text};
use super::resource_names::{self, parse};
use super::{Errors, Object, child, each, set};
use crate::metadata;
use crate::quantity::Quantity;
use crate::status::Cause;
use serde_json::{Map, Value};

const BOUNDS: [&str; 5] = [
    "max",
    "min",
    "default",
    "defaultRequest",
    "maxLimitRequestRatio",
];

/// For containers: a default limit follows the maximum; a default request the default limit, then
/// the minimum.
pub(super) fn defaults(object: &mut Object) {
    each(child(object, "spec"), "limits", |item| {
        if item.get("type").and_then(Value::as_str) != Some("Container") {
            return;
        }
        let copy = |item: &mut Object, from: &str, to: &str| {
            let Some(Value::Object(from)) = item.get(from).cloned() else {
                return;
            };
            if from.is_empty() {
                return;
            }
            let to = child(item, to);
            for (name, amount) in from {
                set(to, &name, amount);
            }
        };
        copy(item, "max", "default");
        copy(item, "default", "defaultRequest");
        copy(item, "min", "defaultRequest");
    });
}

pub(super) fn validate(object: &Object, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut seen: Vec<&str> = Vec::new();
    for (at, item) in list(spec, "limits").iter().enumerate() {
        let path = format!("spec.limits[{at}]");
        let kind = text(item, "type");
        validate_type(&format!("{path}.type"), kind, errors);
        if seen.contains(&kind) {
            errors.push(Cause::duplicate(format!("{path}.type"), &kind.into()));
        }
        seen.push(kind);
        validate_item(&path, kind, item, errors);
    }
}

fn validate_type(path: &str, kind: &str, errors: &mut Errors) {
    let reasons = metadata::qualified_name(kind);
    let fine = reasons.is_empty();
    errors.each(path, kind, reasons);
    let standard = matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim");
    if fine && !kind.contains('/') && !standard {
        let why = "must be a standard limit type or fully qualified";
        errors.invalid(path, &kind.into(), why);
    }
}

fn validate_item(path: &str, kind: &str, item: &Value, errors: &mut Errors) {
    let empty = Map::new();
    let bound = |name: &str| item.get(name).and_then(Value::as_object).unwrap_or(&empty);
    for name in BOUNDS {
        if kind == "Pod" && name.starts_with("default") {
            if !bound(name).is_empty() {
                let why = "may not be specified when `type` is 'Pod'";
                errors.forbidden(format!("{path}.{name}"), why);
            }
            continue;
        }
        for resource in bound(name).keys() {
            let at = format!("{path}.{name}[{resource}]");
            if matches!(kind, "Pod" | "Container") {
                resource_names::of_container(&at, resource, errors);
            } else {
                resource_names::any(&at, resource, errors);
            }
        }
    }
    if kind == "PersistentVolumeClaim"
        && !bound("min").contains_key("storage")
        && !bound("max").contains_key("storage")
    {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(format!("{path}.limits"), why);
    }
    let mut resources: Vec<&String> = BOUNDS.iter().flat_map(|b| bound(b).keys()).collect();
    resources.sort();
    resources.dedup();
    for resource in resources {
        compare(path, kind, resource, item, errors);
    }
}

/// The bounds of one resource against each other.
fn compare(path: &str, kind: &str, resource: &str, item: &Value, errors: &mut Errors) {
    let get = |name: &str| {
        if kind == "Pod" && name.starts_with("default") {
            return None;
        }
        parse(item.get(name)?.get(resource)?)
    };
    let (min, max) = (get("min"), get("max"));
    let (default, request) = (get("default"), get("defaultRequest"));
    let ratio = get("maxLimitRequestRatio");
    // (smaller, its name, larger, its name, field, which of the two is shown)
    let pairs = [
        (min, "min value", max, "max value", "min", true),
        (
            min,
            "min value",
            request,
            "default request value",
            "defaultRequest",
            false,
        ),
        (
            request,
            "default request value",
            max,
            "max value",
            "defaultRequest",
            true,
        ),
        (
            request,
            "default request value",
            default,
            "default limit value",
            "defaultRequest",
            true,
        ),
        (min, "min value", default, "default value", "default", true),
        (default, "default value", max, "max value", "default", false),
    ];
    for (low, low_name, high, high_name, field, show_low) in pairs {
        if let (Some(low), Some(high)) = (low, high)
            && low > high
        {
            let shown = if show_low { low } else { high };
            errors.invalid(
                format!("{path}.{field}[{resource}]"),
                &shown.to_string().into(),
                &format!("{low_name} {low} is greater than {high_name} {high}"),
            );
        }
    }
    validate_ratio(path, resource, ratio, min.zip(max), errors);
    if let (Some(default), Some(request)) = (default, request)
        && default != request
        && !resource_names::may_overcommit(resource)
    {
        errors.invalid(
            format!("{path}.defaultRequest[{resource}]"),
            &request.to_string().into(),
            &format!(
                "default value {default} must equal to defaultRequest value {request} in {resource}"
            ),
        );
    }
}

fn validate_ratio(
    path: &str,
    resource: &str,
    ratio: Option<Quantity>,
    bounds: Option<(Quantity, Quantity)>,
    errors: &mut Errors,
) {
    let Some(ratio) = ratio else { return };
    let at = format!("{path}.maxLimitRequestRatio[{resource}]");
    let shown = ratio.to_string().into();
    if ratio.milli() < 1000 {
        errors.invalid(&at, &shown, &format!("ratio {ratio} is less than 1"));
    }
    let Some((min, max)) = bounds else { return };
    // Floats, as upstream compares them: the text of the answer has one.
    #[allow(clippy::cast_precision_loss)]
    let most = max.milli() as f64 / min.milli() as f64;
    #[allow(clippy::cast_precision_loss)]
    let asked = ratio.milli() as f64 / 1000.0;
    if asked > most {
        let why = format!("ratio {ratio} is greater than max/min = {most:.6}");
        errors.invalid(&at, &shown, &why);
    }
}
