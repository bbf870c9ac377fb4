//! The few things the ledger asks of a file system. [`crate::Disk`] is the real one;
//! `harness::Recorder` records, fails on command and replays what a power cut may leave.

use std::io;

/// A directory that belongs to one ledger.
pub trait Media: Send + Sync + 'static {
    /// An open file.
    type File: File;
    /// Holds the directory until dropped.
    type Lock: Send + 'static;

    /// Locks the directory against other processes.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when somebody else holds it.
    fn lock(&self) -> io::Result<Self::Lock>;

    /// Names of all files.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens an existing file.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Creates a file, or empties an existing one.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Renames atomically over whatever is there.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; one that does not exist is fine.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self) -> io::Result<()>;

    /// How many bytes can still be stored, as far as the system knows.
    ///
    /// Asked before a large file is begun: on a full disk every attempt would otherwise write to
    /// the flash whatever still fits, only to give it back.
    ///
    /// # Errors
    /// What the system says.
    fn free(&self) -> io::Result<u64>;

    /// A number that nobody can foresee.
    ///
    /// # Errors
    /// What the system says.
    fn salt(&self) -> io::Result<u64>;
}

/// An open file of a [`Media`].
pub trait File: Send + 'static {
    /// Its size.
    ///
    /// # Errors
    /// What the system says.
    fn size(&self) -> io::Result<u64>;

    /// Fills as much of `buffer` as the file has from `offset` on; returns how much.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the system says; part of it may then be written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes content and size durable.
    ///
    /// # Errors
    /// What the system says; what is durable is then unknown.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the next read come from the device instead of from memory.
    ///
    /// After a failed sync the kernel keeps pages that never reached the device and calls them
    /// clean. A start must not believe them.
    fn drop_cache(&self);
}

/// Whether an error says that there is no room, as opposed to that the device failed.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
