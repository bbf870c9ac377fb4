//! The addresses and ports of Services: what a Service gets, and what it may ask for.
//!
//! In: the Service, its stored state, and what others have. Out: the Service with everything that the
//! cluster allots, and what of that is new. Sources: upstream's `pkg/registry/core/service/storage`
//! (`alloc.go`, `storage.go`) and `pkg/registry/core/service/strategy.go`.

mod fields;
mod pick;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use bramble_api::status::Cause;
use serde_json::{Value, json};

use super::{items, part, text};

pub use pick::Range;

/// Node ports, as upstream by default.
pub const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

/// What other Services have, or have been promised.
pub trait InUse {
    /// An address of the range.
    fn address(&self, address: Ipv4Addr) -> bool;
    /// A node port.
    fn port(&self, port: u16) -> bool;
}

/// Addresses and ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Cluster addresses.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// Node ports, health checks' among them.
    pub ports: BTreeSet<u16>,
}

impl Holdings {
    /// What a Service has.
    #[must_use]
    pub fn of(service: &Value) -> Self {
        let spec = part(service, "spec");
        let one = text(spec, "clusterIP");
        let addresses = items(spec, "clusterIPs").iter().filter_map(Value::as_str);
        let port = |value: &Value| value.as_u64().and_then(|n| u16::try_from(n).ok());
        let ports = items(spec, "ports")
            .iter()
            .map(|p| part(p, "nodePort"))
            .chain([part(spec, "healthCheckNodePort")])
            .filter_map(port)
            .filter(|port| *port != 0);
        Self {
            addresses: addresses
                .chain([one])
                .filter_map(|text| text.parse().ok())
                .collect(),
            ports: ports.collect(),
        }
    }
}

/// Why a Service gets nothing.
#[derive(Debug, PartialEq)]
pub enum Error {
    /// It asks for what it may not have.
    Invalid(Vec<Cause>),
    /// Nothing is left.
    Full(&'static str),
}

/// Gives a Service what it needs and checks what it asks for. `old` is its stored state; `random` is a
/// fresh random number. Returns what it has beyond `old`.
///
/// # Errors
/// [`Error`].
pub fn allot(
    service: &mut Value,
    old: Option<&Value>,
    range: Range,
    in_use: &dyn InUse,
    random: u64,
) -> Result<Holdings, Error> {
    if !part(service, "spec").is_object() {
        return Ok(Holdings::default());
    }
    match old {
        Some(old) => fields::carry_over(service, old),
        None => fields::normalize(service),
    }
    let before = old.map(Holdings::of).unwrap_or_default();
    let mut allotment = Allotment {
        range,
        in_use,
        before,
        new: Holdings::default(),
        random,
        causes: Vec::new(),
    };
    allotment.address(service, old)?;
    fields::families(service);
    allotment.node_ports(service)?;
    allotment.health_port(service)?;
    if allotment.causes.is_empty() {
        Ok(allotment.new)
    } else {
        Err(Error::Invalid(allotment.causes))
    }
}

struct Allotment<'a> {
    range: Range,
    in_use: &'a dyn InUse,
    before: Holdings,
    new: Holdings,
    random: u64,
    causes: Vec<Cause>,
}

