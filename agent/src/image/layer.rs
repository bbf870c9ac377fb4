//! Unpacks one layer into a directory, and nothing anywhere else, whatever the archive says.
//!
//! Every name is resolved by the kernel inside the directory ([`super::rooted`]); the last name of
//! a path is only ever made or removed relative to its opened parent, never followed. Entries that
//! have no business in an image (device nodes, `..`, links to what isn't there) make the whole
//! layer invalid: half an image is worse than none.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
    chownat, fchmod, fchown, fsetxattr, futimens, linkat, mkdirat, mknodat, openat, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use super::blocks::Blocks;
use super::extensions::Extensions;
use super::{Limits, rooted};

/// Why a layer was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive is at fault; trying again won't help.
    #[error("{0}")]
    Invalid(String),
    /// The board is at fault (disk full, …).
    #[error("unpack {path:?}")]
    Io {
        /// Entry at hand.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Totals of an archive, over all its layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Bytes of files.
    pub bytes: u64,
}

/// Unpacks the uncompressed tar of one layer into `root`, an empty directory.
///
/// # Errors
/// [`Error::Invalid`] when the layer must be refused; what was written is in `root` and the
/// caller's to remove.
pub fn unpack(
    reader: impl Read,
    root: &Path,
    limits: &Limits,
    used: &mut Used,
) -> Result<(), Error> {
    let at_root = |source| Error::Io {
        path: PathBuf::from("/"),
        source,
    };
    let root = rooted::open_root(root).map_err(at_root)?;
    let reader = Blocks::new(Extensions::new(reader));
    let end = reader.end();
    let mut archive = Archive::new(reader);
    let entries = archive
        .entries()
        .map_err(|e| Error::Invalid(format!("not a tar archive: {e}")))?;
    for (count, entry) in entries.enumerate() {
        let entry = entry.map_err(|e| Error::Invalid(format!("damaged tar archive: {e}")))?;
        if count as u64 >= limits.entries {
            return Err(Error::Invalid(format!(
                "more than {} entries in a layer",
                limits.entries
            )));
        }
        let bytes = entry.path_bytes();
        let path = checked(Path::new(OsStr::from_bytes(&bytes)), limits)?;
        drop(bytes);
        let content_end = content_end(&entry);
        let mut target = Target {
            root: &root,
            path: &path,
            limits,
            used: &mut *used,
        };
        target.unpack(entry).map_err(|e| match e {
            Fault::Invalid(text) => Error::Invalid(format!("{}: {text}", path.display())),
            Fault::Io(source) => classify(&path, source),
        })?;
        if end.get().is_some_and(|end| content_end > end) {
            let path = path.display();
            return Err(Error::Invalid(format!(
                "{path}: the archive ends within it"
            )));
        }
    }
    Ok(())
}

/// Where the content of a file ends in its archive; nothing else has any.
fn content_end<R: Read>(entry: &Entry<'_, R>) -> u64 {
    let stored = match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous => entry.size(),
        // Its size is with the holes.
        EntryType::GNUSparse => entry.header().entry_size().unwrap_or(0),
        _ => return 0,
    };
    entry.raw_file_position().saturating_add(stored)
}

/// Errors of the tar reader are the archive's, errors of the disk are the board's.
fn classify(path: &Path, source: io::Error) -> Error {
    match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(
            Errno::NAMETOOLONG
            | Errno::LOOP
            | Errno::NOTDIR
            | Errno::ISDIR
            | Errno::XDEV
            | Errno::INVAL,
        )
        | None => Error::Invalid(format!("{}: {source}", path.display())),
        Some(_) => Error::Io {
            path: path.to_owned(),
            source,
        },
    }
}

/// The path below the root; `..` is refused, a leading `/` or `./` means nothing.
fn checked(path: &Path, limits: &Limits) -> Result<PathBuf, Error> {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                return Err(Error::Invalid(format!(
                    "{}: path leads out of the image",
                    path.display()
                )));
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if out.components().count() > limits.depth {
        return Err(Error::Invalid(format!(
            "a path has more than {} names",
            limits.depth
        )));
    }
    Ok(out)
}

enum Fault {
    Invalid(String),
    Io(io::Error),
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

struct Target<'a> {
    root: &'a OwnedFd,
    path: &'a Path,
    limits: &'a Limits,
    used: &'a mut Used,
}

