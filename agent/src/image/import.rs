//! Image archives that appear: in a folder, or on a stick with a label. Nothing is polled.
//!
//! In: changes of directories, told by the kernel. Out: archives (`*.tar`) loaded into the [`Store`],
//! a line in the log for each. A file counts by name, size and time; one that was refused is tried
//! again when it changes. Whoever can write there decides what runs under the names of the images, so
//! neither is watched unless a flag says so.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::inotify::WatchFlags;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::store::{Error, Store};
use crate::notices::Notices;

/// Where udev names file systems by their labels.
pub const BY_LABEL: &str = "/dev/disk/by-label";
/// Most archives of one place; more are left alone.
const ARCHIVES_MAX: usize = 64;
/// File systems that a stick may have, the usual ones first.
const FILE_SYSTEMS: [&str; 5] = ["vfat", "exfat", "ext4", "iso9660", "f2fs"];

/// An archive as it was seen: name, size, time of change.
type Seen = (PathBuf, u64, i64, i64);

/// Loads what is in a folder and what comes into it. Made when it is missing.
///
/// # Errors
/// When it can't be watched.
pub async fn watch_folder(store: Arc<Store>, folder: PathBuf) -> io::Result<()> {
    fs::create_dir_all(&folder)?;
    let notices = Notices::new()?;
    let what = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
    notices.watch(&folder, what)?;
    let mut seen = BTreeSet::new();
    loop {
        load_new(&store, &folder, &mut seen).await;
        notices.next().await?;
    }
}

/// Loads what is on a file system of this label each time that it appears below `by_label`.
/// `mount_point` is made and used for as long as it takes.
///
/// # Errors
/// When nothing can be watched.
pub async fn watch_label(
    store: Arc<Store>,
    by_label: PathBuf,
    label: String,
    mount_point: PathBuf,
) -> io::Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if label.is_empty() || !label.bytes().all(plain) || label.starts_with('.') {
        let text = format!("the label {label:?} has other characters than letters, digits, - _ .");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let link = by_label.join(&label);
    let mut there = false;
    loop {
        let notices = Notices::new()?;
        watch_nearest(&notices, &by_label)?;
        // After the watch: what comes in between is not missed.
        let device = fs::canonicalize(&link).ok();
        if let Some(device) = device.as_ref().filter(|_| !there) {
            load_stick(&store, device, &mount_point, &label).await;
        }
        there = device.is_some();
        notices.next().await?;
    }
}

/// Watches the folder, or the one above it that exists: udev makes them as they are needed.
fn watch_nearest(notices: &Notices, folder: &Path) -> io::Result<()> {
    let what = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE | WatchFlags::ONLYDIR;
    let mut error = io::Error::from(io::ErrorKind::NotFound);
    for folder in folder.ancestors() {
        match notices.watch(folder, what) {
            Ok(()) => return Ok(()),
            Err(other) => error = other,
        }
    }
    Err(error)
}

/// Archives of a folder that are new or have changed, in the order of their names.
fn archives(folder: &Path, seen: &BTreeSet<Seen>) -> Vec<Seen> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut out: Vec<Seen> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "tar"))
        .filter_map(|path| {
            let meta = fs::symlink_metadata(&path).ok()?;
            let is_file = meta.is_file();
            is_file.then(|| (path, meta.len(), meta.mtime(), meta.mtime_nsec()))
        })
        .filter(|archive| !seen.contains(archive))
        .collect();
    out.sort();
    out.truncate(ARCHIVES_MAX);
    out
}

async fn load_new(store: &Store, folder: &Path, seen: &mut BTreeSet<Seen>) {
    let found = archives(folder, seen);
    for archive in found {
        let path = archive.0.clone();
        seen.retain(|(other, ..)| *other != path);
        seen.insert(archive);
        log(&path, store.load(&path).await);
    }
}

fn log(path: &Path, result: Result<Vec<super::child::Loaded>, Error>) {
    let archive = path.display();
    match result {
        Ok(images) => {
            for image in images {
                let names = image.references.join(", ");
                tracing::info!(%archive, image = %image.id, names, "image loaded");
            }
        }
        Err(error) => {
            tracing::warn!(%archive, error = crate::error_chain(&error), "archive not loaded");
        }
    }
}

async fn load_stick(store: &Store, device: &Path, at: &Path, label: &str) {
    tracing::info!(device = %device.display(), label, "a stick with images");
    let (from, to) = (device.to_owned(), at.to_owned());
    let mounted = tokio::task::spawn_blocking(move || mount_read_only(&from, &to)).await;
    match mounted.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
        Ok(()) => {}
        Err(error) => {
            tracing::warn!(device = %device.display(), %error, "the stick can't be read");
            return;
        }
    }
    load_new(store, at, &mut BTreeSet::new()).await;
    let at = at.to_owned();
    let let_go = tokio::task::spawn_blocking(move || {
        // A stick that was pulled out is not there to be asked.
        unmount(&at, UnmountFlags::empty()).or_else(|_| unmount(&at, UnmountFlags::DETACH))
    });
    if let Ok(Err(error)) = let_go.await {
        tracing::warn!(%error, "the stick can't be let go");
    } else {
        tracing::info!(label, "the stick can be taken out");
    }
}

fn mount_read_only(device: &Path, at: &Path) -> io::Result<()> {
    fs::create_dir_all(at)?;
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    let mut last = io::Error::from(io::ErrorKind::Unsupported);
    for kind in FILE_SYSTEMS {
        // Not even a journal is written.
        let options = (kind == "ext4").then_some(c"noload");
        match mount(device, at, kind, flags, options) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NODEV) => {}
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}
