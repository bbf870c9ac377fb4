//! The controller: API server, store, controllers, broker and node link.

pub mod apiserver;
pub mod backup;
pub mod broker;
pub mod config;
pub mod controllers;
pub mod join;
pub mod nodelink;
pub mod object;
pub mod pki;
pub mod run;
pub mod store;
pub mod tokens;
pub mod usage;
