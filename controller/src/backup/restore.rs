//! Reading a backup, and putting it in the place of a data directory.
//!
//! The steps, and what a power cut leaves between them:
//!
//! 1. All of the file is looked at. Nothing is written before.
//! 2. The store that is there is locked: no controller runs on it, and none starts meanwhile.
//! 3. `DIR.restoring` is filled, with a mark that it is not whole; a cut leaves the old directory, and the
//!    next restore removes the remains.
//! 4. The new epoch is begun in it, everything is synced, the mark goes.
//! 5. `DIR` and `DIR.restoring` exchange their names, in one step of the file system.
//! 6. The old one, which has the other name now, gets that of `DIR.before-1`. Whatever has no mark is
//!    never removed.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bramble_ledger::{Disk, Media as _};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::archive::{Reader, damaged};
use super::{Error, FORMAT, MANIFEST, Manifest, PKI, RECORDS};
use crate::nodelink::control::Control;
use crate::pki::{self, Pki, ROOTS, files};
use crate::store::{self, Checker, LedgerStore, Making};

/// Stands in a directory that is not whole.
const INCOMPLETE: &str = "incomplete";

/// A restore that was carried out.
#[derive(Debug)]
pub struct Restored {
    /// What is there now.
    pub manifest: Manifest,
    /// The epoch that was begun.
    pub epoch: u64,
    /// Where the data is that was there before.
    pub aside: Option<PathBuf>,
}

/// Reads all of a backup; what it is of.
///
/// # Errors
/// [`Error`], when it can't be restored.
pub fn check(file: &Path) -> Result<Manifest, Error> {
    let mut checker = Checker::default();
    let manifest = read(file, |part| match part {
        Part::Key(..) => Ok(()),
        Part::Record(record, at) => checker.look(record).map_err(|error| (at, error).into()),
    })?;
    let size = fs::metadata(file).map_or(0, |metadata| metadata.len());
    checker.finish().map_err(|error| (size, error))?;
    Ok(manifest)
}

/// Puts a backup into the place of `data_dir`. With `force` whatever is there is moved aside.
///
/// # Errors
/// [`Error`]; `data_dir` is as it was then.
pub async fn restore(file: &Path, data_dir: &Path, force: bool) -> Result<Restored, Error> {
    in_steps(file, data_dir, force, |_| Ok(())).await
}

/// The steps of a restore, for a test that ends it after one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Checked,
    Begun,
    Written,
    Raised,
    Whole,
    Exchanged,
    Aside,
}

pub(super) async fn in_steps(
    file: &Path,
    data_dir: &Path,
    force: bool,
    mut step: impl FnMut(Step) -> Result<(), Error>,
) -> Result<Restored, Error> {
    let manifest = check(file)?;
    step(Step::Checked)?;
    let place = Place::new(data_dir)?;
    let _held = place.hold()?;
    let occupied = place.what_is_there()?;
    if let Some(what) = occupied.as_ref().filter(|_| !force) {
        return Err(Error::Occupied {
            directory: place.is.display().to_string(),
            what: what.describe(&manifest),
            aside: place.free_name().display().to_string(),
        });
    }
    place.clear()?;
    files::ensure_dir(&place.fresh)?;
    files::write(&place.fresh.join(INCOMPLETE), b"")?;
    step(Step::Begun)?;
    write(file, &place.fresh)?;
    step(Step::Written)?;
    let epoch = raise(&place.fresh).await?;
    step(Step::Raised)?;
    place.give_to_owner()?;
    place.finish()?;
    step(Step::Whole)?;
    let there = place.exchange()?;
    step(Step::Exchanged)?;
    let aside = match (there, occupied) {
        (false, _) => None,
        (true, None) => match fs::remove_dir(&place.fresh) {
            Ok(()) => None,
            // Something was put there meanwhile, by a controller that was started.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Some(place.move_aside()?),
            Err(error) => return Err(io("removing", &place.fresh)(error)),
        },
        (true, Some(_)) => Some(place.move_aside()?),
    };
    step(Step::Aside)?;
    Ok(Restored {
        manifest,
        epoch,
        aside,
    })
}

/// A part of a backup, in the order in which they come.
enum Part<'a> {
    /// A key, by the name of its file.
    Key(&'a str, &'a [u8]),
    /// A record of the store, and where its entry begins.
    Record(&'a [u8], u64),
}

