//! Which objects a quota means: its scopes, all of which must match.

use serde_json::Value;

use super::Subject;
use crate::admission::resources::of_container;
use crate::admission::{items, part, text};

/// Whether all scopes of a quota match an object. Only pods have any; a quota with scopes has nothing
/// to do with other objects.
pub(super) fn matches(quota: &Value, subject: Subject<'_>, object: &Value) -> bool {
    let spec = part(quota, "spec");
    let is_pod = subject.group.is_empty() && subject.resource == "pods";
    let plain = items(spec, "scopes")
        .iter()
        .filter_map(Value::as_str)
        .all(|scope| is_pod && has(object, scope, "Exists", &[]));
    let selected = items(part(spec, "scopeSelector"), "matchExpressions")
        .iter()
        .all(|term| {
            let (scope, operator) = (text(term, "scopeName"), text(term, "operator"));
            is_pod && has(object, scope, operator, items(term, "values"))
        });
    plain && selected
}

/// Whether a changed pod is in the same scopes: of what decides, only this can change.
pub(super) fn is_same(old: &Value, new: &Value) -> bool {
    let deadline = |pod: &Value| is_terminating(part(pod, "spec"));
    deadline(old) == deadline(new)
}

fn has(pod: &Value, scope: &str, operator: &str, values: &[Value]) -> bool {
    let spec = part(pod, "spec");
    match scope {
        "Terminating" => is_terminating(spec),
        "NotTerminating" => !is_terminating(spec),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => {
            let class = text(spec, "priorityClassName");
            let listed = values.iter().any(|v| v.as_str() == Some(class));
            match operator {
                "Exists" => !class.is_empty(),
                "DoesNotExist" => class.is_empty(),
                "In" => !class.is_empty() && listed,
                // As a label selector: what is not there is not in the list either.
                "NotIn" => class.is_empty() || !listed,
                _ => false,
            }
        }
        "CrossNamespacePodAffinity" => crosses_namespaces(spec),
        _ => false,
    }
}

fn is_terminating(spec: &Value) -> bool {
    part(spec, "activeDeadlineSeconds")
        .as_i64()
        .is_some_and(|seconds| seconds >= 0)
}

fn is_best_effort(pod: &Value) -> bool {
    match text(part(pod, "status"), "qosClass") {
        "" => {}
        class => return class == "BestEffort",
    }
    let spec = part(pod, "spec");
    let mut containers = items(spec, "containers")
        .iter()
        .chain(items(spec, "initContainers"));
    containers.all(|container| {
        ["requests", "limits"].into_iter().all(|which| {
            let list = of_container(container, which);
            ["cpu", "memory"]
                .into_iter()
                .all(|name| list.get(name).is_none_or(|amount| amount.is_zero()))
        })
    })
}

fn crosses_namespaces(spec: &Value) -> bool {
    let term = |term: &Value| {
        !items(term, "namespaces").is_empty() || !part(term, "namespaceSelector").is_null()
    };
    ["podAffinity", "podAntiAffinity"].into_iter().any(|key| {
        let affinity = part(part(spec, "affinity"), key);
        items(affinity, "requiredDuringSchedulingIgnoredDuringExecution")
            .iter()
            .any(term)
            || items(affinity, "preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|weighted| term(part(weighted, "podAffinityTerm")))
    })
}
