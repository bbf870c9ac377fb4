//! What nodes say: checked, judged, and turned into slots to fill and events.

use bramble_wire::clock::Millis;
use bramble_wire::envelope::{self, Message, Opened, ReplayGuard, Sequence};
use bramble_wire::limits::{
    DOCUMENT_OBJECTS_MAX, PACKET_MAX, REPORT_EVENTS_MAX, REPORT_PODS_MAX, REQUEST_OBJECTS_MAX,
};
use bramble_wire::message::{self, Ask, Birth, Life, Request, Sum};
use bramble_wire::name::NodeName;
use bramble_wire::object::PodUid;
use bramble_wire::report::observed_digest;
use bramble_wire::stream;
use bramble_wire::topic::Topic;
use bramble_wire::version::{Boot, Nonce};

use super::node::{Ack, Candidate, Pending};
use super::versions::{Held, Verdict};
use super::{Drop, Event, NodeLink, Report};

/// Most pods that the machine remembers of a node: wanted ones, unclaimed ones, and as many on their
/// way out.
const OBSERVED_MAX: usize = 3 * DOCUMENT_OBJECTS_MAX;
/// A birth that has not proved its freshness for so long gives way to one with an older number.
const CANDIDATE_MS: u64 = 30_000;
/// The same reason of the same node is logged once in this time.
const LOG_AGAIN_MS: u64 = 3_600_000;

impl NodeLink {
    /// A message arrived.
    pub fn handle_packet(&mut self, topic: &str, payload: &[u8], now: Millis) {
        let parsed = Topic::parse(&self.config.cluster, topic);
        let node = parsed.as_ref().and_then(|topic| topic.node()).cloned();
        let handled = match parsed {
            _ if payload.len() > PACKET_MAX => Err(Drop::Oversize),
            Some(Topic::Controller) => self.handle_state(topic, payload),
            _ if self.rival.yielded => Ok(()),
            Some(parsed) if parsed.node_publishes() => self.dispatch(&parsed, topic, payload, now),
            _ => Err(Drop::Topic),
        };
        if let Err(reason) = handled {
            self.count(node, reason, now);
        }
    }

    fn dispatch(
        &mut self,
        parsed: &Topic,
        topic: &str,
        payload: &[u8],
        now: Millis,
    ) -> Result<(), Drop> {
        match parsed {
            Topic::Birth(name) => {
                let opened = self.verify::<Birth>(name, topic, payload)?;
                self.handle_birth(name, opened, now)?;
            }
            Topic::Life(name) => {
                let opened = self.verify::<Life>(name, topic, payload)?;
                self.handle_life(name, opened.message);
            }
            Topic::Sum(name) => {
                let opened = self.verify::<Sum>(name, topic, payload)?;
                self.guard(name, opened.sequence, Some(opened.message.session))?;
                self.handle_sum(name, opened.sequence.boot, &opened.message, now);
            }
            Topic::Report(name) => {
                let opened = self.verify::<message::Report>(name, topic, payload)?;
                self.guard(name, opened.sequence, Some(opened.message.session))?;
                self.handle_report(name, opened.sequence.boot, opened.message, now)?;
            }
            Topic::Request(name, boot) => {
                let opened = self.verify::<Request>(name, topic, payload)?;
                if opened.sequence.boot != *boot {
                    return Err(Drop::Malformed);
                }
                self.guard(name, opened.sequence, None)?;
                self.handle_request(name, *boot, opened.message, now)?;
            }
            Topic::StreamOut(name, id) => {
                let opened = self.verify::<stream::Out>(name, topic, payload)?;
                let node = self.nodes.get_mut(name).ok_or(Drop::UnknownNode)?;
                node.stream_guard
                    .accept(opened.sequence)
                    .map_err(|_| Drop::Replay)?;
                let (node, id, out) = (name.clone(), *id, opened.message);
                self.events.push_back(Event::StreamOut { node, id, out });
            }
            Topic::Head(_)
            | Topic::Response(..)
            | Topic::StreamOpen(..)
            | Topic::StreamIn(..)
            | Topic::Controller => return Err(Drop::Topic),
        }
        Ok(())
    }

    fn verify<M: Message>(
        &self,
        name: &NodeName,
        topic: &str,
        payload: &[u8],
    ) -> Result<Opened<M>, Drop> {
        let node = self.nodes.get(name).ok_or(Drop::UnknownNode)?;
        Ok(envelope::open(
            payload,
            topic,
            self.me,
            &node.keys.identity,
        )?)
    }

