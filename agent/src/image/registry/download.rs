//! One blob into a file: goes on where an earlier try ended, never takes more than the manifest says
//! nor more than the disk can spare, and is given out only with the right digest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};

use super::PullError;
use super::client::Client;
use crate::image::child::RESERVE;
use crate::image::manifest::Descriptor;

/// Tries in a row that bring nothing before the pull is given up; a later one goes on from there.
const TRIES: u32 = 4;
/// Downloads that nobody went on with for so long are thrown away.
const STALE: Duration = Duration::from_secs(7 * 86_400);
/// Bytes between two looks at the free space.
const LOOK: u64 = 8 << 20;

/// What is shared by all downloads of a pull.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Bytes that have come.
    pub(super) bytes: AtomicU64,
    /// The pull has failed elsewhere: end.
    pub(super) stop: AtomicBool,
}

/// A blob that is whole, with the file's lock.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) size: u64,
}

impl Blob {
    /// It is not needed any more.
    pub(super) fn remove(&self) {
        // What can't be removed is stale some day.
        let _ = fs::remove_file(&self.path);
    }
}

/// Where unfinished downloads lie.
fn folder(store: &Path) -> PathBuf {
    store.join("partial")
}

/// Throws away what nobody goes on with.
pub(super) fn clean(store: &Path) {
    for entry in fs::read_dir(folder(store)).into_iter().flatten().flatten() {
        let old = entry.metadata().and_then(|m| m.modified()).ok();
        let age = old.and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age > STALE) {
            remove_idle(&entry.path());
        }
    }
}

/// Removes every download that no process is at.
pub(in crate::image) fn remove_partials(store: &Path) {
    for entry in fs::read_dir(folder(store)).into_iter().flatten().flatten() {
        remove_idle(&entry.path());
    }
}

/// Removes a download unless some process is at it.
fn remove_idle(path: &Path) {
    if let Ok(file) = File::open(path)
        && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
    {
        let _ = fs::remove_file(path);
    }
}

struct Download<'a> {
    client: &'a Client,
    descriptor: &'a Descriptor,
    size: u64,
    path: PathBuf,
    file: File,
    hash: Sha256,
    have: u64,
    shared: &'a Shared,
}

/// Brings a blob here.
///
/// # Errors
/// [`PullError`]; what came stays for the next try where that can help.
pub(super) fn fetch(
    client: &Client,
    store: &Path,
    descriptor: &Descriptor,
    shared: &Shared,
) -> Result<Blob, PullError> {
    let digest = &descriptor.digest;
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    let path = folder(store).join(hex);
    let size = descriptor
        .size
        .ok_or_else(|| PullError::Invalid(format!("{digest}: the manifest says no size")))?;
    let broken = |e: io::Error| disk(&path, &e);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(broken)?;
    // Another pull may be at the same layer; it is waited for.
    rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(|e| broken(e.into()))?;
    let mut download = Download {
        client,
        descriptor,
        size,
        path: path.clone(),
        file,
        hash: Sha256::new(),
        have: 0,
        shared,
    };
    let result = download.run();
    if let Err(PullError::Disk(_) | PullError::Invalid(_)) = result {
        // The room is needed more than the half of a layer, and what is wrong stays wrong.
        let _ = fs::remove_file(&path);
    }
    result?;
    Ok(Blob {
        file: download.file,
        path,
        size,
    })
}

/// A full disk is told apart: there is something to be done about it.
pub(super) fn disk(path: &Path, error: &io::Error) -> PullError {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PullError::Disk(text),
        _ => PullError::Io(text),
    }
}

