//! The hidden sub-command `bramble-agent unpack`: reads one archive into the store and says what
//! was in it. A process of its own, with bounded memory, that ends when it is done.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use serde::{Deserialize, Serialize};

use super::archive::{self, Found, FoundLayer, ImageArchive};
use super::content::LayerReader;
use super::layer::{self, Used};
use super::platform::Platform;
use super::{ImageConfig, ImageId, Limits, registry};

/// Address space of the child; a decoder or an archive that wants more ends it. Everything is read as
/// a stream: most of it is the window of a decoder, 128 MiB at most.
const MEMORY_MAX: u64 = 384 << 20;

/// Free space that unpacking leaves on the disk.
pub(super) const RESERVE: u64 = 64 << 20;

/// An image that is in the store now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// Its id.
    pub id: ImageId,
    /// Names in the archive, in full form.
    pub references: Vec<String>,
    /// Its configuration.
    pub config: ImageConfig,
    /// Digests of its layers' contents, lowest first.
    pub diff_ids: Vec<String>,
    /// Unpacked size, bytes.
    pub size_bytes: u64,
}

/// Why an archive was not loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum LoadError {
    /// The archive is malformed, hostile or damaged.
    #[error("invalid image: {0}")]
    Invalid(String),
    /// It has nothing for this board.
    #[error("{0}")]
    Platform(String),
    /// There is no room for it; worth another try when there is.
    #[error("{0}")]
    Disk(String),
    /// The board could not do it; worth another try.
    #[error("{0}")]
    Io(String),
}

impl LoadError {
    /// A full disk is told apart: there is something to be done about it.
    fn of(text: String, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Disk(text),
            _ => Self::Io(text),
        }
    }
}

/// What became of an archive.
pub type Report = Result<Vec<Loaded>, LoadError>;

/// Answer of the child, postcard on its standard output.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Names that the archive gives its images, in full form, as far as it could be read: whoever
    /// waits for one of them is told what became of it.
    pub(super) named: Vec<String>,
    /// What became of it.
    pub(super) report: Report,
}

/// Runs the sub-command: `unpack <store> <archive>`.
pub fn run(mut args: impl Iterator<Item = String>) -> ExitCode {
    let (Some(store), Some(archive)) = (args.next(), args.next()) else {
        return ExitCode::from(2);
    };
    restrain();
    let board = registry::board();
    let mut named = Vec::new();
    let report = load_named(
        Path::new(&store),
        Path::new(&archive),
        Limits::default(),
        &board,
        &mut named,
    );
    match io::stdout().write_all(&bramble_wire::encode(&Answer { named, report })) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Bounds this process, a child of the agent.
pub(super) fn restrain() {
    // An agent that is killed empties the work in progress when it returns: nobody may be at it.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // A board may have less memory than the bound: then this process goes first, and neither the
    // agent nor a container.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    let bound = Some(MEMORY_MAX);
    // Where it is refused, the board's memory is the bound.
    let _ = setrlimit(
        Resource::As,
        Rlimit {
            current: bound,
            maximum: bound,
        },
    );
}

/// Makes the store's directories.
pub(super) fn make_folders(store: &Path) -> Result<(), LoadError> {
    for dir in ["blobs/sha256", "layers", "tmp", "partial"] {
        let dir = store.join(dir);
        fs::create_dir_all(&dir)
            .map_err(|e| LoadError::of(format!("make {}: {e}", dir.display()), &e))?;
    }
    Ok(())
}

/// Loads every image of an archive that runs on `board`.
///
/// # Errors
/// [`LoadError`]; what was complete by then stays in the store, unnamed.
pub fn load(store: &Path, archive: &Path, limits: Limits, board: &Platform) -> Report {
    load_named(store, archive, limits, board, &mut Vec::new())
}

fn load_named(
    store: &Path,
    archive: &Path,
    mut limits: Limits,
    board: &Platform,
    named: &mut Vec<String>,
) -> Report {
    let broken = |what: &str, path: &Path, e: io::Error| {
        LoadError::of(format!("{what} {}: {e}", path.display()), &e)
    };
    // Without waiting: opening a FIFO would block for ever.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(archive)
        .map_err(|e| broken("open", archive, e))?;
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return Err(LoadError::Invalid(format!(
            "{} is not a file",
            archive.display()
        )));
    }
    make_folders(store)?;
    let mut used = Used::default();
    limits.fit(store, &used);
    let mut archive = ImageArchive::open(file, limits)?;
    let images = archive.images(board)?;
    named.extend(
        images
            .iter()
            .flat_map(|image| image.references.iter().cloned()),
    );
    let mut out = Vec::new();
    for Found {
        references,
        id,
        config_json,
        config,
        layers,
    } in images
    {
        let mut size_bytes = 0;
        for found in &layers {
            let open = || Ok(archive.layer(found)?);
            size_bytes += ensure_layer(store, found, &limits, &mut used, open)?;
        }
        let blob = store.join("blobs").join(id.replace(':', "/"));
        write_durably(&blob, &config_json).map_err(|e| broken("write", &blob, e))?;
        let diff_ids = layers.into_iter().map(|l| l.diff_id).collect();
        out.push(Loaded {
            id: ImageId(id),
            references,
            config,
            diff_ids,
            size_bytes,
        });
    }
    Ok(out)
}

