//! The power-cut harness: a file system in memory that records what it is asked to do, and then
//! shows every state that a power cut could have left behind.
//!
//! A test drives its code over a [`Recorder`], calls [`Recorder::mark`] whenever the code has
//! acknowledged something, and hands a check to [`sweep`], which calls it for every crash image:
//! after each recorded call, with un-synced sectors and directory changes kept, lost, reordered and
//! torn. The check opens the image and compares it with the last mark.
//!
//! The model: a sector is 512 bytes. Un-synced sector writes reach the device in any order or not
//! at all, and one may be cut short at any byte, keeping the old rest. Un-synced growth of a file
//! may be lost. Creations, renames and removals reach the disk at `sync_dir` or, each by itself, at
//! any time before. `sync_data` covers one file's content and size, not its name.

mod crash;
mod recorder;
pub mod sample;

pub use crash::{Depth, Image, sweep};
pub use recorder::{Call, Recorder, RecorderFile};
