//! What the agent does on real parts: containers, cgroups, namespaces, registries. Needs root; one program, so
//! that it is linked once. Each module says what it needs.
#![allow(missing_docs, clippy::unwrap_used)] // tests and their helpers

mod agent;
mod argv;
mod endurance;
mod escapes;
mod frozen;
mod image;
mod import;
mod local;
mod network;
mod program;
mod registry;
mod rights;
mod runtime;
mod sessions;
mod support;
mod versions;
