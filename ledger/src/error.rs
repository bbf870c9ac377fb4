//! What can go wrong.

use std::io;

/// Why a caller cannot take a record; `"...".into()` makes one.
pub type Rejection = Box<dyn std::error::Error + Send + Sync>;

/// Why the ledger refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds the directory.
    #[error("the ledger is in use by another process")]
    Locked,
    /// No room on the disk. What was staged is dropped; everything older stands.
    #[error("no space left for the ledger")]
    Full,
    /// A record beyond [`crate::Options::max_record`], or more staged than one sync may carry.
    #[error("{size} bytes are too large for the ledger, the limit is {limit}")]
    TooLarge {
        /// Size of what was refused.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The disk holds something that no crash can have left. Nothing was changed; a person has to
    /// look, because repairing means forgetting what was acknowledged.
    #[error("the ledger is corrupt: {file} at byte {offset}: {what}")]
    Corrupt {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The caller could not make sense of a record that is intact on disk.
    #[error("a record in {file} was rejected")]
    Rejected {
        /// The file.
        file: String,
        /// The caller's reason.
        source: Rejection,
    },
    /// The disk failed while starting; nothing was acknowledged.
    #[error("cannot {action} {file}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The disk failed while writing. What it holds is unknown: end the process.
    #[error("the disk failed, the ledger cannot go on")]
    Failed {
        /// What the system said; `None` when this call only ran into an earlier failure.
        source: Option<io::Error>,
    },
}

impl Error {
    /// Whether the process has to end (as opposed to: the call failed, the old state stands).
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Full | Self::TooLarge { .. })
    }
}

/// Names the action and file of an error while starting.
pub(crate) fn io_error<'a>(
    action: &'static str,
    file: &'a str,
) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io {
        action,
        file: file.to_owned(),
        source,
    }
}
