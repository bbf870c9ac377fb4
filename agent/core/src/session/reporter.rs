//! Reports: the difference from what the controller acknowledged, computed when sent, one in flight.

use std::collections::{BTreeMap, BTreeSet};

use bramble_wire::clock::Millis;
use bramble_wire::document::{Digest, Hash};
use bramble_wire::limits::{REPORT_PODS_MAX, RESPONSE_MAX};
use bramble_wire::message::{Report, Sum};
use bramble_wire::object::PodUid;
use bramble_wire::report::{
    ContainerState, NodeFacts, PodEvent, PodReport, Usage, observed_digest,
};
use bramble_wire::version::{Nonce, Version};

use super::Observation;
use super::document::Document;
use super::events::Waiting;
use super::usage::Meter;

/// Longest that containers and texts of one pod may be in a report; beyond it the texts go first.
const POD_REPORT_MAX: usize = RESPONSE_MAX / 4;
/// Containers that are reported of a pod whose report is over [`POD_REPORT_MAX`] without its texts.
const CONTAINERS_MAX: usize = 64;

/// What a report says besides pods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Header {
    accepted: Option<Version>,
    converged: Option<Version>,
    facts: NodeFacts,
    rejected: String,
}

#[derive(Debug)]
struct InFlight {
    number: u64,
    header: Header,
    pods: Vec<(PodUid, Hash, bool)>,
    more: bool,
    /// Number after its last event.
    events_end: u64,
    usage: Option<Usage>,
}

#[derive(Debug, Default)]
pub(super) struct Reporter {
    now: Header,
    pods: BTreeMap<PodUid, (Hash, PodReport)>,
    session: Option<Nonce>,
    number: u64,
    /// The session's first reports, until everything was said once.
    full: bool,
    said: Header,
    /// What the controller has of each pod, and whether that is its ending.
    acked: BTreeMap<PodUid, (Hash, bool)>,
    in_flight: Option<InFlight>,
    events: Waiting,
    pub(super) meter: Meter,
    /// Gone pods that the controller has forgotten.
    forgotten: BTreeSet<PodUid>,
}

impl Reporter {
    /// A welcome: everything is said anew. `facts` are those of the birth.
    pub(super) fn begin(&mut self, session: Nonce, facts: NodeFacts) {
        self.session = Some(session);
        self.full = true;
        self.said = Header {
            facts,
            ..Header::default()
        };
        self.acked.clear();
        self.in_flight = None;
        self.meter.forget();
    }

    /// No session any more.
    pub(super) fn end(&mut self) {
        self.session = None;
        self.in_flight = None;
    }

    pub(super) fn session(&self) -> Option<Nonce> {
        self.session
    }

    pub(super) fn facts(&self) -> &NodeFacts {
        &self.now.facts
    }

    pub(super) fn observe(&mut self, observation: Observation, document: Option<&Document>) {
        self.now.converged = observation.converged;
        self.now.facts = observation.facts;
        self.pods = (observation.pods.into_iter())
            .map(|(uid, pod)| (uid, prepared(uid, pod, document)))
            .collect();
        let pods = &self.pods;
        self.acked.retain(|uid, _| pods.contains_key(uid));
        self.forgotten.retain(|uid| pods.contains_key(uid));
    }

    /// The accepted document, or the reason for refusing one, may have changed.
    pub(super) fn set_document(&mut self, document: Option<&Document>, rejected: &str) {
        self.now.accepted = document.map(|document| document.version);
        self.now.rejected = rejected.into();
        for (uid, (hash, pod)) in &mut self.pods {
            let unclaimed = document.is_some_and(|document| document.is_unclaimed(uid));
            if unclaimed != pod.unclaimed {
                claim(pod, document);
                *hash = pod.hash();
            }
        }
    }

