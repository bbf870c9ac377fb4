//! The wire format from outside: properties over arbitrary values and bytes, and stored samples of
//! every message, which must load for ever.

mod properties;
mod samples;
