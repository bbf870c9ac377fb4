//! Tables of what bounds and ranks: quotas, priority classes, leases, revisions, accounts.

use super::{Printer, age, column, list, name, number, text};
use crate::time::Timestamp;
use serde_json::{Map, Value, json};

pub(super) static SERVICE_ACCOUNT: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("Secrets", "string", 0),
        column("Age", "string", 0),
    ],
    cells: |object, now| {
        let secrets = list(object, "/secrets").len();
        vec![name(object), json!(secrets), age(object, now)]
    },
};

pub(super) static LEASE: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("Holder", "string", 0),
        column("Age", "string", 0),
    ],
    cells: |object, now| {
        let holder = text(object, "/spec/holderIdentity");
        vec![name(object), holder.into(), age(object, now)]
    },
};

pub(super) static PRIORITY_CLASS: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("Value", "integer", 0),
        column("Global-Default", "boolean", 0),
        column("Age", "string", 0),
        column("PreemptionPolicy", "string", 0),
    ],
    cells: |object, now| {
        let global = object.get("globalDefault") == Some(&Value::Bool(true));
        vec![
            name(object),
            number(object, "/value").into(),
            global.into(),
            age(object, now),
            text(object, "/preemptionPolicy").into(),
        ]
    },
};

pub(super) static CONTROLLER_REVISION: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("Controller", "string", 0),
        column("Revision", "string", 0),
        column("Age", "string", 0),
    ],
    cells: controller_revision,
};

fn controller_revision(object: &Value, now: Timestamp) -> Vec<Value> {
    let controller = list(object, "/metadata/ownerReferences")
        .iter()
        .find(|owner| owner.get("controller") == Some(&Value::Bool(true)));
    let controller = controller.map_or_else(|| "<none>".into(), reference);
    vec![
        name(object),
        controller.into(),
        number(object, "/revision").into(),
        age(object, now),
    ]
}

/// `statefulset.apps/web`, as kubectl names an object of a kind.
fn reference(owner: &Value) -> String {
    let kind = text(owner, "/kind").to_lowercase();
    let group = text(owner, "/apiVersion")
        .split_once('/')
        .map(|(group, _)| format!(".{group}"))
        .unwrap_or_default();
    format!("{kind}{group}/{}", text(owner, "/name"))
}

pub(super) static RESOURCE_QUOTA: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("Request", "string", 0),
        column("Limit", "string", 0),
        column("Age", "string", 0),
    ],
    cells: resource_quota,
};

/// Used and bound of each resource, limits apart.
fn resource_quota(object: &Value, now: Timestamp) -> Vec<Value> {
    let empty = Map::new();
    let hard = object
        .pointer("/status/hard")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let mut names: Vec<&String> = hard.keys().collect();
    names.sort();
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for resource in names {
        let used = object
            .pointer("/status/used")
            .and_then(|used| used.get(resource));
        let pair = format!(
            "{resource}: {}/{}",
            amount(used),
            amount(hard.get(resource))
        );
        if resource.starts_with("limits.") {
            limits.push(pair);
        } else {
            requests.push(pair);
        }
    }
    vec![
        name(object),
        requests.join(", ").into(),
        limits.join(", ").into(),
        age(object, now),
    ]
}

fn amount(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "0".into(),
    }
}
