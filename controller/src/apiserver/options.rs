//! What every write may say in its query, and what upstream says of it when it is wrong.

use bramble_api::decode::FieldValidation;
use bramble_api::status::{Cause, Status};
use serde_json::Value;

use super::request::Query;

/// What every write may say in its query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) dry_run: bool,
    pub(crate) validation: FieldValidation,
}

impl Options {
    /// `what` is the kind of options that upstream's refusal names, such as `CreateOptions`.
    pub(crate) fn parse(query: &Query, what: &str) -> Result<Self, Status> {
        let mut causes = field_manager_causes(query.get("fieldManager").unwrap_or_default());
        let trials: Vec<&str> = query.all("dryRun").collect();
        causes.extend(dry_run_cause(&trials));
        let validation = match query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            Some(other) => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                let other = Value::from(other);
                causes.push(Cause::not_supported("fieldValidation", &other, &supported));
                FieldValidation::Warn
            }
        };
        if !causes.is_empty() {
            return Err(Status::invalid("meta.k8s.io", what, "", causes));
        }
        Ok(Self {
            dry_run: !trials.is_empty(),
            validation,
        })
    }
}

/// What is wrong with the name of a field manager; upstream's `ValidateFieldManager`.
pub(crate) fn field_manager_causes(name: &str) -> Vec<Cause> {
    const MAX: usize = 128;
    let mut causes = Vec::new();
    if name.len() > MAX {
        causes.push(Cause::too_long("fieldManager", MAX));
    }
    for (at, c) in name.char_indices().filter(|(_, c)| c.is_control()) {
        let detail = format!(
            "invalid character U+{:04X} (at position {at})",
            u32::from(c)
        );
        causes.push(Cause::invalid("fieldManager", &name.into(), &detail));
    }
    causes
}

/// Upstream's `ValidateDryRun`: there is one way to try.
pub(crate) fn dry_run_cause(values: &[&str]) -> Option<Cause> {
    let wrong = values.iter().any(|value| *value != "All");
    wrong.then(|| Cause::not_supported("dryRun", &values.into(), &["All"]))
}
