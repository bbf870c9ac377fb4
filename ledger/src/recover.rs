//! Reads what is there. Nothing is changed before all of it has been read and found good.

use crate::{
    error::{Error, Rejection, io_error},
    frame::{FIRST, Malformed, Reader},
    layout::{self, FIRST_GENERATION, HEADER, Header, Kind, SNAPSHOT_NEW, SPARE, SPARE_NEW},
    log::Origin,
    media::{File, Media},
};

type Visit<'a> = dyn FnMut(Origin, &[u8]) -> Result<(), Rejection> + 'a;

/// Where to go on.
pub(crate) struct Recovered<F> {
    pub(crate) file: F,
    pub(crate) header: Header,
    pub(crate) size: u64,
    pub(crate) end: u64,
    pub(crate) snapshot_bytes: u64,
    pub(crate) closed_bytes: u64,
    pub(crate) spare: Option<u64>,
}

/// `None` when there is no ledger yet.
pub(crate) fn recover<M: Media>(
    media: &M,
    visit: &mut Visit<'_>,
) -> Result<Option<Recovered<M::File>>, Error> {
    // A killed process may have left names that only the kernel's memory knows. What we build on
    // them must not outlive them.
    media
        .sync_dir()
        .map_err(io_error("sync", "the directory"))?;
    let names = media.list().map_err(io_error("list", "the directory"))?;
    let found: Vec<(Kind, u64)> = names.iter().filter_map(|n| layout::parse_name(n)).collect();
    let of = |kind| {
        found
            .iter()
            .filter(move |(k, _)| *k == kind)
            .map(|(_, generation)| *generation)
    };
    let (snapshot, last) = (of(Kind::Snapshot).max(), of(Kind::Segment).max());
    let base = snapshot.unwrap_or(FIRST_GENERATION);
    let Some(last) = last else {
        return match snapshot {
            None => Ok(None),
            Some(generation) => Err(missing(generation)),
        };
    };
    if last < base {
        return Err(missing(base));
    }
    let snapshot_bytes = match snapshot {
        Some(generation) => read_snapshot(media, generation, visit)?,
        None => 0,
    };
    let mut closed_bytes = 0;
    let mut segment = Segment::open(media, base, base == last)?;
    for generation in base + 1..=last {
        let next = Segment::open(media, generation, generation == last)?;
        segment.read_sealed(next.header.previous_end, visit)?;
        closed_bytes += segment.end - FIRST;
        segment = next;
    }
    segment.read_active(visit)?;
    let spare = clean_up(media, &names, base)?;
    let Segment {
        file,
        header,
        size,
        end,
        ..
    } = segment;
    let recovered = Recovered {
        file,
        header,
        size,
        end,
        snapshot_bytes,
        closed_bytes,
        spare,
    };
    Ok(Some(recovered))
}

fn missing(generation: u64) -> Error {
    let file = layout::name(Kind::Segment, generation);
    Error::Corrupt {
        file,
        offset: 0,
        what: "missing",
    }
}

/// A segment being read.
struct Segment<F> {
    name: String,
    file: F,
    header: Header,
    size: u64,
    end: u64,
}

impl<F: File> Segment<F> {
    fn open<M: Media<File = F>>(media: &M, generation: u64, last: bool) -> Result<Self, Error> {
        let name = layout::name(Kind::Segment, generation);
        let file = open(media, &name)?;
        if last {
            // What a killed process wrote and did not sync reads back here and must not get lost
            // later. And after a failed sync the kernel's memory differs from the device.
            file.sync_data().map_err(io_error("sync", &name))?;
            file.drop_cache();
        }
        let size = file.size().map_err(io_error("read", &name))?;
        let header = read_header(&file, &name, Kind::Segment, generation)?;
        Ok(Self {
            name,
            file,
            header,
            size,
            end: FIRST,
        })
    }

    /// Reads frames from `self.end` up to `limit`, or as far as they are intact.
    fn read(&mut self, limit: u64, visit: &mut Visit<'_>) -> Result<(), Error> {
        let reader = Reader {
            file: &self.file,
            header: self.header,
            size: self.size,
        };
        while self.end < limit {
            let frame = reader
                .frame(self.end)
                .map_err(io_error("read", &self.name))?;
            let Some(frame) = frame else { return Ok(()) };
            visit_records(&self.name, self.end, frame.records(), Origin::Log, visit)?;
            self.end = frame.end;
        }
        Ok(())
    }

