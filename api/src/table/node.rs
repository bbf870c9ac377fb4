//! The table of nodes.

use super::{Printer, age, column, list, name, text};
use crate::quantity::Quantity;
use crate::time::Timestamp;
use serde_json::{Map, Value};

pub(super) static PRINTER: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("Status", "string", 0),
        column("Roles", "string", 0),
        column("Age", "string", 0),
        column("Version", "string", 0),
        column("Internal-IP", "string", 1),
        column("External-IP", "string", 1),
        column("OS-Image", "string", 1),
        column("Kernel-Version", "string", 1),
        column("Container-Runtime", "string", 1),
    ],
    cells,
};

/// What a node uses, as metrics-server prints it.
pub(super) static METRICS: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("CPU", "", 0),
        column("MEMORY", "", 0),
        column("WINDOW", "string", 0),
    ],
    cells: |object, _| {
        let total = |resource: &str| sum(std::iter::once(object), resource);
        used(object, total)
    },
};

/// The cells of what is used.
pub(super) fn used(object: &Value, total: impl Fn(&str) -> Quantity) -> Vec<Value> {
    vec![
        name(object),
        total("cpu").to_string().into(),
        total("memory").to_string().into(),
        text(object, "/window").into(),
    ]
}

/// The sum of a resource over everything that has `usage`.
pub(super) fn sum<'a>(of: impl Iterator<Item = &'a Value>, resource: &str) -> Quantity {
    let amounts = of.map(|one| text(one, &format!("/usage/{resource}")));
    let amounts = amounts.filter_map(|amount| Quantity::parse(amount).ok());
    amounts
        .reduce(std::ops::Add::add)
        .unwrap_or(Quantity::from_count(0))
}

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let info = |key: &str| or_unknown(text(object, &format!("/status/nodeInfo/{key}")));
    vec![
        name(object),
        status(object).into(),
        roles(object).into(),
        age(object, now),
        text(object, "/status/nodeInfo/kubeletVersion").into(),
        address(object, "InternalIP"),
        address(object, "ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn or_unknown(text: &str) -> Value {
    if text.is_empty() {
        "<unknown>".into()
    } else {
        text.into()
    }
}

fn status(object: &Value) -> String {
    let ready = list(object, "/status/conditions")
        .iter()
        .find(|c| text(c, "/type") == "Ready");
    let mut out = match ready.map(|c| text(c, "/status")) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".into(),
        None => "Unknown".into(),
    };
    if object.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        out.push_str(",SchedulingDisabled");
    }
    out
}

fn roles(object: &Value) -> String {
    let empty = Map::new();
    let labels = object
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let mut roles: Vec<&str> = labels
        .iter()
        .filter_map(
            |(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
                Some(role) if !role.is_empty() => Some(role),
                _ if key == "kubernetes.io/role" => value.as_str().filter(|v| !v.is_empty()),
                _ => None,
            },
        )
        .collect();
    roles.sort_unstable();
    if roles.is_empty() {
        "<none>".into()
    } else {
        roles.join(",")
    }
}

fn address(object: &Value, kind: &str) -> Value {
    let found = list(object, "/status/addresses")
        .iter()
        .find(|a| text(a, "/type") == kind);
    match found.map(|a| text(a, "/address")) {
        Some(address) if !address.is_empty() => address.into(),
        _ => "<none>".into(),
    }
}
