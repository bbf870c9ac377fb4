//! The thread that owns the ledger.
//!
//! Weak changes wait here, the newest of each kind, and are written with the next hard one, or when
//! [`SOON`] has passed since the first that asked for it. So a container in a crash loop costs no
//! flash by itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bramble_agent_core::memory::PodMemory;
use bramble_agent_core::plan::Durability;
use bramble_agent_core::session::Document;
use bramble_ledger::{Disk, Gate, Ledger, Media, Options, Refused, Rejection};
use bramble_wire::object::PodUid;

use super::contents::Contents;
use super::copy::Copy;
use super::damage::is_whole;
use super::record::{FORMAT, Record};
use super::{Change, Command, Error};
use crate::error_chain;
use crate::static_pods::Kept;

/// How long [`Durability::Soon`] may take.
const SOON: Duration = Duration::from_secs(2);

pub(super) struct Log<M: Media = Disk> {
    ledger: Ledger<M>,
    contents: Contents,
    /// Where the copy is kept, and what it says.
    copy: Option<(PathBuf, Option<Copy>)>,
    /// A deliberate mistake, to see that the tests find it.
    #[cfg(test)]
    pub(super) mutant: Option<super::tests::Mutant>,
    pods: BTreeMap<PodUid, Option<Box<PodMemory>>>,
    time_floor: Option<i64>,
    due: Option<Instant>,
    /// What was passed over is still on disk; what changes from now on may be what it was about.
    drop_skipped: bool,
}

/// A whole document, with as much again that is unclaimed, in one batch.
pub(super) const OPTIONS: Options = Options {
    max_batch: 20 << 20,
    ..Options::agent()
};

/// What the records that are on disk amount to.
pub(super) struct Loader {
    gate: Gate,
    contents: Contents,
    /// In a log with gaps: the last document that was whole.
    whole: Option<Option<Arc<Document>>>,
}

impl Loader {
    fn new() -> Self {
        Self {
            gate: Gate::new(FORMAT),
            contents: Contents::default(),
            whole: None,
        }
    }

    /// For what is left of a damaged log.
    pub(super) fn salvaging(copy: Option<&Copy>) -> Result<Self, Refused> {
        let known = copy.map(|copy| (copy.release.as_str(), copy.level));
        Ok(Self {
            gate: Gate::salvaging(FORMAT, known)?,
            contents: Contents::default(),
            whole: Some(None),
        })
    }

    /// Whether anything says which release wrote it.
    pub(super) fn is_named(&self) -> bool {
        self.gate.writer().is_some()
    }

    /// What is left, with the last document that was whole.
    pub(super) fn into_contents(self) -> Contents {
        let whole = self.whole.flatten();
        let mut contents = self.contents;
        contents.document = contents.document.filter(is_whole).or(whole);
        contents
    }

    pub(super) fn visit(&mut self, record: &[u8]) -> Result<(), Rejection> {
        if let Some(record) = self.gate.pass(record)? {
            let record = bramble_wire::decode(record, "record of the state log")?;
            let is_head = matches!(record, Record::Document { .. });
            self.contents.apply(record);
            if let (true, Some(whole)) = (is_head, &mut self.whole) {
                let document = self.contents.document.clone();
                *whole = document.filter(is_whole).or_else(|| whole.take());
            }
        }
        Ok(())
    }
}

impl Log {
    pub(super) fn open(directory: &Path) -> Result<(Self, Contents), bramble_ledger::Error> {
        let mut loader = Loader::new();
        let ledger = Ledger::open(directory, OPTIONS, |_, record| loader.visit(record))?;
        let copy = Copy::read(directory);
        let member = |copy: &Copy| copy.membership.is_some();
        if loader.contents.membership.is_none() && copy.as_ref().is_some_and(member) {
            // What is torn off at the end was never acknowledged; this was.
            return Err(bramble_ledger::Error::Corrupt {
                file: "the log".into(),
                offset: 0,
                what: "it has lost the node that the board is",
            });
        }
        let (mut log, contents) = Self::begin(ledger, loader)?;
        log.copy = Some((directory.to_owned(), copy));
        log.keep_copy();
        Ok((log, contents))
    }
}

impl<M: Media> Log<M> {
    /// On any disk.
    #[cfg(test)]
    pub(super) fn open_on(
        media: M,
        options: Options,
    ) -> Result<(Self, Contents), bramble_ledger::Error> {
        let mut loader = Loader::new();
        let ledger = Ledger::open_on(media, options, |_, record| loader.visit(record))?;
        Self::begin(ledger, loader)
    }

    /// What is on disk.
    #[cfg(test)]
    pub(super) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Counts this start of the agent.
    fn begin(
        mut ledger: Ledger<M>,
        loader: Loader,
    ) -> Result<(Self, Contents), bramble_ledger::Error> {
        let Loader {
            gate, mut contents, ..
        } = loader;
        contents.boot += 1;
        let boot = Record::Boot(contents.boot).encode();
        ledger.commit(gate.due().into_iter().chain([boot]))?;
        let mut log = Self {
            ledger,
            contents: contents.clone(),
            copy: None,
            #[cfg(test)]
            mutant: None,
            pods: BTreeMap::new(),
            time_floor: None,
            due: None,
            drop_skipped: gate.skipped() > 0,
        };
        if log.drop_skipped {
            let (writer, skipped) = (gate.writer().unwrap_or_default(), gate.skipped());
            tracing::warn!(writer, skipped, "a later release wrote what this one drops");
            log.compact()?;
        }
        Ok((log, contents))
    }

