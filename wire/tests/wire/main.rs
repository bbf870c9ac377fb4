//! The wire format from outside: properties over arbitrary values and bytes, and stored samples of
//! every message, which must load for ever.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod properties;
mod samples;
