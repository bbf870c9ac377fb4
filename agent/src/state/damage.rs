//! A state log that no power cut can have left: cells of the card have changed, or can't be read.
//!
//! Refusing to start would leave a board dark that could run. So what is still intact is taken, without
//! trusting it further than it reaches:
//!
//! * The document counts only when its digest says that it is whole; else the last one that was.
//! * The number of this start is beyond any that can have been used.
//! * Pods that must not run twice wait for the controller's word. Those that are not started again after an
//!   end and do not run have failed, until the controller has confirmed the document
//!   ([`Contents::salvaged`]): their ends may be among what was lost.
//! * The damaged files are kept beside the new ones, for a person, and their presence is shown.
//!
//! Without keys and membership there is no node to be: then the log is refused as it is. So is one that a
//! later release wrote, which is not damaged.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bramble_agent_core::session::Document;
use bramble_ledger::{Disk, Error, Ledger, Salvaged};
use bramble_wire::document::{self, IndexEntry};
use bramble_wire::object::PodUid;

use super::contents::Contents;
use super::copy::Copy;
use super::log::{Loader, Log, OPTIONS};
use super::record::FORMAT;
use crate::error_chain;

/// How often a log is read before it counts as damaged: a bad contact may pass.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 500 });
/// How many damaged ones are kept.
const KEPT_MAX: u32 = 3;
/// Name of the new log until it is in place, and of the file in it that is written last.
const FRESH: &str = "salvaged";
const WHOLE: &str = "salvaged";
/// More starts than can have been lost.
const STARTS_LOST: u64 = 1 << 20;
/// More of the board's own pods than can have been lost.
const OWN_PODS_LOST: u64 = 1 << 20;
/// How a card or its file system says that something is not to be read: EIO, EBADMSG, EUCLEAN.
const UNREADABLE: [i32; 3] = [5, 74, 117];

