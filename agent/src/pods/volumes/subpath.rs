//! Paths inside a volume, for `subPath`.
//!
//! Containers own what is in a volume: while one starts, another of the pod may put links in its way
//! or exchange folders. So a path is resolved by the kernel, beneath the volume's root, and what is
//! mounted is the open file itself, at a place of the pod's run directory that no container reaches.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, openat2};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_bind_recursive, mount_change};

use crate::pods::files::make_dir;

/// Opens a path beneath a volume; makes directories that are missing, with the mode of the volume.
pub(super) fn open(root: &Path, sub_path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty())?;
    match beneath(root.as_fd(), sub_path) {
        Err(Errno::NOENT) => Ok(make(&root, sub_path)?),
        other => Ok(other?),
    }
}

/// Binds what was opened at `target`, in place of whatever is mounted there.
pub(super) fn bind(opened: &OwnedFd, target: &Path) -> io::Result<()> {
    crate::runtime::unmount_all(target)?;
    let is_dir = FileType::from_raw_mode(fstat(opened)?.st_mode) == FileType::Directory;
    crate::tree::remove(target)?;
    if is_dir {
        make_dir(target, 0o700)?;
    } else {
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(target)?;
    }
    let source = format!("/proc/self/fd/{}", opened.as_raw_fd());
    mount_bind_recursive(source, target)?;
    // Where the board's mounts are shared, undoing the copy would undo what is mounted below the
    // original as well.
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    Ok(mount_change(target, slave)?)
}

/// Resolves a path; links are followed as long as they stay in the volume.
fn beneath(at: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    resolve(at, path, OFlags::PATH, ResolveFlags::BENEATH)
}

fn resolve(
    at: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    how: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    // A rename beside it makes the kernel unsure for a moment; somebody who goes on with that on
    // purpose gets an error.
    for _ in 0..64 {
        let flags = flags | OFlags::CLOEXEC;
        let how = how | ResolveFlags::NO_MAGICLINKS;
        match openat2(at, path, flags, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Makes the directories of a path, each below one that is held open.
fn make(root: &OwnedFd, sub_path: &str) -> Result<OwnedFd, Errno> {
    let mode = Mode::from_raw_mode(fstat(root)?.st_mode & 0o7777);
    let parts: Vec<&str> = (sub_path.split('/'))
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    // Those that are there may be links; what is made from here on is never one.
    let mut known = parts.len();
    let mut at = loop {
        known = known.saturating_sub(1);
        let path = match known {
            0 => ".".to_owned(),
            known => parts[..known].join("/"),
        };
        match beneath(root.as_fd(), &path) {
            Err(Errno::NOENT) if known > 0 => {}
            other => break other?,
        }
    };
    for part in parts.get(known..).unwrap_or_default() {
        match mkdirat(&at, *part, mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let made = resolve(at.as_fd(), part, OFlags::RDONLY | OFlags::DIRECTORY, how)?;
        // The process's mask took bits away.
        fchmod(&made, mode)?;
        at = made;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn where_is(fd: &OwnedFd) -> std::path::PathBuf {
        fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap()
    }

    #[test]
    fn paths_stay_in_their_volume() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("v");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o2770)).unwrap();
        fs::create_dir(root.join("in")).unwrap();
        fs::write(root.join("file"), "x").unwrap();
        symlink("in", root.join("link")).unwrap();
        symlink("..data/key", root.join("key")).unwrap();
        symlink("..data_1", root.join("..data")).unwrap();
        fs::create_dir(root.join("..data_1")).unwrap();
        fs::write(root.join("..data_1/key"), "secret").unwrap();
        let at = |path| where_is(&open(&root, path).unwrap());
        assert_eq!(at("in"), root.join("in"));
        assert_eq!(at("file"), root.join("file"));
        assert_eq!(at("link"), root.join("in"));
        assert_eq!(at("key"), root.join("..data_1/key"));
        assert_eq!(at("made/below"), root.join("made/below"));
        assert_eq!(at("link/new"), root.join("in/new"));
        assert_eq!(mode_of(&root.join("made")), 0o2770);
        assert_eq!(mode_of(&root.join("made/below")), 0o2770);
        symlink("/etc", root.join("out")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("in/../../v2", root.join("side")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        for bad in [
            "out",
            "out/passwd",
            "..",
            "../w",
            "in/../../w",
            "up",
            "up/w",
            "side",
            "magic/etc",
            "dangling",
            "dangling/x",
            "file/x",
            "/etc",
            "out/made",
            "up/made/below",
        ] {
            assert!(open(&root, bad).is_err(), "{bad}");
        }
        let beside: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(beside.len(), 1, "something was made beside the volume");
    }

    /// A container that exchanges a folder for a link all the time never gets what is behind it.
    #[test]
    fn a_race_never_leaves_the_volume() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("v");
        let outside = directory.path().join("outside");
        fs::create_dir_all(root.join("a")).unwrap();
        fs::create_dir(&outside).unwrap();
        symlink(&outside, root.join("b")).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let at = rustix::fs::open(&root, OFlags::PATH, Mode::empty()).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let _ = rustix::fs::renameat_with(
                        &at,
                        "a",
                        &at,
                        "b",
                        rustix::fs::RenameFlags::EXCHANGE,
                    );
                }
            });
            let mut opened = 0;
            for n in 0..3000 {
                if let Ok(fd) = open(&root, &format!("a/{}", n % 7)) {
                    opened += 1;
                    let place = where_is(&fd);
                    assert!(place.starts_with(&root), "{}", place.display());
                }
            }
            stop.store(true, Ordering::Relaxed);
            assert!(opened > 0);
        });
        let made: Vec<_> = fs::read_dir(&outside).unwrap().collect();
        assert!(made.is_empty(), "{made:?}");
    }
}
