//! What is wrong with a Service (`pkg/apis/core/validation`). Addresses and node ports that the
//! cluster hands out are admission's; here they only have to fit each other.

use super::super::pod::{list, text};
use super::service_defaults::{is_external, is_headless, needs_health_check};
use super::{Errors, Object, ip};
use crate::metadata;
use crate::status::Cause;
use serde_json::{Map, Value, json};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];
const MAX_CLIENT_IP_SECONDS: i64 = 86_400;

fn spec_of(object: &Object) -> Option<&Object> {
    object.get("spec").and_then(Value::as_object)
}

pub(super) fn validate(object: &Object, errors: &mut Errors) {
    let empty = Map::new();
    let map = spec_of(object).unwrap_or(&empty);
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let kind = text(spec, "type");
    if list(spec, "ports").is_empty() && !is_headless(map) && kind != "ExternalName" {
        errors.required("spec.ports", "");
    }
    by_type(spec, is_headless(map), errors);
    ports(spec, errors);
    errors.labels("spec.selector", spec.get("selector"));
    affinity(spec, errors);
    cluster_ips(spec, is_headless(map), errors);
    for (at, address) in list(spec, "externalIPs").iter().enumerate() {
        let path = format!("spec.externalIPs[{at}]");
        if let Some(ip) = ip::address(&path, address.as_str().unwrap_or_default(), errors) {
            ip::not_special(&path, ip, errors);
        }
    }
    match kind {
        "" => errors.required("spec.type", ""),
        _ => errors.one_of("spec.type".into(), spec.get("type"), &TYPES),
    }
    node_ports(spec, errors);
    balancer(object, spec, errors);
    traffic(spec, map, errors);
}

fn by_type(spec: &Value, headless: bool, errors: &mut Errors) {
    match text(spec, "type") {
        kind @ ("LoadBalancer" | "NodePort") if headless => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.invalid("spec.clusterIPs[0]", &"None".into(), &why);
        }
        "ExternalName" => {
            let why = "may not be set for ExternalName services";
            for key in ["clusterIPs", "ipFamilies"] {
                if !list(spec, key).is_empty() {
                    errors.forbidden(format!("spec.{key}"), why);
                }
            }
            if spec.get("ipFamilyPolicy").is_some() {
                errors.forbidden("spec.ipFamilyPolicy", why);
            }
            let name = text(spec, "externalName");
            match name.strip_suffix('.').unwrap_or(name) {
                "" => errors.required("spec.externalName", ""),
                name => errors.each("spec.externalName", name, metadata::dns_subdomain(name)),
            }
        }
        _ => {}
    }
}

fn ports(spec: &Value, errors: &mut Errors) {
    let ports = list(spec, "ports");
    let mut names: Vec<&str> = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        let at = |key: &str| format!("spec.ports[{at}].{key}");
        let name = text(port, "name");
        if name.is_empty() && ports.len() > 1 {
            errors.required(at("name"), "");
        } else if !name.is_empty() {
            errors.each(&at("name"), name, metadata::dns_label(name));
            if names.contains(&name) {
                errors.push(Cause::duplicate(at("name"), &name.into()));
            }
            names.push(name);
        }
        ip::port(&at("port"), port.get("port"), errors);
        ip::protocol(&at("protocol"), port.get("protocol"), errors);
        let target = port.get("targetPort").unwrap_or(&Value::Null);
        ip::port_or_name(&at("targetPort"), target, errors);
        ip::app_protocol(&at("appProtocol"), port.get("appProtocol"), errors);
    }
}

fn affinity(spec: &Value, errors: &mut Errors) {
    let config = spec.get("sessionAffinityConfig");
    match text(spec, "sessionAffinity") {
        "" => errors.required("spec.sessionAffinity", ""),
        "None" => {
            if config.is_some() {
                let why = "must not be set when session affinity is None";
                errors.forbidden("spec.sessionAffinityConfig", why);
            }
        }
        "ClientIP" => {
            let seconds = config
                .and_then(|c| c.pointer("/clientIP/timeoutSeconds"))
                .and_then(Value::as_i64)
                .unwrap_or(0);
            if seconds <= 0 || seconds > MAX_CLIENT_IP_SECONDS {
                errors.invalid(
                    "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                    &seconds.into(),
                    "must be greater than 0 and less than 86400",
                );
            }
        }
        _ => errors.one_of(
            "spec.sessionAffinity".into(),
            spec.get("sessionAffinity"),
            &["ClientIP", "None"],
        ),
    }
}

