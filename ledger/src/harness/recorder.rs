//! A file system in memory that keeps a trace of the calls that change it.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::media::{File, Media};

/// Errors as the system would give them.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A recorded call. Files go by number, because names change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A new, empty file under a name.
    Create {
        /// The file.
        file: usize,
        /// Its name.
        name: String,
    },
    /// Bytes written.
    Write {
        /// The file.
        file: usize,
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Content and size of a file are durable.
    SyncData {
        /// The file.
        file: usize,
    },
    /// A rename.
    Rename {
        /// The file.
        file: usize,
        /// Old name.
        from: String,
        /// New name.
        to: String,
    },
    /// A removal.
    Remove {
        /// The name.
        name: String,
    },
    /// Names are durable.
    SyncDir,
    /// The code under test acknowledged something.
    Mark(u64),
}

#[derive(Default)]
struct State {
    names: BTreeMap<String, usize>,
    files: Vec<Vec<u8>>,
    /// What the disk held before the first call.
    base: BTreeMap<String, Vec<u8>>,
    trace: Vec<Call>,
    locked: bool,
    salt: u64,
    /// Bytes that can't be read.
    unreadable: Vec<(usize, std::ops::Range<u64>)>,
    fault: Option<Fault>,
    space: Option<u64>,
    hide_full: bool,
    /// Data syncs wait.
    held: bool,
    /// How many are waiting.
    waiting: usize,
    forget_data: bool,
    forget_dir: bool,
}

/// A failure to come.
#[derive(Clone, Copy)]
enum Fault {
    /// The process is gone: no call has any effect once so many were recorded.
    Killed(usize),
    /// Syncs fail.
    Sync,
}

/// A recording file system. Clones share the same one.
#[derive(Clone, Default)]
pub struct Recorder {
    state: Arc<Mutex<State>>,
    changed: Arc<Condvar>,
}

impl Recorder {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk that holds these files, durably.
    #[must_use]
    pub fn with_files(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let recorder = Self::new();
        let mut state = recorder.state();
        for (name, bytes) in files {
            let file = state.files.len();
            state.names.insert(name.clone(), file);
            state.files.push(bytes.clone());
        }
        state.base = files.clone();
        drop(state);
        recorder
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the code under test acknowledged `what`.
    pub fn mark(&self, what: u64) {
        let mut state = self.state();
        if !state.is_killed() {
            state.trace.push(Call::Mark(what));
        }
    }

    /// The calls so far.
    #[must_use]
    pub fn trace(&self) -> Vec<Call> {
        self.state().trace.clone()
    }

    /// What the disk held before the first call.
    #[must_use]
    pub fn base(&self) -> BTreeMap<String, Vec<u8>> {
        self.state().base.clone()
    }

    /// What a process that reads now would see.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let names = state.names.iter();
        names
            .map(|(name, file)| (name.clone(), state.files[*file].clone()))
            .collect()
    }

    /// Kills the process after so many more calls: later ones have no effect and fail.
    pub fn kill_after(&self, calls: usize) {
        let mut state = self.state();
        state.fault = Some(Fault::Killed(state.trace.len() + calls));
    }

    /// From now on, every sync reports an error.
    pub fn fail_syncs(&self) {
        self.state().fault = Some(Fault::Sync);
    }

    /// A new process: no more faults, the lock is free.
    pub fn restart(&self) {
        let mut state = self.state();
        state.fault = None;
        state.locked = false;
    }