    /// Until every handle is gone; then writes what waits.
    pub(super) fn run(mut self, inbox: &Receiver<Command>) {
        loop {
            let command = match self.due {
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match command {
                Ok(Command::Commit {
                    changes,
                    durability,
                    done,
                }) => {
                    let result = self.commit(changes, durability);
                    // A caller that went away does not need the answer.
                    let _ = done.send(result);
                }
                Err(RecvTimeoutError::Timeout) => self.flush_and_log(),
                Err(RecvTimeoutError::Disconnected) => {
                    self.flush_and_log();
                    return;
                }
            }
        }
    }

    fn flush_and_log(&mut self) {
        self.due = None;
        if let Err(error) = self.write(Vec::new()) {
            // The next hard change meets the same failure and its caller handles it.
            tracing::warn!(%error, "what was remembered for later is not on disk");
        }
    }

    pub(super) fn commit(
        &mut self,
        changes: Vec<Change>,
        durability: Durability,
    ) -> Result<(), Error> {
        let mut records = Vec::new();
        for change in changes {
            match change {
                Change::Pod(uid, memory) => {
                    self.pods.insert(uid, memory);
                }
                Change::TimeFloor(floor) => self.time_floor = Some(floor),
                Change::Keys(keys) => records.push(Record::Keys(*keys)),
                Change::Membership(membership) => records.push(Record::Membership(*membership)),
                Change::Boot(boot) => records.push(Record::Boot(boot)),
                Change::Hardware(id) => records.push(Record::Hardware(id)),
                Change::Static(kept) => records.push(Record::Static(Kept::clone(&kept))),
                Change::Document(document) => {
                    records.extend(self.contents.document_records(&document));
                }
                Change::Settled => records.push(Record::Salvaged(false)),
            }
        }
        let names = |record: &Record| matches!(record, Record::Keys(_) | Record::Membership(_));
        if records.iter().any(names) {
            records.push(Record::Identity(self.contents.identity + 1));
        }
        match durability {
            Durability::Hard => self.write(records),
            _ if !records.is_empty() => self.write(records),
            Durability::Soon => {
                self.due.get_or_insert_with(|| Instant::now() + SOON);
                Ok(())
            }
            Durability::Ride => Ok(()),
        }
    }

    /// Writes these and everything that waits, as one.
    fn write(&mut self, mut records: Vec<Record>) -> Result<(), Error> {
        for (uid, memory) in &self.pods {
            match memory {
                Some(memory) => records.push(Record::Pod(*uid, PodMemory::clone(memory))),
                None => records.extend([Record::PodForgotten(*uid), Record::Ended(*uid)]),
            }
        }
        records.extend(self.time_floor.map(Record::TimeFloor));
        if records.is_empty() {
            return Ok(());
        }
        self.put(&records).map_err(error)?;
        self.pods.clear();
        self.time_floor = None;
        self.due = None;
        for record in records {
            self.contents.apply(record);
        }
        self.keep_copy();
        if self.drop_skipped || self.ledger.wants_compaction() {
            self.compact().map_err(error)?;
        }
        Ok(())
    }

    /// As one: after a power cut all of them are there or none.
    fn put(&mut self, records: &[Record]) -> Result<(), bramble_ledger::Error> {
        #[cfg(test)]
        if let Some(mutant) = &mut self.mutant {
            return mutant.put(&mut self.ledger, records);
        }
        self.ledger.commit(records.iter().map(Record::encode))
    }

    /// Writes the copy, where what it says has changed. Nothing depends on it while the log is whole.
    fn keep_copy(&mut self) {
        let Some((directory, there)) = &mut self.copy else {
            return;
        };
        let Some(copy) = Copy::due(there.as_ref(), &self.contents) else {
            return;
        };
        match copy.write(directory) {
            Ok(()) => *there = Some(copy),
            Err(error) => tracing::warn!(%error, "no second copy of the board's keys was written"),
        }
    }

    pub(super) fn compact(&mut self) -> Result<(), bramble_ledger::Error> {
        let records = self.contents.records();
        #[cfg(test)]
        let records = records.filter(|record| {
            let forgets = matches!(self.mutant, Some(super::tests::Mutant::ForgetEndings));
            !(forgets && matches!(record, Record::Ended(_)))
        });
        let records = records.map(|record| record.encode());
        match self
            .ledger
            .compact([FORMAT.record()].into_iter().chain(records))
        {
            // The log stands; it is tried again after the next write.
            Err(full) if !full.is_fatal() => {
                tracing::warn!(error = %full, "the state log could not be compacted");
                Ok(())
            }
            other => {
                self.drop_skipped &= other.is_err();
                other
            }
        }
    }
}

fn error(error: bramble_ledger::Error) -> Error {
    let text = error_chain(&error);
    if error.is_fatal() {
        Error::Failed(text)
    } else {
        Error::Refused(text)
    }
}
