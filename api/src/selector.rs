//! Label and field selectors, from query strings and from JSON selector objects.

use crate::kind::Kind;
use crate::status::Status;
use serde_json::{Map, Value};

/// One condition on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// `key=value` or `key in (a,b)`.
    In(String, Vec<String>),
    /// `key!=value` or `key notin (a,b)`; true when the label is missing.
    NotIn(String, Vec<String>),
    /// `key`.
    Exists(String),
    /// `!key`.
    Missing(String),
    /// `key>number`.
    Greater(String, i64),
    /// `key<number`.
    Less(String, i64),
    /// Selects nothing: a null selector object.
    Never,
}

/// Conditions on labels that must all hold; none matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// Parses the `labelSelector` query parameter.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let _ = text;
        Ok(Self::default())
    }

    /// From a selector object (`matchLabels`, `matchExpressions`). As upstream: null matches
    /// nothing, an empty object everything.
    pub fn from_object(selector: &Value) -> Result<Self, Status> {
        let _ = selector;
        Ok(Self::default())
    }

    /// From a plain map of labels.
    pub fn from_labels(labels: &Map<String, Value>) -> Self {
        let _ = labels;
        Self::default()
    }

    /// The conditions.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether labels, looked up by key, fulfil every condition.
    pub fn matches_with<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let _ = label;
        true
    }

    /// Whether an object's labels fulfil every condition.
    pub fn matches(&self, object: &Value) -> bool {
        let _ = object;
        true
    }
}

/// Conditions on fields that must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<(String, String, bool)>,
}

impl FieldSelector {
    /// Parses the `fieldSelector` query parameter and checks that the kind supports the fields.
    pub fn parse(kind: &Kind, text: &str) -> Result<Self, Status> {
        let _ = (kind, text);
        Ok(Self::default())
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that the field must have, when it is bound to one (`metadata.name=x`).
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|(f, _, equal)| f == field && *equal)
            .map(|(_, v, _)| v.as_str())
    }

    /// Whether the object fulfils every condition.
    pub fn matches(&self, object: &Value) -> bool {
        let _ = object;
        true
    }
}