impl Target<'_> {
    fn unpack<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), Fault> {
        let kind = entry.header().entry_type();
        let Some(name) = self.path.file_name() else {
            // The root itself: only its rights matter.
            if kind.is_dir() {
                let dir = rooted::open_dir(self.root, Path::new(""))?;
                return set_rights(&dir, &entry);
            }
            return Err(Fault::Invalid("an entry without a name".to_owned()));
        };
        let parent_path = self.path.parent().unwrap_or(Path::new(""));
        let parent = rooted::open_dir(self.root, parent_path)?;
        if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
            return whiteout(&parent, hidden);
        }
        match kind {
            EntryType::Directory => directory(&parent, name, &entry),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(&parent, name, &mut entry)
            }
            EntryType::Symlink => {
                let link = link_name(&entry)?;
                make_way(&parent, name)?;
                symlinkat(&link, &parent, name)?;
                let (uid, gid) = owner(&entry)?;
                chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
                Ok(())
            }
            EntryType::Link => self.hard_link(&parent, name, &entry),
            EntryType::Fifo => {
                make_way(&parent, name)?;
                mknodat(&parent, name, FileType::Fifo, mode(&entry)?, 0)?;
                let (uid, gid) = owner(&entry)?;
                chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
                Ok(())
            }
            EntryType::Char | EntryType::Block => Err(Fault::Invalid(
                "device nodes are not allowed in an image".to_owned(),
            )),
            EntryType::XGlobalHeader => Ok(()),
            other => Err(Fault::Invalid(format!("entry of unknown type {other:?}"))),
        }
    }

    fn file<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        entry: &mut Entry<'_, R>,
    ) -> Result<(), Fault> {
        // What a header promises counts before it is read.
        if entry.size() > self.limits.unpacked_bytes.saturating_sub(self.used.bytes) {
            return Err(self.too_large());
        }
        make_way(parent, name)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let n = match entry.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) => return Err(Fault::Invalid(format!("damaged tar archive: {e}"))),
            };
            self.used.bytes += n as u64;
            if self.used.bytes > self.limits.unpacked_bytes {
                return Err(self.too_large());
            }
            file.write_all(&buffer[..n])?;
        }
        let file = OwnedFd::from(file);
        // Attributes last: a new owner would cost the file its capabilities.
        set_rights(&file, entry)?;
        set_attributes(&file, entry)?;
        let mtime = Timespec {
            tv_sec: entry.header().mtime().unwrap_or(0).min(i64::MAX as u64 / 2) as i64,
            tv_nsec: 0,
        };
        let omit = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        };
        // A time that the file system can't hold is no reason to refuse an image.
        let _ = futimens(
            &file,
            &Timestamps {
                last_access: omit,
                last_modification: mtime,
            },
        );
        Ok(())
    }

    /// More than a hostile image may take, or than the disk can spare.
    fn too_large(&self) -> Fault {
        match self.limits.disk {
            true => Fault::Io(Errno::NOSPC.into()),
            false => Fault::Invalid(format!(
                "the image unpacks to more than {} bytes",
                self.limits.unpacked_bytes
            )),
        }
    }

    fn hard_link<R: Read>(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        entry: &Entry<'_, R>,
    ) -> Result<(), Fault> {
        let link = link_name(entry)?;
        let target = checked(Path::new(OsStr::from_bytes(&link)), self.limits)
            .map_err(|_| Fault::Invalid("hard link leads out of the image".to_owned()))?;
        if target == self.path {
            return Err(Fault::Invalid("hard link to itself".to_owned()));
        }
        let missing = || {
            Fault::Invalid(format!(
                "hard link to {}, which is not in the layer",
                target.display()
            ))
        };
        let (Some(above), Some(target_name)) = (target.parent(), target.file_name()) else {
            return Err(missing());
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let above =
            rooted::open_in(self.root, above, flags, Mode::empty()).map_err(|_| missing())?;
        match statat(&above, target_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile | FileType::Symlink | FileType::Fifo => {}
                _ => {
                    return Err(Fault::Invalid(
                        "hard link to something that is no file".to_owned(),
                    ));
                }
            },
            Err(_) => return Err(missing()),
        }
        make_way(parent, name)?;
        linkat(&above, target_name, parent, name, AtFlags::empty()).map_err(|e| match e {
            Errno::NOENT => missing(),
            e => e.into(),
        })
    }
}