    /// Refuses replays. A boot that nothing is believed of yet passes: it can only be told to
    /// announce itself. The newest birth has a guard of its own until its freshness is proved, because
    /// a node that lost its state counts from the beginning again.
    fn guard(
        &mut self,
        name: &NodeName,
        sequence: Sequence,
        session: Option<Nonce>,
    ) -> Result<(), Drop> {
        let node = self.nodes.get_mut(name).ok_or(Drop::UnknownNode)?;
        let candidate =
            (node.candidate.as_mut()).filter(|candidate| candidate.sequence.boot == sequence.boot);
        let current = (node.session.as_ref()).is_some_and(|of| Some(of.nonce) == session);
        let accepted = match (session, candidate) {
            (Some(session), Some(candidate)) if candidate.session == session => {
                candidate.guard.accept(sequence)
            }
            _ if current => node.guard.accept(sequence),
            // Of no session that is known: looked at, but an old one must not shut the door on those
            // to come.
            (Some(_), _) if node.guard.has_seen(sequence) => Err(envelope::Error::Replay),
            (Some(_), _) => Ok(()),
            (None, Some(candidate)) if node.guard.boot() != sequence.boot => {
                candidate.guard.accept(sequence)
            }
            (None, candidate) => match node.request_guard.accept(sequence) {
                Ok(()) => Ok(()),
                seen => candidate.map_or(seen, |candidate| candidate.guard.accept(sequence)),
            },
        };
        accepted.map_err(|_| Drop::Replay)
    }

    pub(super) fn count(&mut self, node: Option<NodeName>, reason: Drop, now: Millis) {
        *self.counters.dropped.entry(reason).or_default() += 1;
        let known = node.filter(|name| self.nodes.contains_key(name));
        let logged = match known.as_ref().and_then(|name| self.nodes.get_mut(name)) {
            Some(node) => &mut node.logged,
            None => &mut self.logged,
        };
        let again = |last: &Millis| now.since(*last) >= LOG_AGAIN_MS;
        if logged.get(&reason).is_none_or(again) {
            logged.insert(reason, now);
            self.events.push_back(Event::Dropped {
                node: known,
                reason,
            });
        }
    }

    fn handle_birth(
        &mut self,
        name: &NodeName,
        opened: Opened<Birth>,
        now: Millis,
    ) -> Result<(), Drop> {
        let Opened {
            sequence,
            message: birth,
        } = opened;
        if birth.boot != sequence.boot {
            return Err(Drop::Malformed);
        }
        let node = self.nodes.get_mut(name).ok_or(Drop::UnknownNode)?;
        let again = node
            .session
            .as_ref()
            .is_some_and(|session| session.birth == birth.nonce);
        let older = node.candidate.as_ref().is_some_and(|candidate| {
            let patient = now.since(candidate.at) < CANDIDATE_MS;
            candidate.birth.nonce == birth.nonce
                || (patient
                    && candidate.sequence.boot == sequence.boot
                    && candidate.sequence.seq >= sequence.seq)
        });
        if again || older {
            return Err(Drop::Replay);
        }
        if self.refuse(name, &birth, now)? {
            return Ok(());
        }
        let node = self.nodes.get_mut(name).ok_or(Drop::UnknownNode)?;
        if sequence.boot == node.guard.boot() {
            // One that came before what was heard since is an old one played again, or the first
            // words of a node that lost its state: the session nonce will tell.
            let _ = node.guard.accept(sequence);
        }
        let guard = ReplayGuard::starting_at(sequence);
        let session = self.random.nonce();
        node.candidate = Some(Candidate {
            birth,
            sequence,
            session,
            guard,
            at: now,
            welcomed: false,
        });
        node.slots.welcome = false;
        self.judge_candidate(name, now);
        Ok(())
    }

    /// Whether a message belongs to the node's session; tells the node to announce itself if not.
    fn enter(&mut self, name: &NodeName, boot: Boot, nonce: Nonce, now: Millis) -> bool {
        let Some(node) = self.nodes.get_mut(name) else {
            return false;
        };
        if self.raising.is_some() {
            return false;
        }
        if !node.knows_session(nonce) {
            self.counters.unknown_sessions += 1;
            node.slots.announce = Some((boot, nonce));
            self.queue_reply(name);
            return false;
        }
        if node.is_candidate(nonce) {
            self.adopt(name);
        }
        self.heard(name, now);
        true
    }

    fn handle_sum(&mut self, name: &NodeName, boot: Boot, sum: &Sum, now: Millis) {
        if !self.enter(name, boot, sum.session, now) {
            return;
        }
        let held = sum.accepted.map(|version| Held {
            version,
            history: None,
            digest: Some(sum.digest),
        });
        if !self.holds(name, held, now) {
            return;
        }
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let busy = node
            .session
            .as_ref()
            .is_none_or(|s| s.pending.is_some() || s.full.is_some());
        if !busy && observed_digest(&node.observed) != sum.observed {
            node.slots.announce = Some((boot, sum.session));
            self.queue_reply(name);
        }
    }

    /// Notes what the node holds; `false` when that is a future we do not know.
    fn holds(&mut self, name: &NodeName, held: Option<Held>, now: Millis) -> bool {
        let verdict = match held {
            Some(held) => self.judge(name, held),
            None => Verdict::Known,
        };
        if let Verdict::Unknown(seen) = verdict {
            self.raise(name, seen, now);
            return false;
        }
        if let Some(node) = self.nodes.get_mut(name) {
            node.accepted = held.map(|held| held.version);
        }
        self.heard(name, now);
        true
    }