/// Reads a backup from the beginning to its end. What is visited is certain only when this returns.
fn read(
    file: &Path,
    mut visit: impl FnMut(Part<'_>) -> Result<(), Error>,
) -> Result<Manifest, Error> {
    let input = File::open(file).map_err(io("opening", file))?;
    let mut reader = Reader::new(BufReader::new(input));
    let first = reader.next()?.filter(|entry| entry.name == MANIFEST);
    let first = first.ok_or(Error::Foreign)?;
    let manifest = manifest(&first.content)?;
    let mut keys = ROOTS.iter();
    let mut number = 0;
    while let Some(entry) = reader.next()? {
        let misplaced = || damaged(entry.at, "an entry is out of its place");
        if let Some(name) = entry.name.strip_prefix(PKI) {
            let due = keys.next().is_some_and(|key| *key == name);
            if !due || number > 0 {
                return Err(misplaced());
            }
            visit(Part::Key(name, &entry.content))?;
            continue;
        }
        number += 1;
        if entry.name != format!("{RECORDS}{number:06}") {
            return Err(misplaced());
        }
        let mut rest = entry.content.as_slice();
        while !rest.is_empty() {
            let (record, after) =
                split(rest).ok_or_else(|| damaged(entry.at, "a record is cut off"))?;
            visit(Part::Record(record, entry.at))?;
            rest = after;
        }
    }
    if keys.next().is_some() {
        return Err(damaged(first.at, "a key is missing"));
    }
    Ok(manifest)
}

fn manifest(json: &[u8]) -> Result<Manifest, Error> {
    #[derive(serde::Deserialize)]
    struct Any {
        format: u32,
        #[serde(default)]
        version: String,
    }
    let unreadable = |_| damaged(0, "it does not say what it is");
    let any: Any = serde_json::from_slice(json).map_err(unreadable)?;
    if any.format > FORMAT {
        return Err(Error::Newer {
            found: any.format,
            version: any.version,
        });
    }
    serde_json::from_slice(json).map_err(unreadable)
}

/// The first record and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Fills the fresh directory with keys and store.
fn write(file: &Path, fresh: &Path) -> Result<(), Error> {
    let keys = fresh.join("pki");
    files::ensure_dir(&keys)?;
    let mut making = Making::begin(&fresh.join("store"), store::Settings::default())?;
    read(file, |part| match part {
        Part::Key(name, content) => Ok(files::write(&keys.join(name), content)?),
        Part::Record(record, _) => Ok(making.append(record)?),
    })?;
    making.finish()?;
    // Reads all of them, and that they fit together.
    Pki::open(&pki::Options {
        data_dir: fresh.to_owned(),
        names: Vec::new(),
    })?;
    Ok(())
}

/// Begins the new epoch.
async fn raise(fresh: &Path) -> Result<u64, Error> {
    let store = LedgerStore::open(fresh.join("store"), store::Settings::default())?;
    Ok(Control::begin_epoch(&store).await?)
}

/// The directory, and its neighbours.
struct Place {
    is: PathBuf,
    fresh: PathBuf,
    parent: PathBuf,
    name: String,
}

/// What stands where the backup shall go.
struct Content {
    cluster: Option<String>,
}

impl Content {
    fn describe(&self, backup: &Manifest) -> String {
        match &self.cluster {
            Some(cluster) if *cluster == backup.cluster => format!("the cluster {cluster} already"),
            Some(cluster) => format!(
                "the cluster {cluster}, and the backup is of another one, {}",
                backup.cluster
            ),
            None => "something already".to_owned(),
        }
    }
}

impl Place {
    fn new(data_dir: &Path) -> Result<Self, Error> {
        let is = match fs::canonicalize(data_dir) {
            Ok(is) => is,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let parent = data_dir.parent().filter(|p| !p.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                fs::create_dir_all(parent).map_err(io("creating", parent))?;
                let parent = fs::canonicalize(parent).map_err(io("resolving", parent))?;
                parent.join(data_dir.file_name().unwrap_or_default())
            }
            Err(error) => return Err(io("resolving", data_dir)(error)),
        };
        let parts = || Some((is.parent()?, is.file_name()?.to_str()?));
        let Some((parent, name)) = parts() else {
            let source = ErrorKind::InvalidInput.into();
            return Err(io("using as data directory", data_dir)(source));
        };
        Ok(Self {
            fresh: parent.join(format!("{name}.restoring")),
            parent: parent.to_owned(),
            name: name.to_owned(),
            is,
        })
    }

    /// Locks the store that is there, whatever state it is in.
    fn hold(&self) -> Result<Option<File>, Error> {
        let store = self.is.join("store");
        if !store.is_dir() {
            return Ok(None);
        }
        let disk = Disk::open(&store).map_err(io("opening", &store))?;
        match disk.lock() {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(Error::Running(self.is.display().to_string()))
            }
            Err(error) => Err(io("locking", &store)(error)),
        }
    }

    fn what_is_there(&self) -> Result<Option<Content>, Error> {
        if !self.is.exists() || is_empty(&self.is)? {
            return Ok(None);
        }
        let cluster = fs::read_to_string(self.is.join("pki/cluster-id")).ok();
        let cluster = cluster.map(|id| id.trim().to_owned());
        Ok(Some(Content { cluster }))
    }

    /// Removes what an earlier restore left unfinished. What has no mark is whole, and is kept.
    fn clear(&self) -> Result<(), Error> {
        if !self.fresh.exists() {
            return Ok(());
        }
        // The mark's own beginning is what a power cut may have left of it.
        let begun = format!("{INCOMPLETE}.new");
        let half = [INCOMPLETE, &begun].map(|mark| self.fresh.join(mark).exists());
        if half.contains(&true) || is_empty(&self.fresh)? {
            return fs::remove_dir_all(&self.fresh).map_err(io("removing", &self.fresh));
        }
        self.move_aside().map(drop)
    }

    fn free_name(&self) -> PathBuf {
        let name = |n: u32| self.parent.join(format!("{}.before-{n}", self.name));
        (1..)
            .map(name)
            .find(|path| !path.exists())
            .expect("one of 2^32 is free")
    }

    /// Gives the directory that is not in its place a name that it keeps.
    fn move_aside(&self) -> Result<PathBuf, Error> {
        let to = self.free_name();
        fs::rename(&self.fresh, &to).map_err(io("renaming", &self.fresh))?;
        self.sync()?;
        Ok(to)
    }

    /// The service's user must be able to read what root has written.
    fn give_to_owner(&self) -> Result<(), Error> {
        let Ok(owner) = fs::metadata(&self.is) else {
            return Ok(());
        };
        if !rustix::process::geteuid().is_root() || owner.uid() == 0 {
            return Ok(());
        }
        give(&self.fresh, owner.uid(), owner.gid())
    }

    /// Everything is on disk, and only then the mark goes.
    fn finish(&self) -> Result<(), Error> {
        let directory = File::open(&self.fresh).map_err(io("opening", &self.fresh))?;
        let sync =
            || rustix::fs::syncfs(&directory).map_err(|e| io("syncing", &self.fresh)(e.into()));
        sync()?;
        let mark = self.fresh.join(INCOMPLETE);
        fs::remove_file(&mark).map_err(io("removing", &mark))?;
        sync()
    }

    /// Puts the fresh directory in its place. Whether there was one before, which has its name then.
    fn exchange(&self) -> Result<bool, Error> {
        let there = self.is.exists();
        let flags = match there {
            true => RenameFlags::EXCHANGE,
            false => RenameFlags::NOREPLACE,
        };
        rustix::fs::renameat_with(CWD, &self.fresh, CWD, &self.is, flags).map_err(|errno| {
            match errno {
                Errno::BUSY | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::XDEV => {
                    Error::Unmovable {
                        directory: self.is.display().to_string(),
                        source: errno.into(),
                    }
                }
                _ => io("exchanging", &self.is)(errno.into()),
            }
        })?;
        self.sync()?;
        Ok(there)
    }

    fn sync(&self) -> Result<(), Error> {
        let parent = File::open(&self.parent).and_then(|directory| directory.sync_all());
        parent.map_err(io("syncing", &self.parent))
    }
}

fn is_empty(directory: &Path) -> Result<bool, Error> {
    let mut entries = fs::read_dir(directory).map_err(io("reading", directory))?;
    Ok(entries.next().is_none())
}

/// Changes the owner of a directory and all in it. It holds plain files and directories only.
fn give(path: &Path, uid: u32, gid: u32) -> Result<(), Error> {
    let kind = fs::symlink_metadata(path).map_err(io("reading", path))?;
    if kind.is_dir() {
        for entry in fs::read_dir(path).map_err(io("reading", path))? {
            give(&entry.map_err(io("reading", path))?.path(), uid, gid)?;
        }
    }
    // The directory last: until then nobody but root can put a link into it.
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(io("changing the owner of", path))
}

fn io<'a>(operation: &'static str, path: &'a Path) -> impl Fn(std::io::Error) -> Error + 'a {
    move |source| Error::Io {
        operation,
        path: path.display().to_string(),
        source,
    }
}
