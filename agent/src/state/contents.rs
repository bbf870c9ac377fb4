//! Everything that the state log says, in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use bramble_agent_core::memory::{Endings, Memory};
use bramble_agent_core::session::{Document, Stored};
use bramble_wire::document::Digest;
use bramble_wire::object::ObjectId;
use bramble_wire::version::{HardwareId, HistoryId, Version};

use super::record::{Keys, Membership, Record};
use crate::static_pods::Kept;

/// What is on disk.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contents {
    /// The board's own keys.
    pub keys: Option<Keys>,
    /// What the join gave.
    pub membership: Option<Membership>,
    /// How often keys and membership were written.
    pub(super) identity: u64,
    /// How often the agent has been started.
    pub boot: u64,
    /// No clock may show an earlier time (seconds of the Unix epoch).
    pub time_floor: i64,
    /// The accepted document.
    pub document: Option<Arc<Document>>,
    /// What is remembered of pods.
    pub pods: Memory,
    /// Pods that ended and were forgotten.
    pub endings: Endings,
    /// The board's own pods.
    pub static_pods: Arc<Kept>,
    /// Which board the card is in.
    pub hardware: Option<HardwareId>,
    /// This is what was left of a damaged log, and nothing was settled since: what is said here of pods may be
    /// older than what happened to them.
    pub salvaged: bool,
}

impl Contents {
    pub(super) fn apply(&mut self, record: Record) {
        match record {
            Record::Keys(keys) => self.keys = Some(keys),
            Record::Membership(membership) => self.membership = Some(membership),
            Record::Identity(times) => self.identity = times,
            Record::Boot(boot) => self.boot = boot,
            Record::TimeFloor(floor) => self.time_floor = floor,
            Record::Document {
                version,
                history,
                digest,
            } => {
                let document = self.document_mut();
                document.version = version;
                document.history = history;
                document.digest = digest;
            }
            Record::Object {
                id,
                stored,
                unclaimed,
            } => {
                let document = self.document_mut();
                let (here, there) = if unclaimed {
                    (&mut document.unclaimed, &mut document.objects)
                } else {
                    (&mut document.objects, &mut document.unclaimed)
                };
                there.remove(&id);
                here.insert(id, stored);
            }
            Record::ObjectGone(id) => {
                let document = self.document_mut();
                document.objects.remove(&id);
                document.unclaimed.remove(&id);
            }
            Record::Pod(uid, memory) => {
                self.pods.insert(uid, memory);
            }
            Record::PodForgotten(uid) => {
                self.pods.remove(&uid);
            }
            Record::Ended(uid) => self.endings.note(uid),
            Record::Static(kept) => self.static_pods = Arc::new(kept),
            Record::Hardware(id) => self.hardware = Some(id),
            Record::Salvaged(salvaged) => self.salvaged = salvaged,
        }
    }

    /// The records that make a document of the present one: only what differs.
    pub(super) fn document_records(&self, new: &Document) -> Vec<Record> {
        let empty = BTreeMap::new();
        let (objects, unclaimed) = match &self.document {
            Some(old) => (&old.objects, &old.unclaimed),
            None => (&empty, &empty),
        };
        let mut records = Vec::new();
        for id in objects.keys().chain(unclaimed.keys()) {
            if !new.objects.contains_key(id) && !new.unclaimed.contains_key(id) {
                records.push(Record::ObjectGone(id.clone()));
            }
        }
        let mut changed = |old: &BTreeMap<ObjectId, Stored>, new: &BTreeMap<_, _>, unclaimed| {
            for (id, stored) in new {
                if old.get(id) != Some(stored) {
                    records.push(Record::Object {
                        id: ObjectId::clone(id),
                        stored: Stored::clone(stored),
                        unclaimed,
                    });
                }
            }
        };
        changed(objects, &new.objects, false);
        changed(unclaimed, &new.unclaimed, true);
        records.push(head(new));
        records
    }

    /// Everything, for a snapshot.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let keys = self.keys.iter().cloned().map(Record::Keys);
        let membership = self.membership.iter().cloned().map(Record::Membership);
        let identity = (self.identity > 0).then_some(Record::Identity(self.identity));
        let counters = [Record::Boot(self.boot), Record::TimeFloor(self.time_floor)];
        let document = self.document.iter().flat_map(|document| {
            let object = |unclaimed| {
                move |(id, stored): (&ObjectId, &Stored)| Record::Object {
                    id: id.clone(),
                    stored: stored.clone(),
                    unclaimed,
                }
            };
            (document.objects.iter().map(object(false)))
                .chain(document.unclaimed.iter().map(object(true)))
                .chain([head(document)])
        });
        let pods = (self.pods.iter()).map(|(uid, memory)| Record::Pod(*uid, memory.clone()));
        let endings = self.endings.iter().copied().map(Record::Ended);
        let kept = (*self.static_pods != Kept::default())
            .then(|| Record::Static(Kept::clone(&self.static_pods)));
        let hardware = self.hardware.map(Record::Hardware);
        let salvaged = self.salvaged.then_some(Record::Salvaged(true));
        keys.chain(membership)
            .chain(identity)
            .chain(counters)
            .chain(hardware)
            .chain(salvaged)
            .chain(kept)
            .chain(document)
            .chain(pods)
            .chain(endings)
    }

    fn document_mut(&mut self) -> &mut Document {
        let document = self.document.get_or_insert_with(|| {
            Arc::new(Document {
                version: Version::default(),
                history: HistoryId::default(),
                digest: Digest::default(),
                objects: BTreeMap::new(),
                unclaimed: BTreeMap::new(),
            })
        });
        Arc::make_mut(document)
    }
}

fn head(document: &Document) -> Record {
    Record::Document {
        version: document.version,
        history: document.history,
        digest: document.digest,
    }
}
