//! What may change in the status of a pod that exists, through the `status` subresource.
//!
//! Source of the wording: `ValidatePodStatusUpdate` in kubernetes/kubernetes
//! `pkg/apis/core/validation/validation.go`.

use super::Errors;
use super::pod::{address, list, text};
use crate::metadata;
use crate::status::Cause;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Fills in what a writer of a status may leave out.
pub(super) fn prepare(old: &Map<String, Value>, new: &mut Map<String, Value>) {
    let class = old.get("status").and_then(|s| s.get("qosClass")).cloned();
    if let (Some(Value::Object(status)), Some(class)) = (new.get_mut("status"), class) {
        status.entry("qosClass").or_insert(class);
    }
}

pub(super) fn validate(old: &Map<String, Value>, new: &Map<String, Value>, errors: &mut Errors) {
    let none = &Value::Null;
    let before = old.get("status").unwrap_or(none);
    let after = new.get("status").unwrap_or(none);
    for (at, condition) in list(after, "conditions").iter().enumerate() {
        let kind = text(condition, "type");
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            // Upstream's path.
            let path = format!("metadata.conditions[{at}].Type");
            errors.each(&path, kind, metadata::qualified_name(kind));
        }
    }
    let nominated = text(after, "nominatedNodeName");
    if !nominated.is_empty() && nominated != text(before, "nominatedNodeName") {
        let reasons = metadata::dns_subdomain(nominated);
        errors.each("status.nominatedNodeName", nominated, reasons);
    }
    if after.get("qosClass") != before.get("qosClass") {
        let class = after.get("qosClass").unwrap_or(none);
        errors.invalid("status.qosClass", class, "field is immutable");
    }
    let spec = old.get("spec").unwrap_or(none);
    let policy = text(spec, "restartPolicy");
    let goes_on: HashSet<&str> = list(spec, "initContainers")
        .iter()
        .filter(|c| text(c, "restartPolicy") == "Always")
        .map(|c| text(c, "name"))
        .collect();
    for (key, policy, except) in [
        ("containerStatuses", policy, None),
        ("initContainerStatuses", policy, Some(&goes_on)),
        ("ephemeralContainerStatuses", "Never", None),
    ] {
        transitions((before, after), key, policy, except, errors);
    }
    addresses(after, "podIPs", errors);
    let first = list(after, "hostIPs").first();
    if let Some(first) = first
        && text(first, "ip") != text(after, "hostIP")
    {
        let why = "must be equal to `hostIP`";
        errors.invalid("status.hostIPs[0].ip", &text(first, "ip").into(), why);
    }
    addresses(after, "hostIPs", errors);
}

/// What has ended for good does not run again.
fn transitions(
    (before, after): (&Value, &Value),
    key: &str,
    policy: &str,
    except: Option<&HashSet<&str>>,
    errors: &mut Errors,
) {
    if policy == "Always" {
        return;
    }
    let ended = |status: &Value| status.pointer("/state/terminated").is_some();
    let now: HashMap<&str, bool> = list(after, key)
        .iter()
        .map(|status| (text(status, "name"), ended(status)))
        .collect();
    for (at, status) in list(before, key).iter().enumerate() {
        let name = text(status, "name");
        let code = status
            .pointer("/state/terminated/exitCode")
            .and_then(Value::as_i64);
        let may = !ended(status)
            || (policy == "OnFailure" && code.is_some_and(|c| c != 0))
            || except.is_some_and(|e| e.contains(name));
        if !may && now.get(name) == Some(&false) {
            errors.forbidden(
                format!("status.{key}[{at}].state"),
                "may not be transitioned to non-terminated state",
            );
        }
    }
}

/// At most one of each family, none twice.
fn addresses(status: &Value, key: &str, errors: &mut Errors) {
    let path = format!("status.{key}");
    let entries = list(status, key);
    let ip = |entry: &Value| entry.get("ip").cloned().unwrap_or_else(|| "".into());
    let mut seen = HashSet::new();
    for (at, entry) in entries.iter().enumerate() {
        address(&ip(entry), format!("{path}[{at}]"), errors);
        if !seen.insert(text(entry, "ip")) {
            errors.push(Cause::duplicate(format!("{path}[{at}]"), entry));
        }
    }
    let is_v6 = |entry: &Value| text(entry, "ip").parse::<IpAddr>().map(|ip| ip.is_ipv6());
    let dual = |first: &Value, second: &Value| match (is_v6(first), is_v6(second)) {
        (Ok(first), Ok(second)) => first != second,
        // Reported above.
        _ => true,
    };
    let fine = match entries {
        [] | [_] => true,
        [first, second] => dual(first, second),
        _ => false,
    };
    if !fine {
        let why = "may specify no more than one IP for each IP family";
        errors.invalid(path, &status[key], why);
    }
}
