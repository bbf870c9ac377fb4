//! Label and field selectors, from query strings and from JSON selector objects.

mod early;
mod field;
mod label;

pub use early::Labels;
pub use field::FieldSelector;
pub use label::{LabelSelector, Requirement};
