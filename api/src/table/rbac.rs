//! Tables of bindings. Roles have no columns of their own.

use super::{Printer, age, column, list, name, text};
use crate::time::Timestamp;
use serde_json::Value;

pub(super) static BINDING: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("Role", "string", 0),
        column("Age", "string", 0),
        column("Users", "string", 1),
        column("Groups", "string", 1),
        column("ServiceAccounts", "string", 1),
    ],
    cells,
};

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let role = format!(
        "{}/{}",
        text(object, "/roleRef/kind"),
        text(object, "/roleRef/name")
    );
    let subjects = |kind: &str| -> Value {
        let names: Vec<String> = list(object, "/subjects")
            .iter()
            .filter(|subject| text(subject, "/kind") == kind)
            .map(|subject| match (kind, text(subject, "/namespace")) {
                ("ServiceAccount", namespace) if !namespace.is_empty() => {
                    format!("{namespace}/{}", text(subject, "/name"))
                }
                _ => text(subject, "/name").to_owned(),
            })
            .collect();
        names.join(", ").into()
    };
    vec![
        name(object),
        role.into(),
        age(object, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}
