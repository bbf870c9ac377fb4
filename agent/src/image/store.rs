//! The store as the agent sees it: names to images, loading through the child, removing by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use bramble_wire::object::PullPolicy;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::child::{Answer, LoadError, Loaded, RESERVE, layer_dir, layer_size, write_durably};
use super::{Image, ImageConfig, ImageId, ImageInfo, reference};

/// Largest archive that is taken over a socket.
const ARCHIVE_MAX: u64 = 16 << 30;

/// What people know a streamed archive by.
const STREAMED: &str = "the archive that was sent";

/// Longest answer of the child.
const REPORT_MAX: u64 = 8 << 20;

/// Why an image is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is no name.
    #[error(transparent)]
    Name(#[from] reference::Invalid),
    /// It is not on this board.
    #[error(
        "image {reference} is not on this node and cannot be pulled yet; \
         load it with `bramble image load`"
    )]
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
    /// A container uses it.
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
    /// Kubernetes' reason for a container that waits for its image.
    pub fn waiting_reason(&self, policy: PullPolicy) -> &'static str {
        match (self, policy) {
            (Self::Name(_), _) => "InvalidImageName",
            (Self::Missing { .. }, PullPolicy::Never) => "ErrImageNeverPull",
            (
                Self::Load {
                    source: LoadError::Invalid(_),
                    ..
                },
                _,
            ) => "InvalidImage",
            (Self::Load { .. }, _) => "ErrImageLoad",
            _ => "ImagePullBackOff",
        }
    }
}

/// What the store knows, as it lies on disk.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    /// Images by id.
    images: BTreeMap<ImageId, Stored>,
    /// Full names.
    references: BTreeMap<String, ImageId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    config: ImageConfig,
    diff_ids: Vec<String>,
    size_bytes: u64,
}

/// Images on this board. One per data directory.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    unpacker: PathBuf,
    index: Mutex<Index>,
    /// One archive at a time: unpacking is bound by the disk and by the board's memory.
    loading: tokio::sync::Mutex<()>,
    changes: tokio::sync::watch::Sender<u64>,
    /// Names whose last archive was not taken, until one is. Forgotten with the process.
    refused: Mutex<BTreeMap<String, (String, LoadError)>>,
}

/// Most names of refused archives that are remembered.
const REFUSED_MAX: usize = 64;

