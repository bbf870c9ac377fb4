//! Pods and pod templates.

mod container;
mod volume;

use super::{Errors, Warning};
use crate::metadata;
use crate::quantity::Quantity;
use crate::status::Cause;
use crate::support::NOT_SUPPORTED;
use serde_json::Value;

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Most containers of a pod. Upstream only bounds the whole object.
pub(super) const MAX_CONTAINERS: usize = 256;

/// Validates a pod's spec that stands at `path`.
pub(super) fn validate(spec: &Value, path: &str, errors: &mut Errors) {
    let volumes = volume::validate(spec, path, errors);
    container::validate(spec, path, &volumes, errors);
    errors.one_of(
        format!("{path}.restartPolicy"),
        spec.get("restartPolicy"),
        &["Always", "OnFailure", "Never"],
    );
    errors.one_of(
        format!("{path}.dnsPolicy"),
        spec.get("dnsPolicy"),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    errors.not_negative(
        format!("{path}.terminationGracePeriodSeconds"),
        spec.get("terminationGracePeriodSeconds"),
    );
    errors.labels(&format!("{path}.nodeSelector"), spec.get("nodeSelector"));
    for (key, rule) in [
        ("hostname", metadata::dns_label as fn(&str) -> Vec<String>),
        ("nodeName", metadata::dns_subdomain),
        ("serviceAccountName", metadata::dns_subdomain),
    ] {
        let value = text(spec, key);
        if !value.is_empty() {
            errors.each(&format!("{path}.{key}"), value, rule(value));
        }
    }
    let security = spec.get("securityContext").unwrap_or(&Value::Null);
    user_ids(security, &format!("{path}.securityContext"), errors);
    for (at, group) in list(security, "supplementalGroups").iter().enumerate() {
        user_id(
            &format!("{path}.securityContext.supplementalGroups[{at}]"),
            group,
            errors,
        );
    }
    for (at, toleration) in list(spec, "tolerations").iter().enumerate() {
        self::toleration(toleration, &format!("{path}.tolerations[{at}]"), errors);
    }
}

/// Warnings that need values, not just field names.
pub(super) fn warnings(spec: &Value, path: &str) -> Vec<Warning> {
    let mut out = volume::warnings(spec, path);
    for (at, container) in list(spec, "containers").iter().enumerate() {
        for set in ["limits", "requests"] {
            let storage = container
                .get("resources")
                .and_then(|r| r.get(set)?.get("ephemeral-storage"));
            if storage.is_some() {
                let path = format!("{path}.containers[{at}].resources.{set}[ephemeral-storage]");
                out.push(Warning {
                    text: format!("{path}: {NOT_SUPPORTED}"),
                });
            }
        }
    }
    out
}

fn user_ids(security: &Value, path: &str, errors: &mut Errors) {
    for key in ["runAsUser", "runAsGroup"] {
        if let Some(id) = security.get(key) {
            user_id(&format!("{path}.{key}"), id, errors);
        }
    }
}

fn user_id(path: &str, id: &Value, errors: &mut Errors) {
    if !id
        .as_i64()
        .is_some_and(|id| (0..=i64::from(i32::MAX)).contains(&id))
    {
        errors.invalid(path, id, "must be between 0 and 2147483647, inclusive");
    }
}

pub(super) const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

fn toleration(toleration: &Value, path: &str, errors: &mut Errors) {
    let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
    if !key.is_empty() {
        errors.each(&format!("{path}.key"), key, metadata::qualified_name(key));
    } else if operator != "Exists" {
        let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.invalid(format!("{path}.operator"), &operator.into(), why);
    }
    let seconds = toleration.get("tolerationSeconds");
    if seconds.is_some() && text(toleration, "effect") != "NoExecute" {
        let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.invalid(
            format!("{path}.effect"),
            &text(toleration, "effect").into(),
            why,
        );
    }
    match operator {
        "" | "Equal" => {
            let value = text(toleration, "value");
            errors.each(
                &format!("{path}.operator"),
                value,
                metadata::label_value(value),
            );
        }
        "Exists" if !text(toleration, "value").is_empty() => errors.invalid(
            format!("{path}.operator"),
            &toleration["value"],
            "value must be empty when `operator` is 'Exists'",
        ),
        "Exists" => {}
        _ => errors.push(Cause::not_supported(
            format!("{path}.operator"),
            &operator.into(),
            &["Equal", "Exists"],
        )),
    }
    errors.one_of(format!("{path}.effect"), toleration.get("effect"), &EFFECTS);
}

/// `Guaranteed`, `Burstable` or `BestEffort`, from requests and limits.
pub(super) fn qos_class(spec: &Value) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for container in list(spec, "containers") {
        let resources = container.get("resources").unwrap_or(&Value::Null);
        let amount = |set: &str, name: &str| {
            let text = resources.get(set)?.get(name)?.as_str()?;
            Quantity::parse(text).ok().filter(|q| q.milli() > 0)
        };
        for name in ["cpu", "memory"] {
            let (request, limit) = (amount("requests", name), amount("limits", name));
            any |= request.is_some() || limit.is_some();
            // A missing request is defaulted to the limit.
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
