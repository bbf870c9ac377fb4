//! File names and headers.
//!
//! ```text
//! lock                       held by the process that owns the ledger
//! segment-<generation>       log frames, in a file of fixed size
//! snapshot-<generation>      state before the first frame of the segment of that generation
//! spare                      a segment to be; spare.new: one being zero-filled
//! snapshot.new               a snapshot being written
//! ```
//! Generations count up from 1. A live ledger is the newest snapshot `g` (none for `g` = 1) and the
//! unbroken row of segments from `g` on; everything older is left over from a crash.

pub(crate) const SPARE: &str = "spare";
pub(crate) const SPARE_NEW: &str = "spare.new";
pub(crate) const SNAPSHOT_NEW: &str = "snapshot.new";

/// Bytes before the first frame of a file.
pub(crate) const HEADER: u64 = 64;

pub(crate) const FIRST_GENERATION: u64 = 1;

const SEGMENT_MAGIC: &[u8; 8] = b"BRMBLG01";
const SNAPSHOT_MAGIC: &[u8; 8] = b"BRMBSN01";

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Segment,
    Snapshot,
}

pub(crate) fn name(kind: Kind, generation: u64) -> String {
    match kind {
        Kind::Segment => format!("segment-{generation:016x}"),
        Kind::Snapshot => format!("snapshot-{generation:016x}"),
    }
}

pub(crate) fn parse_name(name: &str) -> Option<(Kind, u64)> {
    let (kind, generation) = name.split_once('-')?;
    let kind = match kind {
        "segment" => Kind::Segment,
        "snapshot" => Kind::Snapshot,
        _ => return None,
    };
    let well_formed = generation.len() == 16;
    let generation = u64::from_str_radix(generation, 16)
        .ok()
        .filter(|_| well_formed)?;
    Some((kind, generation))
}

/// The start of a file. Written and synced before the file gets its name, so never torn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) generation: u64,
    /// Part of every checksum: frames of the file's former life, and frames that somebody hid
    /// inside of a record, never count as frames of this file.
    pub(crate) salt: u64,
    /// Where the segment before ended; 0 when this is the first one after a snapshot of a fresh
    /// ledger. Recovery must arrive exactly there, or acknowledged frames are missing.
    pub(crate) previous_end: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER as usize] {
        let mut bytes = [0; HEADER as usize];
        bytes[..8].copy_from_slice(match self.kind {
            Kind::Segment => SEGMENT_MAGIC,
            Kind::Snapshot => SNAPSHOT_MAGIC,
        });
        bytes[8..16].copy_from_slice(&self.generation.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.salt.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.previous_end.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` for anything but an intact header of this kind and generation.
    pub(crate) fn decode(bytes: &[u8], kind: Kind, generation: u64) -> Option<Self> {
        let word = |at: usize| {
            let bytes: [u8; 8] = bytes.get(at..at + 8)?.try_into().ok()?;
            Some(u64::from_le_bytes(bytes))
        };
        let header = Self {
            kind,
            generation,
            salt: word(16)?,
            previous_end: word(24)?,
        };
        (header.encode().as_slice() == bytes).then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for kind in [Kind::Segment, Kind::Snapshot] {
            assert_eq!(parse_name(&name(kind, 0xab)), Some((kind, 0xab)));
        }
        for other in [
            "lock",
            SPARE,
            SPARE_NEW,
            SNAPSHOT_NEW,
            "segment-1",
            "segment-",
        ] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn headers_decode_back_and_notice_any_flipped_byte() {
        let header = Header {
            kind: Kind::Segment,
            generation: 7,
            salt: 9,
            previous_end: 11,
        };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes, Kind::Segment, 7), Some(header));
        assert_eq!(Header::decode(&bytes, Kind::Segment, 8), None);
        assert_eq!(Header::decode(&bytes, Kind::Snapshot, 7), None);
        for at in 0..bytes.len() {
            let mut bytes = bytes;
            bytes[at] ^= 1;
            assert_eq!(Header::decode(&bytes, Kind::Segment, 7), None, "byte {at}");
        }
    }
}
