//! The controller: API server, store, controllers, broker and node link.

pub mod broker;
pub mod join;
pub mod object;
pub mod pki;
pub mod store;
