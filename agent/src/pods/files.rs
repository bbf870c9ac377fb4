//! Small files under the run directory.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest termination message, as upstream.
const MESSAGE_MAX: usize = 4096;

/// Makes a directory and those above it, for root only.
pub(super) fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
}

/// Writes a file by rename, so that it is there whole or not at all.
pub(super) fn write(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    if let Some(parent) = path.parent() {
        make_dir(parent, 0o755)?;
    }
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(mode)
        .open(&new)?;
    file.write_all(bytes)?;
    fs::rename(&new, path)
}

/// Writes a value by rename.
pub(super) fn write_record<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    write(path, 0o600, &bramble_wire::encode(value))
}

/// A value written by [`write_record`]; `None` when it is not there or not whole.
pub(super) fn read_record<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = fs::read(path).ok()?;
    bramble_wire::decode(&bytes, "record").ok()
}

/// The end of a termination message file.
pub(super) fn read_message(path: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(MESSAGE_MAX as u64)))?;
        let mut bytes = Vec::new();
        file.take(MESSAGE_MAX as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// Removes a directory with everything in it; one that is not there is fine.
pub(super) fn remove_dir(path: &Path) -> io::Result<()> {
    crate::tree::remove(path)
}

/// Names in a directory; one that is not there has none.
pub(super) fn names(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
