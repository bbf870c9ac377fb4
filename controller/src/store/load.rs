//! What a start makes of the records in the ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bramble_ledger::{Gate, Origin, Rejection};
use bytes::Bytes;

use super::{
    record::{FORMAT, Record, Write},
    types::{Entry, Key, Revision},
};

/// Rebuilds the objects from the records.
pub(super) struct Loader {
    pub(super) gate: Gate,
    pub(super) reserved: Option<Revision>,
    /// The newest revision that is there: hard changes up to it are all there.
    pub(super) top: Revision,
    /// Changes up to here came with the snapshot.
    snapshot: u64,
    pub(super) entries: BTreeMap<Key, Arc<Entry>>,
    names: BTreeSet<Arc<str>>,
}

impl Default for Loader {
    fn default() -> Self {
        Self {
            gate: Gate::new(FORMAT),
            reserved: None,
            top: Revision::default(),
            snapshot: 0,
            entries: BTreeMap::new(),
            names: BTreeSet::new(),
        }
    }
}

impl Loader {
    pub(super) fn visit(&mut self, origin: Origin, record: &[u8]) -> Result<(), Rejection> {
        let Some(record) = self.gate.pass(record)? else {
            return Ok(());
        };
        match Record::decode(record)? {
            Record::Reserve(last) => self.reserved = self.reserved.max(Some(Revision(last))),
            Record::Snapshot(upto) => {
                self.snapshot = upto;
                self.top = self.top.max(Revision(upto));
            }
            Record::Commit(writes) => {
                for write in writes {
                    self.top = self.top.max(Revision(write.modified));
                    if origin == Origin::Snapshot || write.modified > self.snapshot {
                        self.apply(&write);
                    }
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, write: &Write<'_>) {
        let key = Key {
            group: self.name(write.group),
            resource: self.name(write.resource),
            namespace: self.name(write.namespace),
            name: write.name.into(),
        };
        let Some(object) = &write.object else {
            self.entries.remove(&key);
            return;
        };
        let entry = Entry {
            key: key.clone(),
            json: Bytes::copy_from_slice(object.json.0),
            created: Revision(object.created),
            modified: Revision(write.modified),
            revision_at: object.revision_at.map(|at| at as usize),
        };
        self.entries.insert(key, Arc::new(entry));
    }

    /// Thousands of keys share a few groups, resources and namespaces.
    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.names.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::{Json, Object};

    /// A snapshot may be newer than records that follow it in the log: it is taken from memory,
    /// they are written when the disk gets to them.
    #[test]
    fn the_log_never_takes_an_object_back_behind_its_snapshot() {
        let write = |name, modified, json: Option<&'static [u8]>| Write {
            group: "",
            resource: "pods",
            namespace: "default",
            name,
            modified,
            object: json.map(|json| Object {
                created: 1,
                revision_at: None,
                json: Json(json),
            }),
        };
        let mut loader = Loader::default();
        let snapshot = [
            Record::Snapshot(10),
            Record::Reserve(100),
            Record::Commit(vec![write("kept", 10, Some(b"new"))]),
        ];
        let log = [
            Record::Commit(vec![
                write("kept", 9, Some(b"old")),
                write("gone", 8, Some(b"old")),
            ]),
            Record::Commit(vec![
                write("kept", 7, None),
                write("late", 11, Some(b"late")),
            ]),
            Record::Reserve(50),
        ];
        loader.visit(Origin::Snapshot, &FORMAT.record()).unwrap();
        for record in &snapshot {
            loader.visit(Origin::Snapshot, &record.encode()).unwrap();
        }
        for record in &log {
            loader.visit(Origin::Log, &record.encode()).unwrap();
        }
        let found: Vec<_> = loader
            .entries
            .values()
            .map(|e| (&*e.key.name, e.modified.0, &e.json[..]))
            .collect();
        assert_eq!(
            found,
            [("kept", 10, &b"new"[..]), ("late", 11, &b"late"[..])]
        );
        assert_eq!(loader.reserved, Some(Revision(100)));
        assert_eq!(loader.top, Revision(11));
    }

    #[test]
    fn a_strange_record_is_rejected() {
        let mut loader = Loader::default();
        loader.visit(Origin::Log, &FORMAT.record()).unwrap();
        let error = loader.visit(Origin::Log, &[1, 2]).unwrap_err();
        assert!(
            error.to_string().contains("not a record of this store"),
            "{error}"
        );
    }
}
