//! The ledger: the active segment and everything that appends to it.

use std::{
    io,
    path::Path,
    sync::{Arc, Weak},
};

use crate::{
    disk::Disk,
    error::{Error, Rejection, io_error},
    frame::{Batch, FIRST, HEAD},
    layout::{self, HEADER, Header, Kind, SPARE, SPARE_NEW},
    media::{File, Media, is_full},
    recover::{self, Recovered},
};

/// Sizes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Size of a segment. Two of them are preallocated.
    pub segment_bytes: usize,
    /// The largest record.
    pub max_record: usize,
    /// The most that one [`Ledger::sync`] carries.
    pub max_batch: usize,
    /// Compaction is due when the log is longer than this and longer than the last snapshot.
    pub compact_bytes: u64,
}

impl Options {
    /// For a controller: 4 MiB segments.
    #[must_use]
    pub const fn controller() -> Self {
        Self {
            segment_bytes: 4 << 20,
            max_record: 4 << 20,
            max_batch: 4 << 20,
            compact_bytes: 4 << 20,
        }
    }

    /// For an agent: 512 KiB segments, so that a board spends little flash; records may be larger
    /// and then get a segment of their own size.
    #[must_use]
    pub const fn agent() -> Self {
        Self {
            segment_bytes: 512 << 10,
            max_record: 8 << 20,
            max_batch: 12 << 20,
            compact_bytes: 512 << 10,
        }
    }

    /// Frames are aligned, so segments are.
    fn segment_bytes(&self) -> u64 {
        (self.segment_bytes.max(MIN_SEGMENT) as u64).next_multiple_of(8)
    }
}

/// Header and a short frame.
const MIN_SEGMENT: usize = 512;

/// Where a recovered record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The snapshot: part of the state that the log continues from.
    Snapshot,
    /// The log: a change since.
    Log,
}

/// A record log that one process owns. See the crate's documentation.
pub struct Ledger<M: Media = Disk> {
    pub(crate) media: Arc<M>,
    options: Options,
    active: Active<M>,
    batch: Batch,
    /// Size of the preallocated next segment, if there is one.
    spare: Option<u64>,
    pub(crate) snapshot_bytes: u64,
    /// Bytes of frames in segments before the active one.
    pub(crate) closed_bytes: u64,
    /// Alive while a compaction is.
    compaction: Weak<()>,
    failed: bool,
    #[cfg(test)]
    pub(crate) mutant: crate::tests::Mutant,
    _lock: M::Lock,
}

/// The segment that frames are appended to.
struct Active<M: Media> {
    file: M::File,
    header: Header,
    size: u64,
    end: u64,
}

impl Ledger<Disk> {
    /// Opens the ledger in a directory, which is created if need be, and hands every record that
    /// it holds to `visit`, oldest first. What `visit` sees is durable.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Corrupt`], [`Error::Io`], and [`Error::Rejected`] with what
    /// `visit` returned. All of them leave the files as they are.
    pub fn open(
        directory: impl AsRef<Path>,
        options: Options,
        visit: impl FnMut(Origin, &[u8]) -> Result<(), Rejection>,
    ) -> Result<Self, Error> {
        let name = directory.as_ref().display().to_string();
        let disk = Disk::open(directory.as_ref()).map_err(io_error("open", &name))?;
        Self::open_on(disk, options, visit)
    }
}