/// Addresses, families and the family policy. This cluster has IPv4.
fn cluster_ips(spec: &Value, headless: bool, errors: &mut Errors) {
    if text(spec, "type") == "ExternalName" {
        return;
    }
    let (ip, ips) = (text(spec, "clusterIP"), list(spec, "clusterIPs"));
    let path = "spec.clusterIPs";
    let all = spec.get("clusterIPs").cloned().unwrap_or_default();
    match (ip.is_empty(), ips.first()) {
        (false, None) => errors.required(path, ""),
        (false, Some(first)) if first != ip => {
            errors.invalid(path, &all, "first value must match `clusterIP`");
        }
        (true, Some(_)) => {
            let why = "must be empty when `clusterIP` is not specified";
            errors.invalid(path, &all, why);
        }
        _ => {}
    }
    let foreign = headless && spec.get("selector").is_none_or(|s| *s == json!({}));
    families(spec, foreign, errors);
    let mut parsed = Vec::new();
    for (at, ip) in ips.iter().enumerate() {
        if at == 0 && ip == "None" {
            if ips.len() > 1 {
                errors.invalid(path, &all, "'None' must be the first and only value");
                return;
            }
            continue;
        }
        let text = ip.as_str().unwrap_or_default();
        parsed.extend(ip::address(&format!("{path}[{at}]"), text, errors));
    }
    if ips.len() > 2 {
        errors.invalid(path, &all, "may only hold up to 2 values");
    }
    if let [one, other, ..] = parsed.as_slice()
        && one.is_ipv4() == other.is_ipv4()
    {
        let why = "may specify no more than one IP for each IP family";
        errors.invalid(path, &all, why);
    }
    for (at, (ip, family)) in parsed.iter().zip(list(spec, "ipFamilies")).enumerate() {
        let want = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
        if matches!(family.as_str(), Some("IPv4" | "IPv6")) && family != want {
            let family = family.as_str().unwrap_or_default();
            let why = format!("expected an {family} value as indicated by `ipFamilies[{at}]`");
            errors.invalid(format!("{path}[{at}]"), &ip.to_string().into(), &why);
        }
    }
}

fn families(spec: &Value, foreign: bool, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, family) in list(spec, "ipFamilies").iter().enumerate() {
        let path = format!("spec.ipFamilies[{at}]");
        let name = family.as_str().unwrap_or_default();
        errors.one_of(path.clone(), Some(family), &["IPv4", "IPv6"]);
        if seen.contains(&name) {
            errors.push(Cause::duplicate(&path, family));
        } else if name == "IPv6" && !foreign {
            errors.invalid(&path, family, "not configured on this cluster");
        }
        seen.push(name);
    }
    let policy = spec.get("ipFamilyPolicy");
    let known = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    errors.one_of("spec.ipFamilyPolicy".into(), policy, &known);
    if policy.is_some_and(|p| p == "RequireDualStack") && !foreign {
        errors.invalid(
            "spec.ipFamilyPolicy",
            &"RequireDualStack".into(),
            "this cluster is not configured for dual-stack services",
        );
    }
}

fn node_ports(spec: &Value, errors: &mut Errors) {
    let mut node_ports: Vec<(&str, i64)> = Vec::new();
    let mut ports: Vec<(&str, i64)> = Vec::new();
    let internal = text(spec, "type") == "ClusterIP";
    for (at, port) in list(spec, "ports").iter().enumerate() {
        let path = format!("spec.ports[{at}]");
        let number = |key: &str| port.get(key).and_then(Value::as_i64).unwrap_or(0);
        let protocol = text(port, "protocol");
        let (node, own) = ((protocol, number("nodePort")), (protocol, number("port")));
        if node.1 != 0 {
            let path = format!("{path}.nodePort");
            if internal {
                let why = "may not be used when `type` is 'ClusterIP'";
                errors.forbidden(&path, why);
            }
            if node_ports.contains(&node) {
                errors.push(Cause::duplicate(path, &node.1.into()));
            }
            node_ports.push(node);
        }
        if ports.contains(&own) {
            let value = json!({"port": own.1, "protocol": protocol});
            errors.push(Cause::duplicate(path, &value));
        }
        ports.push(own);
    }
}

