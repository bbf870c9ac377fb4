//! Tables of Services and of what is behind them.

use super::{Printer, age, column, list, name, number, or_none, text};
use crate::time::Timestamp;
use serde_json::{Map, Value};

/// Most addresses or ports in a cell; the rest are counted.
const MOST: usize = 3;

pub(super) static SERVICE: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("Type", "string", 0),
        column("Cluster-IP", "string", 0),
        column("External-IP", "string", 0),
        column("Port(s)", "string", 0),
        column("Age", "string", 0),
        column("Selector", "string", 1),
    ],
    cells: service,
};

fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let cluster_ip = list(object, "/spec/clusterIPs")
        .first()
        .and_then(Value::as_str)
        .unwrap_or_else(|| text(object, "/spec/clusterIP"));
    let ports: Vec<String> = list(object, "/spec/ports")
        .iter()
        .map(|port| {
            let (own, node) = (number(port, "/port"), number(port, "/nodePort"));
            let protocol = text(port, "/protocol");
            if node > 0 {
                format!("{own}:{node}/{protocol}")
            } else {
                format!("{own}/{protocol}")
            }
        })
        .collect();
    vec![
        name(object),
        text(object, "/spec/type").into(),
        or_none(cluster_ip),
        external_ip(object).into(),
        or_none(&ports.join(",")),
        age(object, now),
        or_none(&labels(object.pointer("/spec/selector"))),
    ]
}

fn external_ip(object: &Value) -> String {
    let own: Vec<&str> = list(object, "/spec/externalIPs")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let or_none = |ips: &[&str]| match ips {
        [] => "<none>".to_owned(),
        some => some.join(","),
    };
    match text(object, "/spec/type") {
        "ClusterIP" | "NodePort" => or_none(&own),
        "LoadBalancer" => {
            let ingress = list(object, "/status/loadBalancer/ingress").iter();
            let mut given: Vec<&str> = ingress
                .map(|at| match text(at, "/ip") {
                    "" => text(at, "/hostname"),
                    ip => ip,
                })
                .filter(|at| !at.is_empty())
                .collect();
            given.sort_unstable();
            given.dedup();
            if given.is_empty() && own.is_empty() {
                return "<pending>".into();
            }
            given.extend(own);
            given.join(",")
        }
        "ExternalName" => text(object, "/spec/externalName").to_owned(),
        _ => "<unknown>".into(),
    }
}

/// `a=b,c=d`, by key; empty when there are none.
pub(super) fn labels(map: Option<&Value>) -> String {
    let empty = Map::new();
    let map = map.and_then(Value::as_object).unwrap_or(&empty);
    let mut pairs: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    pairs.join(",")
}

pub(super) static ENDPOINTS: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("Endpoints", "string", 0),
        column("Age", "string", 0),
    ],
    cells: |object, now| vec![name(object), endpoints(object).into(), age(object, now)],
};

fn endpoints(object: &Value) -> String {
    let subsets = list(object, "/subsets");
    if subsets.is_empty() {
        return "<none>".into();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = list(subset, "/addresses").iter().map(|a| text(a, "/ip"));
        let ports = list(subset, "/ports");
        if ports.is_empty() {
            all.extend(addresses.clone().map(str::to_owned));
        }
        for port in ports {
            let port = number(port, "/port");
            all.extend(addresses.clone().map(|ip| joined(ip, port)));
        }
    }
    some_of(&all, "")
}

fn joined(ip: &str, port: i64) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

/// The first few, and how many more.
fn some_of(all: &[String], empty: &str) -> String {
    if all.is_empty() {
        return empty.to_owned();
    }
    let shown = all[..all.len().min(MOST)].join(",");
    match all.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

pub(super) static ENDPOINT_SLICE: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("AddressType", "string", 0),
        column("Ports", "string", 0),
        column("Endpoints", "string", 0),
        column("Age", "string", 0),
    ],
    cells: endpoint_slice,
};

fn endpoint_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = list(object, "/ports")
        .iter()
        .map(|port| match port.get("port").and_then(Value::as_i64) {
            Some(number) => number.to_string(),
            None => match port.get("name").and_then(Value::as_str) {
                Some(name) => name.to_owned(),
                None => "*".into(),
            },
        })
        .collect();
    let addresses: Vec<String> = list(object, "/endpoints")
        .iter()
        .flat_map(|endpoint| list(endpoint, "/addresses"))
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    vec![
        name(object),
        text(object, "/addressType").into(),
        some_of(&ports, "<unset>").into(),
        some_of(&addresses, "<unset>").into(),
        age(object, now),
    ]
}
