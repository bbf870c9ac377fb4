//! Names, labels and annotations under upstream's rules, and the canonical bytes of an object.

use serde_json::Value;

/// Canonical JSON of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    /// The bytes: `kind`, `apiVersion`, `metadata` first, every other key in byte order.
    pub bytes: Vec<u8>,
    /// Where the store writes the decimal revision: just after the opening quote of
    /// `"resourceVersion":""`. `None` when the value has no `metadata` object.
    pub revision_at: Option<usize>,
}

/// Serialises an object canonically, with an empty `resourceVersion` for the store to fill.
pub fn canonical(value: &Value) -> Canonical {
    let _ = value;
    Canonical { bytes: Vec::new(), revision_at: None }
}
