//! Replacing the log by a snapshot.
//!
//! The order is what makes it safe: the log moves on to a new segment; the snapshot of the state
//! before that segment is written and synced under a temporary name, renamed, and the name synced;
//! only then is anything older removed. A crash at any point leaves either the old snapshot and the
//! whole row of segments, or the new snapshot and its segment.

use std::sync::Arc;

use crate::{
    error::Error,
    frame::{Batch, FIRST},
    layout::{self, Header, Kind, SNAPSHOT_NEW, SPARE},
    log::Ledger,
    media::{File, Media, is_full},
};

/// A snapshot goes to disk in pieces of about this size.
const PIECE: usize = 64 << 10;

/// A snapshot being written. It does not borrow the ledger: another thread may write it while
/// appending goes on. Dropping it abandons it; the log simply stays longer.
pub struct Compaction<M: Media> {
    media: Arc<M>,
    file: M::File,
    header: Header,
    batch: Batch,
    end: u64,
    max_record: usize,
    /// Bytes of log that the snapshot replaces.
    replaces: u64,
    _running: Arc<()>,
}

/// A snapshot that is in place.
#[must_use = "the ledger removes what it replaces in `finish_compaction`"]
#[derive(Debug)]
pub struct Compacted {
    generation: u64,
    bytes: u64,
    replaces: u64,
}

impl<M: Media> Ledger<M> {
    /// Starts a snapshot of the state as of now: the caller writes records that amount to all it
    /// has appended and synced so far. Nothing may be staged.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::Failed`] as [`Ledger::sync`].
    ///
    /// # Panics
    /// When records are staged: whether they belong to the snapshot could not be told. When another
    /// compaction is under way.
    pub fn begin_compaction(&mut self) -> Result<Compaction<M>, Error> {
        assert!(!self.has_staged(), "records are staged");
        self.check()?;
        let running = self.start_running().expect("one compaction at a time");
        if !self.is_fresh() {
            self.rotate(0)?;
        }
        let begin = || {
            let header = Header {
                kind: Kind::Snapshot,
                generation: self.generation(),
                salt: self.media.salt()?,
                previous_end: 0,
            };
            let file = self.media.create(SNAPSHOT_NEW)?;
            file.write_at(&header.encode(), 0)?;
            Ok((file, header))
        };
        let (file, header) = match begin() {
            Ok(begun) => begun,
            Err(error) if is_full(&error) => return Err(Error::Full),
            Err(error) => return Err(self.fail(error)),
        };
        Ok(Compaction {
            media: self.media.clone(),
            file,
            header,
            batch: Batch::default(),
            end: FIRST,
            max_record: self.max_record(),
            replaces: self.closed_bytes,
            _running: running,
        })
    }

    /// Removes what a finished snapshot replaces.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn finish_compaction(&mut self, compacted: Compacted) -> Result<(), Error> {
        self.check()?;
        let Compacted {
            generation,
            bytes,
            replaces,
        } = compacted;
        let remove = || {
            let mut spare = None;
            for name in self.media.list()? {
                match layout::parse_name(&name) {
                    Some((Kind::Segment, old)) if old < generation => {
                        let size = self.media.open(&name)?.size()?;
                        let wanted = self.spare().is_none() && spare.is_none();
                        if wanted && size == self.segment_bytes() {
                            // It is allocated already; its frames mean nothing under a new header.
                            self.media.rename(&name, SPARE)?;
                            spare = Some(size);
                        } else {
                            self.media.remove(&name)?;
                        }
                    }
                    Some((Kind::Snapshot, old)) if old < generation => self.media.remove(&name)?,
                    _ => {}
                }
            }
            self.media.sync_dir()?;
            Ok(spare)
        };
        let spare = remove().map_err(|error| self.fail(error))?;
        if let Some(size) = spare {
            self.adopt_spare(size);
        }
        self.snapshot_bytes = bytes;
        self.closed_bytes -= replaces;
        Ok(())
    }

    /// Snapshot and clean-up in one go.
    ///
    /// # Errors
    /// As [`Ledger::begin_compaction`]; with [`Error::Full`] the log stands as it was.
    pub fn compact<R: AsRef<[u8]>>(
        &mut self,
        records: impl IntoIterator<Item = R>,
    ) -> Result<(), Error> {
        let mut compaction = self.begin_compaction()?;
        let write = || {
            for record in records {
                compaction.append(record.as_ref())?;
            }
            Ok(())
        };
        let written: Result<(), Error> = write();
        let finished = written.and_then(|()| compaction.finish());
        match finished {
            Ok(compacted) => self.finish_compaction(compacted),
            Err(Error::Failed {
                source: Some(source),
            }) => Err(self.fail(source)),
            Err(error) => Err(error),
        }
    }
}

impl<M: Media> Compaction<M> {
    /// Adds a record.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Full`] (drop the compaction and go on); [`Error::Failed`].
    pub fn append(&mut self, record: &[u8]) -> Result<(), Error> {
        if record.len() > self.max_record {
            return Err(Error::TooLarge {
                size: record.len(),
                limit: self.max_record,
            });
        }
        self.batch.push(record);
        if self.batch.size() >= PIECE {
            self.write_piece()
        } else {
            Ok(())
        }
    }

    /// Makes the snapshot durable and puts it in place.
    ///
    /// # Errors
    /// As [`Compaction::append`].
    pub fn finish(mut self) -> Result<Compacted, Error> {
        if !self.batch.is_empty() {
            self.write_piece()?;
        }
        self.batch.push(&self.end.to_le_bytes());
        self.write_piece()?;
        let name = layout::name(Kind::Snapshot, self.header.generation);
        let place = || {
            self.file.sync_data()?;
            self.media.rename(SNAPSHOT_NEW, &name)?;
            self.media.sync_dir()
        };
        place().map_err(|error| self.sort(error))?;
        Ok(Compacted {
            generation: self.header.generation,
            bytes: self.end,
            replaces: self.replaces,
        })
    }

    fn write_piece(&mut self) -> Result<(), Error> {
        let frame = self.batch.seal(&self.header, self.end);
        let size = frame.len() as u64;
        let written = self.file.write_at(frame, self.end);
        self.batch.clear();
        written.map_err(|error| self.sort(error))?;
        self.end += size;
        Ok(())
    }

    /// A full disk only costs the snapshot, whose bytes are given back.
    fn sort(&self, error: std::io::Error) -> Error {
        if is_full(&error) {
            let _ = self.media.remove(SNAPSHOT_NEW);
            Error::Full
        } else {
            Error::Failed {
                source: Some(error),
            }
        }
    }
}

impl<M: Media> std::fmt::Debug for Compaction<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compaction")
            .field("generation", &self.header.generation)
            .field("bytes", &self.end)
            .finish_non_exhaustive()
    }
}
