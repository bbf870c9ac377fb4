//! Tables of what holds a pod template.

use super::network::labels;
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

pub(super) static REPLICATION_CONTROLLER: Printer = Printer {
    columns: REPLICA_SET.columns,
    cells: replication_controller,
};

fn replication_controller(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = replica_set(object, now);
    // A plain map here, not a selector with expressions.
    cells.truncate(5);
    cells.extend(containers(list(object, "/spec/template/spec/containers")));
    cells.push(or_none(&labels(object.pointer("/spec/selector"))));
    cells
}

pub(super) static POD_TEMPLATE: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("Containers", "string", 0),
        column("Images", "string", 0),
        column("Pod Labels", "string", 0),
    ],
    cells: |object, _| {
        let mut cells = vec![name(object)];
        cells.extend(containers(list(object, "/template/spec/containers")));
        let labels = labels(object.pointer("/template/metadata/labels"));
        cells.push(or_none(&labels));
        cells
    },
};

/// Names and images.
fn containers(containers: &[Value]) -> [Value; 2] {
    let joined = |key: &str| {
        containers
            .iter()
            .map(|c| text(c, key))
            .collect::<Vec<_>>()
            .join(",")
    };
    [joined("/name").into(), joined("/image").into()]
}

/// Container names, images and the selector, for `-o wide`.
fn template_cells(object: &Value) -> [Value; 3] {
    let [names, images] = containers(list(object, "/spec/template/spec/containers"));
    let selector = object
        .pointer("/spec/selector")
        .and_then(|s| LabelSelector::from_object(s).ok())
        .map(|s| s.to_query())
        .unwrap_or_default();
    [names, images, or_none(&selector)]
}