fn directory<R: Read>(parent: &OwnedFd, name: &OsStr, entry: &Entry<'_, R>) -> Result<(), Fault> {
    let exists = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    let mut hides = false;
    if let Ok(stat) = exists {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {}
            kind => {
                // A whiteout of the same layer: the new directory hides what is below.
                hides = kind == FileType::CharacterDevice;
                unlinkat(parent, name, AtFlags::empty())?;
            }
        }
    }
    match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(parent, name, flags, Mode::empty())?;
    if hides {
        set_opaque(&dir)?;
    }
    set_rights(&dir, entry)
}

/// `.wh.NAME` hides NAME of lower layers, `.wh..wh..opq` everything in its directory.
fn whiteout(parent: &OwnedFd, hidden: &[u8]) -> Result<(), Fault> {
    if hidden == b".wh..opq" {
        return set_opaque(parent);
    }
    if hidden.starts_with(b".wh.") {
        // Book-keeping of aufs (`.wh..wh.plnk` and the like).
        return Ok(());
    }
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(Fault::Invalid("whiteout without a name".to_owned()));
    }
    let name = OsStr::from_bytes(hidden);
    match mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => {
            // The layer brings its own: a file hides by itself, a directory has to be told.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(parent, name, flags, Mode::empty()) {
                Ok(dir) => set_opaque(&dir),
                Err(_) => Ok(()),
            }
        }
        Err(e) => Err(e.into()),
    }
}

fn set_opaque(dir: &OwnedFd) -> Result<(), Fault> {
    Ok(fsetxattr(
        dir,
        "trusted.overlay.opaque",
        b"y",
        XattrFlags::empty(),
    )?)
}

/// Removes what stands in the way of a new entry. A directory goes only when it is empty: an image
/// that replaces a full directory within one layer is malformed.
fn make_way(parent: &OwnedFd, name: &OsStr) -> Result<(), Fault> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Fault::Invalid(
                "replaces a directory that is not empty".to_owned(),
            )),
            other => Ok(other?),
        },
        Err(e) => Err(e.into()),
    }
}

fn link_name<R: Read>(entry: &Entry<'_, R>) -> Result<Vec<u8>, Fault> {
    match entry.link_name_bytes() {
        Some(name) if !name.is_empty() && !name.contains(&0) && name.len() < 4096 => {
            Ok(name.into_owned())
        }
        _ => Err(Fault::Invalid("a link without a target".to_owned())),
    }
}

fn mode<R: Read>(entry: &Entry<'_, R>) -> Result<Mode, Fault> {
    let mode = entry
        .header()
        .mode()
        .map_err(|e| Fault::Invalid(e.to_string()))?;
    Ok(Mode::from_raw_mode(mode & 0o7777))
}

fn owner<R: Read>(entry: &Entry<'_, R>) -> Result<(Option<Uid>, Option<Gid>), Fault> {
    let id = |value: io::Result<u64>| match value.map(u32::try_from) {
        Ok(Ok(id)) if id != u32::MAX => Ok(id),
        _ => Err(Fault::Invalid("owner out of range".to_owned())),
    };
    let header = entry.header();
    Ok((
        Some(Uid::from_raw(id(header.uid())?)),
        Some(Gid::from_raw(id(header.gid())?)),
    ))
}

/// Owner first: changing it clears the set-user-id bit.
fn set_rights<R: Read>(fd: &OwnedFd, entry: &Entry<'_, R>) -> Result<(), Fault> {
    let (uid, gid) = owner(entry)?;
    fchown(fd, uid, gid)?;
    fchmod(fd, mode(entry)?)?;
    Ok(())
}

/// File capabilities and user attributes; `trusted.*` would steer the overlay and is left out.
fn set_attributes<R: Read>(fd: &OwnedFd, entry: &mut Entry<'_, R>) -> Result<(), Fault> {
    let extensions = entry
        .pax_extensions()
        .map_err(|e| Fault::Invalid(e.to_string()))?;
    let mut attributes = Vec::new();
    for extension in extensions.into_iter().flatten() {
        let extension = extension.map_err(|e| Fault::Invalid(e.to_string()))?;
        let Some(name) = extension
            .key()
            .ok()
            .and_then(|k| k.strip_prefix("SCHILY.xattr."))
        else {
            continue;
        };
        if name == "security.capability" || name.starts_with("user.") {
            attributes.push((name.to_owned(), extension.value_bytes().to_vec()));
        }
    }
    for (name, value) in attributes {
        match fsetxattr(fd, name.as_str(), &value, XattrFlags::empty()) {
            // A file system without user attributes still holds the image.
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