    /// Whether the report in flight is this one.
    pub(super) fn awaits(&self, number: u64) -> bool {
        (self.in_flight.as_ref()).is_some_and(|sent| sent.number == number)
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Something happened to a pod.
    pub(super) fn tell(&mut self, event: PodEvent) {
        let sent = self.in_flight.as_ref().map_or(0, |sent| sent.events_end);
        self.events.push(event, sent);
    }

    /// Whether there are events that are in no report yet.
    pub(super) fn has_more_to_tell(&self) -> bool {
        let sent = self.in_flight.as_ref().map_or(0, |sent| sent.events_end);
        self.events.end() > sent.max(self.events.first())
    }

    /// The report to send now, if there is something to say. Events that wait and usage are reason
    /// enough when they are `urgent`, and ride along otherwise.
    pub(super) fn next(&mut self, urgent: bool, now: Millis) -> Option<Report> {
        let session = self.session?;
        // What was sent and not acknowledged is said again even when it has changed back: the
        // controller may have it.
        let unsure = self.in_flight.take();
        let again = |uid: &PodUid| {
            unsure
                .as_ref()
                .is_some_and(|sent| sent.pods.iter().any(|(other, ..)| other == uid))
        };
        let acked = |uid: &PodUid| self.acked.get(uid).map(|(hash, _)| *hash);
        let changed: Vec<_> = (self.pods.iter())
            .filter(|(uid, (hash, _))| acked(uid) != Some(*hash) || again(uid))
            .collect();
        let (first_event, events) = self.events.next();
        let urgent = urgent && (!events.is_empty() || self.meter.due(now) <= now);
        let same = changed.is_empty() && self.said == self.now;
        if same && !self.full && unsure.is_none() && !urgent {
            return None;
        }
        let mut pods = Vec::new();
        let mut sent = Vec::new();
        let mut bytes = 0;
        for (uid, (hash, pod)) in changed.iter().take(REPORT_PODS_MAX) {
            bytes += bramble_wire::encode(pod).len();
            if bytes > RESPONSE_MAX {
                break;
            }
            pods.push(pod.clone());
            sent.push((**uid, *hash, pod.gone));
        }
        self.number += 1;
        let usage = self.meter.take(now);
        let more = pods.len() < changed.len();
        let facts = (self.said.facts != self.now.facts).then(|| self.now.facts.clone());
        let header = self.now.clone();
        self.in_flight = Some(InFlight {
            number: self.number,
            header,
            pods: sent,
            more,
            events_end: first_event + events.len() as u64,
            usage: usage.clone(),
        });
        Some(Report {
            session,
            number: self.number,
            full: self.full,
            more,
            accepted: self.now.accepted,
            converged: self.now.converged,
            pods,
            facts,
            first_event,
            events,
            usage,
            rejected: self.now.rejected.clone(),
        })
    }

    /// The controller has the report in flight; `false` for any other.
    pub(super) fn handle_ack(&mut self, session: Nonce, number: u64, forget: Vec<PodUid>) -> bool {
        if self.session != Some(session) {
            return false;
        }
        let Some(sent) = self.in_flight.take_if(|sent| sent.number == number) else {
            return false;
        };
        self.said = sent.header;
        self.full &= sent.more;
        self.events.told(sent.events_end);
        if let Some(usage) = sent.usage {
            self.meter.told(usage);
        }
        for (uid, hash, gone) in sent.pods {
            if self.pods.contains_key(&uid) {
                self.acked.insert(uid, (hash, gone));
            }
        }
        let pods = &self.pods;
        let is_gone = |uid: &PodUid| pods.get(uid).is_some_and(|(_, pod)| pod.gone);
        self.forgotten.extend(forget.into_iter().filter(is_gone));
        true
    }

    /// Pods to be forgotten now: a pod that the accepted document still names is kept, or it would
    /// be started again.
    pub(super) fn forget(&mut self, document: Option<&Document>) -> Vec<PodUid> {
        let named = |uid: &PodUid| document.is_some_and(|document| document.names_pod(uid));
        self.forgotten
            .iter()
            .filter(|uid| !named(uid))
            .copied()
            .collect()
    }

    /// Endings that the controller knows and did not let go are said again with the next report.
    pub(super) fn repeat_endings(&mut self) {
        let forgotten = &self.forgotten;
        self.acked
            .retain(|uid, (_, gone)| !*gone || forgotten.contains(uid));
    }

    pub(super) fn observed(&self) -> Digest {
        let there = self.acked.iter().filter(|(_, (_, gone))| !gone);
        observed_digest(there.map(|(uid, (hash, _))| (uid, hash)))
    }

    pub(super) fn sum(&self, document: Option<&Document>) -> Option<Sum> {
        Some(Sum {
            session: self.session?,
            accepted: document.map(|document| document.version),
            digest: document.map(|document| document.digest).unwrap_or_default(),
            observed: self.observed(),
        })
    }
}

/// A report as it will be sent, with its hash.
fn prepared(uid: PodUid, mut pod: PodReport, document: Option<&Document>) -> (Hash, PodReport) {
    pod.uid = uid;
    claim(&mut pod, document);
    if bramble_wire::encode(&pod).len() > POD_REPORT_MAX {
        shrink(&mut pod);
    }
    (pod.hash(), pod)
}

/// Whether a pod is unclaimed, and then its name, which the controller does not have.
fn claim(pod: &mut PodReport, document: Option<&Document>) {
    let unclaimed = document.filter(|document| document.is_unclaimed(&pod.uid));
    pod.unclaimed = unclaimed.is_some();
    pod.name = unclaimed.and_then(|document| document.name_of(&pod.uid));
}

/// Makes any pod's report fit into a packet; exit codes and phases stay.
fn shrink(pod: &mut PodReport) {
    let cut = |text: &mut String, max: usize| {
        let end = (0..=max).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
    };
    pod.message.clear();
    cut(&mut pod.reason, 64);
    pod.containers.truncate(CONTAINERS_MAX);
    for container in &mut pod.containers {
        container.last = None;
        cut(&mut container.name, 63);
        for text in [
            &mut container.image,
            &mut container.image_id,
            &mut container.container_id,
        ] {
            cut(text, 128);
        }
        match &mut container.state {
            ContainerState::Waiting { reason, message } => {
                cut(reason, 64);
                message.clear();
            }
            ContainerState::Running { .. } => {}
            ContainerState::Terminated(end) => {
                cut(&mut end.reason, 64);
                end.message.clear();
                cut(&mut end.container_id, 128);
            }
        }
    }
}
