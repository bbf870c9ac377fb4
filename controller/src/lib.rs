//! The controller: API server, store, controllers, broker and node link.

pub mod broker;
pub mod pki;
pub mod store;
