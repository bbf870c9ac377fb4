//! Knows everything, and looks after every step whether what must always hold still holds.

use std::collections::{BTreeMap, BTreeSet};

use bramble_agent_core::session::Document;
use bramble_wire::document::{Digest, IndexEntry, digest};
use bramble_wire::envelope;
use bramble_wire::message::{Answer, Head, Response};
use bramble_wire::object::{Object, ObjectId, PodUid, RestartPolicy, SecretData};
use bramble_wire::publish::Publish;
use bramble_wire::topic::Topic;
use bramble_wire::version::Version;

use super::controller::{SECRET_MARK, Source, expected_digest};
use super::stats::Invariant;
use super::world::World;

/// What a version stands for.
#[derive(Debug)]
struct Minted {
    digest: Digest,
    secrets: BTreeMap<ObjectId, (u64, SecretData)>,
}

/// What is known of the past.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Restart policies of all pods that ever were.
    pub policies: BTreeMap<PodUid, RestartPolicy>,
    /// Pods that must not run twice, with what they are one of.
    pub once: BTreeMap<PodUid, String>,
    /// Pods that a node said are gone.
    pub said_gone: BTreeSet<(usize, PodUid)>,
    /// Newest revision that a person was told is durable.
    pub acknowledged_revision: u64,
    /// Pods that ended for good, by the disk of their node.
    ended: BTreeSet<(usize, PodUid)>,
    /// Endings that an older store has not heard of.
    void: BTreeSet<(usize, PodUid)>,
    /// Pods that a store had when it was set back.
    revived: BTreeSet<PodUid>,
    /// Counts how often the store was set back: without knowing it, a controller may use a version
    /// again that it used in a future now lost, until a node presents that future.
    timeline: u32,
    /// Pods that a document asked to stop, or that were absent from one.
    may_stop: BTreeSet<(usize, PodUid)>,
    minted: BTreeMap<([u8; 16], usize, Version), BTreeMap<u32, Minted>>,
    /// Newest version of each node's document that was made since the store was last set back.
    newest: BTreeMap<usize, Version>,
    /// The same at the moment when the node asked for its index.
    asked: BTreeMap<usize, Version>,
    accepted: BTreeMap<usize, Version>,
    seen: BTreeMap<usize, (Version, Option<Version>)>,
    /// Pod objects on the controller's disk.
    objects: BTreeMap<PodUid, usize>,
}

impl Oracle {
    /// A node asks for its index: an answer must not be older than this moment.
    pub fn index_asked(&mut self, node: usize) {
        let newest = self.newest.get(&node).copied().unwrap_or_default();
        self.asked.insert(node, newest);
    }

    /// A node lost its card, and with it what was durable there.
    pub fn wiped(&mut self, node: usize) {
        self.ended.retain(|(of, _)| *of != node);
        self.may_stop.retain(|(of, _)| *of != node);
        self.accepted.remove(&node);
    }
}

impl World {
    /// The store is an older one now: what was promised after it is void, and nodes that were told to
    /// forget an ending may be asked to run the pod again.
    pub fn oracle_restored(&mut self) {
        let oracle = &mut self.oracle;
        oracle.acknowledged_revision = 0;
        oracle.newest.clear();
        oracle.asked.clear();
        oracle.objects = (self.controller.disk.durable().pods.iter())
            .map(|(uid, pod)| (*uid, pod.node))
            .collect();
        oracle.timeline += 1;
        oracle.revived.extend(oracle.objects.keys());
        let again = oracle
            .ended
            .iter()
            .filter(|(_, uid)| oracle.objects.contains_key(uid));
        let again: Vec<_> = again.copied().collect();
        oracle.void.extend(again);
    }

    /// What can be looked at from outside after any step.
    pub fn check_step(&mut self) {
        self.check_versions();
        self.check_disks();
        self.check_objects();
    }

