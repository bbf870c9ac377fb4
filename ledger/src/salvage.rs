//! Reading around damage.
//!
//! [`crate::Ledger`] refuses a log that no crash can have left. Whoever has decided that something is
//! better than nothing asks here for what is still intact: frames whose checksums hold, in order. What
//! stood between them is lost, and nothing says what it was; the caller has to find out whether the rest
//! makes sense. Nothing is changed.

use crate::{
    error::{Error, Rejection, io_error},
    frame::{FIRST, Reader},
    layout::{self, HEADER, Header, Kind},
    log::Origin,
    media::{File, Media},
};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Intact frames.
    pub frames: u64,
    /// Places where something was lost: a file, and where in it.
    pub damaged: Vec<(String, u64)>,
}

/// Hands every intact record to `visit`, oldest first: the newest snapshot that can be read at all, and
/// what the segments from it on hold.
///
/// # Errors
/// [`Error::Locked`]; [`Error::Io`] when it can't be locked; [`Error::Rejected`] with what `visit` returned.
pub fn salvage<M: Media>(
    media: &M,
    mut visit: impl FnMut(Origin, &[u8]) -> Result<(), Rejection>,
) -> Result<Salvaged, Error> {
    let _lock = match media.lock() {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Err(Error::Locked),
        other => other.map_err(io_error("lock", "lock"))?,
    };
    let mut found = Salvaged::default();
    let names = media.list().unwrap_or_else(|_| {
        found.damaged.push(("the directory".into(), 0));
        Vec::new()
    });
    let mut files: Vec<(u64, Kind)> = (names.iter())
        .filter_map(|name| layout::parse_name(name))
        .map(|(kind, generation)| (generation, kind))
        .collect();
    // A snapshot stands before the segment of its generation.
    files.sort_by_key(|(generation, kind)| (*generation, *kind == Kind::Segment));
    let base = files.iter().rev().find(|(_, kind)| *kind == Kind::Snapshot);
    let base = base.map_or(0, |(generation, _)| *generation);
    for (generation, kind) in files {
        if generation < base {
            continue;
        }
        let name = layout::name(kind, generation);
        let Some((file, header, size)) = open(media, &name, kind, generation) else {
            found.damaged.push((name, 0));
            continue;
        };
        let reader = Reader {
            file: &file,
            header,
            size,
        };
        let origin = match kind {
            Kind::Snapshot => Origin::Snapshot,
            Kind::Segment => Origin::Log,
        };
        let mut at = FIRST;
        loop {
            // A place that can't be read is damaged like one that reads wrong.
            let Ok(Some(frame)) = reader.frame(at) else {
                let next = reader.salvageable_behind(at);
                if next.is_some() || kind == Kind::Snapshot {
                    found.damaged.push((name.clone(), at));
                }
                let Some(next) = next else { break };
                at = next;
                continue;
            };
            found.frames += 1;
            let closes = kind == Kind::Snapshot && frame.end == size;
            for record in frame.records().flatten().filter(|_| !closes) {
                visit(origin, record).map_err(|source| Error::Rejected {
                    file: name.clone(),
                    source,
                })?;
            }
            at = frame.end;
            if closes {
                break;
            }
        }
    }
    Ok(found)
}

/// A file whose header is intact; without one its frames can't be told from any other bytes.
fn open<M: Media>(
    media: &M,
    name: &str,
    kind: Kind,
    generation: u64,
) -> Option<(M::File, Header, u64)> {
    let file = media.open(name).ok()?;
    file.drop_cache();
    let size = file.size().ok()?;
    let mut bytes = [0; HEADER as usize];
    file.read_at(&mut bytes, 0).ok()?;
    let header = Header::decode(&bytes, kind, generation)?;
    Some((file, header, size))
}
