//! A crash-safe record log: the ground under the controller's store and the agent's state.
//!
//! In: opaque records, appended in batches and synced by the caller's decision. Out: at start,
//! every record that was ever acknowledged, in order. The caller owns the [`Ledger`] and drives it
//! from one thread; it starts no thread and no timer, and idle it writes nothing.
//!
//! * [`Ledger::append`] stages, [`Ledger::sync`] makes what is staged durable and only then
//!   returns: everything staged shares one `fdatasync` and survives whole or not at all.
//! * Records live in preallocated segments. Recovery drops a torn tail; an invalid frame with a
//!   valid one behind it is corruption, which is reported and never repaired by guessing.
//! * [`Ledger::compact`] replaces the log by a snapshot that the caller writes;
//!   [`Ledger::begin_compaction`] does so while appending goes on.
//! * A [`Gate`] lets a release read what a later one wrote, as far as that may be.
//! * [`salvage`] reads around damage, for whoever has decided to.
//! * A full disk is a clean error and changes nothing. Any other failure of the disk poisons the
//!   ledger, because what the kernel kept of the data is then unknown: the process must end.
//!
//! What we rely on: `fdatasync` is honest, rename is atomic, and writing a byte range never damages
//! bytes outside of it. `harness` (feature of the same name) proves the rest.

mod compaction;
mod disk;
mod error;
mod format;
mod frame;
#[cfg(any(test, feature = "harness"))]
pub mod harness;
mod layout;
mod log;
mod media;
mod recover;
mod salvage;
#[cfg(test)]
mod tests;

pub use compaction::{Compacted, Compaction};
pub use disk::Disk;
pub use error::{Error, Rejection};
pub use format::{Format, Gate, Refused, SKIPPABLE};
pub use log::{Ledger, Options, Origin};
pub use media::{File, Media};
pub use salvage::{Salvaged, salvage};
