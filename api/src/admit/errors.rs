//! Collects what is wrong with an object, so that one answer names it all.

use crate::kind::Kind;
use crate::status::{Cause, Status};
use serde_json::Value;

/// Most causes in one answer; a person fixes the first ones first.
const MAX_CAUSES: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Errors(Vec<Cause>);

impl Errors {
    pub(super) fn required(&mut self, path: impl Into<String>, detail: &str) {
        self.push(Cause::required(path, detail));
    }

    pub(super) fn invalid(&mut self, path: impl Into<String>, value: &Value, detail: &str) {
        self.push(Cause::invalid(path, value, detail));
    }

    pub(super) fn forbidden(&mut self, path: impl Into<String>, detail: &str) {
        self.push(Cause::forbidden(path, detail));
    }

    pub(super) fn push(&mut self, cause: Cause) {
        if self.0.len() < MAX_CAUSES {
            self.0.push(cause);
        }
    }

    /// Adds what is said of fields that nothing was said of yet.
    pub(super) fn extend_new(&mut self, causes: Vec<Cause>) {
        let known: std::collections::HashSet<String> =
            self.0.iter().map(|cause| cause.field.clone()).collect();
        let new = causes.into_iter().filter(|c| !known.contains(&c.field));
        new.for_each(|cause| self.push(cause));
    }

    /// One invalid value with each of several reasons.
    pub(super) fn each(&mut self, path: &str, value: &str, reasons: Vec<String>) {
        for reason in reasons {
            self.invalid(path, &value.into(), &reason);
        }
    }

    /// A value out of a fixed list; absent is fine.
    pub(super) fn one_of(&mut self, path: String, value: Option<&Value>, supported: &[&str]) {
        if let Some(value) = value
            && !value.as_str().is_some_and(|v| supported.contains(&v))
        {
            self.push(Cause::not_supported(path, value, supported));
        }
    }

    /// A number that may not be negative; absent is fine.
    pub(super) fn not_negative(&mut self, path: String, value: Option<&Value>) {
        if let Some(value) = value
            && value.as_i64().is_some_and(|n| n < 0)
        {
            self.invalid(path, value, "must be greater than or equal to 0");
        }
    }

    /// Map of labels, all under one path as upstream reports them.
    pub(super) fn labels(&mut self, path: &str, labels: Option<&Value>) {
        for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
            self.each(path, key, crate::metadata::qualified_name(key));
            let value = value.as_str().unwrap_or_default();
            self.each(path, value, crate::metadata::label_value(value));
        }
    }

    pub(super) fn into_result(self, kind: &Kind, name: &str) -> Result<(), Status> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(kind.invalid(name, self.0))
        }
    }
}
