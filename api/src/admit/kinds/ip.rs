//! Addresses, port numbers and protocols, in upstream's words (`apimachinery/pkg/util/validation`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Errors;
use crate::metadata;
use serde_json::Value;

pub(super) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
pub(super) const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";
const IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// An address of either family.
pub(super) fn address(path: &str, text: &str, errors: &mut Errors) -> Option<IpAddr> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        errors.invalid(path, &text.into(), IP);
    }
    parsed
}

pub(super) fn v4(path: &str, text: &str, errors: &mut Errors) -> Option<IpAddr> {
    let parsed = text.parse::<Ipv4Addr>().ok();
    if parsed.is_none() {
        errors.invalid(path, &text.into(), "must be a valid IPv4 address");
    }
    parsed.map(IpAddr::V4)
}

pub(super) fn v6(path: &str, text: &str, errors: &mut Errors) -> Option<IpAddr> {
    let parsed = text.parse::<Ipv6Addr>().ok();
    if parsed.is_none() {
        errors.invalid(path, &text.into(), "must be a valid IPv6 address");
    }
    parsed.map(IpAddr::V6)
}

/// Addresses that make no sense as an endpoint, or belong to the node alone.
pub(super) fn not_special(path: &str, ip: IpAddr, errors: &mut Errors) {
    let text = ip.to_string();
    let (link_local, link_multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (
            ip.segments()[0] & 0xffc0 == 0xfe80,
            ip.segments()[0] == 0xff02,
        ),
    };
    for (is, why) in [
        (
            ip.is_unspecified(),
            format!("may not be unspecified ({text})"),
        ),
        (
            ip.is_loopback(),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)".into(),
        ),
        (
            link_local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)".into(),
        ),
        (
            link_multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".into(),
        ),
    ] {
        if is {
            errors.invalid(path, &text.as_str().into(), &why);
        }
    }
}

pub(in crate::admit) fn cidr(path: &str, text: &str, errors: &mut Errors) {
    let fine = text.split_once('/').is_some_and(|(ip, bits)| {
        let most = match ip.parse() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        bits.parse::<u8>().is_ok_and(|bits| bits <= most) && !bits.starts_with('+')
    });
    if !fine {
        errors.invalid(
            path,
            &text.into(),
            "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        );
    }
}

/// A required port number.
pub(super) fn port(path: &str, value: Option<&Value>, errors: &mut Errors) {
    let number = value.and_then(Value::as_i64).unwrap_or(0);
    if !(1..=65535).contains(&number) {
        errors.invalid(path, &number.into(), PORT_RANGE);
    }
}

/// A port's number or its name.
pub(super) fn port_or_name(path: &str, value: &Value, errors: &mut Errors) {
    match value {
        Value::String(name) => {
            for reason in port_name(name) {
                errors.invalid(path, value, &reason);
            }
        }
        number => port(path, Some(number), errors),
    }
}

/// What is wrong with an IANA service name; empty when fine.
fn port_name(name: &str) -> Vec<String> {
    let mut out = Vec::new();
    if name.len() > 15 {
        out.push("must be no more than 15 characters".into());
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || !name.bytes().all(allowed) {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !name.bytes().any(|b| b.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".into());
    }
    if name.contains("--") {
        out.push("must not contain consecutive hyphens".into());
    }
    if name.starts_with('-') || name.ends_with('-') {
        out.push("must not begin or end with a hyphen".into());
    }
    out
}

pub(super) fn protocol(path: &str, value: Option<&Value>, errors: &mut Errors) {
    match value.and_then(Value::as_str) {
        None | Some("") => errors.required(path, ""),
        Some(_) => errors.one_of(path.into(), value, &PROTOCOLS),
    }
}

pub(super) fn app_protocol(path: &str, value: Option<&Value>, errors: &mut Errors) {
    if let Some(text) = value.and_then(Value::as_str) {
        errors.each(path, text, metadata::qualified_name(text));
    }
}
