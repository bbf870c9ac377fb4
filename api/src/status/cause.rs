//! What is wrong with one field, in upstream's words (apimachinery `util/validation/field`).

use serde_json::Value;

/// One entry of `details.causes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Upstream's cause type, for example `FieldValueInvalid`.
    pub reason: &'static str,
    /// The path of the field, for example `spec.containers[0].image`.
    pub field: String,
    /// What is wrong, without the path.
    pub message: String,
}

/// Upstream's cause types for a field.
pub mod reason {
    /// A required value is missing.
    pub const REQUIRED: &str = "FieldValueRequired";
    /// The value is malformed or not allowed here.
    pub const INVALID: &str = "FieldValueInvalid";
    /// The value is not in the list of supported values.
    pub const NOT_SUPPORTED: &str = "FieldValueNotSupported";
    /// The value must be unique and is not.
    pub const DUPLICATE: &str = "FieldValueDuplicate";
    /// The value may not be set here.
    pub const FORBIDDEN: &str = "FieldValueForbidden";
    /// The value is too long.
    pub const TOO_LONG: &str = "FieldValueTooLong";
    /// There are too many values.
    pub const TOO_MANY: &str = "FieldValueTooMany";
    /// The value refers to something that does not exist.
    pub const NOT_FOUND: &str = "FieldValueNotFound";
    /// The value has the wrong type.
    pub const TYPE_INVALID: &str = "FieldValueTypeInvalid";
}

impl Cause {
    /// A missing required value; an empty `detail` gives upstream's bare form.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::new(reason::REQUIRED, field, joined("Required value", detail))
    }

    /// A bad value, shown as upstream shows it (strings quoted, the rest as JSON).
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new(
            reason::INVALID,
            field,
            joined(&format!("Invalid value: {}", shown(value)), detail),
        )
    }

    /// Something that may not be set here.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new(reason::FORBIDDEN, field, joined("Forbidden", detail))
    }

    /// A repeated value.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new(
            reason::DUPLICATE,
            field,
            format!("Duplicate value: {}", shown(value)),
        )
    }

    /// A reference to something that is not there.
    pub fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Self::new(
            reason::NOT_FOUND,
            field,
            format!("Not found: {}", shown(value)),
        )
    }

    /// A value outside the supported ones, which are listed in the order given.
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let list: Vec<String> = supported.iter().map(|s| format!("\"{s}\"")).collect();
        let detail = format!("supported values: {}", list.join(", "));
        Self::new(
            reason::NOT_SUPPORTED,
            field,
            joined(&format!("Unsupported value: {}", shown(value)), &detail),
        )
    }

    /// A value longer than `max` bytes.
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        Self::new(
            reason::TOO_LONG,
            field,
            format!("Too long: may not be more than {max} bytes"),
        )
    }

    /// More items than `max`.
    pub fn too_many(field: impl Into<String>, count: usize, max: usize) -> Self {
        let message = format!("Too many: {count}: must have at most {max} items");
        Self::new(reason::TOO_MANY, field, message)
    }

    /// A field that another manager owns.
    pub fn manager_conflict(field: impl Into<String>, manager: &str) -> Self {
        let message = format!("conflict with {manager}");
        Self::new("FieldManagerConflict", field, message)
    }

    /// The same with a sentence more.
    #[must_use]
    pub fn with_detail(mut self, detail: &str) -> Self {
        self.message = joined(&self.message, detail);
        self
    }

    pub(super) fn new(reason: &'static str, field: impl Into<String>, message: String) -> Self {
        Self {
            reason,
            field: field.into(),
            message,
        }
    }
}

fn joined(head: &str, detail: &str) -> String {
    if detail.is_empty() {
        head.to_owned()
    } else {
        format!("{head}: {detail}")
    }
}

fn shown(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
