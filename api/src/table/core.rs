//! Tables of the simple core kinds, and the fallback.

use super::{Column, Printer, age, column, name, text};
use crate::time::Timestamp;
use serde_json::{Map, Value, json};

const AGE: Column = column("Age", "string", 0);

/// Upstream's columns for a kind without a printer: roles, limit ranges.
pub(super) static GENERIC: Printer = Printer {
    columns: &[column("Name", "string", 0), column("Created At", "date", 0)],
    cells: |object, _| {
        let created = text(object, "/metadata/creationTimestamp");
        vec![name(object), created.into()]
    },
};

pub(super) static NAMESPACE: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("Status", "string", 0),
        AGE,
    ],
    cells: |object, now| {
        vec![
            name(object),
            text(object, "/status/phase").into(),
            age(object, now),
        ]
    },
};

pub(super) static CONFIG_MAP: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("Data", "integer", 0),
        AGE,
    ],
    cells: |object, now| {
        let count = entries(object, "data") + entries(object, "binaryData");
        vec![name(object), count.into(), age(object, now)]
    },
};

pub(super) static SECRET: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("Type", "string", 0),
        column("Data", "integer", 0),
        AGE,
    ],
    cells: secret,
};

fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        text(object, "/type").into(),
        json!(entries(object, "data")),
        age(object, now),
    ]
}

fn entries(object: &Value, key: &str) -> usize {
    object
        .get(key)
        .and_then(Value::as_object)
        .map_or(0, Map::len)
}