fn balancer(object: &Object, spec: &Value, errors: &mut Errors) {
    let only = "may only be used when `type` is 'LoadBalancer'";
    let balanced = text(spec, "type") == "LoadBalancer";
    let ranges = list(spec, "loadBalancerSourceRanges");
    let annotation = object
        .get("metadata")
        .and_then(|m| {
            m.pointer("/annotations/service.beta.kubernetes.io~1load-balancer-source-ranges")
        })
        .and_then(Value::as_str);
    if !ranges.is_empty() {
        let path = "spec.LoadBalancerSourceRanges";
        if !balanced {
            errors.forbidden(path, only);
        }
        for (at, range) in ranges.iter().enumerate() {
            let range = range.as_str().unwrap_or_default().trim();
            ip::cidr(&format!("{path}[{at}]"), range, errors);
        }
    } else if let Some(ranges) = annotation {
        let path = "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]";
        if !balanced {
            errors.forbidden(path, only);
        }
        if !ranges.trim().is_empty() {
            for range in ranges.trim().split(',') {
                ip::cidr(path, range.trim(), errors);
            }
        }
    }
    for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if spec.get(key).is_some() && !balanced {
            errors.forbidden(format!("spec.{key}"), only);
        }
    }
    if let Some(class) = spec.get("loadBalancerClass").and_then(Value::as_str)
        && balanced
    {
        let reasons = metadata::qualified_name(class);
        errors.each("spec.loadBalancerClass", class, reasons);
    }
}

fn traffic(spec: &Value, map: &Object, errors: &mut Errors) {
    let external = spec.get("externalTrafficPolicy");
    if !is_external(map) {
        if let Some(policy) = external.filter(|p| **p != "") {
            let why = "may only be set for externally-accessible services";
            errors.invalid("spec.externalTrafficPolicy", policy, why);
        }
    } else if external.is_none_or(|p| *p == "") {
        errors.required("spec.externalTrafficPolicy", "");
    } else {
        errors.one_of("spec.externalTrafficPolicy".into(), external, &POLICIES);
    }
    let check = spec
        .get("healthCheckNodePort")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    if check != 0 && !needs_health_check(map) {
        let why =
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.invalid("spec.healthCheckNodePort", &check.into(), why);
    } else if check != 0 && !(1..=65535).contains(&check) {
        errors.invalid("spec.healthCheckNodePort", &check.into(), ip::PORT_RANGE);
    }
    let internal = spec.get("internalTrafficPolicy");
    errors.one_of("spec.internalTrafficPolicy".into(), internal, &POLICIES);
    errors.one_of(
        "spec.trafficDistribution".into(),
        spec.get("trafficDistribution"),
        &["PreferClose", "PreferSameNode", "PreferSameZone"],
    );
}

/// What was allocated once may not change while the type needs it.
pub(super) fn validate_update(old: &Object, new: &Object, errors: &mut Errors) {
    let empty = Map::new();
    let (before, after) = (
        spec_of(old).unwrap_or(&empty),
        spec_of(new).unwrap_or(&empty),
    );
    let kind = |spec: &Object| spec.get("type").cloned().unwrap_or_default();
    if kind(before) != "ExternalName" && kind(after) != "ExternalName" {
        if !(is_headless(before) && is_headless(after)) {
            unchanged(before, after, "clusterIPs", errors);
        }
        if !is_headless(before) && !is_headless(after) {
            unchanged(before, after, "ipFamilies", errors);
        }
    }
    let class = "loadBalancerClass";
    if kind(before) == "LoadBalancer"
        && kind(after) == "LoadBalancer"
        && before.get(class) != after.get(class)
    {
        let value = after.get(class).cloned().unwrap_or_default();
        errors.invalid("spec.loadBalancerClass", &value, "may not change once set");
    }
    let check = "healthCheckNodePort";
    if needs_health_check(before)
        && needs_health_check(after)
        && before.get(check) != after.get(check)
    {
        errors.forbidden("spec.healthCheckNodePort", "field is immutable");
    }
}

fn unchanged(before: &Object, after: &Object, key: &str, errors: &mut Errors) {
    let values = |spec: &Object| -> Vec<Value> {
        let values = spec.get(key).and_then(Value::as_array);
        values.cloned().unwrap_or_default()
    };
    let (old, new) = (values(before), values(after));
    let shown = Value::from(new.clone());
    let path = |at: usize| format!("spec.{key}[{at}]");
    if new.is_empty() && !old.is_empty() {
        let what = if key == "clusterIPs" {
            "primary clusterIP can not be unset"
        } else {
            "primary ipFamily can not be unset"
        };
        errors.invalid(path(0), &shown, what);
        return;
    }
    for (at, (was, is)) in old.iter().zip(&new).enumerate() {
        if was != is {
            // Upstream names the first family, whichever changed.
            let at = if key == "clusterIPs" { at } else { 0 };
            errors.invalid(path(at), &shown, "may not change once set");
        }
    }
}
