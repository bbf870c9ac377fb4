//! Paths inside a tree that somebody else filled: no symbolic link, absolute path or `..` in it may
//! lead out. The kernel sees to that (`openat2` with `RESOLVE_IN_ROOT`, Linux 5.6): every name is
//! resolved as if the tree were the whole world.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, open, openat2};
use rustix::io::Errno;

const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// Opens the root of a tree.
pub(crate) fn open_root(root: &Path) -> io::Result<OwnedFd> {
    Ok(open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// A path without root, `.` and `..`: what remains is resolved below the root in any case; `..` is
/// taken lexically, as a container at `/` would see it.
pub(crate) fn relative(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// Opens something in the tree.
pub(crate) fn open_in(
    root: &OwnedFd,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    loop {
        match openat2(root, path, flags | OFlags::CLOEXEC, mode, IN_ROOT) {
            // The tree was renamed under us; the kernel asks to try again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Opens a directory in the tree, making what is missing of its path. Links on the way are followed
/// inside the tree. Something else in the way is [`Errno::NOTDIR`].
pub(crate) fn open_dir(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    match open_in(root, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::NOENT);
    };
    let above = open_dir(root, parent)?;
    match mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e),
    }
    // A dangling link at this name: `mkdirat` finds it taken and opening finds nothing.
    open_in(root, path, flags, Mode::empty())
}

/// Makes a directory (and those above) in a tree; one that exists is fine.
pub(crate) fn ensure_dir(root: &Path, path: &Path) -> io::Result<()> {
    let root = open_root(root)?;
    open_dir(&root, &relative(path))
        .map(drop)
        .map_err(io::Error::from)
}

/// Reads a small text file of a tree; `None` when there is none or it is no plain file.
pub(crate) fn read_text(root: &Path, path: &Path, max: u64) -> io::Result<Option<String>> {
    use std::io::Read as _;
    let root = open_root(root)?;
    // Without waiting: a FIFO in an image would block us for ever.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match open_in(&root, &relative(path), flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("real")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        symlink("/real", root.join("absolute")).unwrap();
        symlink("../../../outside", root.join("up")).unwrap();
        ensure_dir(&root, Path::new("/absolute/a/b")).unwrap();
        assert!(root.join("real/a/b").is_dir());
        assert!(ensure_dir(&root, Path::new("up/evil")).is_err());
        assert!(!dir.path().join("outside/evil").exists());
        ensure_dir(&root, Path::new("../../x")).unwrap();
        assert!(root.join("x").is_dir());
    }

    #[test]
    fn odd_files_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        fs::write(dir.path().join("plain"), "abcdef").unwrap();
        let read = |p: &str| read_text(dir.path(), Path::new(p), 3).unwrap();
        assert_eq!(read("fifo"), None);
        assert_eq!(read("missing"), None);
        assert_eq!(read("/plain").as_deref(), Some("abc"));
    }
}
