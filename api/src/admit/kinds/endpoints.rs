//! Endpoints and EndpointSlices (`pkg/apis/core/validation`, `pkg/apis/discovery/validation`).

use super::super::pod::{list, text};
use super::{Errors, Object, each, immutable, ip, set};
use crate::metadata;
use crate::status::Cause;
use serde_json::{Value, json};

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 100;
const MAX_TOPOLOGY: usize = 16;

pub(super) fn defaults(object: &mut Object) {
    each(object, "subsets", |subset| {
        each(subset, "ports", |port| set(port, "protocol", "TCP"));
    });
}

pub(super) fn slice_defaults(object: &mut Object) {
    each(object, "ports", |port| {
        set(port, "name", "");
        set(port, "protocol", "TCP");
    });
}

pub(super) fn validate(object: &Object, errors: &mut Errors) {
    let subsets = object.get("subsets").and_then(Value::as_array);
    for (at, subset) in subsets.into_iter().flatten().enumerate() {
        let path = format!("subsets[{at}]");
        let (ready, not_ready) = (list(subset, "addresses"), list(subset, "notReadyAddresses"));
        if ready.is_empty() && not_ready.is_empty() {
            errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for (name, addresses) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
            for (at, address) in addresses.iter().enumerate() {
                validate_address(&format!("{path}.{name}[{at}]"), address, errors);
            }
        }
        let ports = list(subset, "ports");
        for (at, port) in ports.iter().enumerate() {
            validate_port(
                &format!("{path}.ports[{at}]"),
                port,
                ports.len() > 1,
                errors,
            );
        }
    }
}

fn validate_address(path: &str, address: &Value, errors: &mut Errors) {
    let at = format!("{path}.ip");
    let parsed = ip::address(&at, text(address, "ip"), errors);
    let hostname = text(address, "hostname");
    if !hostname.is_empty() {
        let reasons = metadata::dns_label(hostname);
        errors.each(&format!("{path}.hostname"), hostname, reasons);
    }
    if let Some(node) = address.get("nodeName").and_then(Value::as_str) {
        let reasons = metadata::dns_subdomain(node);
        errors.each(&format!("{path}.nodeName"), node, reasons);
    }
    if let Some(parsed) = parsed {
        ip::not_special(&at, parsed, errors);
    }
}

fn validate_port(path: &str, port: &Value, named: bool, errors: &mut Errors) {
    let name = text(port, "name");
    if !name.is_empty() {
        errors.each(&format!("{path}.name"), name, metadata::dns_label(name));
    } else if named {
        errors.required(format!("{path}.name"), "");
    }
    ip::port(&format!("{path}.port"), port.get("port"), errors);
    ip::protocol(&format!("{path}.protocol"), port.get("protocol"), errors);
    ip::app_protocol(
        &format!("{path}.appProtocol"),
        port.get("appProtocol"),
        errors,
    );
}

pub(super) fn validate_slice(object: &Object, errors: &mut Errors) {
    let kind = object
        .get("addressType")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if kind.is_empty() {
        errors.required("addressType", "");
    }
    let endpoints = object
        .get("endpoints")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if endpoints.len() > MAX_ENDPOINTS {
        errors.push(Cause::too_many("endpoints", endpoints.len(), MAX_ENDPOINTS));
    } else {
        for (at, endpoint) in endpoints.iter().enumerate() {
            validate_endpoint(&format!("endpoints[{at}]"), endpoint, kind, errors);
        }
    }
    validate_slice_ports(object, errors);
}

fn validate_endpoint(path: &str, endpoint: &Value, kind: &str, errors: &mut Errors) {
    let addresses = list(endpoint, "addresses");
    let at = format!("{path}.addresses");
    if addresses.is_empty() {
        errors.required(&at, "must contain at least 1 address");
    } else if addresses.len() > MAX_ADDRESSES {
        errors.push(Cause::too_many(&at, addresses.len(), MAX_ADDRESSES));
    }
    for (index, address) in addresses.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let address = address.as_str().unwrap_or_default();
        let parsed = match kind {
            "IPv4" => ip::v4(&at, address, errors),
            "IPv6" => ip::v6(&at, address, errors),
            "FQDN" => {
                fully_qualified(&at, address, errors);
                None
            }
            // A kind that is not known is named above.
            _ => None,
        };
        if let Some(parsed) = parsed {
            ip::not_special(&at, parsed, errors);
        }
    }
    let topology = endpoint.get("deprecatedTopology");
    let count = topology
        .and_then(Value::as_object)
        .map_or(0, serde_json::Map::len);
    if count > MAX_TOPOLOGY {
        errors.push(Cause::too_many(
            format!("{path}.topology"),
            count,
            MAX_TOPOLOGY,
        ));
    }
    errors.labels(&format!("{path}.topology"), topology);
    if let Some(hostname) = endpoint.get("hostname").and_then(Value::as_str) {
        let reasons = metadata::dns_label(hostname);
        errors.each(&format!("{path}.hostname"), hostname, reasons);
    }
}

/// A name with at least one dot.
fn fully_qualified(path: &str, name: &str, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    errors.each(path, name, metadata::dns_subdomain(name));
    if name.split('.').count() < 2 {
        errors.invalid(
            path,
            &name.into(),
            "should be a domain with at least two segments separated by dots",
        );
    }
}

fn validate_slice_ports(object: &Object, errors: &mut Errors) {
    let ports = object
        .get("ports")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if ports.len() > MAX_PORTS {
        errors.push(Cause::too_many("ports", ports.len(), MAX_PORTS));
        return;
    }
    let mut seen: Vec<&str> = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        let path = format!("ports[{at}]");
        let name = text(port, "name");
        if !name.is_empty() {
            errors.each(&format!("{path}.name"), name, metadata::dns_label(name));
        }
        if seen.contains(&name) {
            errors.push(Cause::duplicate(format!("{path}.name"), &json!(name)));
        }
        seen.push(name);
        ip::protocol(&format!("{path}.protocol"), port.get("protocol"), errors);
        ip::app_protocol(
            &format!("{path}.appProtocol"),
            port.get("appProtocol"),
            errors,
        );
    }
}

pub(super) fn validate_new_slice(object: &Object, errors: &mut Errors) {
    if let Some(kind) = object.get("addressType").filter(|kind| **kind != "") {
        errors.one_of("addressType".into(), Some(kind), &["FQDN", "IPv4", "IPv6"]);
    }
}

pub(super) fn validate_slice_update(old: &Object, new: &Object, errors: &mut Errors) {
    let kind = new.get("addressType");
    if kind.is_some_and(|kind| *kind != "") {
        let known = ["FQDN", "IP", "IPv4", "IPv6"];
        errors.one_of("addressType".into(), kind, &known);
    }
    immutable("addressType", old.get("addressType"), kind, errors);
}
