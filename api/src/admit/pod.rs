//! Pods and pod templates.
//!
//! Source of the wording: `ValidatePodSpec`, `ValidatePodTemplateSpec` and `ValidatePodCreate` in
//! kubernetes/kubernetes `pkg/apis/core/validation/validation.go`.

mod affinity;
mod container;
mod env;
mod probe;
mod resources;
mod security;
pub(super) mod selector;
mod volume;
mod warnings;

pub(super) use warnings::warnings;

use super::Errors;
use crate::metadata;
use crate::quantity::Quantity;
use crate::status::Cause;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

pub(super) fn number(value: &Value, key: &str) -> Option<i64> {
    value.get(key)?.as_i64()
}

pub(super) fn flag(value: &Value, key: &str) -> Option<bool> {
    value.get(key)?.as_bool()
}

/// Most containers of a pod. Upstream only bounds the whole object.
pub(super) const MAX_CONTAINERS: usize = 256;

/// What a new pod gets beside its defaults: a first status, and the values behind label keys in
/// its selectors.
pub(super) fn prepare(object: &mut Map<String, Value>) {
    let labels = object
        .get("metadata")
        .and_then(|m| m.get("labels"))
        .cloned()
        .unwrap_or(Value::Null);
    let mut status = json!({"phase": "Pending"});
    if let Some(spec) = object.get_mut("spec") {
        affinity::merge_label_keys(spec, &labels);
        if !list(spec, "schedulingGates").is_empty() {
            status["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates"}]);
        }
        status["qosClass"] = qos_class(spec).into();
    }
    object.insert("status".into(), status);
}

/// What only a new pod may not have.
pub(super) fn validate_create(object: &Map<String, Value>, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    if !list(spec, "ephemeralContainers").is_empty() {
        errors.forbidden("spec.ephemeralContainers", "cannot be set on create");
    }
    if !text(spec, "nodeName").is_empty() && !list(spec, "schedulingGates").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.forbidden("spec.nodeName", why);
    }
}

/// Validates a pod.
pub(super) fn validate(object: &Map<String, Value>, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let annotations = object.get("metadata").and_then(|m| m.get("annotations"));
    self::annotations(annotations, spec, "metadata.annotations", errors);
    self::spec(spec, "spec", true, errors);
    container::images(spec, "spec", errors);
}

