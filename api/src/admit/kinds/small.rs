//! Kinds with a few rules each: Lease, PriorityClass, ControllerRevision, ReplicationController,
//! PodTemplate (`pkg/apis/{coordination,scheduling,apps,core}/validation`).

use super::super::{defaults, pod};
use super::{Errors, Object, child, immutable, set};
use crate::metadata;
use serde_json::{Map, Value};

fn spec(object: &Object) -> &Value {
    object.get("spec").unwrap_or(&Value::Null)
}

pub(super) fn validate_lease(object: &Object, errors: &mut Errors) {
    let spec = spec(object);
    let number = |key: &str| spec.get(key).and_then(Value::as_i64);
    if number("leaseDurationSeconds").is_some_and(|n| n <= 0) {
        errors.invalid(
            "spec.leaseDurationSeconds",
            &spec["leaseDurationSeconds"],
            "must be greater than 0",
        );
    }
    errors.not_negative("spec.leaseTransitions".into(), spec.get("leaseTransitions"));
    let strategy = spec.get("strategy").and_then(Value::as_str);
    if let Some(strategy) = strategy {
        // Upstream names the field twice.
        let path = "spec.strategy.strategy";
        if strategy.contains('/') {
            errors.each(path, strategy, metadata::qualified_name(strategy));
        } else {
            let known = ["OldestEmulationVersion"];
            errors.one_of(path.into(), spec.get("strategy"), &known);
        }
    }
    if !pod::text(spec, "preferredHolder").is_empty() && strategy.is_none_or(str::is_empty) {
        let why = "may only be specified if `strategy` is defined";
        errors.forbidden("spec.preferredHolder", why);
    }
}

const SYSTEM_PREFIX: &str = "system-";
const HIGHEST_USER_PRIORITY: i64 = 1_000_000_000;
/// The classes that every cluster has.
const SYSTEM_CLASSES: [(&str, i64); 2] = [
    ("system-node-critical", 2_000_001_000),
    ("system-cluster-critical", 2_000_000_000),
];

pub(super) fn priority_class_defaults(object: &mut Object) {
    set(object, "preemptionPolicy", "PreemptLowerPriority");
    // Upstream always writes the value.
    set(object, "value", 0);
}

pub(super) fn validate_priority_class(object: &Object, errors: &mut Errors) {
    let name = object
        .get("metadata")
        .map_or("", |meta| pod::text(meta, "name"));
    let value = object.get("value").and_then(Value::as_i64).unwrap_or(0);
    let global = object.get("globalDefault") == Some(&Value::Bool(true));
    if name.starts_with(SYSTEM_PREFIX) {
        let wrong = match SYSTEM_CLASSES.iter().find(|class| class.0 == name) {
            None => Some(format!("{name} is not a known system priority class")),
            Some((_, want)) if *want != value => {
                Some(format!("value of {name} PriorityClass must be {want}"))
            }
            Some(_) if global => Some(format!(
                "globalDefault of {name} PriorityClass must be false"
            )),
            Some(_) => None,
        };
        if let Some(wrong) = wrong {
            let why = format!(
                "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {wrong}"
            );
            errors.forbidden("metadata.name", &why);
        }
    } else if value > HIGHEST_USER_PRIORITY {
        let why =
            format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}");
        errors.forbidden("value", &why);
    }
    match object.get("preemptionPolicy") {
        Some(policy) if policy == "" => errors.required("preemptionPolicy", ""),
        policy => {
            let known = ["PreemptLowerPriority", "Never"];
            errors.one_of("preemptionPolicy".into(), policy, &known);
        }
    }
}

pub(super) fn validate_priority_class_update(old: &Object, new: &Object, errors: &mut Errors) {
    if old.get("value") != new.get("value") {
        errors.forbidden("value", "may not be changed in an update.");
    }
    let policy = "preemptionPolicy";
    immutable(policy, old.get(policy), new.get(policy), errors);
}

pub(super) fn validate_controller_revision(object: &Object, errors: &mut Errors) {
    if object.get("data").is_none_or(Value::is_null) {
        errors.required("data", "data is mandatory");
    }
    errors.not_negative("revision".into(), object.get("revision"));
}

pub(super) fn validate_controller_revision_update(old: &Object, new: &Object, errors: &mut Errors) {
    immutable("data", old.get("data"), new.get("data"), errors);
}

/// One replica; selector and labels follow the template's labels.
pub(super) fn replication_controller_defaults(object: &mut Object) {
    let labels = object
        .get("spec")
        .and_then(|spec| spec.pointer("/template/metadata/labels"))
        .and_then(Value::as_object)
        .filter(|labels| !labels.is_empty())
        .cloned();
    let spec = child(object, "spec");
    set(spec, "replicas", 1);
    if spec.contains_key("template") {
        defaults::template(spec);
    }
    let Some(labels) = labels else { return };
    let is_empty =
        |value: Option<&Value>| value.and_then(Value::as_object).is_none_or(Map::is_empty);
    if is_empty(spec.get("selector")) {
        spec.insert("selector".into(), labels.clone().into());
    }
    let meta = child(object, "metadata");
    if is_empty(meta.get("labels")) {
        meta.insert("labels".into(), labels.into());
    }
}

pub(super) fn pod_template_defaults(object: &mut Object) {
    defaults::template(object);
}
