//! What an agent decides, without doing any of it.
//!
//! In come an accepted document ([`desired`]), a snapshot of the node ([`observed`]), what must not
//! be forgotten ([`memory`]) and the time. Out come a [`plan`]: what to remember, one action a pod,
//! the reasons of what waits, when to look again; and [`report`]s. The edge (`bramble-agent`) owns
//! all state: these functions hold none, do no I/O and read no clock.
//!
//! | module | what |
//! |---|---|
//! | [`plan`] | what to do next, for every pod |
//! | [`container`], [`env`], [`volume`] | a container of the document as the runtime needs it |
//! | [`field`] | what pods can learn of themselves and the node |
//! | [`image`] | the image of a container: ready, on its way, or why not |
//! | [`ipam`] | addresses of pods |
//! | [`oom`] | whom the kernel kills first |
//! | [`probe`] | hooks and probes of what runs |
//! | [`backoff`] | delays of restarts and retries |
//! | [`report`] | what the node says of its pods |
//! | [`session`] | the conversation with the controller |

pub mod backoff;
pub mod container;
pub mod desired;
pub mod env;
pub mod field;
pub mod image;
pub mod ipam;
pub mod memory;
pub mod observed;
pub mod oom;
pub mod plan;
pub mod probe;
pub mod report;
pub mod session;
pub mod time;
pub mod volume;
pub mod whole;
