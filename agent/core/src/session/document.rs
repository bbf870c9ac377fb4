//! A node's desired state as the node holds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bramble_wire::document::{Digest, Hash, IndexEntry};
use bramble_wire::limits::{DOCUMENT_MAX, DOCUMENT_OBJECTS_MAX};
use bramble_wire::object::{NodeConfig, Object, ObjectId, ObjectName, PodUid};
use bramble_wire::version::{HistoryId, Version};
use serde::{Deserialize, Serialize};

/// A document: every object there, every hash right, the digest as announced. It is stored whole in
/// the state log before anything of it is acted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its version.
    pub version: Version,
    /// The history that it belongs to.
    pub history: HistoryId,
    /// Digest of its index.
    pub digest: Digest,
    /// What the controller wants.
    pub objects: BTreeMap<ObjectId, Stored>,
    /// What an earlier epoch wanted and this one does not name: kept running and reported until a
    /// document says that a person confirmed the difference. No id is in both maps.
    pub unclaimed: BTreeMap<ObjectId, Stored>,
}

/// An object as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Store revision that it was compiled from.
    pub revision: u64,
    /// Hash, as in the index.
    pub hash: Hash,
    /// Encoding of [`Object`]. Secrets stay sealed in it; they are opened at use.
    pub body: Arc<[u8]>,
}

impl Document {
    /// What it holds for an entry of an index. The hash of a plain object covers its bytes; that of a sealed one covers
    /// its id and revision, and two histories may have used one revision for two contents.
    pub(super) fn find(&self, history: HistoryId, entry: &IndexEntry) -> Option<&Stored> {
        if entry.id.is_sealed() && self.history != history {
            return None;
        }
        let held = self.objects.get(&entry.id)?;
        (held.hash == entry.hash).then_some(held)
    }

    /// Everything to keep running: what is wanted, and what is unclaimed. The arguments of
    /// [`Desired::from_objects`](crate::desired::Desired::from_objects).
    pub fn effective(&self) -> impl Iterator<Item = (&ObjectId, u64, &[u8])> {
        (self.objects.iter().chain(&self.unclaimed))
            .map(|(id, stored)| (id, stored.revision, &*stored.body))
    }

    /// Whether a pod is wanted or unclaimed.
    pub fn names_pod(&self, uid: &PodUid) -> bool {
        let id = ObjectId::Pod(*uid);
        self.objects.contains_key(&id) || self.unclaimed.contains_key(&id)
    }

    /// Whether a pod is unclaimed.
    pub fn is_unclaimed(&self, uid: &PodUid) -> bool {
        self.unclaimed.contains_key(&ObjectId::Pod(*uid))
    }

    /// The name of an unclaimed pod, as far as it can be read.
    pub(super) fn name_of(&self, uid: &PodUid) -> Option<ObjectName> {
        let stored = self.unclaimed.get(&ObjectId::Pod(*uid))?;
        match bramble_wire::decode::<Object>(&stored.body, "object") {
            Ok(Object::Pod(pod)) => Some(pod.name),
            _ => None,
        }
    }

    /// Puts the unclaimed objects in place, given the document before this one.
    pub(super) fn inherit(&mut self, before: Option<&Document>) {
        let Some(before) = before else { return };
        let node = self.node().unwrap_or_default();
        // A person confirmed what the epoch changed.
        if node.confirmed_epoch >= self.version.epoch {
            return;
        }
        let released =
            |id: &ObjectId| matches!(id, ObjectId::Pod(uid) if node.released.contains(uid));
        let rose = self.version.epoch > before.version.epoch;
        let dropped = before
            .objects
            .iter()
            .filter(|(id, _)| rose && **id != ObjectId::Node);
        for (id, stored) in dropped.chain(&before.unclaimed) {
            if !self.objects.contains_key(id) && !released(id) {
                self.unclaimed.insert(id.clone(), stored.clone());
            }
        }
    }

    /// What the node itself needs to know, if the document says so in a way that can be read.
    pub fn node(&self) -> Option<NodeConfig> {
        let node = self.objects.get(&ObjectId::Node)?;
        match bramble_wire::decode::<Object>(&node.body, "object") {
            Ok(Object::Node(node)) => Some(node),
            _ => None,
        }
    }

    /// Whether it is over a limit: [`DOCUMENT_MAX`] and [`DOCUMENT_OBJECTS_MAX`], once for what is
    /// wanted and once for what is unclaimed.
    pub(super) fn is_too_large(&self) -> bool {
        let over = |objects: &BTreeMap<ObjectId, Stored>| {
            let bytes: usize = objects.values().map(|stored| stored.body.len()).sum();
            bytes > DOCUMENT_MAX || objects.len() > DOCUMENT_OBJECTS_MAX
        };
        over(&self.objects) || over(&self.unclaimed)
    }
}
