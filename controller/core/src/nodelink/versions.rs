//! Documents, their versions, and futures that this store does not know.

use bramble_wire::clock::Millis;
use bramble_wire::document::Digest;
use bramble_wire::message::Head;
use bramble_wire::name::NodeName;
use bramble_wire::version::{HistoryId, Version};

use super::document::{Error, Indexed, Objects};
use super::node::Node;
use super::{Drop, Event, NodeLink, Recovered};

/// How far above ours an epoch is believed. Epochs rise by one for each restore, and the store's
/// revisions have room for 2^24 of them: a node that presents more is broken or hostile, and must
/// not use them up for everybody.
const EPOCH_JUMP_MAX: u64 = 4096;
/// So many epochs may begin by themselves …
const RISES_MAX: usize = 3;
/// … within this time. Two controllers of one identity raise it over each other for ever.
const RISES_MS: u64 = 10 * 60_000;

/// What a node says that it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) version: Version,
    pub(super) history: Option<HistoryId>,
    pub(super) digest: Option<Digest>,
}

/// What that means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Our past or our present.
    Known,
    /// Can't be told before the node's document is compiled.
    Later,
    /// A future, or another history: the epoch must rise above it.
    Unknown(Version),
}

impl NodeLink {
    /// The document of a node, compiled from durable state; `revision` is the newest one of which the
    /// store's disk has the change, so that an older copy of the store is known by what nodes hold.
    /// Its version changes only if its digest does.
    ///
    /// # Errors
    /// [`Error`] when it is over a limit, or when it has changed by other things than the store's:
    /// then something has to be written first. The one before it stays.
    pub fn set_document(
        &mut self,
        node: &NodeName,
        objects: Objects,
        revision: u64,
        now: Millis,
    ) -> Result<(), Error> {
        let indexed = Indexed::new(objects)?;
        self.revision = self.revision.max(revision);
        let (epoch, term) = (self.config.epoch, self.config.term);
        let Some(known) = self.nodes.get_mut(node) else {
            return Ok(());
        };
        if known.digest() == Some(indexed.digest) {
            known.document = Some(indexed);
            return Ok(());
        }
        // A version that was sent has one content, and is not followed by a lower one.
        if known.announced && revision <= known.version.rev {
            return Err(Error::Unwritten);
        }
        known.version = Version {
            epoch,
            term,
            rev: revision,
        };
        known.announced = false;
        known.document = Some(indexed);
        known.head_attempt = 0;
        let waits = known
            .candidate
            .as_ref()
            .is_some_and(|candidate| !candidate.welcomed);
        if waits {
            self.judge_candidate(node, now);
        } else if known.session.is_some() || known.candidate.is_some() {
            self.queue_head(node);
        }
        Ok(())
    }

    /// The epoch and history of [`Event::RaiseEpoch`] are durable: every document gets a version in
    /// it and every node has to say anew what it holds. While a still higher one is being recorded
    /// nothing changes: one epoch must not get two histories.
    pub fn handle_epoch(&mut self, epoch: u64, history: HistoryId, now: Millis) {
        if epoch <= self.config.epoch || self.raising.is_some_and(|raising| raising > epoch) {
            return;
        }
        self.config.epoch = epoch;
        self.config.history = history;
        self.raising = None;
        self.cleared = false;
        self.state_due = true;
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        for name in names {
            let Some(node) = self.nodes.get_mut(&name) else {
                continue;
            };
            node.version = Version {
                epoch,
                term: self.config.term,
                rev: node.version.rev,
            };
            node.announced = false;
            if !node.leaving {
                self.unheard.insert(name.clone());
            }
            let candidate = node.candidate.take();
            let was_here = node.session.is_some() || candidate.is_some();
            node.end_session();
            node.candidate = candidate.filter(|candidate| !candidate.welcomed);
            if node.candidate.is_some() {
                self.judge_candidate(&name, now);
            } else if was_here {
                self.queue_head(&name);
            }
            self.expect_life(&name, now);
        }
    }

    /// Judges what a node holds, and takes over its version when it is another one for the same
    /// content: nothing records the version of a node across our own restarts.
    pub(super) fn judge(&mut self, name: &NodeName, held: Held) -> Verdict {
        let config = &self.config;
        let Some(node) = self.nodes.get_mut(name) else {
            return Verdict::Later;
        };
        let version = held.version;
        if version.epoch < config.epoch {
            return Verdict::Known;
        }
        let other_history = held
            .history
            .is_some_and(|history| history != config.history);
        // What the store said between its newest change and the life that began then, it has forgotten.
        let gap = |life: &Recovered| life.top < version.rev && version.rev < life.start;
        let forgotten = config.recovered.iter().any(gap);
        if version.epoch > config.epoch || other_history || forgotten {
            return Verdict::Unknown(version);
        }
        let Some(digest) = node.digest() else {
            return Verdict::Later;
        };
        let same = held.digest == Some(digest);
        let takes_over = same
            && version.term == config.term
            && version.rev <= self.revision
            && (version > node.version || !node.announced);
        if takes_over {
            node.version = version;
            node.announced = true;
            return Verdict::Known;
        }
        let differs = held.digest.is_some() && !same;
        if version > node.version || (version == node.version && differs) {
            return Verdict::Unknown(version);
        }
        Verdict::Known
    }