impl Store {
    /// Opens the store in `<data dir>/images`, dropping work that a crash left. `unpacker` is the
    /// program that knows the sub-command `unpack` (the agent itself).
    ///
    /// # Errors
    /// When the directories can't be made or the index can't be read.
    pub fn open(data_dir: &Path, unpacker: &Path) -> Result<Self, Error> {
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
            Ok(bytes) => bramble_wire::decode(&bytes, "image index")
                .map_err(|e| step("read the index")(io::Error::other(e)))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Index::default(),
            Err(e) => return Err(step("read the index")(e)),
        };
        let (index, loading) = (Mutex::new(index), tokio::sync::Mutex::default());
        Ok(Self {
            root,
            unpacker: unpacker.to_owned(),
            index,
            loading,
            changes: tokio::sync::watch::Sender::new(0),
            refused: Mutex::default(),
        })
    }

    /// Loads every image of an archive that runs on this board.
    ///
    /// # Errors
    /// [`Error::Load`] with the reason; nothing is named then.
    pub async fn load(&self, archive: &Path) -> Result<Vec<Loaded>, Error> {
        self.load_as(archive, archive.display().to_string()).await
    }

    /// `name` is what people know the archive by.
    async fn load_as(&self, archive: &Path, name: String) -> Result<Vec<Loaded>, Error> {
        let _one = self.loading.lock().await;
        let failed = |source: LoadError| Error::Load {
            archive: name.clone(),
            source,
        };
        let mut child = Command::new(&self.unpacker)
            .arg("unpack")
            .arg(&self.root)
            .arg(archive)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| {
                failed(LoadError::Io(format!(
                    "run {}: {e}",
                    self.unpacker.display()
                )))
            })?;
        let mut bytes = Vec::new();
        if let Some(out) = child.stdout.take() {
            let read = out.take(REPORT_MAX).read_to_end(&mut bytes).await;
            read.map_err(|e| failed(LoadError::Io(e.to_string())))?;
        }
        let status = child
            .wait()
            .await
            .map_err(|e| failed(LoadError::Io(e.to_string())))?;
        let loaded = match bramble_wire::decode::<Answer>(&bytes, "answer of the unpacker") {
            Ok(Answer { named, report }) => report
                .inspect_err(|why| self.refuse(&name, named, why))
                .map_err(failed)?,
            // Out of memory, most likely: an archive made to be.
            Err(_) => {
                let text = format!("the unpacker ended without a report ({status})");
                return Err(failed(LoadError::Invalid(text)));
            }
        };
        self.register(&loaded).await?;
        Ok(loaded)
    }

    /// Like [`Store::load`] with the archive's bytes, which are put on disk first.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn load_stream(&self, reader: impl AsyncRead + Unpin) -> Result<Vec<Loaded>, Error> {
        let path = self
            .root
            .join("tmp")
            .join(format!("archive-{}", spool_number()));
        let result = match spool(reader, &path).await {
            Ok(()) => self.load_as(&path, STREAMED.to_owned()).await,
            Err(e) => {
                let source = LoadError::Io(format!("receive it: {e}"));
                Err(Error::Load {
                    archive: STREAMED.to_owned(),
                    source,
                })
            }
        };
        // If it can't be removed, the next start does it.
        let _ = tokio::fs::remove_file(&path).await;
        result
    }

    /// Remembers why an archive was not taken, for whoever waits for an image of it.
    fn refuse(&self, archive: &str, named: Vec<String>, why: &LoadError) {
        let mut refused = self.refused();
        for reference in named {
            if refused.len() < REFUSED_MAX || refused.contains_key(&reference) {
                refused.insert(reference, (archive.to_owned(), why.clone()));
            }
        }
        drop(refused);
        self.changes.send_modify(|n| *n += 1);
    }

    fn refused(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (String, LoadError)>> {
        // Entries are whole, whatever panicked.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn register(&self, loaded: &[Loaded]) -> Result<(), Error> {
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

    /// Changes the index, on disk first. The caller holds `loading`, so nobody else changes it
    /// meanwhile.
    async fn change(&self, edit: impl FnOnce(&mut Index)) -> Result<(), Error> {
        let mut new = {
            let index = self.lock();
            Index {
                images: index.images.clone(),
                references: index.references.clone(),
            }
        };
        edit(&mut new);
        let (path, bytes) = (self.root.join("index"), bramble_wire::encode(&new));
        blocking("write the index", move || write_durably(&path, &bytes)).await?;
        *self.lock() = new;
        self.changes.send_modify(|n| *n += 1);
        Ok(())
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

    /// Removes a name; with its last name an image goes too, and layers that no other image needs.
    /// One that is not there is fine.
    ///
    /// # Errors
    /// [`Error::InUse`] when the image is one of `in_use`.
    pub async fn remove(&self, name: &str, in_use: &BTreeSet<ImageId>) -> Result<(), Error> {
        // Layers that are being unpacked are nobody's yet.
        let _one = self.loading.lock().await;
        let (id, reference) = match self.resolve(name) {
            Ok(image) => (image.id, image.reference),
            Err(Error::Missing { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let last = self
            .lock()
            .references
            .iter()
            .all(|(r, i)| *i != id || *r == reference || id.0 == name);
        if last && in_use.contains(&id) {
            return Err(Error::InUse(name.to_owned()));
        }
        self.change(|index| {
            index
                .references
                .retain(|r, i| *i != id || (!last && *r != reference));
            if last {
                index.images.remove(&id);
            }
        })
        .await?;
        let used: BTreeSet<PathBuf> = {
            let index = self.lock();
            let all = index.images.values().flat_map(|s| &s.diff_ids);
            all.map(|d| layer_dir(&self.root, d)).collect()
        };
        if last {
            let root = self.root.clone();
            let blob = root.join("blobs").join(id.0.replace(':', "/"));
            let work = move || {
                let _ = fs::remove_file(blob);
                drop_layers(&root, &used)
            };
            blocking("remove a layer", work).await?;
        }
        Ok(())
    }
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

/// Makes the spool file's name unique within this process.
fn spool_number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Puts the bytes into a file, and leaves room on the disk for everybody else.
async fn spool(reader: impl AsyncRead + Unpin, path: &Path) -> io::Result<()> {
    let mut file = tokio::fs::File::create(path).await?;
    let free = rustix::fs::fstatvfs(&file).map(|s| s.f_bavail.saturating_mul(s.f_frsize));
    let most = ARCHIVE_MAX.min(free.unwrap_or(u64::MAX).saturating_sub(RESERVE));
    let copied = tokio::io::copy(&mut reader.take(most + 1), &mut file).await?;
    if copied > most {
        let text = format!("it has more than the {most} bytes that there is room for");
        return Err(io::Error::other(text));
    }
    file.flush().await
}
