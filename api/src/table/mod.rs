//! `Table` answers: upstream's printer columns, one row at a time.

use crate::kind::Kind;
use crate::time::Timestamp;
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

/// The columns of a kind.
pub fn columns(kind: &Kind) -> &'static [Column] {
    let _ = kind;
    &[]
}

/// The cells of one object, as many as there are columns.
pub fn row(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let _ = (kind, object, now);
    Vec::new()
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
        Include::Object => json!({"cells": cells, "object": object}),
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
