//! The store as the agent sees it: names to images, what is known of each, removing by name.
//!
//! One index in memory and on disk, replaced whole. Whoever brings images here (a loaded archive, a
//! pull) holds `unpacking` until they have names; layers without a name are removed only while nobody
//! does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{RwLock, RwLockReadGuard};

use super::child::{LoadError, Loaded, layer_dir, layer_size, write_durably};
use super::reference::{self, Reference};
use super::registry::{self, remove_partials};
use super::{Image, ImageConfig, ImageId, ImageInfo};

/// Version of the index on disk; its first byte.
const INDEX: u8 = 2;

/// Why an image is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is no name.
    #[error(transparent)]
    Name(#[from] reference::Invalid),
    /// It is not on this board.
    #[error("image {reference} is not on this node")]
    Missing {
        /// Full name.
        reference: String,
    },
    /// The archive was refused, or could not be unpacked.
    #[error("load {archive}: {source}")]
    Load {
        /// The archive.
        archive: String,
        /// Why.
        source: LoadError,
    },
    /// It could not be pulled.
    #[error("{0}")]
    Pull(registry::PullError),
    /// A container uses it, or the document names it.
    #[error("image {0} is in use")]
    InUse(String),
    /// The store itself failed.
    #[error("image store: {what}")]
    Io {
        /// What failed.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Reason of a container that waits for an image that is here and unusable.
    pub fn waiting_reason(&self) -> &'static str {
        match self {
            Self::Load {
                source: LoadError::Invalid(_),
                ..
            } => "InvalidImage",
            Self::Load { .. } => "ErrImageLoad",
            _ => "ImageInspectError",
        }
    }
}

/// What the store knows, as it lies on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Index {
    version: u8,
    /// Images by id.
    images: BTreeMap<ImageId, Stored>,
    /// Full names.
    references: BTreeMap<String, ImageId>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            version: INDEX,
            images: BTreeMap::new(),
            references: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stored {
    config: ImageConfig,
    diff_ids: Vec<String>,
    size_bytes: u64,
}

/// Images on this board. One per data directory.
#[derive(Debug)]
pub struct Store {
    pub(super) root: PathBuf,
    pub(super) program: PathBuf,
    index: Mutex<Index>,
    /// One archive at a time: unpacking is bound by the disk and by the board's memory.
    pub(super) loading: tokio::sync::Mutex<()>,
    /// One change of the index at a time.
    changing: tokio::sync::Mutex<()>,
    /// Shared by whoever unpacks; layers without a name are removed only under the other side.
    unpacking: RwLock<()>,
    changes: tokio::sync::watch::Sender<u64>,
    /// Names whose last archive was not taken, until one is. Forgotten with the process.
    refused: Mutex<BTreeMap<String, (String, LoadError)>>,
}

/// Most names of refused archives that are remembered.
const REFUSED_MAX: usize = 64;

