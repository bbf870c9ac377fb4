//! What a Service gets when nobody says (`pkg/apis/core/v1/defaults.go`), and what its type brings or
//! takes along when it changes (`pkg/registry/core/service`). One address family: IPv4.

use super::{Object, child, each, set};
use serde_json::{Map, Value, json};

const CLIENT_IP_SECONDS: i64 = 10_800;

fn text<'a>(spec: &'a Object, key: &str) -> &'a str {
    spec.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn kind(spec: &Object) -> &str {
    match text(spec, "type") {
        "" => "ClusterIP",
        kind => kind,
    }
}

fn needs_cluster_ip(spec: &Object) -> bool {
    matches!(kind(spec), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn needs_node_port(spec: &Object) -> bool {
    kind(spec) == "NodePort"
        || (kind(spec) == "LoadBalancer"
            && spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)))
}

pub(super) fn needs_health_check(spec: &Object) -> bool {
    kind(spec) == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

/// Reached from outside of the cluster.
pub(super) fn is_external(spec: &Object) -> bool {
    matches!(kind(spec), "NodePort" | "LoadBalancer")
        || (kind(spec) == "ClusterIP" && !is_absent(spec.get("externalIPs")))
}

pub(super) fn is_headless(spec: &Object) -> bool {
    first_ip(spec) == "None"
}

fn first_ip(spec: &Object) -> &str {
    spec.get("clusterIPs")
        .and_then(|ips| ips.get(0))
        .and_then(Value::as_str)
        .unwrap_or_else(|| text(spec, "clusterIP"))
}

/// What Go writes as a zero value, and what is not there.
fn is_absent(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        _ => false,
    }
}

pub(super) fn apply(object: &mut Object) {
    let spec = child(object, "spec");
    for key in ["type", "sessionAffinity"] {
        if is_absent(spec.get(key)) {
            spec.remove(key);
        }
    }
    set(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => drop(spec.remove("sessionAffinityConfig")),
        "ClientIP" => {
            let client = child(child(spec, "sessionAffinityConfig"), "clientIP");
            if is_absent(client.get("timeoutSeconds")) {
                client.insert("timeoutSeconds".into(), CLIENT_IP_SECONDS.into());
            }
        }
        _ => {}
    }
    set(spec, "type", "ClusterIP");
    each(spec, "ports", |port| {
        if is_absent(port.get("protocol")) {
            port.insert("protocol".into(), "TCP".into());
        }
        if is_absent(port.get("targetPort"))
            && let Some(number) = port.get("port").cloned()
        {
            port.insert("targetPort".into(), number);
        }
    });
    if is_external(spec) && is_absent(spec.get("externalTrafficPolicy")) {
        spec.insert("externalTrafficPolicy".into(), "Cluster".into());
    }
    if needs_cluster_ip(spec) {
        set(spec, "internalTrafficPolicy", "Cluster");
        families(spec);
    }
    if kind(spec) == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
    set(object, "status", json!({"loadBalancer": {}}));
}

/// One family, unless the Service is for addresses that somebody else writes: those may be of both.
fn families(spec: &mut Object) {
    let foreign = is_headless(spec)
        && spec
            .get("selector")
            .and_then(Value::as_object)
            .is_none_or(Map::is_empty);
    if foreign {
        set(spec, "ipFamilyPolicy", "RequireDualStack");
    } else {
        set(spec, "ipFamilyPolicy", "SingleStack");
    }
    if is_absent(spec.get("ipFamilies")) {
        let both = foreign && text(spec, "ipFamilyPolicy") != "SingleStack";
        let families = if both {
            json!(["IPv4", "IPv6"])
        } else {
            json!(["IPv4"])
        };
        spec.insert("ipFamilies".into(), families);
    }
}

pub(super) fn prepare_create(object: &mut Object) {
    object.insert("status".into(), json!({"loadBalancer": {}}));
    let spec = child(object, "spec");
    let ip = text(spec, "clusterIP").to_owned();
    if ip.is_empty() {
        spec.remove("clusterIP");
    } else if is_absent(spec.get("clusterIPs")) {
        spec.insert("clusterIPs".into(), json!([ip]));
    }
}

