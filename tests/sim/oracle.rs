//! Knows everything, and looks after every step whether what must always hold still holds.

mod converge;
mod documents;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bramble_agent_core::session::Document;
use bramble_wire::document::{Digest, IndexEntry, digest};
use bramble_wire::envelope;
use bramble_wire::message::{Answer, Head, Response};
use bramble_wire::object::{Object, ObjectId, PodUid, RestartPolicy, SecretData};
use bramble_wire::publish::Publish;
use bramble_wire::topic::Topic;
use bramble_wire::version::{HistoryId, Version};

use super::controller::{SECRET_MARK, Source, expected_digest};
use super::stats::Invariant;
use super::world::World;

/// What a version stands for.
#[derive(Debug)]
struct Minted {
    digest: Digest,
    secrets: BTreeMap<ObjectId, (u64, SecretData)>,
    /// Every pod that its store has ever had.
    had: Arc<BTreeSet<PodUid>>,
}

/// What is known of the past.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Restart policies of all pods that ever were.
    pub policies: BTreeMap<PodUid, RestartPolicy>,
    /// How long the lives of some pods are, and with what they end.
    pub lives: BTreeMap<PodUid, ((u64, u64), i32)>,
    /// Pods that must not run twice, with what they are one of.
    pub once: BTreeMap<PodUid, String>,
    /// Pods that a node said are gone.
    pub said_gone: BTreeSet<(usize, PodUid)>,
    /// Newest revision that a person was told is durable.
    pub acknowledged_revision: u64,
    /// Pods that ended for good, by the disk of their node.
    ended: BTreeSet<(usize, PodUid)>,
    /// Pods that have begun and are never to begin again.
    begun: BTreeSet<(usize, PodUid)>,
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
    /// Pods whose nodes were removed while they had them.
    pub forced: BTreeSet<PodUid>,
    /// What a node may run again because its card had lost what it acknowledged.
    excused: BTreeSet<(usize, PodUid)>,
    /// The history of each epoch of a timeline.
    histories: BTreeMap<(u32, u64), HistoryId>,
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
        self.begun.retain(|(of, _)| *of != node);
        self.may_stop.retain(|(of, _)| *of != node);
        self.accepted.remove(&node);
    }
}

impl World {
    /// The store is an older one now: what was promised after it is void, and nodes may be told again to
    /// forget what it has.
    pub fn oracle_restored(&mut self) {
        let oracle = &mut self.oracle;
        oracle.acknowledged_revision = 0;
        oracle.newest.clear();
        oracle.seen.clear();
        oracle.asked.clear();
        oracle.objects = (self.controller.disk.durable().pods.iter())
            .map(|(uid, pod)| (*uid, pod.node))
            .collect();
        oracle.timeline += 1;
        oracle.revived.extend(oracle.objects.keys());
    }