    fn handle_report(
        &mut self,
        name: &NodeName,
        boot: Boot,
        report: message::Report,
        now: Millis,
    ) -> Result<(), Drop> {
        let node = self.nodes.get(name).ok_or(Drop::UnknownNode)?;
        // A full report that never ends must not grow either.
        let named = node
            .session
            .as_ref()
            .and_then(|session| session.full.as_ref());
        if report.pods.len() > REPORT_PODS_MAX
            || report.events.len() > REPORT_EVENTS_MAX
            || node.observed.len() > OBSERVED_MAX
            || named.is_some_and(|named| named.len() > OBSERVED_MAX)
        {
            return Err(Drop::Limit);
        }
        if !self.enter(name, boot, report.session, now) {
            return Ok(());
        }
        let held = report.accepted.map(|version| Held {
            version,
            history: None,
            digest: None,
        });
        if !self.holds(name, held, now) {
            return Ok(());
        }
        let node = self.nodes.get_mut(name).ok_or(Drop::UnknownNode)?;
        let Some(session) = &mut node.session else {
            return Ok(());
        };
        if let Some((acked, forget)) = &session.acked
            && report.number <= *acked
        {
            if report.number == *acked {
                let (number, forget) = (*acked, forget.clone());
                let session = session.nonce;
                node.slots.ack = Some(Ack {
                    boot,
                    session,
                    number,
                    forget,
                });
                self.queue_reply(name);
            }
            return Ok(());
        }
        if session
            .pending
            .as_ref()
            .is_some_and(|pending| report.number <= pending.number)
        {
            return Ok(());
        }
        let uids = report.pods.iter().map(|pod| pod.uid);
        let all = session.full.as_mut().and_then(|full| {
            full.extend(uids);
            (!report.more).then(|| full.clone())
        });
        let pods = (report.pods.iter()).map(|pod| (pod.uid, (!pod.gone).then(|| pod.hash())));
        let pods = pods.collect();
        let epoch = self.config.epoch;
        let settled = !report.more && report.accepted.is_some_and(|held| held.epoch == epoch);
        session.pending = Some(Pending {
            number: report.number,
            pods,
            all: all.clone(),
            settled,
        });
        // A report that is said again tells the events of the one before anew.
        let known = session.told.saturating_sub(report.first_event);
        let count = report.events.len() as u64;
        session.told = session.told.max(report.first_event.saturating_add(count));
        let events = report.events.into_iter();
        let events = events
            .skip(usize::try_from(known).unwrap_or(usize::MAX))
            .collect();
        node.converged = report.converged;
        node.rejects = !report.rejected.is_empty();
        self.counters.reports += 1;
        if let Some(facts) = report.facts {
            self.events.push_back(Event::Facts {
                node: name.clone(),
                facts,
            });
        }
        self.events.push_back(Event::Report(Report {
            node: name.clone(),
            number: report.number,
            hard: report.pods.iter().any(|pod| pod.is_terminal()),
            pods: report.pods,
            all,
            accepted: report.accepted,
            converged: report.converged,
            rejected: report.rejected,
            events,
            usage: report.usage,
        }));
        Ok(())
    }

    /// The report `number` of a node is taken; durably if it was `hard`. `forget` are the pods that it
    /// reported gone and that the store (durably) does not have any more. Pods that are gone and not
    /// named are reported again later.
    pub fn handle_durable(
        &mut self,
        node: &NodeName,
        number: u64,
        forget: Vec<PodUid>,
        _now: Millis,
    ) {
        let Some(known) = self.nodes.get_mut(node) else {
            return;
        };
        let Some(session) = &mut known.session else {
            return;
        };
        let Some(pending) = session.pending.take_if(|pending| pending.number == number) else {
            return;
        };
        for (uid, hash) in pending.pods {
            match hash {
                Some(hash) => known.observed.insert(uid, hash),
                None => known.observed.remove(&uid),
            };
        }
        if let Some(all) = pending.all {
            known.observed.retain(|uid, _| all.contains(uid));
            session.full = None;
        }
        if pending.settled && session.full.is_none() {
            self.unheard.remove(node);
        }
        session.acked = Some((number, forget.clone()));
        let (boot, session) = (session.boot, session.nonce);
        known.slots.ack = Some(Ack {
            boot,
            session,
            number,
            forget,
        });
        self.queue_reply(node);
    }

    fn handle_request(
        &mut self,
        name: &NodeName,
        boot: Boot,
        request: Request,
        now: Millis,
    ) -> Result<(), Drop> {
        if matches!(&request.ask, Ask::Objects { ids, .. } if ids.len() > REQUEST_OBJECTS_MAX) {
            return Err(Drop::Limit);
        }
        let node = self.nodes.get_mut(name).ok_or(Drop::UnknownNode)?;
        if self.raising.is_some() {
            return Ok(());
        }
        if !node.is_welcomed(boot) || node.document.is_none() {
            self.counters.unknown_sessions += 1;
            node.slots.announce = Some((boot, request.nonce));
            self.queue_reply(name);
            return Ok(());
        }
        let proven = node
            .session
            .as_ref()
            .is_some_and(|session| session.boot == boot);
        node.slots.request = Some((boot, request));
        if proven {
            self.heard(name, now);
        }
        self.queue_answer(name);
        Ok(())
    }
}
