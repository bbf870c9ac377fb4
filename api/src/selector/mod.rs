//! Label and field selectors, from query strings and from JSON selector objects.

mod field;
mod label;

pub use field::FieldSelector;
pub use label::{LabelSelector, Requirement};
