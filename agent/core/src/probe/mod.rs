//! Hooks and probes of running containers.
//!
//! The plan says what there is to watch ([`Target`]s, the whole list each time). [`machine`] decides
//! when to try what and what the results mean; the edge tries, and shows the planner each
//! container's [`Health`] in its next snapshot.

mod check;
pub mod machine;

pub use check::{Check, HttpCheck, target};

use bramble_wire::object::PodUid;

use crate::observed::Health;

/// A running container with a hook or probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Pod.
    pub uid: PodUid,
    /// Container's name.
    pub container: String,
    /// Which life.
    pub life: u32,
    /// Since when it runs ([`crate::time::Moment::boot_ms`]).
    pub started_boot_ms: u64,
    /// Before anything was tried.
    pub initial: Health,
    /// Run once, before any probe.
    pub post_start: Option<Check>,
    /// Holds the others back.
    pub startup: Option<Watch>,
    /// Ends the container when failing; `None` while the pod is being ended.
    pub liveness: Option<Watch>,
    /// Takes it out of Services when failing.
    pub readiness: Option<Watch>,
}

/// A probe, settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// What is tried.
    pub check: Check,
    /// From the container's start to the first try.
    pub initial_delay_ms: u64,
    /// How long a try may take.
    pub timeout_ms: u64,
    /// Between tries.
    pub period_ms: u64,
    /// Successes in a row that count; at least 1.
    pub success_threshold: u32,
    /// Failures in a row that count; at least 1.
    pub failure_threshold: u32,
}
