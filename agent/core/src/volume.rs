//! From the volumes of a pod to directories and files.

use std::fmt;

use bramble_wire::object::{KeyFiles, Pod, VolumeSource};

use crate::desired::Desired;
use crate::env;

/// One volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeInput {
    /// Its name.
    pub name: String,
    /// What it is.
    pub content: Content,
}

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Empty at the pod's start.
    Empty {
        /// In memory.
        memory: bool,
        /// Limit in bytes.
        size_limit_bytes: Option<u64>,
    },
    /// Files that follow their object.
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
    volume: String,
    why: String,
}

/// Settles the volumes of a pod.
///
/// # Errors
/// [`Error`] naming the first volume that can't be made.
pub fn compile(desired: &Desired, pod: &Pod) -> Result<Vec<VolumeInput>, Error> {
    pod.volumes
        .iter()
        .map(|volume| {
            let content = match &volume.source {
                VolumeSource::EmptyDir {
                    memory,
                    size_limit_bytes,
                } => Ok(Content::Empty {
                    memory: *memory,
                    size_limit_bytes: *size_limit_bytes,
                }),
                VolumeSource::ConfigMap(keys) => files(desired, pod, keys, false),
                VolumeSource::Secret(keys) => files(desired, pod, keys, true),
                VolumeSource::HostPath { .. }
                | VolumeSource::DownwardApi { .. }
                | VolumeSource::Projected { .. } => Err("not supported by this agent".to_owned()),
            };
            content
                .map(|content| VolumeInput {
                    name: volume.name.clone(),
                    content,
                })
                .map_err(|why| Error {
                    volume: volume.name.clone(),
                    why,
                })
        })
        .collect()
}

fn files(desired: &Desired, pod: &Pod, keys: &KeyFiles, secret: bool) -> Result<Content, String> {
    let data = if secret {
        env::secret(desired, pod, &keys.name)
    } else {
        env::config_map(desired, pod, &keys.name)
    };
    let data = match data {
        Ok(data) => data,
        Err(env::Error::ConfigMap(_) | env::Error::Secret(_)) if keys.optional => {
            return Ok(Content::Files {
                secret,
                files: Vec::new(),
            });
        }
        Err(error) => return Err(error.to_string()),
    };
    let mut files = Vec::new();
    if keys.items.is_empty() {
        files.extend(
            data.iter()
                .filter(|(key, _)| is_inside(key))
                .map(|(key, bytes)| File {
                    path: key.clone(),
                    mode: keys.default_mode,
                    bytes: bytes.clone(),
                }),
        );
    }
    for item in &keys.items {
        if !is_inside(&item.path) {
            return Err(format!("path {:?} leaves the volume", item.path));
        }
        match data.get(&item.key) {
            Some(bytes) => files.push(File {
                path: item.path.clone(),
                mode: item.mode.unwrap_or(keys.default_mode),
                bytes: bytes.clone(),
            }),
            None if keys.optional => {}
            None => {
                let what = if secret { "secret" } else { "config" };
                return Err(format!("references non-existent {what} key: {}", item.key));
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Content::Files { secret, files })
}

/// The controller checks it too; a path that leaves the volume would write into the board.
fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('/')
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != ".." && part != ".")
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
            for file in files {
                field(file.path.as_bytes());
                field(&file.mode.to_le_bytes());
                field(&file.bytes);
            }
        }
    }
    *hasher.finalize().as_bytes()
}