impl Download<'_> {
    fn run(&mut self) -> Result<(), PullError> {
        let mut resumed = self.take_up()?;
        let mut tries = 0;
        loop {
            while self.have < self.size {
                if self.shared.stop.load(Ordering::Relaxed) {
                    return Err(PullError::Io("given up".into()));
                }
                let before = self.have;
                match self.more() {
                    Ok(()) => {}
                    Err(PullError::Unreachable(why)) => {
                        tries = if self.have > before { 1 } else { tries + 1 };
                        if tries >= TRIES {
                            return Err(PullError::Unreachable(format!(
                                "{why} ({} of {} bytes of a layer are here, the next try goes on from there)",
                                self.have, self.size
                            )));
                        }
                        std::thread::sleep(Duration::from_millis(500 << tries));
                    }
                    Err(error) => return Err(error),
                }
            }
            let found = format!(
                "sha256:{}",
                hex::encode(std::mem::take(&mut self.hash).finalize())
            );
            if found == self.descriptor.digest {
                return Ok(());
            }
            self.restart()?;
            // What lay here may have been the damaged part; what came in one piece is as it is there.
            if !resumed {
                return Err(PullError::Invalid(format!(
                    "{}: what the registry sends has the digest {found}",
                    self.descriptor.digest
                )));
            }
            resumed = false;
        }
    }

    /// Reads what an earlier try left; true when it left something.
    fn take_up(&mut self) -> Result<bool, PullError> {
        let broken = |e: io::Error| disk(&self.path, &e);
        let length = self.file.metadata().map_err(broken)?.len();
        if length > self.size {
            self.restart()?;
            return Ok(false);
        }
        let mut buffer = vec![0; 64 * 1024];
        self.file.rewind().map_err(broken)?;
        loop {
            match self.file.read(&mut buffer).map_err(broken)? {
                0 => break,
                n => {
                    self.hash.update(&buffer[..n]);
                    self.have += n as u64;
                }
            }
        }
        self.shared.bytes.fetch_add(self.have, Ordering::Relaxed);
        Ok(self.have > 0)
    }

    fn restart(&mut self) -> Result<(), PullError> {
        self.shared.bytes.fetch_sub(self.have, Ordering::Relaxed);
        self.hash = Sha256::new();
        self.have = 0;
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|e| disk(&self.path, &e))
    }

    /// One request; returns when it has brought all that is missing, or less.
    fn more(&mut self) -> Result<(), PullError> {
        let what = format!("blobs/{}", self.descriptor.digest);
        let range = format!("bytes={}-", self.have);
        let headers = [("Range", range.as_str())];
        let headers = if self.have > 0 { &headers[..] } else { &[] };
        let response = self.client.ask("GET", &what, headers)?;
        match response.status {
            206 if self.have > 0 => {
                let start = format!("bytes {}-", self.have);
                let range = response.header("content-range");
                if !range.is_some_and(|range| range.starts_with(&start)) {
                    self.restart()?;
                    return Ok(());
                }
            }
            416 => {
                // It has less than we do: one of us is wrong.
                self.restart()?;
                return Ok(());
            }
            // It knows no ranges.
            _ => self.restart()?,
        }
        let at = SeekFrom::Start(self.have);
        self.file.seek(at).map_err(|e| disk(&self.path, &e))?;
        let mut body = response.into_body();
        let mut buffer = vec![0; 64 * 1024];
        let mut looked = 0;
        loop {
            if looked == 0 || self.have - looked >= LOOK {
                looked = self.have.max(1);
                self.check_room()?;
            }
            let n = match body.read(&mut buffer) {
                Ok(0) if self.have < self.size => {
                    return Err(PullError::Unreachable("the answer was cut off".into()));
                }
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(e) => return Err(PullError::Unreachable(format!("download: {e}"))),
            };
            if n as u64 > self.size - self.have {
                return Err(PullError::Invalid(format!(
                    "{}: longer than the {} bytes of the manifest",
                    self.descriptor.digest, self.size
                )));
            }
            let written = self.file.write_all(&buffer[..n]);
            written.map_err(|e| disk(&self.path, &e))?;
            self.hash.update(&buffer[..n]);
            self.have += n as u64;
            self.shared.bytes.fetch_add(n as u64, Ordering::Relaxed);
            if self.shared.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }

    /// Leaves room for everybody else on the board.
    fn check_room(&self) -> Result<(), PullError> {
        let Ok(stat) = rustix::fs::fstatvfs(&self.file) else {
            return Ok(());
        };
        if stat.f_bavail.saturating_mul(stat.f_frsize) > RESERVE {
            return Ok(());
        }
        Err(PullError::Disk(format!(
            "no space left on device: less than {} MB are free",
            RESERVE >> 20
        )))
    }
}