/// Validates a template that stands at `path`. Labels and annotations have upstream's paths, which
/// leave `metadata` out.
pub(super) fn validate_template(template: &Value, path: &str, errors: &mut Errors) {
    let metadata = template.get("metadata").unwrap_or(&Value::Null);
    errors.labels(&format!("{path}.labels"), metadata.get("labels"));
    let spec = template.get("spec").unwrap_or(&Value::Null);
    let at = format!("{path}.annotations");
    let annotations = metadata.get("annotations");
    for (key, _) in annotations.and_then(Value::as_object).into_iter().flatten() {
        // Keys may have capitals here, unlike names of labels.
        errors.each(&at, key, metadata::qualified_name(&key.to_lowercase()));
    }
    self::annotations(annotations, spec, &at, errors);
    self::spec(spec, &format!("{path}.spec"), false, errors);
    if !list(spec, "ephemeralContainers").is_empty() {
        errors.forbidden(
            format!("{path}.spec.ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        );
    }
}

/// Annotations that mean something.
fn annotations(annotations: Option<&Value>, spec: &Value, path: &str, errors: &mut Errors) {
    let Some(annotations) = annotations else {
        return;
    };
    let key = "kubernetes.io/config.mirror";
    if let Some(value) = annotations.get(key)
        && text(spec, "nodeName").is_empty()
    {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errors.invalid(format!("{path}[{key}]"), value, why);
    }
    let key = "controller.kubernetes.io/pod-deletion-cost";
    if let Some(value) = annotations.get(key) {
        let text = value.as_str().unwrap_or_default();
        // `+1` and `01` are not numbers to upstream.
        let plain = text == "0" || !text.starts_with(['+', '0']);
        if !plain || text.parse::<i32>().is_err() {
            errors.invalid(format!("{path}[{key}]"), value, "must be a 32bit integer");
        }
    }
}

fn spec(spec: &Value, path: &str, is_pod: bool, errors: &mut Errors) {
    let volumes = volume::validate(spec, path, errors);
    container::validate(spec, path, &volumes, errors);
    container::host_network(spec, path, is_pod, errors);
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
    errors.labels(&format!("{path}.nodeSelector"), spec.get("nodeSelector"));
    security::pod(spec, path, errors);
    if let Some(affinity) = spec.get("affinity") {
        affinity::validate(affinity, &format!("{path}.affinity"), errors);
    }
    dns_config(spec, path, errors);
    gates(spec, path, errors);
    affinity::spread(spec, path, errors);
    security::host_users(spec, path, errors);
    for (key, rule) in [
        (
            "serviceAccountName",
            metadata::dns_subdomain as fn(&str) -> Vec<String>,
        ),
        ("nodeName", metadata::dns_subdomain),
        ("hostname", metadata::dns_label),
        ("subdomain", metadata::dns_label),
        ("priorityClassName", metadata::dns_subdomain),
        ("runtimeClassName", metadata::dns_subdomain),
    ] {
        if let Some(Value::String(value)) = spec.get(key) {
            errors.each(&format!("{path}.{key}"), value, rule(value));
        }
    }
    if let Some(seconds) = spec.get("activeDeadlineSeconds")
        && !seconds
            .as_i64()
            .is_some_and(|n| (1..=i64::from(i32::MAX)).contains(&n))
    {
        errors.invalid(
            format!("{path}.activeDeadlineSeconds"),
            seconds,
            "must be between 1 and 2147483647, inclusive",
        );
    }
    for (at, toleration) in list(spec, "tolerations").iter().enumerate() {
        self::toleration(toleration, &format!("{path}.tolerations[{at}]"), errors);
    }
    host_aliases(spec, path, errors);
    errors.one_of(
        format!("{path}.preemptionPolicy"),
        spec.get("preemptionPolicy"),
        &["PreemptLowerPriority", "Never"],
    );
    if let Some(os) = spec.get("os") {
        operating_system(os, spec, path, errors);
    }
}

/// `readinessGates` and `schedulingGates`.
fn gates(spec: &Value, path: &str, errors: &mut Errors) {
    for (at, gate) in list(spec, "readinessGates").iter().enumerate() {
        let name = text(gate, "conditionType");
        let path = format!("{path}.readinessGates[{at}].conditionType");
        selector::label_name(name, &path, errors);
    }
    let mut seen = std::collections::HashSet::new();
    for (at, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        let path = format!("{path}.schedulingGates[{at}]");
        selector::label_name(name, &path, errors);
        if !seen.insert(name) {
            errors.push(Cause::duplicate(path, &name.into()));
        }
    }
}

const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

pub(super) fn address(value: &Value, path: String, errors: &mut Errors) {
    let text = value.as_str().unwrap_or_default();
    if text.parse::<IpAddr>().is_err() {
        errors.invalid(path, value, NO_ADDRESS);
    }
}

fn host_aliases(spec: &Value, path: &str, errors: &mut Errors) {
    for (at, alias) in list(spec, "hostAliases").iter().enumerate() {
        let path = format!("{path}.hostAliases[{at}]");
        let ip = alias.get("ip").cloned().unwrap_or_else(|| "".into());
        address(&ip, format!("{path}.ip"), errors);
        for (at, name) in list(alias, "hostnames").iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            let path = format!("{path}.hostnames[{at}]");
            errors.each(&path, name, metadata::dns_subdomain(name));
        }
    }
}

fn dns_config(spec: &Value, path: &str, errors: &mut Errors) {
    let path = format!("{path}.dnsConfig");
    let none = text(spec, "dnsPolicy") == "None";
    let Some(config) = spec.get("dnsConfig") else {
        if none {
            errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        return;
    };
    let servers = list(config, "nameservers");
    if none && servers.is_empty() {
        let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        return errors.required(format!("{path}.nameservers"), why);
    }
    if servers.len() > 3 {
        let why = "must not have more than 3 nameservers";
        errors.invalid(format!("{path}.nameservers"), &config["nameservers"], why);
    }
    for (at, server) in servers.iter().enumerate() {
        address(server, format!("{path}.nameservers[{at}]"), errors);
    }
    let searches = list(config, "searches");
    let length: usize = searches
        .iter()
        .map(|s| s.as_str().map_or(0, str::len) + 1)
        .sum();
    let at = format!("{path}.searches");
    if searches.len() > 32 {
        let why = "must not have more than 32 search paths";
        errors.invalid(&at, &config["searches"], why);
    }
    if length > 2049 {
        let why = "must not have more than 2048 characters (including spaces) in the search list";
        errors.invalid(&at, &config["searches"], why);
    }
    for (index, search) in searches.iter().enumerate() {
        let search = search.as_str().unwrap_or_default();
        let name = search.strip_suffix('.').unwrap_or(search);
        if search != "." {
            let reasons = metadata::dns_subdomain(&name.replace('_', "-"));
            errors.each(&format!("{at}[{index}]"), name, reasons);
        }
    }
    for (index, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.required(format!("{path}.options[{index}]"), "must not be empty");
        }
    }
}

fn operating_system(os: &Value, spec: &Value, path: &str, errors: &mut Errors) {
    let name = text(os, "name");
    match name {
        "" => errors.required(format!("{path}.os.name"), "cannot be empty"),
        "windows" => {}
        "linux" => {
            let why = "windows options cannot be set for a linux pod";
            let has = |of: &Value| of.pointer("/securityContext/windowsOptions").is_some();
            if has(spec) {
                errors.forbidden(format!("{path}.securityContext.windowsOptions"), why);
            }
            for (at, container) in list(spec, "containers").iter().enumerate() {
                if has(container) {
                    let path = format!("{path}.containers[{at}].securityContext.windowsOptions");
                    errors.forbidden(path, why);
                }
            }
        }
        _ => errors.push(Cause::not_supported(
            format!("{path}.os"),
            &name.into(),
            &["linux", "windows"],
        )),
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
            let reasons = metadata::label_value(value);
            if !reasons.is_empty() {
                let path = format!("{path}.operator");
                errors.invalid(path, &value.into(), &reasons.join(";"));
            }
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

#[cfg(test)]
mod tests;
