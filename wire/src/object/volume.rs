//! A pod's volumes and the files in them.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::{PodField, ResourceField};

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name, unique in the pod.
    pub name: String,
    /// What it is.
    pub source: VolumeSource,
}

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// Empty at the pod's start, gone with it.
    EmptyDir {
        /// In memory.
        memory: bool,
        /// Limit in bytes.
        size_limit_bytes: Option<u64>,
    },
    /// Keys of a ConfigMap as files.
    ConfigMap(KeyFiles),
    /// Keys of a Secret as files, in memory.
    Secret(KeyFiles),
    /// A path of the board.
    HostPath {
        /// Absolute path.
        path: String,
        /// What must be there or is made.
        kind: HostPathKind,
    },
    /// Fields of the pod as files.
    DownwardApi {
        /// Files.
        items: Vec<FieldFile>,
        /// Mode of files without one of their own.
        default_mode: u32,
    },
    /// Several sources in one directory; on the same path the later one wins. In memory when it holds
    /// a Secret or a token.
    Projected {
        /// Sources in order.
        sources: Vec<Projection>,
        /// Mode of files without one of their own.
        default_mode: u32,
    },
}

/// `hostPath.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum HostPathKind {
    /// Nothing is checked.
    #[default]
    Any,
    /// A directory, made (0755) if missing.
    DirectoryOrCreate,
    /// A directory.
    Directory,
    /// A file, made (0644) if missing; its directory is not.
    FileOrCreate,
    /// A file.
    File,
    /// A UNIX socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// One field as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldFile {
    /// Relative path, without `..`.
    pub path: String,
    /// What it says.
    pub value: FieldSource,
    /// Mode of the file.
    pub mode: Option<u32>,
}

/// What a [`FieldFile`] says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FieldSource {
    /// A field of the pod.
    Field(PodField),
    /// A request or limit.
    Resource(ResourceField),
}

/// A source of a projected volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Projection {
    /// Keys of a ConfigMap; its `default_mode` is the volume's.
    ConfigMap(KeyFiles),
    /// Keys of a Secret; its `default_mode` is the volume's.
    Secret(KeyFiles),
    /// Fields of the pod.
    DownwardApi(Vec<FieldFile>),
    /// A token of the pod's service account, from [`super::ObjectId::Tokens`] of the pod.
    Token {
        /// Empty is the API server.
        audience: String,
        /// Seconds.
        expiration_s: u64,
        /// Relative path, without `..`.
        path: String,
    },
}

/// Keys of an object as files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFiles {
    /// Name of the ConfigMap or Secret in the pod's namespace.
    pub name: String,
    /// Key, path and mode; empty: every key under its own name.
    pub items: Vec<KeyFile>,
    /// Mode of files without one of their own.
    pub default_mode: u32,
    /// A missing object is no error: the directory is empty.
    pub optional: bool,
}

/// One key as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFile {
    /// Key.
    pub key: String,
    /// Relative path, without `..`.
    pub path: String,
    /// Mode of the file.
    pub mode: Option<u32>,
}
