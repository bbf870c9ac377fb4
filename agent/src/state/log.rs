//! The thread that owns the ledger.
//!
//! Weak changes wait here, the newest of each kind, and are written with the next hard one, or when
//! [`SOON`] has passed since the first that asked for it. So a container in a crash loop costs no
//! flash by itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bramble_agent_core::memory::PodMemory;
use bramble_agent_core::plan::Durability;
use bramble_agent_core::session::Document;
use bramble_ledger::{Disk, Gate, Ledger, Media, Options, Rejection};
use bramble_wire::object::PodUid;

use super::contents::Contents;
use super::record::{FORMAT, Record};
use super::{Change, Command, Error};
use crate::error_chain;
use crate::static_pods::Kept;

/// How long [`Durability::Soon`] may take.
const SOON: Duration = Duration::from_secs(2);

pub(super) struct Log<M: Media = Disk> {
    ledger: Ledger<M>,
    contents: Contents,
    pods: BTreeMap<PodUid, Option<Box<PodMemory>>>,
    time_floor: Option<i64>,
    due: Option<Instant>,
}

/// A whole document, with as much again that is unclaimed, in one batch.
pub(super) const OPTIONS: Options = Options {
    max_batch: 20 << 20,
    ..Options::agent()
};

/// What the records that are on disk amount to.
struct Loader {
    gate: Gate,
    contents: Contents,
}

impl Loader {
    fn new() -> Self {
        Self {
            gate: Gate::new(FORMAT),
            contents: Contents::default(),
        }
    }

    fn visit(&mut self, record: &[u8]) -> Result<(), Rejection> {
        if let Some(record) = self.gate.pass(record)? {
            let record = bramble_wire::decode(record, "record of the state log")?;
            self.contents.apply(record);
        }
        Ok(())
    }
}

impl Log {
    pub(super) fn open(directory: &Path) -> Result<(Self, Contents), bramble_ledger::Error> {
        let mut loader = Loader::new();
        let ledger = Ledger::open(directory, OPTIONS, |_, record| loader.visit(record))?;
        Self::begin(ledger, loader)
    }
}

impl<M: Media> Log<M> {
    /// On any disk.
    #[cfg(test)]
    pub(super) fn open_on(media: M) -> Result<(Self, Contents), bramble_ledger::Error> {
        let mut loader = Loader::new();
        let ledger = Ledger::open_on(media, OPTIONS, |_, record| loader.visit(record))?;
        Self::begin(ledger, loader)
    }

    /// Counts this start of the agent.
    fn begin(
        mut ledger: Ledger<M>,
        loader: Loader,
    ) -> Result<(Self, Contents), bramble_ledger::Error> {
        let Loader { gate, mut contents } = loader;
        contents.boot += 1;
        let boot = Record::Boot(contents.boot).encode();
        ledger.commit(gate.due().into_iter().chain([boot]))?;
        let mut log = Self {
            ledger,
            contents: contents.clone(),
            pods: BTreeMap::new(),
            time_floor: None,
            due: None,
        };
        if gate.skipped() > 0 {
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
                Change::Document(document) => records.extend(self.document_records(&document)),
            }
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

    fn document_records(&self, document: &Arc<Document>) -> Vec<Record> {
        self.contents.document_records(document)
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
        let encoded = records.iter().map(Record::encode);
        self.ledger.commit(encoded).map_err(error)?;
        self.pods.clear();
        self.time_floor = None;
        self.due = None;
        for record in records {
            self.contents.apply(record);
        }
        if self.ledger.wants_compaction() {
            self.compact().map_err(error)?;
        }
        Ok(())
    }

    pub(super) fn compact(&mut self) -> Result<(), bramble_ledger::Error> {
        let records = self.contents.records().map(|record| record.encode());
        match self
            .ledger
            .compact([FORMAT.record()].into_iter().chain(records))
        {
            // The log stands; it is tried again after the next write.
            Err(full) if !full.is_fatal() => {
                tracing::warn!(error = %full, "the state log could not be compacted");
                Ok(())
            }
            other => other,
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
