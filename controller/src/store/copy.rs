//! A copy of a store as records: what a backup holds, and how a store is made of one.

use std::path::Path;

use bramble_ledger::{Compaction, Disk, Gate, Ledger};

use super::{
    engine::Snapshot,
    journal::Change,
    ledger::{OpenError, Settings, encode},
    record::{FORMAT, Record},
    types::Revision,
};

/// A record that is none, or the records together amount to no store.
#[derive(Debug, thiserror::Error)]
#[error("not the records of a store: {0}")]
pub struct NoStore(String);

impl Snapshot {
    /// Of when it is.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// All records but the first `skip`; each is made when it is asked for.
    pub fn records_from(&self, skip: usize) -> impl Iterator<Item = Vec<u8>> + '_ {
        let head = [
            FORMAT.record(),
            Record::Snapshot(self.revision.0).encode(),
            Record::Reserve(self.reserved.0).encode(),
        ];
        let objects = self.entries.iter().skip(skip.saturating_sub(head.len()));
        let objects = objects.map(|entry| {
            encode(&[Change {
                entry: entry.clone(),
                deleted: false,
            }])
        });
        let head = head.into_iter().skip(skip);
        head.chain(objects)
    }
}

/// Looks at records, all of them, before anything is made of them.
pub struct Checker {
    gate: Gate,
    records: u64,
}

impl Default for Checker {
    fn default() -> Self {
        Self {
            gate: Gate::new(FORMAT),
            records: 0,
        }
    }
}

impl Checker {
    /// Looks at the next record.
    ///
    /// # Errors
    /// [`NoStore`].
    pub fn look(&mut self, record: &[u8]) -> Result<(), NoStore> {
        let passed = self.gate.pass(record);
        let passed = passed.map_err(|refused| NoStore(refused.to_string()))?;
        let Some(record) = passed else {
            return Ok(());
        };
        let record = Record::decode(record).map_err(|error| NoStore(error.to_string()))?;
        let fits = match (self.records, record) {
            (0, Record::Snapshot(_)) | (1, Record::Reserve(_)) => true,
            (0 | 1, _) | (_, Record::Snapshot(_) | Record::Reserve(_)) => false,
            (_, Record::Commit(writes)) => writes.iter().all(|write| write.object.is_some()),
        };
        self.records += 1;
        if fits {
            return Ok(());
        }
        let number = self.records;
        Err(NoStore(format!("record {number} is out of its place")))
    }

    /// There are no more.
    ///
    /// # Errors
    /// [`NoStore`].
    pub fn finish(self) -> Result<(), NoStore> {
        if self.records < 2 {
            return Err(NoStore("there are none".into()));
        }
        Ok(())
    }
}

/// A store that is being made of a copy's records, in a directory that holds none.
pub struct Making {
    ledger: Ledger,
    compaction: Compaction<Disk>,
}

impl Making {
    /// # Errors
    /// What the disk said.
    pub fn begin(directory: &Path, settings: Settings) -> Result<Self, OpenError> {
        let mut ledger = Ledger::open(directory, settings.ledger, |_, _| Ok(()))?;
        let compaction = ledger.begin_compaction()?;
        Ok(Self { ledger, compaction })
    }

    /// Adds the next record.
    ///
    /// # Errors
    /// What the disk said.
    pub fn append(&mut self, record: &[u8]) -> Result<(), OpenError> {
        Ok(self.compaction.append(record)?)
    }

    /// Everything is there, and durable.
    ///
    /// # Errors
    /// What the disk said.
    pub fn finish(mut self) -> Result<(), OpenError> {
        let compacted = self.compaction.finish()?;
        Ok(self.ledger.finish_compaction(compacted)?)
    }
}
