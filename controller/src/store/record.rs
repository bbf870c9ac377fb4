//! What the store writes into its ledger: postcard, borrowed both ways.
//!
//! A variant's position is its number on disk: add at the end, never remove, reorder or change one. What a
//! release before may pass over gets a kind from [`bramble_ledger::SKIPPABLE`] on instead.

use std::fmt;

use bramble_ledger::Format;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What this release writes and reads.
pub(super) const FORMAT: Format = Format {
    release: env!("CARGO_PKG_VERSION"),
    level: 1,
    kinds: 3,
};

/// One ledger record.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Record<'a> {
    /// Revisions up to this one may have been issued.
    Reserve(u64),
    /// Writes that happened together.
    #[serde(borrow)]
    Commit(Vec<Write<'a>>),
    /// Starts a snapshot. All changes up to this revision are in it; what the log says of them
    /// again is older news.
    Snapshot(u64),
}

/// The last state of an object.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Write<'a> {
    pub(super) group: &'a str,
    pub(super) resource: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// Revision of the put or the removal.
    pub(super) modified: u64,
    /// `None`: removed.
    #[serde(borrow)]
    pub(super) object: Option<Object<'a>>,
}

/// A stored object.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Object<'a> {
    pub(super) created: u64,
    pub(super) revision_at: Option<u32>,
    #[serde(borrow)]
    pub(super) json: Json<'a>,
}

/// Bytes that are copied at once: serde would take a plain slice apart.
#[derive(PartialEq, Eq)]
pub(super) struct Json<'a>(pub(super) &'a [u8]);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = &'de [u8];

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<&'de [u8], E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_bytes(Visitor).map(Json)
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets pass through here.
        write!(f, "Json({} bytes)", self.0.len())
    }
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
#[error("not a record of this store: {0}")]
pub(super) struct Unreadable(postcard::Error);

impl<'a> Record<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let bytes = postcard::to_allocvec(self).expect("plain data in memory always encodes");
        debug_assert!(bytes[0] < FORMAT.kinds, "a new kind is to be counted");
        bytes
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        postcard::from_bytes(bytes).map_err(Unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// One stored sample of each record: these bytes must load for ever.
    #[test]
    fn records_encode_as_they_always_did() {
        let object = Object {
            created: 5,
            revision_at: Some(3),
            json: Json(b"{}"),
        };
        let write = |object| Write {
            group: "apps",
            resource: "deployments",
            namespace: "default",
            name: "web",
            modified: 1 << 40,
            object,
        };
        let samples = [
            (Record::Reserve(1 << 40), "00808080808020"),
            (
                Record::Commit(vec![write(Some(object)), write(None)]),
                "010204617070730b6465706c6f796d656e74730764656661756c7403776562808080808020\
                 01050103027b7d\
                 04617070730b6465706c6f796d656e74730764656661756c740377656280808080802000",
            ),
            (Record::Snapshot(7), "0207"),
        ];
        assert_eq!(samples.len(), usize::from(FORMAT.kinds));
        for (record, sample) in samples {
            let bytes = record.encode();
            assert_eq!(hex(&bytes), sample);
            assert_eq!(Record::decode(&bytes).unwrap(), record);
        }
    }
}
