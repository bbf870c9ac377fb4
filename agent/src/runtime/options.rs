//! Where the runtime keeps things, and its bounds.

use std::io;
use std::path::{Path, PathBuf};

use bramble_wire::object::PodUid;

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

impl Options {
    /// Programs beside our own, 1 MiB logs with one predecessor.
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
            log_bytes: 1 << 20,
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
