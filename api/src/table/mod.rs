//! `Table` answers: upstream's printer columns, one row at a time.
//!
//! Columns and cells are those of `pkg/printers/internalversion/printers.go`, always with the wide
//! ones. Objects come in the form that is stored or in the one that is served.

mod apps;
mod core;
mod event;
mod network;
mod node;
mod pod;
mod policy;
mod rbac;
#[cfg(test)]
mod tests;

use crate::convert;
use crate::kind::Kind;
use crate::time::{Timestamp, human_duration};
use serde_json::{Value, json};

/// A column.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// `string`, `integer`, `date`.
    pub r#type: &'static str,
    /// `name` for the column that holds the name, else empty.
    pub format: &'static str,
    /// 0 always shown, 1 with `-o wide`.
    pub priority: u8,
    /// Text for people.
    pub description: &'static str,
}

/// What each row carries beside its cells (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// `PartialObjectMetadata`: the default.
    Metadata,
    /// The whole object.
    Object,
}

impl Include {
    /// From the query parameter.
    pub fn from_query(value: Option<&str>) -> Self {
        match value {
            Some("None") => Self::None,
            Some("Object") => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// Columns and the function that fills them, one pair per kind.
struct Printer {
    columns: &'static [Column],
    cells: fn(&Value, Timestamp) -> Vec<Value>,
}

fn printer(kind: &Kind) -> &'static Printer {
    match (kind.storage_group, kind.kind) {
        ("", "Pod") => &pod::PRINTER,
        ("", "Node") => &node::PRINTER,
        ("", "Event") => &event::PRINTER,
        ("", "Namespace") => &core::NAMESPACE,
        ("", "ConfigMap") => &core::CONFIG_MAP,
        ("", "Secret") => &core::SECRET,
        ("", "Service") => &network::SERVICE,
        ("", "Endpoints") => &network::ENDPOINTS,
        ("", "ServiceAccount") => &policy::SERVICE_ACCOUNT,
        ("", "ResourceQuota") => &policy::RESOURCE_QUOTA,
        ("", "ReplicationController") => &apps::REPLICATION_CONTROLLER,
        ("", "PodTemplate") => &apps::POD_TEMPLATE,
        ("apps", "ControllerRevision") => &policy::CONTROLLER_REVISION,
        ("coordination.k8s.io", "Lease") => &policy::LEASE,
        ("discovery.k8s.io", "EndpointSlice") => &network::ENDPOINT_SLICE,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &rbac::BINDING,
        ("scheduling.k8s.io", "PriorityClass") => &policy::PRIORITY_CLASS,
        ("metrics.k8s.io", "NodeMetrics") => &node::METRICS,
        ("metrics.k8s.io", "PodMetrics") => &pod::METRICS,
        ("apps", "Deployment") => &apps::DEPLOYMENT,
        ("apps", "ReplicaSet") => &apps::REPLICA_SET,
        _ => &core::GENERIC,
    }
}

/// The columns of a kind.
pub fn columns(kind: &Kind) -> &'static [Column] {
    printer(kind).columns
}

/// The cells of one object, as many as there are columns.
pub fn row(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let cells = printer(kind).cells;
    // Printers read the stored form.
    if convert::is_foreign(kind) {
        let mut object = object.clone();
        convert::to_stored(kind, &mut object);
        return cells(&object, now);
    }
    cells(object, now)
}

const fn column(name: &'static str, r#type: &'static str, priority: u8) -> Column {
    let format = match name.as_bytes() {
        b"Name" => "name",
        _ => "",
    };
    Column {
        name,
        r#type,
        format,
        priority,
        description: "",
    }
}

/// A text field by its path of keys; empty when absent.
fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn number(object: &Value, path: &str) -> i64 {
    object
        .pointer(path)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

fn list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    object
        .pointer(path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn name(object: &Value) -> Value {
    text(object, "/metadata/name").into()
}

/// The age since a time stamp, `<unknown>` without one.
fn age_of(stamp: &str, now: Timestamp) -> String {
    match Timestamp::parse(stamp) {
        Some(then) => human_duration(now.since(then)),
        None => "<unknown>".into(),
    }
}

fn age(object: &Value, now: Timestamp) -> Value {
    age_of(text(object, "/metadata/creationTimestamp"), now).into()
}

fn or_none(text: &str) -> Value {
    if text.is_empty() {
        "<none>".into()
    } else {
        text.into()
    }
}

/// `columnDefinitions` as JSON.
pub fn column_definitions(kind: &Kind) -> Value {
    columns(kind)
        .iter()
        .map(|c| {
            json!({"name": c.name, "type": c.r#type, "format": c.format,
                   "description": c.description, "priority": c.priority})
        })
        .collect()
}

/// One entry of `rows` as JSON. `object` is moved in, since `Include::Object` carries it whole.
pub fn row_json(kind: &Kind, object: Value, now: Timestamp, include: Include) -> Value {
    let cells = row(kind, &object, now);
    match include {
        Include::None => json!({"cells": cells}),
        Include::Object => {
            let mut object = object;
            convert::to_served(kind, &mut object);
            json!({"cells": cells, "object": object})
        }
        Include::Metadata => {
            let metadata = object.get("metadata").cloned().unwrap_or_default();
            json!({"cells": cells, "object": {
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}})
        }
    }
}

/// A whole table of one object (GET, watch event).
pub fn table_of(
    kind: &Kind,
    object: Value,
    now: Timestamp,
    include: Include,
    with_columns: bool,
) -> Value {
    let version = object
        .pointer("/metadata/resourceVersion")
        .cloned()
        .unwrap_or_else(|| "".into());
    let columns = if with_columns {
        column_definitions(kind)
    } else {
        Value::Null
    };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": version},
           "columnDefinitions": columns, "rows": [row_json(kind, object, now, include)]})
}
