//! What `bramble compile-pods` says of files of manifests, on its standard output, to the agent that started
//! it: the postcard of a list of [`File`]s. The agent itself never parses what a person wrote.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::object::{ConfigMap, ObjectName, Pod, SecretData};

/// Most files that are looked at; more are told of and left alone.
pub const FILES_MAX: usize = 64;

/// Longest file, in bytes.
pub const FILE_MAX: u64 = 1024 * 1024;

/// Longest output, in bytes: one record of the agent's state log takes it.
pub const OUTPUT_MAX: usize = 3 * 1024 * 1024;

/// A file of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name in the folder.
    pub name: String,
    /// What it says, as a whole, or what is wrong with it, for a person.
    pub made: Result<Made, String>,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Made {
    /// Pods. The UID of each is a hash of the file's name and of the pod as it was written.
    pub pods: Vec<Pod>,
    /// ConfigMaps.
    pub config_maps: Vec<ConfigMap>,
    /// Secrets; their data as it is in the file.
    pub secrets: Vec<(ObjectName, SecretData)>,
}