    /// All frames of a segment that another one follows. Every one of them was synced.
    fn read_sealed(&mut self, end: u64, visit: &mut Visit<'_>) -> Result<(), Error> {
        self.read(end, visit)?;
        if self.end == end {
            Ok(())
        } else {
            Err(self.corrupt("an acknowledged frame is damaged"))
        }
    }

    /// All frames of the last segment. A torn one at the end is dropped: it was never
    /// acknowledged, and the next append goes over it. There is never more than one such frame, so
    /// an intact one behind it means that an acknowledged one is damaged.
    fn read_active(&mut self, visit: &mut Visit<'_>) -> Result<(), Error> {
        self.read(u64::MAX, visit)?;
        let reader = Reader {
            file: &self.file,
            header: self.header,
            size: self.size,
        };
        let behind = reader
            .any_behind(self.end)
            .map_err(io_error("read", &self.name))?;
        if behind.is_some() {
            return Err(self.corrupt("damaged frame with an intact one behind it"));
        }
        Ok(())
    }

    fn corrupt(&self, what: &'static str) -> Error {
        Error::Corrupt {
            file: self.name.clone(),
            offset: self.end,
            what,
        }
    }
}

/// A snapshot is intact from its header to its closing frame, or corrupt.
fn read_snapshot<M: Media>(
    media: &M,
    generation: u64,
    visit: &mut Visit<'_>,
) -> Result<u64, Error> {
    let name = layout::name(Kind::Snapshot, generation);
    let file = open(media, &name)?;
    let header = read_header(&file, &name, Kind::Snapshot, generation)?;
    let size = file.size().map_err(io_error("read", &name))?;
    let reader = Reader {
        file: &file,
        header,
        size,
    };
    let corrupt = |offset, what| Error::Corrupt {
        file: name.clone(),
        offset,
        what,
    };
    let mut offset = FIRST;
    loop {
        let frame = reader.frame(offset).map_err(io_error("read", &name))?;
        let frame = frame.ok_or_else(|| corrupt(offset, "damaged snapshot"))?;
        if frame.end == size {
            // The closing frame holds nothing but the number of bytes before it.
            let closing = frame.records().next();
            let closes = closing == Some(Ok(offset.to_le_bytes().as_slice()));
            return closes
                .then_some(size)
                .ok_or_else(|| corrupt(offset, "unfinished snapshot"));
        }
        visit_records(&name, offset, frame.records(), Origin::Snapshot, visit)?;
        offset = frame.end;
    }
}

fn visit_records<'a>(
    file: &str,
    offset: u64,
    records: impl Iterator<Item = Result<&'a [u8], Malformed>>,
    origin: Origin,
    visit: &mut Visit<'_>,
) -> Result<(), Error> {
    for record in records {
        let file = || file.to_owned();
        let record = record.map_err(|Malformed| Error::Corrupt {
            file: file(),
            offset,
            what: "records that do not fit their frame",
        })?;
        visit(origin, record).map_err(|source| Error::Rejected {
            file: file(),
            source,
        })?;
    }
    Ok(())
}

fn open<M: Media>(media: &M, name: &str) -> Result<M::File, Error> {
    media.open(name).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Corrupt {
            file: name.to_owned(),
            offset: 0,
            what: "missing",
        },
        _ => io_error("open", name)(source),
    })
}

fn read_header<F: File>(
    file: &F,
    name: &str,
    kind: Kind,
    generation: u64,
) -> Result<Header, Error> {
    let mut bytes = [0; HEADER as usize];
    file.read_at(&mut bytes, 0)
        .map_err(io_error("read", name))?;
    Header::decode(&bytes, kind, generation).ok_or_else(|| Error::Corrupt {
        file: name.to_owned(),
        offset: 0,
        what: "not a header of this file",
    })
}

/// Removes what a crash left over. Returns the size of a spare segment that can be used.
fn clean_up<M: Media>(media: &M, names: &[String], base: u64) -> Result<Option<u64>, Error> {
    let mut spare = None;
    for name in names {
        let stale = match layout::parse_name(name) {
            Some((_, generation)) => generation < base,
            None => name == SPARE_NEW || name == SNAPSHOT_NEW,
        };
        if stale {
            media.remove(name).map_err(io_error("remove", name))?;
        }
        if name == SPARE {
            let size = media.open(SPARE).and_then(|file| file.size());
            spare = Some(size.map_err(io_error("read", SPARE))?).filter(|size| *size > HEADER);
        }
    }
    Ok(spare)
}
