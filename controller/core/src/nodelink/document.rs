//! A node's desired state as the controller compiles it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bramble_wire::document::{Digest, IndexEntry, digest};
use bramble_wire::limits::{BODY_MAX, DOCUMENT_MAX, DOCUMENT_OBJECTS_MAX};
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::object::{Object, ObjectId, ObjectName, SealedSecret, SecretData, Tokens};
use bramble_wire::random::Random;
use bramble_wire::seal::{self, Binding, SealingPublic};

/// An object of a node's document, in the clear. Cheap to clone: nodes share ConfigMaps and Secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Store revision of the object that it was compiled from.
    pub revision: u64,
    /// A pod that must not run twice.
    once: bool,
    body: Body,
}

#[derive(Clone, PartialEq, Eq)]
enum Body {
    /// Encoding of [`Object`].
    Plain(Arc<[u8]>),
    /// Encoding of [`SecretData`] or [`Tokens`], sealed when a node asks for it.
    Secret(Arc<[u8]>),
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.body {
            Body::Plain(_) => "plain",
            Body::Secret(_) => "secret",
        };
        write!(
            f,
            "Compiled({kind}, revision {}, {} bytes)",
            self.revision,
            self.len()
        )
    }
}

impl Compiled {
    /// An object that needs no secrecy. A [`Object::Secret`] does not belong here: it would already
    /// be sealed to somebody.
    pub fn plain(revision: u64, object: &Object) -> Self {
        Self {
            revision,
            once: matches!(object, Object::Pod(pod) if pod.once),
            body: Body::Plain(bramble_wire::encode(object).into()),
        }
    }

    /// A Secret.
    pub fn secret(revision: u64, data: &SecretData) -> Self {
        Self {
            revision,
            once: false,
            body: Body::Secret(bramble_wire::encode(data).into()),
        }
    }

    /// Tokens of a pod; whoever makes them gives them a revision that other tokens never have.
    pub fn tokens(revision: u64, tokens: &Tokens) -> Self {
        Self {
            revision,
            once: false,
            body: Body::Secret(bramble_wire::encode(tokens).into()),
        }
    }

    /// Size of its content in bytes.
    pub fn len(&self) -> usize {
        let (Body::Plain(bytes) | Body::Secret(bytes)) = &self.body;
        bytes.len()
    }

    /// What it takes of a document's limits: the seal adds 48 bytes and the framing less than a
    /// kilobyte; [`BODY_MAX`] has room for both.
    pub(crate) fn weight(&self) -> usize {
        self.len() + 1024
    }

    /// Never: an object has at least its kind.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn entry(&self, id: &ObjectId) -> IndexEntry {
        match &self.body {
            Body::Plain(body) => IndexEntry::of(id.clone(), self.revision, body),
            Body::Secret(_) => IndexEntry::of(id.clone(), self.revision, &[]),
        }
    }
}

/// The objects of a node's document by id.
pub type Objects = BTreeMap<ObjectId, Compiled>;

/// Why a document can't be sent; the one before it stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// One object is over [`BODY_MAX`].
    #[error("{id} has {len} bytes, over the limit of {BODY_MAX}")]
    ObjectTooLarge {
        /// Which.
        id: ObjectId,
        /// Its size.
        len: usize,
    },
    /// All together are over [`DOCUMENT_MAX`].
    #[error("objects of {0} bytes are over the limit of {DOCUMENT_MAX} for a node")]
    TooLarge(usize),
    /// It has changed, and the store has not: its version would be one that the store may not remember.
    #[error("nothing was written since the document before")]
    Unwritten,
    /// More than [`DOCUMENT_OBJECTS_MAX`].
    #[error("{0} objects are over the limit of {DOCUMENT_OBJECTS_MAX} for a node")]
    TooMany(usize),
}

/// Objects with their index and digest.
#[derive(Debug, Clone)]
pub(super) struct Indexed {
    pub(super) objects: Objects,
    pub(super) index: Vec<IndexEntry>,
    pub(super) digest: Digest,
    /// It has pods that must not run twice.
    pub(super) once: bool,
}

impl Indexed {
    pub(super) fn new(objects: Objects) -> Result<Self, Error> {
        let too_large = |(_, object): &(&ObjectId, &Compiled)| object.weight() > BODY_MAX;
        if let Some((id, object)) = objects.iter().find(too_large) {
            return Err(Error::ObjectTooLarge {
                id: id.clone(),
                len: object.len(),
            });
        }
        let bytes: usize = objects.values().map(Compiled::weight).sum();
        if bytes > DOCUMENT_MAX {
            return Err(Error::TooLarge(bytes));
        }
        if objects.len() > DOCUMENT_OBJECTS_MAX {
            return Err(Error::TooMany(objects.len()));
        }
        let mut index: Vec<_> = objects
            .iter()
            .map(|(id, object)| object.entry(id))
            .collect();
        let digest = digest(&mut index);
        let once = objects.values().any(|object| object.once);
        Ok(Self {
            once,
            objects,
            index,
            digest,
        })
    }
}

/// Whether these make a document that can be served.
#[cfg(test)]
pub(crate) fn fits(objects: &Objects) -> bool {
    Indexed::new(objects.clone()).is_ok()
}

/// Makes the bytes of an object for a node.
#[derive(Clone)]
pub(super) struct Sealer {
    cluster: ClusterId,
    seed: [u8; 32],
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({})", self.cluster)
    }
}

impl Sealer {
    pub(super) fn new(cluster: ClusterId, seed: &[u8; 32]) -> Self {
        Self {
            cluster,
            seed: *seed,
        }
    }

    /// The body as the node gets it; `None` when the node's sealing key is unusable.
    ///
    /// The same Secret at the same revision for the same node gives the same bytes in one life of the
    /// controller, so that its chunks fit together. The ephemeral key depends on everything that is
    /// sealed and on the random seed, so no key is ever used for two plain texts.
    pub(super) fn body(
        &self,
        node: &NodeName,
        key: &SealingPublic,
        id: &ObjectId,
        object: &Compiled,
    ) -> Option<Arc<[u8]>> {
        let plain = match &object.body {
            Body::Plain(body) => return Some(body.clone()),
            Body::Secret(plain) => plain,
        };
        let binding = Binding {
            cluster: &self.cluster,
            node,
            id,
            revision: object.revision,
        };
        let context = bramble_wire::encode(&(node, key, id, object.revision));
        let seed = Random::derive(&self.seed, &[&context, plain]);
        let sealed = seal::seal(key, binding, plain, &seed).ok()?;
        let object = match id {
            ObjectId::Secret(name) => Object::Secret(SealedSecret {
                name: ObjectName::clone(name),
                sealed,
            }),
            ObjectId::Tokens(_) => Object::Tokens(sealed),
            ObjectId::Node | ObjectId::Pod(_) | ObjectId::ConfigMap(_) => return None,
        };
        Some(bramble_wire::encode(&object).into())
    }
}
