//! Where the runtime keeps things, and its bounds.

use std::io;
use std::path::{Path, PathBuf};

use bramble_wire::object::PodUid;
use rustix::fs::statvfs;

/// Where things are and how much is allowed; all of it from flags.
#[derive(Debug, Clone)]
pub struct Options {
    /// Memory-backed, empty after a boot.
    pub run_dir: PathBuf,
    /// Survives a boot.
    pub data_dir: PathBuf,
    /// Name of the cgroup that holds all pods.
    pub cgroup_parent: String,
    /// The program `bramble-shim`.
    pub shim: PathBuf,
    /// The program `bramble-oci`.
    pub oci: PathBuf,
    /// A container's log is rotated at this size.
    pub log_bytes: u64,
    /// Rotated log files kept beside the current one.
    pub log_files: u32,
}

/// A log's part of the file system that it is on: with all the containers that a board may have, the
/// logs of what runs fit into it, each without a predecessor.
const LOG_PART: u64 = 256;
const LOG_MIN: u64 = 64 << 10;
const LOG_MAX: u64 = 1 << 20;

/// How large a log may become; the directory need not be there yet.
fn log_bytes(run_dir: &Path) -> u64 {
    let space = run_dir.ancestors().find_map(|dir| statvfs(dir).ok());
    let bytes = space.map_or(LOG_MAX, |space| {
        space.f_blocks.saturating_mul(space.f_frsize) / LOG_PART
    });
    bytes.clamp(LOG_MIN, LOG_MAX)
}

impl Options {
    /// Programs beside our own, logs of up to 1 MiB with one predecessor.
    ///
    /// # Errors
    /// When the path of the running program is not known.
    pub fn beside_this_program(
        run_dir: &Path,
        data_dir: &Path,
        cgroup_parent: &str,
    ) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let folder = program.parent().unwrap_or(Path::new("/"));
        Ok(Self {
            run_dir: run_dir.to_owned(),
            data_dir: data_dir.to_owned(),
            cgroup_parent: cgroup_parent.to_owned(),
            shim: folder.join("bramble-shim"),
            oci: folder.join("bramble-oci"),
            log_bytes: log_bytes(run_dir),
            log_files: 1,
        })
    }

    /// Log file of one life of a container.
    pub fn log_path(&self, pod: PodUid, container: &str, attempt: u32) -> PathBuf {
        self.log_dir(pod)
            .join(container)
            .join(format!("{attempt}.log"))
    }

    /// Log files of a pod.
    pub fn log_dir(&self, pod: PodUid) -> PathBuf {
        self.logs().join(pod.to_string())
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.run_dir.join("logs")
    }

    pub(super) fn pods(&self) -> PathBuf {
        self.run_dir.join("pods")
    }

    pub(super) fn pod_dir(&self, pod: PodUid) -> PathBuf {
        self.pods().join(pod.to_string())
    }

    pub(super) fn data(&self, pod: PodUid) -> PathBuf {
        self.data_dir.join("pods").join(pod.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

    #[test]
    fn logs_are_smaller_where_there_is_less_memory() {
        let dir = tempfile::tempdir().unwrap();
        for (options, bytes) in [
            (c"size=100m", (100 << 20) / 256),
            (c"size=4m", LOG_MIN),
            (c"size=2g", LOG_MAX),
        ] {
            mount(
                "tmpfs",
                dir.path(),
                "tmpfs",
                MountFlags::empty(),
                Some(options),
            )
            .unwrap();
            let found = log_bytes(&dir.path().join("not/there"));
            unmount(dir.path(), UnmountFlags::DETACH).unwrap();
            assert_eq!(found, bytes, "{options:?}");
        }
    }
}
