//! Warnings that need values, not just the names of fields.
//!
//! Source of upstream's: kubernetes/kubernetes `pkg/api/pod/warnings.go` and
//! `pkg/api/node/util.go`.

use super::super::Warning;
use super::{MAX_CONTAINERS, list, number, text};
use crate::quantity::Quantity;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Most warnings about one object; each is a header of the answer.
const MAX: usize = 100;

#[derive(Default)]
struct Out(Vec<Warning>);

impl Out {
    fn full(&self) -> bool {
        self.0.len() >= MAX
    }

    fn push(&mut self, text: String) {
        if !self.full() {
            self.0.push(Warning { text });
        }
    }
}

/// Of a pod or pod template; `path` is empty for a pod, else the template's.
pub(in super::super) fn warnings(template: &Value, path: &str) -> Vec<Warning> {
    let dot = if path.is_empty() { "" } else { "." };
    let at = format!("{path}{dot}spec");
    let mut out = Out::default();
    let spec = template.get("spec").unwrap_or(&Value::Null);
    node_labels(spec, &at, &mut out);
    selectors(spec, &at, &mut out);
    annotations(
        template,
        &format!("{path}{dot}metadata.annotations"),
        &mut out,
    );
    repeated(spec, &at, ("hostAliases", "ip"), &mut out);
    repeated(spec, &at, ("imagePullSecrets", "name"), &mut out);
    let mut ports = HashMap::new();
    for kind in ["initContainers", "containers"] {
        let containers = list(spec, kind).iter().take(MAX_CONTAINERS);
        for (index, container) in containers.enumerate() {
            let path = format!("{at}.{kind}[{index}]");
            amounts(container, &path, &mut out);
            environment(container, &path, &mut out);
            declared_ports(container, &path, &mut ports, &mut out);
        }
    }
    if number(spec, "terminationGracePeriodSeconds").is_some_and(|n| n < 0) {
        out.push(format!(
            "{at}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    out.0
}

/// Labels of nodes that were renamed: the old one, since when, the new one.
const RENAMED: [(&str, &str, &str); 5] = [
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "v1.17",
        "topology.kubernetes.io/region",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "v1.17",
        "topology.kubernetes.io/zone",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "v1.17",
        "node.kubernetes.io/instance-type",
    ),
];

fn renamed(label: &str) -> Option<String> {
    let (_, since, new) = RENAMED.iter().find(|row| row.0 == label)?;
    Some(format!("deprecated since {since}; use \"{new}\" instead"))
}

fn node_labels(spec: &Value, path: &str, out: &mut Out) {
    let selector = spec.get("nodeSelector").and_then(Value::as_object);
    for (key, _) in selector.into_iter().flatten() {
        if let Some(text) = renamed(key) {
            out.push(format!("{path}.nodeSelector[{key}]: {text}"));
        }
    }
    let affinity = spec.get("affinity").and_then(|a| a.get("nodeAffinity"));
    let Some(affinity) = affinity else { return };
    let path = format!("{path}.affinity.nodeAffinity");
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    if let Some(of) = affinity.get(required) {
        for (at, term) in list(of, "nodeSelectorTerms").iter().enumerate() {
            let path = format!("{path}.{required}.nodeSelectorTerms[{at}]");
            node_term(term, &path, out);
        }
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (at, of) in list(affinity, preferred).iter().enumerate() {
        let path = format!("{path}.{preferred}[{at}].preference");
        node_term(of.get("preference").unwrap_or(&Value::Null), &path, out);
    }
}

fn node_term(term: &Value, path: &str, out: &mut Out) {
    for (at, expression) in list(term, "matchExpressions").iter().enumerate() {
        let key = text(expression, "key");
        if let Some(text) = renamed(key) {
            out.push(format!(
                "{path}.matchExpressions[{at}].key: {key} is {text}"
            ));
        }
    }
}

fn selectors(spec: &Value, path: &str, out: &mut Out) {
    const NULL: &str = "a null labelSelector results in matching no pod";
    for (at, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let path = format!("{path}.topologySpreadConstraints[{at}]");
        let key = text(constraint, "topologyKey");
        if let Some(text) = renamed(key) {
            out.push(format!("{path}.topologyKey: {key} is {text}"));
        }
        if constraint.get("labelSelector").is_none() {
            out.push(format!("{path}.labelSelector: {NULL}"));
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.get("affinity").and_then(|a| a.get(kind)) else {
            continue;
        };
        for (key, inner) in [
            ("requiredDuringSchedulingIgnoredDuringExecution", ""),
            (
                "preferredDuringSchedulingIgnoredDuringExecution",
                "podAffinityTerm",
            ),
        ] {
            for (at, term) in list(affinity, key).iter().enumerate() {
                let dot = if inner.is_empty() { "" } else { "." };
                let term = if inner.is_empty() {
                    Some(term)
                } else {
                    term.get(inner)
                };
                if term.is_some_and(|t| t.get("labelSelector").is_none()) {
                    out.push(format!(
                        "{path}.affinity.{kind}.{key}[{at}]{dot}{inner}.labelSelector: {NULL}"
                    ));
                }
            }
        }
    }
}

fn annotations(template: &Value, path: &str, out: &mut Out) {
    let Some(annotations) = template.pointer("/metadata/annotations") else {
        return;
    };
    for (key, instead) in [
        (
            "scheduler.alpha.kubernetes.io/critical-pod",
            "non-functional in v1.16+; use the \"priorityClassName\" field instead",
        ),
        (
            "security.alpha.kubernetes.io/sysctls",
            "non-functional in v1.11+; use the \"sysctls\" field instead",
        ),
        (
            "security.alpha.kubernetes.io/unsafe-sysctls",
            "non-functional in v1.11+; use the \"sysctls\" field instead",
        ),
        (
            "seccomp.security.alpha.kubernetes.io/pod",
            "non-functional in v1.27+; use the \"seccompProfile\" field instead",
        ),
    ] {
        if annotations.get(key).is_some() {
            out.push(format!("{path}[{key}]: {instead}"));
        }
    }
}

/// Entries of a list that is merged by a key, and has it twice.
fn repeated(spec: &Value, path: &str, (field, key): (&str, &str), out: &mut Out) {
    let mut seen = HashSet::new();
    for (at, item) in list(spec, field).iter().enumerate() {
        let value = text(item, key);
        if !seen.insert(value) {
            out.push(format!(
                "{path}.{field}[{at}].{key}: duplicate {key} \"{value}\""
            ));
        }
        if key == "name" && value.is_empty() {
            out.push(format!(
                "{path}.{field}[{at}].name: invalid empty name \"\""
            ));
        }
    }
}

fn amounts(container: &Value, path: &str, out: &mut Out) {
    for set in ["limits", "requests"] {
        let amounts = container.get("resources").and_then(|r| r.get(set));
        let Some(amounts) = amounts else { continue };
        for name in ["memory", "ephemeral-storage"] {
            let amount = text(amounts, name);
            if Quantity::parse(amount).is_ok_and(|q| !q.is_whole()) {
                out.push(format!(
                    "{path}.resources.{set}[{name}]: fractional byte value \"{amount}\" is invalid, must be an integer"
                ));
            }
        }
    }
}

/// A later variable of the same name, unless it builds on the earlier one.
fn environment(container: &Value, path: &str, out: &mut Out) {
    let mut seen = HashSet::new();
    for (at, variable) in list(container, "env").iter().enumerate() {
        let (name, value) = (text(variable, "name"), text(variable, "value"));
        if seen.insert(name) {
            continue;
        }
        let reference = format!("$({name})");
        if variable.get("valueFrom").is_some() || value == reference || !value.contains(&reference)
        {
            out.push(format!(
                "{path}.env[{at}]: hides previous definition of \"{name}\", which may be dropped when using apply"
            ));
        }
    }
}

type Ports<'a> = HashMap<(i64, &'a str), Vec<(String, &'a str, i64)>>;

fn declared_ports<'a>(container: &'a Value, path: &str, seen: &mut Ports<'a>, out: &mut Out) {
    for (at, port) in list(container, "ports").iter().enumerate() {
        if out.full() {
            return;
        }
        let path = format!("{path}.ports[{at}]");
        let protocol = match text(port, "protocol") {
            "" => "TCP",
            given => given,
        };
        let own = number(port, "containerPort").unwrap_or(0);
        let (ip, host) = (text(port, "hostIP"), number(port, "hostPort").unwrap_or(0));
        let others = seen.entry((own, protocol)).or_default();
        for (other, other_ip, other_host) in &*others {
            if ip == *other_ip && host == *other_host {
                out.push(format!("{path}: duplicate port definition with {other}"));
            } else if host == 0 || *other_host == 0 {
                out.push(format!("{path}: overlapping port definition with {other}"));
            } else if host == *other_host && ip.is_empty() != other_ip.is_empty() {
                out.push(format!(
                    "{path}: dangerously ambiguous port definition with {other}"
                ));
            }
        }
        if others.len() < MAX {
            others.push((path, ip, host));
        }
    }
}
