//! The node agent: one loop that makes the board what its document says.

pub mod image;
pub mod runtime;
