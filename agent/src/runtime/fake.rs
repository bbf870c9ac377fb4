//! A runtime in memory, for tests of what uses one.
