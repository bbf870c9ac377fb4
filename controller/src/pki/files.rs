//! Files that must be there after a power cut: written beside, synced, renamed, directory synced.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::Error;

fn io<'a>(operation: &'static str, path: &'a Path) -> impl Fn(std::io::Error) -> Error + 'a {
    move |source| Error::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// A directory only its owner may enter.
pub(crate) fn ensure_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io("creating", path))?;
    let mode = fs::metadata(path)
        .map_err(io("reading", path))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(io("setting the mode of", path))?;
    }
    sync_parent(path)
}

/// Removes a directory and all in it; a missing one is fine.
pub(super) fn remove_dir(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io("removing", path)(e)),
        _ => Ok(()),
    }
}

/// Renames a filled directory into place.
pub(super) fn rename_dir(from: &Path, to: &Path) -> Result<(), Error> {
    sync_dir(from)?;
    fs::rename(from, to).map_err(io("renaming", from))?;
    sync_parent(to)
}

/// Writes a file of mode 0600, whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(beside)
        .map_err(io("creating", beside))?;
    file.write_all(bytes).map_err(io("writing", beside))?;
    file.sync_all().map_err(io("syncing", beside))?;
    fs::rename(beside, path).map_err(io("renaming", beside))?;
    sync_parent(path)
}

/// As [`write`], but leaves the flash alone when the content is there already.
pub(super) fn ensure_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    match fs::read(path) {
        Ok(current) if current == bytes => Ok(()),
        _ => write(path, bytes),
    }
}

fn sync_parent(path: &Path) -> Result<(), Error> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => Ok(()),
    }
}

fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(io("syncing", path))
}