/// Unpacks a layer that isn't there yet; returns its size.
pub(super) fn ensure_layer(
    store: &Path,
    found: &FoundLayer,
    limits: &Limits,
    used: &mut Used,
    open: impl FnOnce() -> Result<LayerReader, LoadError>,
) -> Result<u64, LoadError> {
    let target = layer_dir(store, &found.diff_id);
    if let Some(size) = layer_size(&target) {
        return Ok(size);
    }
    let tmp = store
        .join("tmp")
        .join(format!("layer-{}", std::process::id()));
    let result = open().and_then(|reader| unpack_layer(reader, found, &tmp, &target, limits, used));
    if result.is_err() {
        let _ = fs::remove_dir_all(&tmp);
    }
    result
}

fn unpack_layer(
    mut reader: LayerReader,
    found: &FoundLayer,
    tmp: &Path,
    target: &Path,
    limits: &Limits,
    used: &mut Used,
) -> Result<u64, LoadError> {
    let broken = |e: io::Error| LoadError::of(format!("unpack to {}: {e}", tmp.display()), &e);
    let _ = fs::remove_dir_all(tmp);
    let root = tmp.join("fs");
    fs::create_dir_all(&root).map_err(broken)?;
    fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .map_err(broken)?;
    let before = used.bytes;
    layer::unpack(&mut reader, &root, limits, used)?;
    reader.verify(found)?;
    let size = used.bytes - before;
    fs::write(tmp.join("size"), size.to_string()).map_err(broken)?;
    // One sync for thousands of files, then the name: a layer is complete or absent.
    let dir = File::open(tmp).map_err(broken)?;
    rustix::fs::syncfs(&dir).map_err(|e| broken(e.into()))?;
    match fs::rename(tmp, target) {
        // Somebody else was faster with the same content.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
            ) =>
        {
            let _ = fs::remove_dir_all(tmp);
        }
        other => other.map_err(broken)?,
    }
    sync_parent(target).map_err(broken)?;
    Ok(size)
}

/// Directory of a layer in the store; its files are below `fs`.
pub(super) fn layer_dir(store: &Path, diff_id: &str) -> PathBuf {
    // Half of the digest is as good as unique, and many layers must fit on one page of options.
    let hex = diff_id.strip_prefix("sha256:").unwrap_or(diff_id);
    store.join("layers").join(&hex[..hex.len().min(32)])
}

/// Size of a complete layer.
pub(super) fn layer_size(dir: &Path) -> Option<u64> {
    fs::read_to_string(dir.join("size"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Writes a file so that after a power cut it is there whole or not at all.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut tmp = path.as_os_str().to_owned();
    tmp.push(".tmp");
    let tmp = PathBuf::from(tmp);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&tmp)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&tmp, path)?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

impl From<archive::Error> for LoadError {
    fn from(error: archive::Error) -> Self {
        match error {
            archive::Error::Invalid(text) => Self::Invalid(text),
            archive::Error::Platform(text) => Self::Platform(text),
            archive::Error::Io(source) => Self::Io(format!("read the archive: {source}")),
        }
    }
}

impl From<layer::Error> for LoadError {
    fn from(error: layer::Error) -> Self {
        match error {
            layer::Error::Invalid(text) => Self::Invalid(text),
            layer::Error::Io { path, source } => {
                Self::of(format!("unpack {}: {source}", path.display()), &source)
            }
        }
    }
}
