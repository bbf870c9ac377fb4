//! Files of ours that containers may write: `/etc/hosts` and the like, and termination messages.
//!
//! They lie in the board's memory, and whoever runs as root in a container can make them as large as
//! their file system lets it. So each pod has one of its own, of a size that what is meant to be in it
//! fits; who fills it finds it full, and nobody else does. It is gone with the pod's run directory.

use std::io;

use bramble_wire::object::PodUid;

use super::{Directories, volumes};

/// For what containers write: messages are read up to 4 KiB, lives are kept two of a container.
const ROOM: u64 = 256 << 10;
/// A file takes whole pages, of up to 64 KiB.
const FILE: u64 = 64 << 10;
/// Only we look into it: containers get at single files by their mounts.
const OURS: u32 = 0o700;

/// Makes room for files of these sizes, written twice at most, and for what containers write. May be
/// repeated. Blocks.
pub(super) fn ensure(
    directories: &Directories,
    uid: PodUid,
    sizes: impl Iterator<Item = u64>,
) -> io::Result<()> {
    let ours: u64 = sizes
        .map(|size| size.saturating_mul(2).saturating_add(FILE))
        .sum();
    let size = ROOM.saturating_add(ours);
    volumes::memory::ensure(&directories.lent(uid), Some(size), OURS, None)
}
