//! Fields of a Service that hang together: what a type needs, what an update that leaves a field out
//! means, and what goes when the type changes.

use serde_json::{Map, Value, json};

use crate::admission::{items, part, text};

fn spec(service: &Value) -> &Value {
    part(service, "spec")
}

fn kind(service: &Value) -> &str {
    match text(spec(service), "type") {
        "" => "ClusterIP",
        kind => kind,
    }
}

/// Whether a type has a cluster address (or explicitly none).
pub(super) fn needs_address(service: &Value) -> bool {
    matches!(kind(service), "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// Whether a type has node ports.
pub(super) fn needs_node_ports(service: &Value) -> bool {
    matches!(kind(service), "NodePort" | "LoadBalancer")
}

fn is_local(service: &Value) -> bool {
    needs_node_ports(service) && text(spec(service), "externalTrafficPolicy") == "Local"
}

/// Whether a load balancer asks nodes for their health.
pub(super) fn needs_health_port(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && is_local(service)
}

fn map(service: &mut Value) -> Option<&mut Map<String, Value>> {
    service.get_mut("spec")?.as_object_mut()
}

/// `clusterIP` is the first of `clusterIPs`.
pub(super) fn normalize(service: &mut Value) {
    let Some(spec) = map(service) else { return };
    let one = spec
        .get("clusterIP")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let first = spec
        .get("clusterIPs")
        .and_then(|list| list.get(0))
        .and_then(Value::as_str)
        .map(str::to_owned);
    match (one.as_str(), first) {
        ("", Some(first)) => drop(spec.insert("clusterIP".into(), first.into())),
        ("", None) => {}
        (one, None) => drop(spec.insert("clusterIPs".into(), json!([one]))),
        _ => {}
    }
}

/// An update: what it leaves out stays, what its type has no use for goes.
pub(super) fn carry_over(service: &mut Value, old: &Value) {
    sync_addresses(service, old);
    keep_allotted(service, old);
    drop_unused(service, old);
    normalize(service);
}

/// Whoever changes one of `clusterIP` and `clusterIPs` means both.
fn sync_addresses(service: &mut Value, old: &Value) {
    let (was, was_list) = (
        text(spec(old), "clusterIP").to_owned(),
        part(spec(old), "clusterIPs").clone(),
    );
    let one = text(spec(service), "clusterIP").to_owned();
    let same_list = *part(spec(service), "clusterIPs") == was_list;
    let Some(spec) = map(service) else { return };
    if one != was && same_list {
        if one.is_empty() {
            spec.remove("clusterIPs");
        } else if let Some(first) = spec.get_mut("clusterIPs").and_then(|list| list.get_mut(0)) {
            *first = one.into();
        }
    }
}

fn keep_allotted(service: &mut Value, old: &Value) {
    if needs_address(old) && needs_address(service) {
        let (one, list) = (
            text(spec(old), "clusterIP").to_owned(),
            part(spec(old), "clusterIPs").clone(),
        );
        if let Some(spec) = map(service) {
            let said = |key: &str| spec.get(key).is_some_and(|v| !v.is_null() && v != "");
            let empty_list = spec
                .get("clusterIPs")
                .and_then(Value::as_array)
                .is_none_or(Vec::is_empty);
            if !said("clusterIP") && empty_list && !one.is_empty() {
                spec.insert("clusterIP".into(), one.clone().into());
            }
            if empty_list
                && spec.get("clusterIP").and_then(Value::as_str) == Some(&one)
                && !list.is_null()
            {
                spec.insert("clusterIPs".into(), list);
            }
        }
    }
    if needs_node_ports(old) && needs_node_ports(service) {
        keep_node_ports(service, old);
    }
    if needs_health_port(old) && needs_health_port(service) {
        let port = part(spec(old), "healthCheckNodePort").clone();
        let missing = part(spec(service), "healthCheckNodePort")
            .as_u64()
            .unwrap_or(0)
            == 0;
        if let Some(spec) = map(service).filter(|_| missing && !port.is_null()) {
            spec.insert("healthCheckNodePort".into(), port);
        }
    }
    for key in ["ipFamilies", "ipFamilyPolicy"] {
        let same = needs_address(old) && needs_address(service);
        let value = part(spec(old), key).clone();
        if let Some(spec) = map(service).filter(|_| same && !value.is_null()) {
            spec.entry(key).or_insert(value);
        }
    }
}

/// A port keeps its node port when the update doesn't name one, unless it gives that to another.
fn keep_node_ports(service: &mut Value, old: &Value) {
    let key = |port: &Value| {
        (
            text(port, "protocol").to_owned(),
            part(port, "port").clone(),
        )
    };
    let number = |port: &Value| part(port, "nodePort").as_u64().unwrap_or(0);
    let used: Vec<u64> = items(spec(service), "ports").iter().map(number).collect();
    let known: Vec<_> = items(spec(old), "ports")
        .iter()
        .map(|port| (key(port), number(port)))
        .collect();
    let ports = map(service)
        .and_then(|spec| spec.get_mut("ports"))
        .and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        if number(port) != 0 {
            continue;
        }
        let before = known.iter().find(|(k, _)| *k == key(port)).map(|(_, n)| *n);
        if let Some(before) = before.filter(|n| *n != 0 && !used.contains(n)) {
            port["nodePort"] = before.into();
        }
    }
}

/// What the old type needed and the new one doesn't goes, if the update did not touch it: people change
/// the type and nothing else.
fn drop_unused(service: &mut Value, old: &Value) {
    let same = |key: &str, service: &Value| *part(spec(service), key) == *part(spec(old), key);
    if needs_address(old) && !needs_address(service) {
        for keys in [
            &["clusterIP", "clusterIPs"][..],
            &["ipFamilies", "ipFamilyPolicy"],
        ] {
            if keys.iter().all(|key| same(key, service)) {
                remove(service, keys);
            }
        }
    }
    if needs_node_ports(old) && !needs_node_ports(service) && same_node_ports(service, old) {
        let ports = map(service)
            .and_then(|spec| spec.get_mut("ports"))
            .and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten() {
            if let Some(port) = port.as_object_mut() {
                port.remove("nodePort");
            }
        }
    }
    type Needs = fn(&Value) -> bool;
    let rules: [(&str, Needs); 5] = [
        ("healthCheckNodePort", needs_health_port),
        ("allocateLoadBalancerNodePorts", is_balanced),
        ("loadBalancerClass", is_balanced),
        ("externalTrafficPolicy", needs_node_ports),
        ("internalTrafficPolicy", needs_address),
    ];
    for (key, needs) in rules {
        if needs(old) && !needs(service) && same(key, service) {
            remove(service, &[key]);
        }
    }
    if kind(old) == "ExternalName"
        && kind(service) != "ExternalName"
        && same("externalName", service)
    {
        remove(service, &["externalName"]);
    }
}

fn is_balanced(service: &Value) -> bool {
    kind(service) == "LoadBalancer"
}

fn same_node_ports(service: &Value, old: &Value) -> bool {
    let numbers = |service: &Value| -> Vec<Value> {
        let mut list: Vec<Value> = items(spec(service), "ports")
            .iter()
            .map(|port| part(port, "nodePort").clone())
            .filter(|port| !port.is_null())
            .collect();
        list.sort_by_key(Value::as_u64);
        list
    };
    let (new, old) = (numbers(service), numbers(old));
    new.iter().all(|port| old.contains(port))
}

fn remove(service: &mut Value, keys: &[&str]) {
    if let Some(spec) = map(service) {
        keys.iter().for_each(|key| drop(spec.remove(*key)));
    }
}

/// The address families: this cluster has one. A Service without address and selector names endpoints
/// of its own, which may be of either family.
pub(super) fn families(service: &mut Value) {
    if !needs_address(service) {
        return;
    }
    let headless = text(spec(service), "clusterIP") == "None";
    let selectorless = part(spec(service), "selector")
        .as_object()
        .is_none_or(Map::is_empty);
    let (families, policy) = if headless && selectorless {
        (json!(["IPv4", "IPv6"]), "RequireDualStack")
    } else {
        (json!(["IPv4"]), "SingleStack")
    };
    let Some(spec) = map(service) else { return };
    let said = spec.get("ipFamilyPolicy").and_then(Value::as_str);
    let families = if said == Some("SingleStack") {
        json!(["IPv4"])
    } else {
        families
    };
    spec.entry("ipFamilyPolicy").or_insert(policy.into());
    spec.entry("ipFamilies").or_insert(families);
}
