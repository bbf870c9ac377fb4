//! Events of both groups (`pkg/apis/core/validation/events.go`).
//!
//! The rules speak of the core form's fields whichever form was sent, as upstream's do: it validates
//! the internal type, which is named after core.

use super::super::pod::text;
use super::{Errors, Object, immutable};
use crate::convert;
use crate::kind::Kind;
use crate::metadata;
use serde_json::{Value, json};

const MAX_SHORT: usize = 128;
const MAX_NOTE: usize = 1024;

/// The newer group is the stricter one.
fn strict(kind: &Kind) -> bool {
    kind.group == "events.k8s.io"
}

fn core_form(kind: &Kind, object: &Object) -> Value {
    let mut event = Value::Object(object.clone());
    convert::to_stored(kind, &mut event);
    event
}

pub(super) fn validate(kind: &Kind, object: &Object, errors: &mut Errors) {
    let event = core_form(kind, object);
    let own = text(&event["metadata"], "namespace");
    let involved = text(&event["involvedObject"], "namespace");
    let dated = !text(&event, "eventTime").is_empty();
    let fits = match (dated, involved) {
        // Events about cluster-scoped objects live in the default namespace.
        (false, "") => own == "default" || own.is_empty(),
        (false, involved) => own == involved,
        (true, "") => own == "default" || own == "kube-system",
        (true, _) => true,
    };
    if !fits {
        let why = "does not match event.namespace";
        errors.invalid("involvedObject.namespace", &involved.into(), why);
    }
    if dated {
        validate_dated(&event, errors);
    }
}

/// What an event with an `eventTime` must say.
fn validate_dated(event: &Value, errors: &mut Errors) {
    // The core form writes the controller as `reportingComponent`.
    let controller = text(event, "reportingComponent");
    if controller.is_empty() {
        errors.required("reportingController", "");
    }
    errors.each(
        "reportingController",
        controller,
        metadata::qualified_name(controller),
    );
    for key in ["reportingInstance", "action", "reason"] {
        let value = text(event, key);
        if value.is_empty() {
            errors.required(key, "");
        }
        if value.len() > MAX_SHORT {
            errors.invalid(key, &"".into(), "can have at most 128 characters");
        }
    }
    if text(event, "message").len() > MAX_NOTE {
        errors.invalid("message", &"".into(), "can have at most 1024 characters");
    }
}

pub(super) fn validate_create(kind: &Kind, object: &Object, errors: &mut Errors) {
    if !strict(kind) {
        return;
    }
    let event = core_form(kind, object);
    validate_series(&event, errors);
    if text(&event, "eventTime").is_empty() {
        errors.required("eventTime", "");
    }
    let class = text(&event, "type");
    if !matches!(class, "Normal" | "Warning") {
        let why = format!("has invalid value: {class}");
        errors.invalid("type", &"".into(), &why);
    }
    let unset = |value: &Value| match value {
        Value::Null => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Object(map) => map.values().all(|v| *v == ""),
        _ => false,
    };
    for key in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        if !unset(&event[key]) {
            errors.invalid(key, &"".into(), "needs to be unset");
        }
    }
}

fn validate_series(event: &Value, errors: &mut Errors) {
    let Some(series) = event.get("series") else {
        return;
    };
    let count = series.get("count").and_then(Value::as_i64).unwrap_or(0);
    if count < 2 {
        errors.invalid("series.count", &json!(""), "should be at least 2");
    }
    if text(series, "lastObservedTime").is_empty() {
        errors.required("series.lastObservedTime", "");
    }
}

pub(super) fn validate_update(kind: &Kind, old: &Object, new: &Object, errors: &mut Errors) {
    if !strict(kind) {
        return;
    }
    let (old, new) = (core_form(kind, old), core_form(kind, new));
    if old.get("series") != new.get("series") {
        validate_series(&new, errors);
    }
    for (key, path) in [
        ("involvedObject", "involvedObject"),
        ("reason", "reason"),
        ("message", "message"),
        ("source", "source"),
        ("firstTimestamp", "firstTimestamp"),
        ("lastTimestamp", "lastTimestamp"),
        ("count", "count"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        immutable(path, old.get(key), new.get(key), errors);
    }
}
