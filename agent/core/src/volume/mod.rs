//! From the volumes of a pod to directories, files and mounts. Everything is settled here: names,
//! bytes, modes, owners, sizes. The edge only carries it out.
//!
//! | module | what |
//! |---|---|
//! | [`files`] | ConfigMap, Secret, downward API and projected volumes: which files with which bytes |
//! | [`mount`] | where volumes appear in a container |
//! | [`token`] | what is said of service-account tokens that end |

mod files;
mod mount;
#[cfg(test)]
mod tests;
mod token;

use std::fmt;

use bramble_wire::object::{HostPathKind, Pod, Resources, VolumeSource};

use crate::desired::{Desired, Host};

pub use mount::{MountInput, Place, mounts};
pub use token::{TOKEN_EXPIRING, expiring};

/// The volumes of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Volumes {
    /// Those that can be made, in the order of the manifest.
    pub inputs: Vec<VolumeInput>,
    /// Those that can't.
    pub errors: Vec<Error>,
}

/// One volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeInput {
    /// Its name.
    pub name: String,
    /// What it is.
    pub content: Content,
    /// Group that it belongs to (`fsGroup`); of paths of the board never any.
    pub group: Option<u32>,
}

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Empty at the pod's start.
    Empty {
        /// In memory.
        memory: bool,
        /// Limit in bytes. In memory it is the size of the file system and always there; on disk
        /// the pod is evicted over it.
        size_limit_bytes: Option<u64>,
    },
    /// A path of the board.
    Host {
        /// Absolute path.
        path: String,
        /// What must be there or is made.
        kind: HostPathKind,
    },
    /// Files that follow their objects.
    Files {
        /// Kept in memory only.
        secret: bool,
        /// In order of their paths.
        files: Vec<File>,
    },
}

/// One file of a volume.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Relative path without `..`.
    pub path: String,
    /// Mode.
    pub mode: u32,
    /// User that it belongs to, else root.
    pub owner: Option<u32>,
    /// Content; may be secret, so it is never printed.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({:o}, {} bytes)",
            self.path,
            self.mode,
            self.bytes.len()
        )
    }
}

/// Why a volume can't be made, as Kubernetes says it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {why}")]
pub struct Error {
    /// The volume's name.
    pub volume: String,
    /// For a person.
    pub why: String,
}

/// Settles the volumes of a pod; one that can't be made never holds up the others. `address` is the
/// pod's.
pub fn compile(desired: &Desired, host: &Host, pod: &Pod, address: Option<[u8; 4]>) -> Volumes {
    let mut volumes = Volumes::default();
    let around = files::Around {
        desired,
        host,
        pod,
        address,
    };
    for volume in &pod.volumes {
        let content = match &volume.source {
            VolumeSource::EmptyDir {
                memory,
                size_limit_bytes,
            } => Ok(Content::Empty {
                memory: *memory,
                size_limit_bytes: if *memory {
                    memory_size(host, pod, *size_limit_bytes)
                } else {
                    *size_limit_bytes
                },
            }),
            VolumeSource::HostPath { path, kind } => Ok(Content::Host {
                path: path.clone(),
                kind: *kind,
            }),
            of_files => files::compile(&around, of_files),
        };
        match content {
            Ok(content) => volumes.inputs.push(VolumeInput {
                name: volume.name.clone(),
                group: match content {
                    Content::Host { .. } => None,
                    Content::Empty { .. } | Content::Files { .. } => pod.fs_group,
                },
                content,
            }),
            Err(why) => volumes.errors.push(Error {
                volume: volume.name.clone(),
                why,
            }),
        }
    }
    volumes
}

/// Size of a memory volume: the least of its own limit, what all containers of the pod may have, and
/// what the node has for pods (`calculateEmptyDirMemorySize`).
fn memory_size(host: &Host, pod: &Pod, own: Option<u64>) -> Option<u64> {
    let node = Some(host.memory_bytes).filter(|bytes| *bytes > 0);
    let own = own.filter(|bytes| *bytes > 0);
    [node, pod_memory_limit(pod), own]
        .into_iter()
        .flatten()
        .min()
}

/// What the containers of a pod may have together; `None` when one of them has no limit
/// (`ResourceConfigForPod`).
fn pod_memory_limit(pod: &Pod) -> Option<u64> {
    let limit = |resources: &Resources| resources.memory_limit_bytes.filter(|bytes| *bytes > 0);
    let mut beside: u64 = 0;
    let mut before: u64 = 0;
    for container in &pod.init_containers {
        let own = limit(&container.resources)?;
        if container.sidecar {
            beside = beside.saturating_add(own);
            before = before.max(beside);
        } else {
            before = before.max(beside.saturating_add(own));
        }
    }
    for container in &pod.containers {
        beside = beside.saturating_add(limit(&container.resources)?);
    }
    Some(beside.max(before))
}

/// Digest of the volumes of a pod: what was written is current when it was written from this.
pub fn digest(volumes: &[VolumeInput]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for volume in volumes {
        field(volume.name.as_bytes());
        if let Content::Files { files, .. } = &volume.content {
            field(&(files.len() as u64).to_le_bytes());
            for file in files {
                field(file.path.as_bytes());
                field(&file.mode.to_le_bytes());
                field(&file.owner.unwrap_or(0).to_le_bytes());
                field(&file.bytes);
            }
        }
    }
    *hasher.finalize().as_bytes()
}

/// An amount of bytes as Kubernetes writes quantities: with the suffix that makes it shortest.
pub fn quantity(bytes: u64) -> String {
    let suffixes = |base: u64, names: [&str; 6]| {
        let mut number = bytes;
        let mut suffix = "";
        for name in names {
            if number == 0 || !number.is_multiple_of(base) {
                break;
            }
            number /= base;
            suffix = name;
        }
        format!("{number}{suffix}")
    };
    let binary = suffixes(1024, ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]);
    let decimal = suffixes(1000, ["k", "M", "G", "T", "P", "E"]);
    if decimal.len() < binary.len() {
        decimal
    } else {
        binary
    }
}
