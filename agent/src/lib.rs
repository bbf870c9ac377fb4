//! The node agent: one loop that makes the board what its document says.

pub mod clock;
pub mod config;
pub mod facts;
pub mod identity;
pub mod image;
pub mod join;
pub mod link;
pub mod local;
pub mod logs;
pub mod network;
pub mod pods;
pub mod reconcile;
pub mod runtime;
pub mod state;
pub mod status;
