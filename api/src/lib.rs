//! The Kubernetes object model, as a pure library: no sockets, no clock, no async runtime.
//!
//! In come bytes and JSON values that a client sent; out go checked JSON values, canonical bytes
//! and upstream's own answers ([`status::Status`], tables, discovery and OpenAPI documents).
//! Nothing here owns state: every function works on what it is handed.
//!
//! One generic engine runs over one table of facts ([`facts`]); what is particular to a kind is a
//! small overlay: defaults and validation in [`admit`], columns in [`table`], what this release
//! carries out in [`support`].

pub mod admit;
pub mod apply;
pub mod convert;
pub mod decode;
pub mod discovery;
pub mod facts;
pub mod kind;
pub mod metadata;
pub mod openapi;
pub mod patch;
pub mod quantity;
pub mod selector;
pub mod status;
pub mod support;
pub mod table;
pub mod time;
pub mod view;
