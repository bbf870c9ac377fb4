//! The board's devices, for privileged containers: what is in `/dev` when the container is made, as
//! upstream. Devices that appear later are not seen.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use super::spec::Device;

/// A container gets no more; a board with all it can carry has a few hundred.
const DEVICES_MAX: usize = 2048;
/// Folders in folders.
const DEPTH_MAX: usize = 4;

/// Every device node below `/dev` that a container doesn't have of its own, sorted.
pub(super) fn of_the_board() -> Vec<Device> {
    let mut out = Vec::new();
    walk(Path::new("/dev"), 0, &mut out);
    out.sort_by(|a, b| a.path.cmp(&b.path));
    out.truncate(DEVICES_MAX);
    out
}

fn walk(dir: &Path, depth: usize, out: &mut Vec<Device>) {
    // Terminals, shared memory and queues are the container's own; as containerd leaves them out.
    let own = [
        "/dev/pts",
        "/dev/shm",
        "/dev/fd",
        "/dev/mqueue",
        "/dev/.lxc",
        "/dev/.lxd-mounts",
    ];
    let single = ["/dev/console", "/dev/ptmx", "/dev/tty"];
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let (Some(text), Ok(meta)) = (path.to_str(), entry.metadata()) else {
            continue;
        };
        if meta.is_dir() && depth < DEPTH_MAX && !own.contains(&text) {
            walk(&path, depth + 1, out);
            continue;
        }
        let kind = match meta.file_type() {
            kind if kind.is_char_device() => 'c',
            kind if kind.is_block_device() => 'b',
            _ => continue,
        };
        let (major, minor) = (
            rustix::fs::major(meta.rdev()),
            rustix::fs::minor(meta.rdev()),
        );
        if single.contains(&text) || out.len() > DEVICES_MAX {
            continue;
        }
        out.push(Device {
            path: text.to_owned(),
            kind,
            major,
            minor,
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boards_devices_are_found_with_their_numbers() {
        let found = of_the_board();
        let null = found.iter().find(|d| d.path == "/dev/null").unwrap();
        assert_eq!((null.kind, null.major, null.minor), ('c', 1, 3));
        assert!(!found.iter().any(|d| d.path.starts_with("/dev/pts/")));
    }
}