/// Carries what the cluster allocated over to an object that does not name it, and takes away what
/// the new type has no use for.
pub(super) fn prepare_update(old: &Object, new: &mut Object) {
    let empty = Map::new();
    let old = old.get("spec").and_then(Value::as_object).unwrap_or(&empty);
    let new = child(new, "spec");
    patch_allocated(old, new);
    normalize(old, new);
    drop_dependent(old, new);
}

fn copy(old: &Object, new: &mut Object, key: &str) {
    if is_absent(new.get(key))
        && let Some(value) = old.get(key)
    {
        new.insert(key.into(), value.clone());
    }
}

fn patch_allocated(old: &Object, new: &mut Object) {
    if needs_cluster_ip(old) && needs_cluster_ip(new) {
        copy(old, new, "clusterIP");
        if old.get("clusterIP") == new.get("clusterIP") {
            copy(old, new, "clusterIPs");
        }
    }
    if needs_node_port(old) && needs_node_port(new) {
        let of = |spec: &Object| -> Vec<(String, i64)> {
            let ports = spec.get("ports").and_then(Value::as_array);
            let ports = ports.into_iter().flatten().filter_map(Value::as_object);
            ports
                .map(|p| (text(p, "name").to_owned(), number(p, "nodePort")))
                .collect()
        };
        let (before, after) = (of(old), of(new));
        let mut used: Vec<i64> = before
            .iter()
            .map(|p| p.1)
            .filter(|port| *port != 0 && after.iter().any(|p| p.1 == *port))
            .collect();
        each(new, "ports", |port| {
            let known = before.iter().find(|p| p.0 == text(port, "name"));
            if let Some((_, number)) = known
                && is_absent(port.get("nodePort"))
                && *number != 0
                && !used.contains(number)
            {
                used.push(*number);
                port.insert("nodePort".into(), (*number).into());
            }
        });
    }
    if needs_health_check(old) && needs_health_check(new) {
        copy(old, new, "healthCheckNodePort");
    }
}

fn number(object: &Object, key: &str) -> i64 {
    object.get(key).and_then(Value::as_i64).unwrap_or_default()
}

/// `clusterIP` is the first of `clusterIPs`; whichever was written moves the other.
fn normalize(old: &Object, new: &mut Object) {
    if text(old, "clusterIP") == text(new, "clusterIP") {
        return;
    }
    if old.get("clusterIPs") != new.get("clusterIPs") {
        return;
    }
    match text(new, "clusterIP").to_owned() {
        ip if ip.is_empty() => {
            new.remove("clusterIP");
            new.remove("clusterIPs");
        }
        ip => drop(new.insert("clusterIPs".into(), json!([ip]))),
    }
}

fn drop_dependent(old: &Object, new: &mut Object) {
    let same = |new: &Object, key: &str| old.get(key) == new.get(key);
    if needs_cluster_ip(old) && !needs_cluster_ip(new) {
        if same(new, "clusterIP") && same(new, "clusterIPs") {
            new.remove("clusterIP");
            new.remove("clusterIPs");
        }
        for key in ["ipFamilies", "ipFamilyPolicy"] {
            if same(new, key) {
                new.remove(key);
            }
        }
    }
    if needs_node_port(old) && !needs_node_port(new) {
        let ports = |spec: &Object| -> Vec<i64> {
            let ports = spec.get("ports").and_then(Value::as_array);
            let ports = ports.into_iter().flatten().filter_map(Value::as_object);
            let mut all: Vec<i64> = ports.map(|p| number(p, "nodePort")).collect();
            all.sort_unstable();
            all
        };
        if ports(old) == ports(new) {
            each(new, "ports", |port| drop(port.remove("nodePort")));
        }
    }
    let balanced = |spec: &Object| kind(spec) == "LoadBalancer";
    for (key, needs) in [
        (
            "healthCheckNodePort",
            needs_health_check as fn(&Object) -> bool,
        ),
        ("loadBalancerClass", balanced),
        ("externalTrafficPolicy", is_external),
        ("allocateLoadBalancerNodePorts", balanced),
    ] {
        if needs(old) && !needs(new) && same(new, key) {
            new.remove(key);
        }
    }
}