    /// One version has one content.
    fn check_versions(&mut self) {
        for number in 0..self.nodes.len() {
            let Some(link) = self.controller.link() else {
                return;
            };
            let Some(version) = link
                .node(&self.nodes[number].name)
                .and_then(|node| node.version)
            else {
                continue;
            };
            let store = self.controller.disk.durable();
            let current = (
                version,
                Some(Version {
                    epoch: store.epoch,
                    term: 0,
                    rev: store.revision,
                }),
            );
            if self.oracle.seen.get(&number) == Some(&current) || store.epoch != version.epoch {
                continue;
            }
            self.oracle.seen.insert(number, current);
            let history = store.history;
            let compiled = store.compile(number);
            let is = expected_digest(&compiled);
            let key = (history.0, number, version);
            let timeline = self.oracle.timeline;
            let known = (self.oracle.minted.get(&key))
                .and_then(|minted| minted.get(&timeline))
                .map(|minted| minted.digest);
            if let Some(known) = known {
                self.check(Invariant::OneContent, known == is, || {
                    format!("version {version} of node {number} is {known} and {is}")
                });
            }
            let secrets = (compiled.into_iter())
                .filter_map(|(id, (revision, source))| match source {
                    Source::Secret(data) => Some((id, (revision, data))),
                    Source::Plain(_) => None,
                })
                .collect();
            let minted = Minted {
                digest: is,
                secrets,
            };
            self.oracle
                .minted
                .entry(key)
                .or_default()
                .insert(timeline, minted);
            let newest = self.oracle.newest.entry(number).or_default();
            *newest = version.max(*newest);
        }
    }

    /// Versions on disks never go back, endings never vanish.
    fn check_disks(&mut self) {
        for number in 0..self.nodes.len() {
            let state = self.nodes[number].disk.durable();
            let version = state.document.as_ref().map(|document| document.version);
            let gone: Vec<PodUid> = (state.memory.iter())
                .filter(|(uid, pod)| pod.gone && !self.oracle.ended.contains(&(number, **uid)))
                .map(|(uid, _)| *uid)
                .collect();
            self.oracle
                .ended
                .extend(gone.into_iter().map(|uid| (number, uid)));
            let Some(version) = version else { continue };
            let before = self.oracle.accepted.insert(number, version);
            if let Some(before) = before
                && before != version
            {
                self.stats.accepted += 1;
                self.note(|| format!("node {number} accepted {version}"));
                self.check(Invariant::Forward, version > before, || {
                    format!("node {number} went from {before} to {version}")
                });
            }
        }
    }