impl Store {
    /// Opens the store in `<data dir>/images`, dropping work that a crash left. `program` is the one
    /// that knows the sub-commands `unpack` and `pull` (the agent itself).
    ///
    /// # Errors
    /// When the directories can't be made or the index can't be read.
    pub fn open(data_dir: &Path, program: &Path) -> Result<Self, Error> {
        let root = data_dir.join("images");
        let step = |what: &str| {
            let what = what.to_owned();
            move |source| Error::Io { what, source }
        };
        match fs::remove_dir_all(root.join("tmp")) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(step("empty tmp")(e)),
            _ => {}
        }
        fs::create_dir_all(root.join("tmp")).map_err(step("make directories"))?;
        let index = match fs::read(root.join("index")) {
            Ok(bytes) => read_index(&bytes).map_err(step("read the index"))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Index::default(),
            Err(e) => return Err(step("read the index")(e)),
        };
        Ok(Self {
            root,
            program: program.to_owned(),
            index: Mutex::new(index),
            loading: tokio::sync::Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            unpacking: RwLock::default(),
            changes: tokio::sync::watch::Sender::new(0),
            refused: Mutex::default(),
        })
    }

    /// Remembers why an archive was not taken, for whoever waits for an image of it.
    pub(super) fn refuse(&self, archive: &str, named: Vec<String>, why: &LoadError) {
        let mut refused = self.refused();
        for reference in named {
            if refused.len() < REFUSED_MAX || refused.contains_key(&reference) {
                refused.insert(reference, (archive.to_owned(), why.clone()));
            }
        }
        drop(refused);
        self.notify();
    }

    fn refused(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (String, LoadError)>> {
        // Entries are whole, whatever panicked.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives images that are in the store their names.
    pub(super) async fn register(&self, loaded: &[Loaded]) -> Result<(), Error> {
        for reference in loaded.iter().flat_map(|image| &image.references) {
            self.refused().remove(reference);
        }
        self.change(|index| {
            for image in loaded {
                let stored = Stored {
                    config: image.config.clone(),
                    diff_ids: image.diff_ids.clone(),
                    size_bytes: image.size_bytes,
                };
                index.images.insert(image.id.clone(), stored);
                for reference in &image.references {
                    index.references.insert(reference.clone(), image.id.clone());
                }
            }
        })
        .await
    }

    /// Changes the index, on disk first.
    async fn change(&self, edit: impl FnOnce(&mut Index)) -> Result<(), Error> {
        let _one = self.changing.lock().await;
        let mut new = self.lock().clone();
        edit(&mut new);
        if new == *self.lock() {
            // What was refused may have been forgotten all the same.
            self.notify();
            return Ok(());
        }
        let (path, bytes) = (self.root.join("index"), bramble_wire::encode(&new));
        blocking("write the index", move || write_durably(&path, &bytes)).await?;
        *self.lock() = new;
        self.notify();
        Ok(())
    }

    /// To be held while layers are unpacked, until they have names.
    pub(super) async fn unpacking(&self) -> RwLockReadGuard<'_, ()> {
        self.unpacking.read().await
    }

    /// Something that others wait for may have changed.
    pub(super) fn notify(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    /// Ticks whenever [`Store::resolve`] may have something new to say.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Index> {
        // The index is replaced whole, so a panic elsewhere leaves a good one.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The image that a name means: a reference in any form, or an id.
    ///
    /// # Errors
    /// [`Error::Missing`] says how to bring it here; [`Error::Load`] why an archive with it was not
    /// taken.
    pub fn resolve(&self, name: &str) -> Result<Image, Error> {
        let index = self.lock();
        let (reference, id) = match index.images.get_key_value(&ImageId(name.to_owned())) {
            Some((id, _)) => (name.to_owned(), id.clone()),
            None => {
                let full = reference::normalise(name)?;
                let named = index.references.get(&full);
                let by_digest = || {
                    let id = ImageId(full.split_once('@')?.1.to_owned());
                    index.images.contains_key(&id).then_some(id)
                };
                match named.cloned().or_else(by_digest) {
                    Some(id) => (full, id),
                    None => {
                        return Err(match self.refused().get(&full).cloned() {
                            Some((archive, source)) => Error::Load { archive, source },
                            None => Error::Missing { reference: full },
                        });
                    }
                }
            }
        };
        let stored = index.images.get(&id).ok_or_else(|| Error::Missing {
            reference: reference.clone(),
        })?;
        let dirs: Vec<_> = stored
            .diff_ids
            .iter()
            .map(|d| layer_dir(&self.root, d))
            .collect();
        if dirs.iter().any(|d| layer_size(d).is_none()) {
            return Err(Error::Missing { reference });
        }
        let layers = dirs.into_iter().map(|d| d.join("fs")).collect();
        Ok(Image {
            id,
            reference,
            config: stored.config.clone(),
            layers,
        })
    }

    /// Every image.
    pub fn list(&self) -> Vec<ImageInfo> {
        let index = self.lock();
        let names = |id: &ImageId| {
            index
                .references
                .iter()
                .filter(|(_, i)| *i == id)
                .map(|(r, _)| r.clone())
                .collect()
        };
        let info = |(id, stored): (&ImageId, &Stored)| ImageInfo {
            id: id.clone(),
            references: names(id),
            size_bytes: stored.size_bytes,
        };
        index.images.iter().map(info).collect()
    }

    /// Unpacked size of an image.
    pub fn size(&self, id: &ImageId) -> u64 {
        self.lock()
            .images
            .get(id)
            .map_or(0, |stored| stored.size_bytes)
    }

    /// Digests of an image's layers with their sizes, lowest first.
    pub fn layers(&self, id: &ImageId) -> Vec<(String, u64)> {
        let index = self.lock();
        let all = index.images.get(id).into_iter().flat_map(|s| &s.diff_ids);
        let size = |diff_id: &String| layer_size(&layer_dir(&self.root, diff_id));
        all.map(|d| (d.clone(), size(d).unwrap_or(0))).collect()
    }

    /// An image's configuration as it came; `None` when it is longer than `max`, or gone.
    pub async fn config_json(&self, id: &ImageId, max: u64) -> Option<String> {
        let blob = self.root.join("blobs").join(id.0.replace(':', "/"));
        let length = tokio::fs::metadata(&blob).await.ok()?.len();
        if length > max {
            return None;
        }
        tokio::fs::read_to_string(&blob).await.ok()
    }

    /// Per cent of the disk in use, as `df` says it: what only root may take counts as used.
    pub(super) fn disk_use(&self) -> u8 {
        let Ok(stat) = rustix::fs::statvfs(&self.root) else {
            return 0;
        };
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        let of = used.saturating_add(stat.f_bavail).max(1);
        u8::try_from(used.saturating_mul(100).div_ceil(of)).unwrap_or(100)
    }

    /// Digests that a name's repository has for the image that the name means.
    pub fn digests(&self, reference: &Reference) -> Vec<String> {
        let index = self.lock();
        let id = index.references.get(&reference.to_string());
        let of = format!("{}@", reference.repository());
        let same = |(name, other): (&String, &ImageId)| {
            let digest = name.strip_prefix(&of)?;
            (Some(other) == id).then(|| digest.to_owned())
        };
        index.references.iter().filter_map(same).collect()
    }

    /// Removes a name; with its last name an image goes too, and layers that no other image needs.
    /// By its id an image goes with all its names. One that is not there is fine.
    ///
    /// # Errors
    /// [`Error::InUse`] when the image is one of `in_use`.
    pub async fn remove(&self, name: &str, in_use: &BTreeSet<ImageId>) -> Result<(), Error> {
        let (id, reference) = match self.resolve(name) {
            Ok(image) => (image.id, image.reference),
            Err(Error::Missing { .. } | Error::Load { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        // Digests are what it was pulled by, no names that anybody gave it.
        let last = self
            .lock()
            .references
            .iter()
            .all(|(r, i)| *i != id || *r == reference || id.0 == name || r.contains('@'));
        if last && in_use.contains(&id) {
            return Err(Error::InUse(name.to_owned()));
        }
        if last {
            self.remove_images(&BTreeSet::from([id])).await?;
            return Ok(());
        }
        self.change(|index| index.references.retain(|r, i| *i != id || *r != reference))
            .await
    }

    /// Removes images with all their names, and the layers that nobody needs any more.
    pub(super) async fn remove_images(&self, ids: &BTreeSet<ImageId>) -> Result<(), Error> {
        self.change(|index| {
            index.references.retain(|_, id| !ids.contains(id));
            index.images.retain(|id, _| !ids.contains(id));
        })
        .await?;
        let folder = self.root.join("blobs");
        let blobs: Vec<PathBuf> = (ids.iter())
            .map(|id| folder.join(id.0.replace(':', "/")))
            .collect();
        let forget = move || {
            for blob in blobs {
                let _ = fs::remove_file(blob);
            }
            Ok(())
        };
        blocking("remove a configuration", forget).await?;
        self.sweep().await
    }

    /// Removes layers without a name. While something is being unpacked they may be about to get
    /// one; then the next sweep does it.
    pub(super) async fn sweep(&self) -> Result<(), Error> {
        let Ok(_alone) = self.unpacking.try_write() else {
            return Ok(());
        };
        let used: BTreeSet<PathBuf> = {
            let index = self.lock();
            let all = index.images.values().flat_map(|s| &s.diff_ids);
            all.map(|d| layer_dir(&self.root, d)).collect()
        };
        let root = self.root.clone();
        blocking("remove a layer", move || drop_layers(&root, &used)).await
    }

    /// Throws away downloads that nobody is at.
    pub(super) async fn drop_downloads(&self) -> Result<(), Error> {
        let root = self.root.clone();
        let work = move || {
            remove_partials(&root);
            Ok(())
        };
        blocking("remove a download", work).await
    }
}

fn read_index(bytes: &[u8]) -> io::Result<Index> {
    if bytes.first() != Some(&INDEX) {
        let text = "it is of another version of the agent; remove it to begin with no images";
        return Err(io::Error::other(text));
    }
    bramble_wire::decode(bytes, "image index").map_err(io::Error::other)
}

/// Work on files, off the async thread: a layer has thousands, and a card takes its time.
async fn blocking(
    what: &str,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<(), Error> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|panic| Err(io::Error::other(panic)));
    done.map_err(|source| Error::Io {
        what: what.to_owned(),
        source,
    })
}

/// Removes layers that no image needs, each by a rename first: half a layer is never seen.
fn drop_layers(root: &Path, used: &BTreeSet<PathBuf>) -> io::Result<()> {
    let entries = fs::read_dir(root.join("layers"));
    for entry in entries.into_iter().flatten().flatten() {
        if used.contains(&entry.path()) {
            continue;
        }
        let grave = root.join("tmp").join(entry.file_name());
        fs::rename(entry.path(), &grave)?;
        fs::remove_dir_all(&grave)?;
    }
    Ok(())
}
