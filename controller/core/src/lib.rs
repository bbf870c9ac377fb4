//! Placeholder; see DESIGN.

pub mod nodelink;
