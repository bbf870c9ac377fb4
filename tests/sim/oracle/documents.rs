//! What nodes are about to store.

use super::*;

impl World {
    /// A node is about to store a document.
    pub fn check_document(&mut self, number: usize, document: &Document) {
        let mut index: Vec<IndexEntry> = (document.objects.iter())
            .map(|(id, stored)| IndexEntry::of(id.clone(), stored.revision, &stored.body))
            .collect();
        let whole = digest(&mut index) == document.digest;
        let key = (document.history.0, number, document.version);
        let minted = self.oracle.minted.get(&key);
        let known =
            minted.is_some_and(|made| made.values().any(|one| one.digest == document.digest));
        self.check(Invariant::Whole, whole && known, || {
            format!(
                "node {number} takes {}, which was made otherwise or never",
                document.version
            )
        });
        let asked = self.oracle.asked.get(&number).copied().unwrap_or_default();
        if asked != Version::default() {
            // What was there may have got an older number of the same content since.
            let same = self.is_minted(document.history, number, asked, document.digest);
            self.check(Invariant::Fresh, same || document.version >= asked, || {
                format!(
                    "node {number} takes {}, {asked} was there when it asked",
                    document.version
                )
            });
        }
        self.check_secrets(number, document);
        self.check_unclaimed(number, document);
        self.check_lost(number, document);
        self.allow_stops(number, document);
    }

    fn check_secrets(&mut self, number: usize, document: &Document) {
        for (id, stored) in &document.objects {
            let object = bramble_wire::decode::<Object>(&stored.body, "object");
            let Ok(Object::Secret(secret)) = object else {
                continue;
            };
            let own = self.nodes[number].open(id, stored.revision, &secret.sealed);
            let other = (number + 1) % self.nodes.len();
            let foreign = self.nodes[other].open(id, stored.revision, &secret.sealed);
            self.check(
                Invariant::Sealed,
                own.is_some() && foreign.is_none(),
                || {
                    format!(
                        "{id} of node {number}: own {}, foreign {}",
                        own.is_some(),
                        foreign.is_some()
                    )
                },
            );
            let key = (document.history.0, number, document.version);
            let own = own.map(|plain| (stored.revision, plain));
            let right = self.oracle.minted.get(&key).is_some_and(|made| {
                let meant = made.values().filter_map(|one| one.secrets.get(id));
                meant
                    .map(|(at, data)| Some((*at, bramble_wire::encode(data))))
                    .any(|one| one == own)
            });
            self.check(Invariant::RightSecret, right, || {
                format!(
                    "{id} of node {number} in {} has another content",
                    document.version
                )
            });
        }
    }

    fn check_unclaimed(&mut self, number: usize, document: &Document) {
        let Some(before) = self.nodes[number].disk.newest().document.clone() else {
            return;
        };
        let node = document.objects.get(&ObjectId::Node);
        let confirmed = match node.map(|node| bramble_wire::decode::<Object>(&node.body, "object"))
        {
            Some(Ok(Object::Node(config))) => config.confirmed_epoch >= document.version.epoch,
            _ => false,
        };
        if document.version.epoch <= before.version.epoch || confirmed {
            return;
        }
        let pods = before.objects.keys().chain(before.unclaimed.keys());
        let missing = pods
            .filter(|id| matches!(id, ObjectId::Pod(_)))
            .find(|id| !document.objects.contains_key(id) && !document.unclaimed.contains_key(id))
            .cloned();
        self.check(Invariant::Unclaimed, missing.is_none(), || {
            format!(
                "node {number} drops {missing:?} with epoch {}",
                document.version.epoch
            )
        });
    }

    /// A store that was set back does not know what it has lost: that keeps running until a person
    /// decides, whether or not the controller knows that it was set back.
    fn check_lost(&mut self, number: usize, document: &Document) {
        let Some(before) = self.nodes[number].disk.newest().document.clone() else {
            return;
        };
        let key = (document.history.0, number, document.version);
        let minted = self.oracle.minted.get(&key);
        let made: Vec<&Minted> = (minted.iter().flat_map(|made| made.values()))
            .filter(|one| one.digest == document.digest)
            .collect();
        let held = before.objects.keys().chain(before.unclaimed.keys());
        let lost: Vec<PodUid> = held
            .filter_map(|id| match id {
                ObjectId::Pod(uid) => Some(*uid),
                _ => None,
            })
            .filter(|uid| !made.iter().any(|one| one.had.contains(uid)))
            .collect();
        if lost.is_empty() {
            return;
        }
        let dropped = lost.into_iter().find(|uid| !document.names_pod(uid));
        self.check(Invariant::LostKept, dropped.is_none(), || {
            format!(
                "node {number} drops {dropped:?} with {}, whose store never had it",
                document.version
            )
        });
    }

    /// What this document stops may be stopped.
    fn allow_stops(&mut self, number: usize, document: &Document) {
        let known: Vec<PodUid> = self.nodes[number]
            .disk
            .newest()
            .memory
            .keys()
            .copied()
            .collect();
        let running: Vec<PodUid> = self.nodes[number].kernel.keys().copied().collect();
        for uid in known.into_iter().chain(running) {
            if !document.names_pod(&uid) {
                self.oracle.may_stop.insert((number, uid));
            }
        }
        for (id, stored) in &document.objects {
            if let ObjectId::Pod(uid) = id
                && let Ok(Object::Pod(pod)) = bramble_wire::decode::<Object>(&stored.body, "object")
                && pod.stop.is_some()
            {
                self.oracle.may_stop.insert((number, *uid));
            }
        }
    }
}