impl Allotment<'_> {
    fn address(&mut self, service: &mut Value, old: Option<&Value>) -> Result<(), Error> {
        if !fields::needs_address(service) {
            return Ok(());
        }
        let asked = text(part(service, "spec"), "clusterIP").to_owned();
        if let Some(old) = old.filter(|old| fields::needs_address(old)) {
            let was = text(part(old, "spec"), "clusterIP");
            if !was.is_empty() && was != asked {
                let list = part(part(service, "spec"), "clusterIPs").clone();
                let cause = Cause::invalid("spec.clusterIPs[0]", &list, "may not change once set");
                self.causes.push(cause);
                return Ok(());
            }
        }
        if asked == "None" {
            return Ok(());
        }
        if asked.is_empty() {
            let address = self
                .range
                .pick(self.random, |a| {
                    self.in_use.address(a) || self.new.addresses.contains(&a)
                })
                .ok_or(Error::Full("failed to allocate a serviceIP: range is full"))?;
            let text = address.to_string();
            service["spec"]["clusterIP"] = text.clone().into();
            service["spec"]["clusterIPs"] = json!([text]);
            self.new.addresses.insert(address);
            return Ok(());
        }
        // What is no address is validation's to say.
        let Ok(address) = asked.parse::<Ipv4Addr>() else {
            return Ok(());
        };
        if self.before.addresses.contains(&address) {
            return Ok(());
        }
        let refused = if !self.range.contains(address) {
            Some(format!(
                "the provided IP ({address}) is not in the valid range. The range of valid IPs is {}",
                self.range
            ))
        } else {
            self.in_use
                .address(address)
                .then(|| "provided IP is already allocated".to_owned())
        };
        match refused {
            Some(why) => self.causes.push(Cause::invalid(
                "spec.clusterIPs",
                &json!([asked]),
                &format!("failed to allocate IP {address}: {why}"),
            )),
            None => drop(self.new.addresses.insert(address)),
        }
        Ok(())
    }

    /// Ports of the same number, one for each protocol, share a node port.
    fn node_ports(&mut self, service: &mut Value) -> Result<(), Error> {
        if !fields::needs_node_ports(service) {
            return Ok(());
        }
        let explicit_only = text(part(service, "spec"), "type") == "LoadBalancer"
            && part(part(service, "spec"), "allocateLoadBalancerNodePorts").as_bool()
                == Some(false);
        let count = items(part(service, "spec"), "ports").len();
        for at in 0..count {
            let ports = items(part(service, "spec"), "ports");
            let number = |port: &Value| part(port, "port").as_u64().unwrap_or(0);
            let said = |port: &Value| part(port, "nodePort").as_u64().unwrap_or(0);
            let (own, asked) = (number(&ports[at]), said(&ports[at]));
            if asked != 0 {
                self.port(asked, &format!("spec.ports[{at}].nodePort"));
                continue;
            }
            if explicit_only {
                continue;
            }
            // Of another protocol, since a port stands in the list once for each.
            let shared = ports
                .iter()
                .filter(|port| {
                    number(port) == own && part(port, "protocol") != part(&ports[at], "protocol")
                })
                .map(said)
                .find(|port| *port != 0);
            let port = match shared {
                Some(port) => port,
                None => u64::from(self.free_port("failed to allocate a nodePort: range is full")?),
            };
            service["spec"]["ports"][at]["nodePort"] = port.into();
        }
        Ok(())
    }

    fn health_port(&mut self, service: &mut Value) -> Result<(), Error> {
        if !fields::needs_health_port(service) {
            return Ok(());
        }
        let asked = part(part(service, "spec"), "healthCheckNodePort")
            .as_u64()
            .unwrap_or(0);
        if asked != 0 {
            self.port(asked, "spec.healthCheckNodePort");
            return Ok(());
        }
        let full = "failed to allocate a HealthCheck NodePort: range is full";
        let port = self.free_port(full)?;
        service["spec"]["healthCheckNodePort"] = port.into();
        Ok(())
    }

    fn free_port(&mut self, full: &'static str) -> Result<u16, Error> {
        let taken = |port: u16| {
            self.in_use.port(port)
                || self.new.ports.contains(&port)
                || self.before.ports.contains(&port)
        };
        self.random = self
            .random
            .rotate_left(17)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let port = pick::port(self.random, taken).ok_or(Error::Full(full))?;
        self.new.ports.insert(port);
        Ok(port)
    }

    /// A port that is asked for.
    fn port(&mut self, asked: u64, field: &str) {
        let port = u16::try_from(asked)
            .ok()
            .filter(|port| NODE_PORTS.contains(port));
        let why = match port {
            None => format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                NODE_PORTS.start(),
                NODE_PORTS.end()
            ),
            Some(port) if self.before.ports.contains(&port) || self.new.ports.contains(&port) => {
                return;
            }
            Some(port) if self.in_use.port(port) => "provided port is already allocated".to_owned(),
            Some(port) => {
                self.new.ports.insert(port);
                return;
            }
        };
        self.causes.push(Cause::invalid(field, &asked.into(), &why));
    }
}
