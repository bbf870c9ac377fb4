//! Tables of Deployments and ReplicaSets.

use super::{Printer, age, column, list, name, number, or_none, text};
use crate::selector::LabelSelector;
use crate::time::Timestamp;
use serde_json::Value;

pub(super) static DEPLOYMENT: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("Ready", "string", 0),
        column("Up-to-date", "string", 0),
        column("Available", "string", 0),
        column("Age", "string", 0),
        column("Containers", "string", 1),
        column("Images", "string", 1),
        column("Selector", "string", 1),
    ],
    cells: deployment,
};

fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let ready = format!(
        "{}/{}",
        number(object, "/status/readyReplicas"),
        number(object, "/spec/replicas")
    );
    let mut cells = vec![
        name(object),
        ready.into(),
        number(object, "/status/updatedReplicas").into(),
        number(object, "/status/availableReplicas").into(),
        age(object, now),
    ];
    cells.extend(template_cells(object));
    cells
}

pub(super) static REPLICA_SET: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("Desired", "integer", 0),
        column("Current", "integer", 0),
        column("Ready", "integer", 0),
        column("Age", "string", 0),
        column("Containers", "string", 1),
        column("Images", "string", 1),
        column("Selector", "string", 1),
    ],
    cells: replica_set,
};

fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![
        name(object),
        number(object, "/spec/replicas").into(),
        number(object, "/status/replicas").into(),
        number(object, "/status/readyReplicas").into(),
        age(object, now),
    ];
    cells.extend(template_cells(object));
    cells
}

/// Container names, images and the selector, for `-o wide`.
fn template_cells(object: &Value) -> [Value; 3] {
    let containers = list(object, "/spec/template/spec/containers");
    let joined = |key: &str| {
        containers
            .iter()
            .map(|c| text(c, key))
            .collect::<Vec<_>>()
            .join(",")
    };
    let selector = object
        .pointer("/spec/selector")
        .and_then(|s| LabelSelector::from_object(s).ok())
        .map(|s| s.to_query())
        .unwrap_or_default();
    [
        joined("/name").into(),
        joined("/image").into(),
        or_none(&selector),
    ]
}