    /// No pod object goes before its node said that it is gone.
    fn check_objects(&mut self) {
        let pods = &self.controller.disk.durable().pods;
        let vanished: Vec<(PodUid, usize)> = (self.oracle.objects.iter())
            .filter(|(uid, _)| !pods.contains_key(uid))
            .map(|(uid, node)| (*uid, *node))
            .collect();
        if vanished.is_empty() && pods.len() == self.oracle.objects.len() {
            return;
        }
        self.oracle.objects = pods.iter().map(|(uid, pod)| (*uid, pod.node)).collect();
        for (uid, node) in vanished {
            let said = self.oracle.said_gone.contains(&(node, uid));
            self.check(Invariant::GoneFirst, said, || {
                format!("{uid} is removed, node {node} never said that it is gone")
            });
        }
    }

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
            self.check(Invariant::Fresh, document.version >= asked, || {
                format!(
                    "node {number} takes {}, {asked} was there when it asked",
                    document.version
                )
            });
        }
        self.check_secrets(number, document);
        self.check_unclaimed(number, document);
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

    /// A container starts.
    pub fn check_start(&mut self, number: usize, uid: PodUid, env: &[(String, String)]) {
        let oracle = &self.oracle;
        let again = oracle.ended.contains(&(number, uid)) && !oracle.void.contains(&(number, uid));
        self.check(Invariant::OneWay, !again, || {
            format!("{uid} runs again on node {number}")
        });
        let running = self.nodes[number].running().any(|running| *running == uid);
        self.check(Invariant::Undisturbed, !running, || {
            format!("{uid} is started on node {number}, where it runs")
        });
        let secrets = env.iter().filter(|(name, _)| name == "SECRET").count();
        debug_assert!(secrets <= 1, "one variable is named so");
        if let Some(name) = self.oracle.once.get(&uid).cloned() {
            let once = &self.oracle.once;
            let elsewhere = self.nodes.iter().enumerate().find_map(|(at, node)| {
                let same = |other: &&PodUid| once.get(other) == Some(&name);
                let mut others = node.running().filter(same);
                others
                    .find(|other| at != number || **other != uid)
                    .map(|other| (at, *other))
            });
            self.check(Invariant::Once, elsewhere.is_none(), || {
                format!("{name} starts as {uid} on node {number} and runs as {elsewhere:?}")
            });
        }
    }

    /// Something running is stopped.
    pub fn check_stop(&mut self, number: usize, uid: PodUid) {
        if self.nodes[number].running().any(|running| *running == uid) {
            let may = self.oracle.may_stop.contains(&(number, uid));
            self.check(Invariant::Undisturbed, may, || {
                format!("node {number} stops {uid}, which no document asked for")
            });
        }
    }

    /// A node is told to forget pods.
    pub fn check_forgotten(&mut self, number: usize, pods: &[PodUid]) {
        for uid in pods {
            let there = self.controller.disk.durable().pods.contains_key(uid);
            if there && self.oracle.revived.contains(uid) {
                // The acknowledgement is from before the store was set back.
                self.oracle.void.insert((number, *uid));
                continue;
            }
            self.check(Invariant::AckDurable, !there, || {
                format!("node {number} forgets {uid}, whose object is on the controller's disk")
            });
        }
    }

    /// Something leaves the controller.
    pub fn check_publish(&mut self, publish: &Publish) {
        let Some(name) = publish.topic.node() else {
            return;
        };
        let Some(number) = self.node_number(name) else {
            return;
        };
        if self.controller.disk.is_dirty()
            && matches!(publish.topic, Topic::Head(_) | Topic::Response(..))
        {
            let version = announced(publish);
            let revision = self.controller.disk.durable().revision;
            let holds = version.is_none_or(|version| version.rev <= revision);
            self.check(Invariant::SentDurable, holds, || {
                format!("node {number} is told of {version:?}, the disk has {revision}")
            });
        }
        if let Topic::Response(..) = publish.topic {
            let mut rest = publish.payload.as_slice();
            let mut found = false;
            while let Some(at) = rest.iter().position(|byte| *byte == SECRET_MARK[0]) {
                found |= rest[at..].starts_with(SECRET_MARK);
                rest = &rest[at + 1..];
            }
            self.check(Invariant::NoPlainText, !found, || {
                format!("a response to node {number} holds a secret in the clear")
            });
        }
    }

    /// What is missing for everything to have arrived; `None` when nothing is.
    pub fn missing(&self) -> Option<String> {
        let Some(link) = self.controller.link() else {
            return Some("the controller is down".into());
        };
        let store = self.controller.disk.durable();
        if self.controller.has_strays() {
            return Some("a node runs what the store does not know".into());
        }
        if !link.all_confirmed() {
            return Some("a node has not reported".into());
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let Some(state) = link.node(&node.name) else {
                continue;
            };
            if state.presence != bramble_controller_core::nodelink::Presence::Ready {
                return Some(format!("node {number} is {:?}", state.presence));
            }
            let held = node.document().map(|document| document.version);
            if held.is_none() || held != state.version || state.accepted != held {
                return Some(format!(
                    "node {number} holds {held:?}, says {:?}, should {:?}",
                    state.accepted, state.version
                ));
            }
            let known = node.document().map(|document| document.unclaimed.len());
            if known != Some(0) {
                return Some(format!("node {number} keeps {known:?} unclaimed objects"));
            }
        }
        for (uid, pod) in &store.pods {
            if pod.deleting {
                return Some(format!("{uid} on node {} is still being deleted", pod.node));
            }
            if pod.ended.is_none() {
                let runs = self.nodes[pod.node].running().any(|running| running == uid);
                let phase = self.controller.phase(uid);
                let settled = runs && phase == Some(bramble_wire::report::Phase::Running);
                if self.oracle.policies.get(uid) == Some(&RestartPolicy::Always) && !settled {
                    return Some(format!(
                        "{uid} on node {} runs {runs}, phase {phase:?}",
                        pod.node
                    ));
                }
            }
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let surplus = node.running().find(|uid| !store.pods.contains_key(uid));
            if let Some(surplus) = surplus {
                return Some(format!("node {number} still runs {surplus}"));
            }
        }
        self.controller.missing_pods()
    }
}

/// The version that a message of the controller tells of.
fn announced(publish: &Publish) -> Option<Version> {
    if let Topic::Head(_) = publish.topic {
        let opened = envelope::read_unverified::<Head>(&publish.payload)?;
        return Some(opened.message.version);
    }
    match envelope::read_unverified::<Response>(&publish.payload)?
        .message
        .answer
    {
        Answer::Welcome { head, .. } | Answer::Index { head, .. } | Answer::Superseded(head) => {
            Some(head.version)
        }
        Answer::Objects(_) | Answer::Chunk { .. } | Answer::ReportAck { .. } | Answer::Announce => {
            None
        }
    }
}