/// Opens the state log of a directory, or what is left of it.
pub(super) fn open(directory: &Path) -> Result<(Log, Contents), Error> {
    let at = |source| Error::Io {
        action: "put in place",
        file: directory.display().to_string(),
        source,
    };
    finish(directory).map_err(at)?;
    let mut tries = 0;
    loop {
        match Log::open(directory) {
            Err(error) if is_damage(&error) => {
                tries += 1;
                tracing::error!(
                    tries,
                    error = error_chain(&error),
                    "the state log is damaged"
                );
                if tries == TRIES {
                    return repair(directory, error);
                }
                thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

pub(super) fn is_damage(error: &Error) -> bool {
    match error {
        Error::Corrupt { .. } => true,
        Error::Io { action, source, .. } => {
            let code = source.raw_os_error();
            matches!(*action, "read" | "open" | "list" | "sync")
                && code.is_some_and(|code| UNREADABLE.contains(&code))
        }
        _ => false,
    }
}

/// A log of what is intact takes the damaged one's place.
fn repair(directory: &Path, damage: Error) -> Result<(Log, Contents), Error> {
    let copy = Copy::read(directory);
    let mut loader = Loader::salvaging(copy.as_ref()).map_err(|source| Error::Rejected {
        file: "the log".into(),
        source: source.into(),
    })?;
    let disk = Disk::open(directory).map_err(|source| Error::Io {
        action: "open",
        file: directory.display().to_string(),
        source,
    })?;
    let found = bramble_ledger::salvage(&disk, |_, record| loader.visit(record))?;
    drop(disk);
    // Records that nobody put a name to may mean something else.
    let named = loader.is_named();
    let left = trusted(loader.into_contents(), copy);
    let Some(contents) = left.filter(|_| named) else {
        return Err(damage);
    };
    let fresh = beside(directory, FRESH);
    let kept = loop {
        match put_in_place(directory, &fresh, &contents) {
            Err(error) if is_full(&error) && make_room(directory) => {}
            other => break other?,
        }
    };
    let Salvaged { frames, damaged } = found;
    tracing::error!(
        frames, ?damaged, kept = %kept.display(), document = contents.document.is_some(),
        "the state log was damaged: the agent goes on with what could be read"
    );
    Log::open(directory)
}

/// What may be believed of contents with gaps; `None` when they don't say who the board is.
pub(super) fn trusted(mut contents: Contents, copy: Option<Copy>) -> Option<Contents> {
    let copy = copy.unwrap_or_default();
    // It is written after the log, where that is possible; what the log has may have lost what came after it.
    let (keys, membership) = (contents.keys.take(), contents.membership.take());
    (contents.keys, contents.membership) = match copy.identity >= contents.identity {
        true => (copy.keys.or(keys), copy.membership.or(membership)),
        false => (keys.or(copy.keys), membership.or(copy.membership)),
    };
    contents.identity = contents.identity.max(copy.identity);
    if contents.keys.is_none() || contents.membership.is_none() {
        return None;
    }
    let boot = contents.boot.max(copy.boots_below);
    contents.boot = boot.saturating_add(STARTS_LOST);
    // An older record may have lost what came after it: those pods ended, and the next ones are others.
    let own = Arc::make_mut(&mut contents.static_pods);
    own.counter = own.counter.saturating_add(OWN_PODS_LOST);
    let ended = |uid: &PodUid| {
        let memory = contents.pods.get(uid);
        contents.endings.contains(uid) || memory.is_some_and(|pod| pod.ending.is_some() || pod.gone)
    };
    for held in own.files.values_mut() {
        held.pods.retain(|(_, pod)| !ended(&pod.uid));
    }
    for pod in contents.pods.values_mut() {
        pod.cleared = false;
    }
    contents.salvaged = true;
    Some(contents)
}

/// Whether a document has all that its digest was made of.
pub(super) fn is_whole(document: &Arc<Document>) -> bool {
    let entry = |(id, stored): (&_, &bramble_agent_core::session::Stored)| IndexEntry {
        id: Clone::clone(id),
        revision: stored.revision,
        hash: stored.hash,
    };
    let mut index: Vec<IndexEntry> = document.objects.iter().map(entry).collect();
    document::digest(&mut index) == document.digest
}

/// Makes the new log beside the damaged one, then exchanges them. Returns where the damaged one is.
fn put_in_place(directory: &Path, fresh: &Path, contents: &Contents) -> Result<PathBuf, Error> {
    let io = |action, path: &Path| {
        let file = path.display().to_string();
        move |source| Error::Io {
            action,
            file,
            source,
        }
    };
    if fresh.exists() {
        fs::remove_dir_all(fresh).map_err(io("remove", fresh))?;
    }
    let mut ledger = Ledger::open(fresh, OPTIONS, |_, _| Ok(()))?;
    let records = contents.records().map(|record| record.encode());
    ledger.compact([FORMAT.record()].into_iter().chain(records))?;
    drop(ledger);
    if let Some(copy) = Copy::due(None, contents) {
        copy.write(fresh).map_err(io("write", fresh))?;
    }
    let mark = || fs::File::create(fresh.join(WHOLE))?.sync_all();
    let marked = mark().and_then(|()| fs::File::open(fresh)?.sync_all());
    marked.map_err(io("write", fresh))?;
    let numbers = 1..=KEPT_MAX;
    let places = numbers.map(|number| beside(directory, &format!("damaged-{number}")));
    let places: Vec<PathBuf> = places.collect();
    let free = places.iter().find(|place| !place.exists());
    // The first ones tell most.
    let kept = free.or(places.last()).cloned().unwrap_or_default();
    if kept.exists() {
        fs::remove_dir_all(&kept).map_err(io("remove", &kept))?;
    }
    fs::rename(directory, &kept).map_err(io("move", directory))?;
    finish(directory).map_err(io("put in place", fresh))?;
    Ok(kept)
}

/// Gives up the newest of what was kept; whether there was any.
pub(super) fn make_room(directory: &Path) -> bool {
    let newest = kept(directory).pop();
    newest.is_some_and(|newest| {
        tracing::warn!(kept = %newest.display(), "there is no room for what was kept of a damaged log");
        fs::remove_dir_all(newest).is_ok()
    })
}

fn is_full(error: &Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    match error {
        Error::Full => true,
        Error::Io { source, .. } => matches!(source.kind(), StorageFull | QuotaExceeded),
        _ => false,
    }
}

/// The last step, also of a start that was cut off before it. What is left of one that was cut off earlier goes:
/// it would be taken for the state of a board that has begun anew.
fn finish(directory: &Path) -> std::io::Result<()> {
    let fresh = beside(directory, FRESH);
    if !fresh.try_exists()? {
        return Ok(());
    }
    if directory.try_exists()? || !fresh.join(WHOLE).try_exists()? {
        fs::remove_dir_all(&fresh)?;
    } else {
        fs::rename(&fresh, directory)?;
        if let Some(parent) = directory.parent() {
            fs::File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}

/// Damaged logs that are kept beside that of a directory.
pub fn kept(directory: &Path) -> Vec<PathBuf> {
    let places = (1..=KEPT_MAX).map(|number| beside(directory, &format!("damaged-{number}")));
    places.filter(|place| place.exists()).collect()
}

fn beside(directory: &Path, what: &str) -> PathBuf {
    let mut name = directory
        .file_name()
        .map_or_else(OsString::new, OsString::from);
    name.push(format!(".{what}"));
    directory.with_file_name(name)
}
