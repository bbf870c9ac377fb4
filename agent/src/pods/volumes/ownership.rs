//! Modes, users and groups of volumes (`pkg/volume/volume_linux.go`).

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

/// What the group of a volume that containers can't write to may do.
pub(super) const READ: u32 = 0o440;
/// What the group of other volumes may do, and the owner with it.
pub(super) const READ_WRITE: u32 = 0o660;

const SETGID: u32 = 0o2000;
const ENTER: u32 = 0o110;

/// Mode and owners of one file or directory; owners that are `None` stay.
pub(super) struct Ownership {
    pub(super) mode: u32,
    pub(super) user: Option<u32>,
    pub(super) group: Option<u32>,
}

impl Ownership {
    /// Only a mode.
    pub(super) fn mode(mode: u32) -> Self {
        Self {
            mode,
            user: None,
            group: None,
        }
    }
}

/// Sets mode and owners, whatever the process's mask is.
pub(super) fn set(path: &Path, ownership: &Ownership) -> io::Result<()> {
    if ownership.user.is_some() || ownership.group.is_some() {
        lchown(path, ownership.user, ownership.group)?;
    }
    // Last: a change of owner takes the set-id bits away.
    fs::set_permissions(path, fs::Permissions::from_mode(ownership.mode))
}

/// Gives everything at and below a path to a group: `access` for it, and directories hand their
/// group on. Links are not followed.
pub(super) fn give(path: &Path, group: u32, access: u32) -> io::Result<()> {
    let data = fs::symlink_metadata(path)?;
    if data.is_symlink() {
        return lchown(path, None, Some(group));
    }
    let mut mode = data.permissions().mode() & 0o7777 | access;
    if data.is_dir() {
        mode |= SETGID | ENTER;
    }
    let ownership = Ownership {
        mode,
        user: None,
        group: Some(group),
    };
    set(path, &ownership)?;
    if data.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), group, access)?;
        }
    }
    Ok(())
}
