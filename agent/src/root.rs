//! Whether this process may run containers where it stands. In: nothing. Out: an error that says what to do.
//!
//! A process that enters a container's mount namespace (`kubectl exec`, `setns(2)`) stands at that
//! namespace's own root. `pivot_root(2)` makes the container's image that root only when the runtime's own `/`
//! was its namespace's; in a chroot the command would come out on the board itself.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, statx};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Refuses a chroot. Must be called while the process has one thread (`setns(2)`).
///
/// # Errors
/// In a chroot. A process that may not look is left to what fails later, with its own reason.
pub fn check() -> io::Result<()> {
    let open = |path: &str, flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
    let place = open(".", OFlags::DIRECTORY | OFlags::PATH)?;
    let here = identity()?;
    let Ok(own) = open("/proc/self/ns/mnt", OFlags::RDONLY) else {
        return Ok(());
    };
    if move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount)).is_err() {
        return Ok(());
    }
    let root = identity()?;
    if here != root {
        return Err(io::Error::other(
            "this is a chroot: a command in a container would come out at the machine's own /; \
             start the agent outside of it, or make it the root of a mount namespace (pivot_root)",
        ));
    }
    rustix::process::fchdir(place)?;
    Ok(())
}

/// The mount and the directory that `/` is.
fn identity() -> io::Result<(u64, u64)> {
    let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
    let found = statx(CWD, "/", AtFlags::empty(), wanted)?;
    Ok((found.stx_mnt_id, found.stx_ino))
}