impl<M: Media> Ledger<M> {
    /// [`Ledger::open`] on any [`Media`].
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_on(
        media: M,
        options: Options,
        mut visit: impl FnMut(Origin, &[u8]) -> Result<(), Rejection>,
    ) -> Result<Self, Error> {
        let lock = match media.lock() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Error::Locked),
            other => other.map_err(io_error("lock", "lock"))?,
        };
        let recovered = match recover::recover(&media, &mut visit)? {
            Some(recovered) => recovered,
            None => {
                create_first(&media, &options)?;
                let fresh = recover::recover(&media, &mut visit)?;
                fresh.ok_or(Error::Corrupt {
                    file: layout::name(Kind::Segment, layout::FIRST_GENERATION),
                    offset: 0,
                    what: "just created and gone",
                })?
            }
        };
        let Recovered {
            file,
            header,
            size,
            end,
            snapshot_bytes,
            closed_bytes,
            spare,
        } = recovered;
        Ok(Self {
            media: Arc::new(media),
            options,
            active: Active {
                file,
                header,
                size,
                end,
            },
            batch: Batch::default(),
            spare,
            snapshot_bytes,
            closed_bytes,
            compaction: Weak::new(),
            failed: false,
            #[cfg(test)]
            mutant: crate::tests::Mutant::None,
            _lock: lock,
        })
    }

    /// Stages a record for the next [`Ledger::sync`]. Touches no disk.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; what was staged before stays staged.
    pub fn append(&mut self, record: &[u8]) -> Result<(), Error> {
        if record.len() > self.options.max_record {
            return Err(Error::TooLarge {
                size: record.len(),
                limit: self.options.max_record,
            });
        }
        let size = self.batch.size_with(record.len());
        // A batch of one is always let through: a limit on batches is not one on records.
        if size > self.options.max_batch && !self.batch.is_empty() {
            return Err(Error::TooLarge {
                size,
                limit: self.options.max_batch,
            });
        }
        self.batch.push(record);
        Ok(())
    }

    /// Makes everything staged durable, as one: after a crash all of it is there or nothing.
    /// Returning is the acknowledgement. Writes nothing when nothing is staged.
    ///
    /// # Errors
    /// [`Error::Full`]: what was staged is dropped, all older records stand, and the next call may
    /// succeed. [`Error::Failed`]: the process must end; whether what was staged survives is
    /// unknown.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.check()?;
        if self.batch.is_empty() {
            return Ok(());
        }
        let result = self.write_batch();
        self.batch.clear();
        result
    }

    /// [`Ledger::append`] for each record, then [`Ledger::sync`].
    ///
    /// # Errors
    /// As those two. On an error nothing stays staged.
    pub fn commit<R: AsRef<[u8]>>(
        &mut self,
        records: impl IntoIterator<Item = R>,
    ) -> Result<(), Error> {
        for record in records {
            self.append(record.as_ref())
                .inspect_err(|_| self.batch.clear())?;
        }
        self.sync()
    }

    /// Preallocates the next segment, if that has not been done. Optional: a [`Ledger::sync`] that
    /// needs one does it itself. Called in a quiet moment it keeps that sync fast, and it makes
    /// [`Ledger::room`] a promise.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::Failed`] as [`Ledger::sync`].
    pub fn prepare(&mut self) -> Result<(), Error> {
        self.check()?;
        self.ensure_spare(self.segment_bytes())
    }

    /// How large a frame can be written without allocating anything.
    #[must_use]
    pub fn room(&self) -> usize {
        let here = self.active.size - self.active.end;
        let room = self.spare.map_or(here, |spare| here.max(spare - HEADER));
        // Record lengths count towards the frame; the caller only counts records.
        usize::try_from(room)
            .unwrap_or(usize::MAX)
            .saturating_sub(HEAD + 8)
    }

    /// Bytes of log since the last snapshot.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.closed_bytes + self.active.end - FIRST
    }

    /// Whether a snapshot is worth its writes now.
    #[must_use]
    pub fn wants_compaction(&self) -> bool {
        self.log_bytes() > self.options.compact_bytes.max(self.snapshot_bytes)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.failed {
            Err(Error::Failed { source: None })
        } else {
            Ok(())
        }
    }

    /// From here on nothing is believed any more.
    pub(crate) fn fail(&mut self, source: io::Error) -> Error {
        self.failed = true;
        Error::Failed {
            source: Some(source),
        }
    }

    fn write_batch(&mut self) -> Result<(), Error> {
        let size = self.batch.size() as u64;
        if size > self.active.size - self.active.end {
            self.rotate(size)?;
        }
        let Active {
            file, header, end, ..
        } = &self.active;
        let frame = self.batch.seal(header, *end);
        if let Err(error) = file.write_at(frame, *end) {
            // The next frame goes over whatever part of this one arrived.
            return Err(if is_full(&error) {
                Error::Full
            } else {
                self.fail(error)
            });
        }
        #[cfg(test)]
        if self.mutant == crate::tests::Mutant::AckBeforeSync {
            self.active.end += size;
            return Ok(());
        }
        if let Err(error) = file.sync_data() {
            return Err(self.fail(error));
        }
        self.active.end += size;
        Ok(())
    }

    /// Continues in a new segment that holds at least `needed` bytes of frames.
    pub(crate) fn rotate(&mut self, needed: u64) -> Result<(), Error> {
        self.ensure_spare(needed + HEADER)?;
        let generation = self.active.header.generation + 1;
        let active = self
            .start_segment(generation)
            .map_err(|error| self.fail(error))?;
        self.closed_bytes += self.active.end - FIRST;
        self.active = active;
        self.spare = None;
        Ok(())
    }

    fn start_segment(&self, generation: u64) -> io::Result<Active<M>> {
        let file = self.media.open(SPARE)?;
        let size = file.size()?;
        let header = Header {
            kind: Kind::Segment,
            generation,
            salt: self.media.salt()?,
            previous_end: self.active.end,
        };
        // The header is durable before the name, the name before the first frame.
        file.write_at(&header.encode(), 0)?;
        file.sync_data()?;
        self.media
            .rename(SPARE, &layout::name(Kind::Segment, generation))?;
        self.media.sync_dir()?;
        Ok(Active {
            file,
            header,
            size,
            end: FIRST,
        })
    }

    fn ensure_spare(&mut self, size: u64) -> Result<(), Error> {
        let size = size.max(self.segment_bytes());
        if self.spare.is_some_and(|spare| spare >= size) {
            return Ok(());
        }
        match create_spare(&*self.media, size) {
            Ok(()) => {
                self.spare = Some(size);
                Ok(())
            }
            Err(error) if is_full(&error) => {
                // Give back what the attempt took. If that fails too, the next start does it.
                let _ = self.media.remove(SPARE_NEW);
                Err(Error::Full)
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Whether the active segment holds no frame yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.active.end == FIRST
    }

    pub(crate) fn generation(&self) -> u64 {
        self.active.header.generation
    }

    pub(crate) fn has_staged(&self) -> bool {
        !self.batch.is_empty()
    }

    pub(crate) fn max_record(&self) -> usize {
        self.options.max_record
    }

    pub(crate) fn adopt_spare(&mut self, size: u64) {
        self.spare = Some(size);
    }

    pub(crate) fn spare(&self) -> Option<u64> {
        self.spare
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.options.segment_bytes()
    }

    /// A token to hold while compacting; `None` when somebody does.
    pub(crate) fn start_running(&mut self) -> Option<Arc<()>> {
        if self.compaction.strong_count() > 0 {
            return None;
        }
        let running = Arc::new(());
        self.compaction = Arc::downgrade(&running);
        Some(running)
    }
}

/// Makes a zero-filled file. Zeroes are written, not only reserved: otherwise every later sync
/// would also have to write the file's metadata.
fn create_spare<M: Media>(media: &M, size: u64) -> io::Result<()> {
    if media.free()? < size {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let file = media.create(SPARE_NEW)?;
    fill(&file, size)?;
    media.rename(SPARE_NEW, SPARE)
}

fn fill<F: File>(file: &F, size: u64) -> io::Result<()> {
    let zeroes = vec![0; 64 << 10];
    let mut offset = 0;
    while offset < size {
        let length = (size - offset).min(zeroes.len() as u64);
        file.write_at(&zeroes[..length as usize], offset)?;
        offset += length;
    }
    file.sync_data()
}

/// The first segment of a fresh ledger.
fn create_first<M: Media>(media: &M, options: &Options) -> Result<(), Error> {
    let name = layout::name(Kind::Segment, layout::FIRST_GENERATION);
    let create = || {
        let file = media.create(SPARE_NEW)?;
        fill(&file, options.segment_bytes())?;
        let header = Header {
            kind: Kind::Segment,
            generation: layout::FIRST_GENERATION,
            salt: media.salt()?,
            previous_end: 0,
        };
        file.write_at(&header.encode(), 0)?;
        file.sync_data()?;
        media.rename(SPARE_NEW, &name)?;
        media.sync_dir()
    };
    create().map_err(|error| match is_full(&error) {
        true => {
            let _ = media.remove(SPARE_NEW);
            Error::Full
        }
        false => io_error("create", &name)(error),
    })
}

impl<M: Media> std::fmt::Debug for Ledger<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("generation", &self.generation())
            .field("log_bytes", &self.log_bytes())
            .field("snapshot_bytes", &self.snapshot_bytes)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
