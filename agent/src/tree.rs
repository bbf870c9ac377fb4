//! Removing directories that containers could write to.
//!
//! Nothing is ever removed through a mount: a path of the board that a pod had mounted must survive
//! the pod, also when its mount is still there because a crash or a mistake left it. And nothing that
//! a container builds (deep folders, links) may keep its pod from being removed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, renameat, unlinkat};
use rustix::io::Errno;

/// Folders deeper than this are moved up first: each open one is a file descriptor.
const DEPTH_MAX: u32 = 32;

/// Removes a file, a link or a directory with everything in it; what is not there is fine.
///
/// # Errors
/// What could not be removed, first of all a mount that is in the way (nothing below it is touched).
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("a root can't be removed"));
    };
    let parent = match open(rustix::fs::CWD, parent.as_os_str(), ResolveFlags::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    let root = match enter(parent.as_fd(), name) {
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return Ok(unlinkat(&parent, name, AtFlags::empty())?);
        }
        other => other.map_err(|errno| explain(errno, path))?,
    };
    let mut moved = 0;
    // Each round empties what is not too deep; what was moved up is there for the next.
    while !empty(root.as_fd(), root.as_fd(), 0, &mut moved).map_err(|errno| explain(errno, path))? {
    }
    match unlinkat(&parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other.map_err(|errno| explain(errno, path)),
    }
}

fn explain(errno: Errno, path: &Path) -> io::Error {
    let error = io::Error::from(errno);
    let why = match errno {
        Errno::XDEV | Errno::BUSY => "something is still mounted in it".to_owned(),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("remove {}: {why}", path.display()))
}

fn open(
    at: BorrowedFd<'_>,
    name: impl rustix::path::Arg + Copy,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    loop {
        match openat2(at, name, flags | OFlags::NOFOLLOW, Mode::empty(), resolve) {
            // Something was renamed or mounted meanwhile.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Opens a directory that is on the same mount as `at`.
fn enter(at: BorrowedFd<'_>, name: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    open(at, name, resolve)
}

/// Removes what is in a directory; `true` when it was empty before.
fn empty(
    dir: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    depth: u32,
    moved: &mut u64,
) -> Result<bool, Errno> {
    let mut was_empty = true;
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        was_empty = false;
        let kind = entry.file_type();
        if kind != FileType::Directory {
            match unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR) if kind == FileType::Unknown => {}
                Err(errno) => return Err(errno),
            }
        }
        if depth < DEPTH_MAX {
            let below = enter(dir, name)?;
            while !empty(below.as_fd(), root, depth + 1, moved)? {}
            drop(below);
            unlinkat(dir, name, AtFlags::REMOVEDIR)?;
            continue;
        }
        loop {
            *moved += 1;
            match renameat(dir, name, root, format!(".removing-{moved}")) {
                // A container may have thought of the name.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                other => break other?,
            }
        }
    }
    Ok(was_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::mount::{UnmountFlags, mount_bind, unmount};
    use std::fs;

    #[test]
    fn everything_goes_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tree");
        fs::create_dir_all(path.join("a/b/c")).unwrap();
        fs::write(path.join("a/b/file"), "x").unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, path.join("a/link")).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists() && outside.join("kept").exists());
        remove(&path).unwrap();
        remove(&dir.path().join("no/such/folder")).unwrap();
        // A link in its place is removed, not followed.
        std::os::unix::fs::symlink(&outside, &path).unwrap();
        remove(&path).unwrap();
        assert!(fs::symlink_metadata(&path).is_err() && outside.join("kept").exists());
    }

    #[test]
    fn depth_is_no_defence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tree");
        fs::create_dir(&path).unwrap();
        let mut at = open(rustix::fs::CWD, &path, ResolveFlags::empty()).unwrap();
        for _ in 0..300 {
            rustix::fs::mkdirat(&at, "d", Mode::from_raw_mode(0o755)).unwrap();
            rustix::fs::mkdirat(&at, ".removing-1", Mode::from_raw_mode(0o755)).unwrap();
            at = enter(at.as_fd(), "d").unwrap();
        }
        drop(at);
        remove(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_mount_in_the_way_is_an_error_and_what_is_below_survives() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "x").unwrap();
        let tree = dir.path().join("tree");
        let point = tree.join("a/point");
        let file_point = tree.join("b");
        fs::create_dir_all(&point).unwrap();
        // Of the same file system, so that only the mount tells.
        mount_bind(&kept, &point).unwrap();
        let refused = remove(&tree).unwrap_err().to_string();
        assert!(refused.contains("still mounted"), "{refused}");
        assert!(kept.join("file").exists());
        let refused = remove(&point).unwrap_err().to_string();
        assert!(refused.contains("still mounted"), "{refused}");
        assert!(kept.join("file").exists());
        unmount(&point, UnmountFlags::DETACH).unwrap();
        fs::create_dir_all(&tree).unwrap();
        fs::write(&file_point, "").unwrap();
        mount_bind(kept.join("file"), &file_point).unwrap();
        let refused = remove(&tree).unwrap_err().to_string();
        assert!(refused.contains("still mounted"), "{refused}");
        unmount(&file_point, UnmountFlags::DETACH).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists() && kept.join("file").exists());
    }
}
