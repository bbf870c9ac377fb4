//! Backup of a running controller, and the restore of one.
//!
//! A backup is a tar of the store, at one revision, and of the keys that can't be made again:
//!
//! ```text
//! bramble-backup          what it is, of which cluster, of when (JSON)
//! pki/…                   the cluster's CA and signing keys
//! store/records-000001    records of the store, each behind its length (4 bytes, little endian)
//! sums                    SHA-256 of every entry before, as `sha256sum -c` reads it
//! ```
//! [`take`] makes one while the controller runs; only pointers are held meanwhile. [`restore()`] reads
//! one twice: all of it is looked at before the first byte is written. What is written stands in a
//! directory of its own until it is whole, with the new epoch begun; then it takes the old one's place
//! in one step of the file system, and the old one is kept beside it.

mod archive;
mod restore;
mod take;

use serde::{Deserialize, Serialize};

use crate::pki;
use crate::store::{self, NoStore, OpenError};

pub use restore::{Restored, check, restore};
pub(crate) use take::take;

/// What [`Manifest::format`] this release writes, and the newest that it reads.
const FORMAT: u32 = 1;
const MANIFEST: &str = "bramble-backup";
const PKI: &str = "pki/";
const RECORDS: &str = "store/records-";
const SUMS: &str = "sums";

/// The first entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Raised when an older release can't read it.
    pub format: u32,
    /// Version of the controller that wrote it.
    pub version: String,
    /// Whose it is.
    pub cluster: String,
    /// The epoch that it was taken in.
    pub epoch: u32,
    /// Of which state of the store.
    pub revision: u64,
    /// When it was taken.
    pub time: String,
}

/// Why a backup could not be taken, read or put in place. Nothing has changed then, but where it says so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("{operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// It begins like something else.
    #[error("this is no backup: it is not a file that `bramble backup` wrote")]
    Foreign,
    /// A later release wrote it.
    #[error(
        "the backup has format {found} (written by Bramble {version}); this is Bramble {own}, which reads \
         up to format {FORMAT}: restore it with that release",
        own = env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// Its format.
        found: u32,
        /// Who wrote it.
        version: String,
    },
    /// It is not what was written.
    #[error("the backup is damaged at byte {at}: {what}; nothing was changed")]
    Damaged {
        /// Where it was noticed.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// The directory is in use.
    #[error("a controller runs on {0}; stop it first (systemctl stop bramble-controller)")]
    Running(String),
    /// The directory holds something.
    #[error("{directory} holds {what}; --force moves it aside, as {aside}, and never deletes it")]
    Occupied {
        /// The directory.
        directory: String,
        /// What is in it.
        what: String,
        /// Where it would be moved to.
        aside: String,
    },
    /// The file system can't put one directory in the place of another.
    #[error(
        "{directory} can't be replaced in one step here (it is a mount point, or its file system has no \
         exchange of names); move what it holds away by hand and try again"
    )]
    Unmovable {
        /// The directory.
        directory: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store could not be written.
    #[error("writing the store")]
    Store(#[from] OpenError),
    /// The store failed while the epoch was begun.
    #[error("beginning a new epoch")]
    Control(#[from] crate::nodelink::control::Error),
    /// The keys are unusable.
    #[error("the keys of the backup")]
    Keys(#[from] pki::Error),
    /// The store ended while the backup was taken.
    #[error("reading the store")]
    Reading(#[from] store::Error),
}

impl From<(u64, NoStore)> for Error {
    fn from((at, what): (u64, NoStore)) -> Self {
        let what = what.to_string();
        Self::Damaged { at, what }
    }
}

#[cfg(test)]
mod tests;