    /// Lets the files together grow to so many bytes; `None` for no limit.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.state().space = bytes;
    }

    /// Makes data syncs wait for [`Recorder::release_syncs`]: a disk that takes its time.
    pub fn hold_syncs(&self) {
        self.state().held = true;
    }

    /// Returns once a data sync waits.
    pub fn wait_until_held(&self) {
        let state = self
            .changed
            .wait_while(self.state(), |state| state.waiting == 0);
        drop(state.unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets data syncs go on.
    pub fn release_syncs(&self) {
        self.state().held = false;
        self.changed.notify_all();
    }

    /// Lets a full disk show only when it is written to, as under a quota.
    pub fn hide_full(&self) {
        self.state().hide_full = true;
    }

    /// A deliberately dishonest disk: `sync_data` says yes and does nothing.
    pub fn forget_data_syncs(&self) {
        self.state().forget_data = true;
    }

    /// A deliberately dishonest disk: `sync_dir` says yes and does nothing.
    pub fn forget_dir_syncs(&self) {
        self.state().forget_dir = true;
    }

    /// Makes bytes of a file unreadable.
    pub fn fail_reads(&self, name: &str, bytes: std::ops::Range<u64>) {
        let mut state = self.state();
        if let Some(&file) = state.names.get(name) {
            state.unreadable.push((file, bytes));
        }
    }

    /// Changes bytes behind everybody's back: a decayed flash cell.
    pub fn damage(&self, name: &str, offset: usize, with: u8) {
        let mut state = self.state();
        if let Some(&file) = state.names.get(name) {
            state.files[file][offset] ^= with;
        }
    }
}

impl State {
    fn is_killed(&self) -> bool {
        matches!(self.fault, Some(Fault::Killed(at)) if self.trace.len() >= at)
    }

    fn alive(&self) -> io::Result<()> {
        if self.is_killed() {
            Err(io::Error::from_raw_os_error(EIO))
        } else {
            Ok(())
        }
    }

    fn check_sync(&self) -> io::Result<()> {
        self.alive()?;
        let fails = matches!(self.fault, Some(Fault::Sync));
        if fails {
            Err(io::Error::from_raw_os_error(EIO))
        } else {
            Ok(())
        }
    }

    fn used(&self) -> u64 {
        self.names
            .values()
            .map(|file| self.files[*file].len() as u64)
            .sum()
    }
}

impl Media for Recorder {
    type File = RecorderFile;
    type Lock = RecorderLock;

    fn lock(&self) -> io::Result<RecorderLock> {
        let mut state = self.state();
        if std::mem::replace(&mut state.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        drop(state);
        Ok(RecorderLock {
            recorder: self.clone(),
        })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<RecorderFile> {
        let state = self.state();
        let file = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        drop(state);
        Ok(RecorderFile {
            recorder: self.clone(),
            file,
        })
    }

    fn create(&self, name: &str) -> io::Result<RecorderFile> {
        let mut state = self.state();
        state.alive()?;
        let file = state.files.len();
        state.files.push(Vec::new());
        state.names.insert(name.to_owned(), file);
        state.trace.push(Call::Create {
            file,
            name: name.to_owned(),
        });
        drop(state);
        Ok(RecorderFile {
            recorder: self.clone(),
            file,
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        state.trace.push(Call::Rename {
            file,
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        if state.names.remove(name).is_some() {
            state.trace.push(Call::Remove {
                name: name.to_owned(),
            });
        }
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        state.check_sync()?;
        if !state.forget_dir {
            state.trace.push(Call::SyncDir);
        }
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        let state = self.state();
        let hidden = state.hide_full;
        let left = state.space.map(|space| space.saturating_sub(state.used()));
        Ok(left.filter(|_| !hidden).unwrap_or(u64::MAX))
    }

    fn salt(&self) -> io::Result<u64> {
        let mut state = self.state();
        state.salt += 1;
        Ok(state.salt.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// The lock of a [`Recorder`].
pub struct RecorderLock {
    recorder: Recorder,
}

impl Drop for RecorderLock {
    fn drop(&mut self) {
        self.recorder.state().locked = false;
    }
}

/// A file of a [`Recorder`].
pub struct RecorderFile {
    recorder: Recorder,
    file: usize,
}

impl File for RecorderFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.recorder.state().files[self.file].len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.recorder.state();
        let end = offset + buffer.len() as u64;
        let fails = |(file, bad): &(usize, std::ops::Range<u64>)| {
            *file == self.file && bad.start < end && offset < bad.end
        };
        if state.unreadable.iter().any(fails) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let bytes = &state.files[self.file];
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.recorder.state();
        state.alive()?;
        let end = offset as usize + bytes.len();
        let grown = end.saturating_sub(state.files[self.file].len()) as u64;
        if state
            .space
            .is_some_and(|space| grown > 0 && state.used() + grown > space)
        {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        write(&mut state.files[self.file], offset as usize, bytes);
        state.trace.push(Call::Write {
            file: self.file,
            offset,
            bytes: bytes.to_vec(),
        });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let changed = &self.recorder.changed;
        let mut state = self.recorder.state();
        state.waiting += 1;
        changed.notify_all();
        let waited = changed.wait_while(state, |state| state.held);
        state = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state.check_sync()?;
        if !state.forget_data {
            state.trace.push(Call::SyncData { file: self.file });
        }
        Ok(())
    }

    fn drop_cache(&self) {}
}

/// Writes into a file that grows as needed.
pub(super) fn write(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}
