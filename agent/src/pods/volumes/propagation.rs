//! Whether mounts made on one side of a volume are seen on the other. That takes a mount on the board
//! that is shared: most boards' are, and for directories of ours one is made where they are not.

use std::fs;
use std::path::{Path, PathBuf};

use bramble_wire::object::Propagation;
use rustix::mount::{MountPropagationFlags, mount_bind_recursive, mount_change};

/// A line of `mountinfo`.
struct Mount {
    point: PathBuf,
    shared: bool,
    slave: bool,
}

/// Sees to it that a path can be propagated. `ours`: it is a directory of ours, whose mount may be
/// changed; paths of the board are left as their owner made them.
///
/// # Errors
/// The text of containerd.
pub(super) fn ensure(path: &Path, wanted: Propagation, ours: bool) -> Result<(), String> {
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
    let real = fs::canonicalize(path).map_err(|error| error.to_string())?;
    let mount = mount_of(&table, &real);
    let (fine, kind) = match wanted {
        Propagation::None => return Ok(()),
        Propagation::HostToContainer => {
            let fine = mount
                .as_ref()
                .is_some_and(|mount| mount.shared || mount.slave);
            (fine, "shared or slave")
        }
        Propagation::Bidirectional => (mount.as_ref().is_some_and(|mount| mount.shared), "shared"),
    };
    if fine {
        return Ok(());
    }
    if !ours {
        let point = mount.map_or_else(PathBuf::new, |mount| mount.point);
        return Err(format!(
            "path {path:?} is mounted on {point:?} but it is not a {kind} mount"
        ));
    }
    let share = || {
        if mount.is_none_or(|mount| mount.point != real) {
            mount_bind_recursive(&real, &real)?;
        }
        mount_change(
            &real,
            MountPropagationFlags::SHARED | MountPropagationFlags::REC,
        )
    };
    share().map_err(|errno| format!("share {path:?}: {}", std::io::Error::from(errno)))
}

/// The mount that a path is on: the one with the longest path, of several at the same the last.
fn mount_of(table: &str, path: &Path) -> Option<Mount> {
    let mut best: Option<Mount> = None;
    for line in table.lines() {
        let Some(mount) = parse(line) else { continue };
        let longer = |best: &Mount| mount.point.as_os_str().len() >= best.point.as_os_str().len();
        if path.starts_with(&mount.point) && best.as_ref().is_none_or(longer) {
            best = Some(mount);
        }
    }
    best
}

/// `id parent major:minor root point options [tags…] - type source options`
fn parse(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ');
    let point = fields.nth(4)?;
    let tags: Vec<&str> = fields.skip(1).take_while(|field| *field != "-").collect();
    let has = |tag: &str| tags.iter().any(|field| field.starts_with(tag));
    Some(Mount {
        point: PathBuf::from(crate::runtime::unescape(point)),
        shared: has("shared:"),
        slave: has("master:"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_a_path_is_the_nearest_and_the_last() {
        let table = "\
22 1 0:21 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:22 / /run rw - tmpfs tmpfs rw
24 23 0:23 / /run/a\\040b rw master:7 - tmpfs tmpfs rw
25 22 0:24 / /mnt rw - tmpfs tmpfs rw
26 25 0:25 / /mnt rw shared:9 master:1 - tmpfs tmpfs rw
";
        let of = |path: &str| {
            let mount = mount_of(table, Path::new(path)).unwrap();
            (mount.point.display().to_string(), mount.shared, mount.slave)
        };
        assert_eq!(of("/etc"), ("/".into(), true, false));
        assert_eq!(of("/run/x"), ("/run".into(), false, false));
        assert_eq!(of("/run/a b/c"), ("/run/a b".into(), false, true));
        assert_eq!(of("/mnt/x"), ("/mnt".into(), true, true));
        assert_eq!(of("/mntx"), ("/".into(), true, false));
    }
}
