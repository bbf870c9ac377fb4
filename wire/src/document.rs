//! A node's desired state as a whole: an index of `(object id, revision, hash)` with one digest.
//!
//! Absence from the index means *stop*, never *delete data*. A document is accepted whole (every
//! object there, every hash right, the digest as announced) or not at all.

use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

use crate::object::ObjectId;

/// BLAKE3 hash of an object's body, or for a sealed one (Secrets and tokens) of its id and revision:
/// sealing is randomised, so its bytes differ each time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

/// BLAKE3 digest of a whole index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

macro_rules! short_hex {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0[..6].iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }
    };
}
short_hex!(Hash);
short_hex!(Digest);

/// One line of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// Which object.
    pub id: ObjectId,
    /// Store revision of the object that it was compiled from.
    pub revision: u64,
    /// Hash of its body.
    pub hash: Hash,
}

impl IndexEntry {
    /// The entry of an object with this body (the encoding of [`crate::object::Object`]).
    pub fn of(id: ObjectId, revision: u64, body: &[u8]) -> Self {
        let hash = object_hash(&id, revision, body);
        Self { id, revision, hash }
    }

    /// Whether `body` is what this entry announces. For a sealed object only the id and the revision
    /// can be compared; the envelope's signature and the seal stand for its bytes.
    pub fn matches(&self, body: &[u8]) -> bool {
        object_hash(&self.id, self.revision, body) == self.hash
    }
}

/// Hash of one object, see [`struct@Hash`].
pub fn object_hash(id: &ObjectId, revision: u64, body: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    match id {
        _ if id.is_sealed() => {
            hasher.update(b"bramble/sealed/1\0");
            hasher.update(&crate::encode(&(id, revision)));
        }
        _ => {
            hasher.update(b"bramble/object/1\0");
            hasher.update(body);
        }
    }
    Hash(*hasher.finalize().as_bytes())
}

/// Sorts an index and returns its digest.
pub fn digest(index: &mut [IndexEntry]) -> Digest {
    index.sort_by(|a, b| a.id.cmp(&b.id));
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"bramble/index/1\0");
    for entry in index.iter() {
        hasher.update(&crate::encode(entry));
    }
    Digest(*hasher.finalize().as_bytes())
}

/// Ids that are named twice in an index; such an index is refused.
pub fn duplicates(sorted: &[IndexEntry]) -> Vec<ObjectId> {
    sorted
        .windows(2)
        .filter(|pair| pair[0].id == pair[1].id)
        .map(|pair| pair[0].id.clone())
        .collect()
}
