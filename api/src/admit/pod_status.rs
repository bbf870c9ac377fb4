//! What may change in the status of a pod that exists, through the `status` subresource.
//!
//! Source of the wording: `ValidatePodStatusUpdate` in kubernetes/kubernetes
//! `pkg/apis/core/validation/validation.go`.

use super::Errors;
use super::pod::{address, list, text};
use crate::metadata;
use crate::status::Cause;
use crate::time::Timestamp;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Fills in what a writer of a status may leave out, and what follows from the conditions that
/// others keep: a pod with readiness gates is ready when they are true. Upstream's nodes see to that
/// a moment later; ours may be far away.
pub(super) fn prepare(old: &Map<String, Value>, new: &mut Map<String, Value>, now: Timestamp) {
    let class = old.get("status").and_then(|s| s.get("qosClass")).cloned();
    let Some(Value::Object(status)) = new.get_mut("status") else {
        return;
    };
    if let Some(class) = class {
        status.entry("qosClass").or_insert(class);
    }
    let gates = old
        .get("spec")
        .map_or(&[][..], |spec| list(spec, "readinessGates"));
    if !gates.is_empty()
        && let Some(Value::Array(conditions)) = status.get_mut("conditions")
    {
        gate(gates, conditions, now);
    }
}

/// Upstream's `GeneratePodReadyCondition`, once the containers are ready.
fn gate(gates: &[Value], conditions: &mut [Value], now: Timestamp) {
    let of = |kind: &str| conditions.iter().find(|c| text(c, "type") == kind);
    if of("ContainersReady").is_none_or(|c| text(c, "status") != "True") {
        return;
    }
    let closed = gates.iter().filter_map(|gate| {
        let kind = text(gate, "conditionType");
        match of(kind).map(|c| text(c, "status")) {
            Some("True") => None,
            None => Some(format!(
                "corresponding condition of pod readiness gate \"{kind}\" does not exist."
            )),
            Some(status) => Some(format!(
                "the status of pod readiness gate \"{kind}\" is not \"True\", but {status}"
            )),
        }
    });
    let closed: Vec<String> = closed.collect();
    let ready = conditions.iter_mut().find(|c| text(c, "type") == "Ready");
    let Some(Value::Object(ready)) = ready else {
        return;
    };
    let status = if closed.is_empty() { "True" } else { "False" };
    if ready.get("status").and_then(Value::as_str) != Some(status) {
        ready.insert("lastTransitionTime".into(), now.rfc3339().into());
    }
    ready.insert("status".into(), status.into());
    for key in ["reason", "message"] {
        ready.remove(key);
    }
    if !closed.is_empty() {
        ready.insert("reason".into(), "ReadinessGatesNotReady".into());
        ready.insert("message".into(), closed.join(", ").into());
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_ready_when_its_gates_say_so() {
        let old = json!({"spec": {"readinessGates": [{"conditionType": "x/a"}]}});
        let ready = |containers: &str, gate: Value| {
            let condition =
                |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "r"});
            let mut conditions = vec![
                condition("Ready", "Unknown"),
                condition("ContainersReady", containers),
            ];
            conditions.extend(gate.as_object().map(|_| gate.clone()));
            let mut new = json!({"status": {"conditions": conditions}});
            let now = Timestamp::default();
            prepare(old.as_object().unwrap(), new.as_object_mut().unwrap(), now);
            new["status"]["conditions"][0].clone()
        };
        let gate = |status: &str| json!({"type": "x/a", "status": status});
        assert_eq!(ready("True", gate("True"))["status"], "True");
        assert_eq!(ready("True", gate("True")).get("reason"), None);
        assert_eq!(
            ready("True", gate("False"))["message"],
            "the status of pod readiness gate \"x/a\" is not \"True\", but False"
        );
        assert_eq!(
            ready("True", Value::Null)["message"],
            "corresponding condition of pod readiness gate \"x/a\" does not exist."
        );
        assert_eq!(
            ready("True", Value::Null)["reason"],
            "ReadinessGatesNotReady"
        );
        assert_eq!(
            ready("False", gate("True"))["status"],
            "Unknown",
            "the node's to say"
        );
    }
}
