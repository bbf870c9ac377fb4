//! The status of a Service: what a load balancer gave it (`ValidateLoadBalancerStatus` in
//! `pkg/apis/core/validation/validation.go`).

use super::super::pod::{list, text};
use super::{Errors, Object, ip};
use crate::metadata;
use serde_json::Value;
use std::net::IpAddr;

const INGRESS: &str = "status.loadBalancer.ingress";

/// An address of a load balancer is virtual unless it says otherwise; upstream's default.
pub(super) fn defaults(object: &mut Object) {
    if kind(object) != "LoadBalancer" {
        return;
    }
    let status = object.get_mut("status");
    let ingress = status.and_then(|status| status.pointer_mut("/loadBalancer/ingress"));
    for entry in ingress.and_then(Value::as_array_mut).into_iter().flatten() {
        if !text(entry, "ip").is_empty() && entry.get("ipMode").is_none_or(Value::is_null) {
            entry["ipMode"] = "VIP".into();
        }
    }
}

fn kind(object: &Object) -> &str {
    object.get("spec").map_or("", |spec| text(spec, "type"))
}

pub(super) fn validate(object: &Object, errors: &mut Errors) {
    let none = &Value::Null;
    let balancer = (object.get("status")).and_then(|status| status.get("loadBalancer"));
    let ingress = list(balancer.unwrap_or(none), "ingress");
    if kind(object) != "LoadBalancer" && !ingress.is_empty() {
        errors.forbidden(
            INGRESS,
            "may only be used when `spec.type` is \"LoadBalancer\"",
        );
        return;
    }
    for (at, entry) in ingress.iter().enumerate() {
        let path = format!("{INGRESS}[{at}]");
        let (address, host) = (text(entry, "ip"), text(entry, "hostname"));
        if !address.is_empty() {
            ip::address(&format!("{path}.ip"), address, errors);
        }
        let mode = entry.get("ipMode").filter(|mode| !mode.is_null());
        let field = format!("{path}.ipMode");
        match mode {
            None if !address.is_empty() => {
                errors.required(field, "must be specified when `ip` is set");
            }
            Some(_) if address.is_empty() => {
                errors.forbidden(field, "may not be specified when `ip` is not set");
            }
            mode => errors.one_of(field, mode, &["Proxy", "VIP"]),
        }
        if !host.is_empty() {
            let field = format!("{path}.hostname");
            errors.each(&field, host, metadata::dns_subdomain(host));
            if host.parse::<IpAddr>().is_ok() {
                let why = "must be a DNS name, not an IP address";
                errors.invalid(field, &host.into(), why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::kinds::tests::created;
    use crate::admit::{Update, update};
    use crate::kind::find;
    use crate::time::Timestamp;
    use serde_json::json;

    /// The ingress as it is stored, or what is wrong with it.
    fn stored(kind: &str, ingress: Value) -> Result<Value, Vec<String>> {
        let spec = json!({"type": kind, "ports": [{"port": 80}]});
        let old = created("services", json!({"spec": spec})).unwrap();
        let mut new = old.clone();
        new["status"] = json!({"loadBalancer": {"ingress": ingress}});
        let ctx = Update {
            now: Timestamp::default(),
            subresource: Some("status"),
        };
        let lines = |status: crate::status::Status| {
            let causes = status.details().map_or(&[][..], |d| &d.causes);
            let line = |c: &crate::status::Cause| format!("{}: {}", c.field, c.message);
            causes.iter().map(line).collect::<Vec<_>>()
        };
        update(find("", "v1", "services").unwrap(), &old, &mut new, &ctx).map_err(lines)?;
        Ok(new["status"]["loadBalancer"]["ingress"].clone())
    }

    #[test]
    fn what_a_load_balancer_gives_makes_sense() {
        let given = json!([{"ip": "10.0.0.1"}, {"hostname": "a.example"}]);
        let got = stored("LoadBalancer", given).unwrap();
        let want = json!([{"ip": "10.0.0.1", "ipMode": "VIP"}, {"hostname": "a.example"}]);
        assert_eq!(got, want);
        for (kind, ingress, want) in [
            (
                "ClusterIP",
                json!([{"ip": "10.0.0.1"}]),
                "status.loadBalancer.ingress: Forbidden: \
                 may only be used when `spec.type` is \"LoadBalancer\"",
            ),
            (
                "LoadBalancer",
                json!([{"ip": "10.0.0"}]),
                "status.loadBalancer.ingress[0].ip: Invalid value: \"10.0.0\": must be a valid IP \
                 address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ),
            (
                "LoadBalancer",
                json!([{"hostname": "10.0.0.1"}]),
                "status.loadBalancer.ingress[0].hostname: Invalid value: \"10.0.0.1\": must be a \
                 DNS name, not an IP address",
            ),
            (
                "LoadBalancer",
                json!([{"hostname": "a", "ipMode": "VIP"}]),
                "status.loadBalancer.ingress[0].ipMode: Forbidden: \
                 may not be specified when `ip` is not set",
            ),
            (
                "LoadBalancer",
                json!([{"ip": "10.0.0.1", "ipMode": "Magic"}]),
                "status.loadBalancer.ingress[0].ipMode: Unsupported value: \"Magic\": supported \
                 values: \"Proxy\", \"VIP\"",
            ),
        ] {
            assert_eq!(stored(kind, ingress).unwrap_err(), [want]);
        }
    }
}
