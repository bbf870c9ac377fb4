//! Container images on this board: read from tar archives, unpacked once, resolved by name.
//!
//! In come archives that nobody vouches for (`docker save`, OCI layout) and what registries send, out
//! come directories that an overlay can stack and the few fields of an image's configuration that a
//! container needs. The agent itself reads none of it: short-lived children do ([`child`],
//! [`registry`]), so that their memory goes back and nothing hostile can take the agent along.
//!
//! ```text
//! <data dir>/images/index            names and images, written whole by rename
//! <data dir>/images/blobs/sha256/…   configurations, as they came
//! <data dir>/images/layers/<diff id> unpacked layers, complete or absent
//! <data dir>/images/partial/         downloads that a pull goes on with
//! <data dir>/images/tmp/             work in progress, emptied at the start
//! ```

pub mod archive;
mod blocks;
pub mod child;
mod content;
mod extensions;
pub mod flags;
pub mod gc;
pub mod import;
pub mod layer;
mod load;
pub mod manifest;
pub mod platform;
pub mod puller;
pub mod reference;
pub mod registry;
pub(crate) mod rooted;
mod store;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::runtime::{User, user};

pub use store::{Error, Store};

/// Digest of an image's configuration, `sha256:…`: what Kubernetes calls the image's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImageId(pub String);

impl std::fmt::Display for ImageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an image says about the containers made of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Command that always runs.
    pub entrypoint: Vec<String>,
    /// Its default arguments.
    pub cmd: Vec<String>,
    /// Environment, `NAME=value`.
    pub env: Vec<String>,
    /// User, see [`user::resolve`].
    pub user: String,
    /// Working directory.
    pub working_dir: String,
    /// Signal that ends it, as `SIGUSR1`; empty: TERM.
    pub stop_signal: String,
}

impl ImageConfig {
    /// Environment as pairs.
    pub fn env_pairs(&self) -> Vec<(String, String)> {
        let pair = |e: &String| match e.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (e.clone(), String::new()),
        };
        self.env.iter().map(pair).collect()
    }
}

/// An image that is on the board, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// The name it was asked for by, in full form.
    pub reference: String,
    /// Its configuration.
    pub config: ImageConfig,
    /// Unpacked layers, lowest first.
    pub layers: Vec<PathBuf>,
}

impl Image {
    /// Resolves the image's own user against its own account files.
    ///
    /// # Errors
    /// When it names somebody that the image doesn't know.
    pub fn user(&self) -> Result<User, user::Error> {
        self.resolve_user(&self.config.user)
    }

    /// Resolves a user (`uid`, `name`, `uid:gid`, …) against the image's account files.
    ///
    /// # Errors
    /// When it names somebody that the image doesn't know.
    pub fn resolve_user(&self, text: &str) -> Result<User, user::Error> {
        user::resolve(
            text,
            &self.account_file("etc/passwd"),
            &self.account_file("etc/group"),
        )
    }

    /// Text of a file of the topmost layer that has it.
    fn account_file(&self, path: &str) -> String {
        let read = |layer: &PathBuf| {
            rooted::read_text(layer, path.as_ref(), 1 << 20)
                .ok()
                .flatten()
        };
        self.layers.iter().rev().find_map(read).unwrap_or_default()
    }
}

/// One line of the list of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// Its id.
    pub id: ImageId,
    /// Names that resolve to it, in full form.
    pub references: Vec<String>,
    /// Unpacked size, bytes; layers shared with others count in each.
    pub size_bytes: u64,
}

impl ImageInfo {
    /// Names as a Node's status lists them: digests before tags.
    pub fn names(&self) -> Vec<String> {
        let (mut names, tags): (Vec<_>, Vec<_>) = self
            .references
            .iter()
            .cloned()
            .partition(|name| name.contains('@'));
        names.extend(tags);
        names
    }
}

/// Bounds of one archive. Generous for real images, finite for hostile ones.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Members of an archive (blobs, layers, manifests).
    pub members: usize,
    /// Bytes of one manifest or configuration.
    pub json_bytes: u64,
    /// Images in one archive.
    pub images: usize,
    /// Layers of an image.
    pub layers: usize,
    /// Files, directories and links in a layer.
    pub entries: u64,
    /// Bytes that all layers of an archive may unpack to; the child lowers it to what the disk
    /// holds.
    pub unpacked_bytes: u64,
    /// Names in a path.
    pub depth: usize,
    /// It is the disk that sets `unpacked_bytes`.
    pub disk: bool,
}

impl Limits {
    /// Lowers the bound of unpacked bytes to what the disk can spare, beside what is used already.
    fn fit(&mut self, store: &std::path::Path, used: &layer::Used) {
        let Ok(stat) = rustix::fs::statvfs(store) else {
            return;
        };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let spare = (used.bytes).saturating_add(free.saturating_sub(child::RESERVE));
        if spare < self.unpacked_bytes {
            self.unpacked_bytes = spare;
            self.disk = true;
        }
    }

    /// Longest stream of a layer's tar. Headers and padding come on top of the files; a stream of
    /// nothing but those must end too.
    fn stream_bytes(&self) -> u64 {
        let headers = self.entries.saturating_mul(2048);
        self.unpacked_bytes.saturating_add(headers)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            members: 10_000,
            json_bytes: 4 << 20,
            images: 64,
            layers: 127,
            entries: 500_000,
            unpacked_bytes: 16 << 30,
            depth: 128,
            disk: false,
        }
    }
}