    /// Judges the birth that waits, and welcomes the node or raises the epoch.
    pub(super) fn judge_candidate(&mut self, name: &NodeName, now: Millis) {
        let candidate = self
            .nodes
            .get(name)
            .and_then(|node| node.candidate.as_ref());
        let Some(birth) = candidate.map(|candidate| &candidate.birth) else {
            return;
        };
        let held = birth.have.map(|(version, history)| Held {
            version,
            history: Some(history),
            digest: Some(birth.digest),
        });
        let verdict = match held {
            Some(held) => self.judge(name, held),
            None => Verdict::Known,
        };
        match verdict {
            Verdict::Known => self.queue_welcome(name),
            Verdict::Later => {}
            Verdict::Unknown(seen) => self.raise(name, seen, now),
        }
    }

    pub(super) fn raise(&mut self, name: &NodeName, seen: Version, now: Millis) {
        if self.nodes.get(name).is_some_and(|node| node.leaving) {
            return;
        }
        if seen.epoch > self.config.epoch.saturating_add(EPOCH_JUMP_MAX) {
            self.count(Some(name.clone()), Drop::Limit, now);
            return;
        }
        let epoch = seen.epoch.max(self.config.epoch) + 1;
        if self.raising.is_some_and(|raising| raising >= epoch) {
            return;
        }
        if self.is_braked(now) {
            if !std::mem::replace(&mut self.braked, true) {
                let node = name.clone();
                self.events.push_back(Event::Braked { node, seen });
            }
            return;
        }
        self.rises.push_back(now);
        self.raising = Some(epoch);
        let history = self.random.history();
        self.events.push_back(Event::RaiseEpoch {
            node: name.clone(),
            seen,
            epoch,
            history,
        });
    }

    /// Whether no epoch begins by itself any more: too many did, and no person looked at them.
    fn is_braked(&mut self, now: Millis) -> bool {
        while self.rises.len() > RISES_MAX
            || (self.rises.front()).is_some_and(|rise| !self.braked && now.since(*rise) >= RISES_MS)
        {
            self.rises.pop_front();
        }
        self.rises.len() == RISES_MAX
    }

    /// A person has confirmed the epoch: it may rise again.
    pub fn handle_confirmed(&mut self) {
        self.rises.clear();
        self.braked = false;
    }

    pub(super) fn head_of(&self, node: &Node) -> Option<Head> {
        Some(Head {
            version: node.version,
            history: self.config.history,
            digest: node.digest()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use bramble_wire::SigningKey;
    use bramble_wire::name::ClusterId;
    use bramble_wire::seal::SealingPublic;
    use bramble_wire::version::Boot;

    use super::super::{Config, Limits, NodeKeys, Output};
    use super::*;

    #[test]
    fn an_epoch_out_of_this_world_is_dropped_and_stops_nobody() {
        let config = Config {
            cluster: ClusterId::new("c").unwrap(),
            identity: SigningKey::from_bytes(&[1; 32]),
            boot: Boot(1),
            epoch: 3,
            term: 1,
            history: HistoryId([1; 16]),
            recovered: Vec::new(),
            limits: Limits::default(),
        };
        let mut link = NodeLink::new(config, &[2; 32]);
        let (name, now) = (NodeName::new("n1").unwrap(), Millis(0));
        let identity = SigningKey::from_bytes(&[3; 32]).verifying_key();
        let sealing = SealingPublic([9; 32]);
        link.set_node(&name, NodeKeys { identity, sealing }, now);
        let mut raised = |epoch| {
            let seen = Version {
                epoch,
                ..Version::default()
            };
            link.raise(&name, seen, now);
            let mut events = Vec::new();
            while let Some(output) = link.poll(now) {
                events.push(output);
            }
            events
        };
        for epoch in [u64::MAX, 3 + EPOCH_JUMP_MAX + 1] {
            let events = raised(epoch);
            assert!(
                events
                    .iter()
                    .all(|e| matches!(e, Output::Event(Event::Dropped { .. }))),
                "{epoch}: {events:?}"
            );
        }
        let events = raised(7);
        assert!(
            matches!(
                events[..],
                [Output::Event(Event::RaiseEpoch { epoch: 8, .. })]
            ),
            "{events:?}"
        );
        // Who was removed begins none.
        link.set_leaving(&name);
        let seen = Version {
            epoch: 20,
            ..Version::default()
        };
        link.raise(&name, seen, now);
        assert!(link.poll(now).is_none());
    }
}
