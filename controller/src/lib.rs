//! The controller: API server, store, controllers, broker and node link.

pub mod store;