    /// A node's card has lost what it acknowledged: the node is an older one now.
    pub fn node_set_back(&mut self, number: usize) {
        let state = self.nodes[number].disk.durable();
        let oracle = &mut self.oracle;
        let gone = |uid: &PodUid| state.memory.get(uid).is_some_and(|pod| pod.gone);
        oracle.ended.retain(|(of, uid)| *of != number || gone(uid));
        let began = |uid: &PodUid| {
            let pod = state.memory.get(uid);
            pod.is_some_and(|pod| pod.containers.values().any(|one| one.lives > 0))
        };
        oracle.begun.retain(|(of, uid)| *of != number || began(uid));
        oracle.accepted.remove(&number);
        let objects = state
            .document
            .iter()
            .flat_map(|document| document.effective());
        let named = objects.filter_map(|(id, ..)| match id {
            ObjectId::Pod(uid) => Some(*uid),
            _ => None,
        });
        let known = state.memory.keys().copied().chain(named);
        oracle.excused.extend(known.map(|uid| (number, uid)));
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
                had: self.controller.disk.durable().had.clone(),
            };
            self.oracle
                .minted
                .entry(key)
                .or_default()
                .insert(timeline, minted);
            // A node may have taught its link an older version of the same content.
            let newest = self.oracle.newest.get(&number).copied().unwrap_or_default();
            let same = self.is_minted(history, number, newest, is);
            let newest = if same { version } else { version.max(newest) };
            self.oracle.newest.insert(number, newest);
        }
    }

    /// Whether a version was made with this content.
    fn is_minted(&self, history: HistoryId, node: usize, version: Version, digest: Digest) -> bool {
        let minted = self.oracle.minted.get(&(history.0, node, version));
        minted.is_some_and(|made| made.values().any(|one| one.digest == digest))
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
            if self.oracle.forced.contains(&uid) {
                continue;
            }
            let said = self.oracle.said_gone.contains(&(node, uid));
            self.check(Invariant::GoneFirst, said, || {
                format!("{uid} is removed, node {node} never said that it is gone")
            });
        }
    }

    /// A container starts.
    pub fn check_start(&mut self, number: usize, uid: PodUid, env: &[(String, String)]) {
        let oracle = &self.oracle;
        let again = oracle.ended.contains(&(number, uid));
        self.check(Invariant::OneWay, !again, || {
            format!("{uid} runs again on node {number}")
        });
        if self.oracle.policies.get(&uid) == Some(&RestartPolicy::Never) {
            let oracle = &mut self.oracle;
            let anew = oracle.begun.insert((number, uid));
            self.check(Invariant::AtMostOnce, anew, || {
                format!("{uid} begins again on node {number}")
            });
        }
        let running = self.nodes[number].running().any(|running| *running == uid);
        self.check(Invariant::Undisturbed, !running, || {
            format!("{uid} is started on node {number}, where it runs")
        });
        let secrets = env.iter().filter(|(name, _)| name == "SECRET").count();
        debug_assert!(secrets <= 1, "one variable is named so");
        let excused = &self.oracle.excused;
        if let Some(name) = self.oracle.once.get(&uid).cloned()
            && !excused.contains(&(number, uid))
        {
            let once = &self.oracle.once;
            let elsewhere = self.nodes.iter().enumerate().find_map(|(at, node)| {
                let same = |other: &&PodUid| once.get(other) == Some(&name);
                let mut others = node.running().filter(same);
                others
                    .find(|other| at != number || **other != uid)
                    .filter(|other| !excused.contains(&(at, **other)))
                    .map(|other| (at, *other))
            });
            self.check(Invariant::Once, elsewhere.is_none(), || {
                format!("{name} starts as {uid} on node {number} and runs as {elsewhere:?}")
            });
        }
    }

    /// A sandbox gets an address.
    pub fn check_address(&mut self, number: usize, uid: PodUid, address: Option<[u8; 4]>) {
        let Some(address) = address else { return };
        let others = self.nodes[number].addresses.iter();
        let other = others
            .filter(|(other, theirs)| **other != uid && **theirs == address)
            .map(|(other, _)| *other)
            .next();
        self.check(Invariant::OneAddress, other.is_none(), || {
            format!("{uid} on node {number} gets {address:?} of {other:?}")
        });
        self.nodes[number].addresses.insert(uid, address);
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
        if let Some(head) = announced(publish) {
            let (version, history) = (head.version, head.history);
            if self.controller.disk.is_dirty() {
                let revision = self.controller.disk.durable().revision;
                self.check(Invariant::SentDurable, version.rev <= revision, || {
                    format!("node {number} is told of {version}, the disk has {revision}")
                });
            }
            let epoch = (self.oracle.timeline, version.epoch);
            let known = *self.oracle.histories.entry(epoch).or_insert(history);
            self.check(Invariant::OneHistory, known == history, || {
                format!("epoch {} has two histories", version.epoch)
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
}

/// What a message of the controller tells of.
fn announced(publish: &Publish) -> Option<Head> {
    if let Topic::Head(_) = publish.topic {
        return Some(envelope::read_unverified::<Head>(&publish.payload)?.message);
    }
    if !matches!(publish.topic, Topic::Response(..)) {
        return None;
    }
    match envelope::read_unverified::<Response>(&publish.payload)?
        .message
        .answer
    {
        Answer::Welcome { head, .. } | Answer::Index { head, .. } | Answer::Superseded(head) => {
            Some(head)
        }
        Answer::Objects(_)
        | Answer::Chunk { .. }
        | Answer::ReportAck { .. }
        | Answer::Announce
        | Answer::Refused { .. } => None,
    }
}
