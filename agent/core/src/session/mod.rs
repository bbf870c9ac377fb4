//! The agent's half of the node protocol, without sockets, clock or disk.
//!
//! In: what the link says ([`Session::handle_connected`], [`Session::handle_packet`], …), what the
//! disk says ([`Session::handle_persisted`]), what the reconcile loop observed
//! ([`Session::handle_observed`]), and that time has passed ([`Session::handle_timeout`]). Out, by
//! [`Session::poll`] until it is empty after every input: publishes, documents to persist, pods to
//! forget, streams to open; and [`Session::next_wake`].
//!
//! One task of the agent owns it. It keeps the document as accepted, one being fetched, one report
//! in flight, and the hash of each pod report that the controller acknowledged: memory follows the
//! document, never the time spent offline.
//!
//! What it guarantees to the rest of the agent:
//! - [`Session::document`] is on disk: it changes only in [`Session::handle_persisted`].
//! - Within an epoch its version never goes back, and one version has one content.
//! - No document is taken from an earlier life: every index echoes the nonce of a request made in
//!   this one.
//! - [`Output::Forget`] comes only for pods that the controller has forgotten and the accepted
//!   document does not name, so forgetting one can't start it again.
//!
//! What it expects: a pod that was reported is in every later observation until it is to be
//! forgotten; `gone` is on disk before it is observed.

mod config;
mod document;
mod events;
mod fetch;
mod incoming;
mod judge;
mod outgoing;
mod reporter;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bramble_wire::clock::Millis;
use bramble_wire::envelope::{KeyId, ReplayGuard};
use bramble_wire::object::{ObjectName, PodUid};
use bramble_wire::publish::{Delivery, Publish};
use bramble_wire::random::Random;
use bramble_wire::report::{NodeFacts, PodEvent, PodReport, Usage};
use bramble_wire::stream;
use bramble_wire::topic::{StreamId, Topic};
use bramble_wire::version::{Boot, Nonce, Version};

pub use config::Config;
pub use document::{Document, Stored};

use fetch::Fetch;
use reporter::Reporter;

/// What the node sees of itself: a level, given whole whenever something may have changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observation {
    /// Every pod that the node knows of. `unclaimed` is filled in by the session.
    pub pods: BTreeMap<PodUid, PodReport>,
    /// Their names, for people on the board.
    pub names: BTreeMap<PodUid, ObjectName>,
    /// The document that has been carried out.
    pub converged: Option<Version>,
    /// A pod that must not run twice waits for [`Session::cleared`].
    pub uncleared: bool,
    /// Facts of the board.
    pub facts: NodeFacts,
}

/// What the edge must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Publish it.
    Publish(Publish),
    /// Store this document whole, durably, then call [`Session::handle_persisted`] with its version.
    /// There is at most one at a time; nothing of it may be acted on before.
    Persist(Arc<Document>),
    /// The node may forget these pods, all of them gone.
    Forget(Vec<PodUid>),
    /// The controller's clock: raises the time floor, orders nothing.
    TimeFloor {
        /// Seconds of the Unix epoch.
        unix_s: i64,
    },
    /// Somebody opens a stream.
    StreamOpen(StreamId, stream::Open),
    /// Credit for a stream, or its end.
    StreamIn(StreamId, stream::In),
}

/// What was dropped, by reason, and what was done. Only ever grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Larger than a packet may be.
    pub oversize: u64,
    /// Not a topic of this node.
    pub topic: u64,
    /// Not an envelope, wrong kind, wrong body, another protocol version.
    pub malformed: u64,
    /// Signed by somebody else, or altered.
    pub signature: u64,
    /// Meant for somebody else.
    pub recipient: u64,
    /// Seen before or from an earlier life of the controller.
    pub replay: u64,
    /// Answers to nothing that was asked in this life, or asked any more.
    pub unasked: u64,
    /// Documents refused: older, or the same version with another content.
    pub refused: u64,
    /// Answers that were right in form and wrong in content.
    pub invalid: u64,
    /// Requests and reports repeated for want of an answer.
    pub retries: u64,
}

/// The agent's half of the node protocol.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    me: KeyId,
    controller: KeyId,
    random: Random,
    /// Names this process.
    process: Nonce,
    /// The newest refusal since the last welcome: another board with this identity is there.
    refused: Option<Nonce>,
    seq: u64,
    guard: ReplayGuard,
    stream_guard: ReplayGuard,
    document: Option<Arc<Document>>,
    connection: Option<Connection>,
    fetch: Fetch,
    /// Nonce of the question that is out.
    asked: Option<Nonce>,
    ask_timer: Retry,
    reporter: Reporter,
    report_timer: Retry,
    /// When events that wait, or what containers use, are reason enough for a report.
    tell_due: Millis,
    sum_due: Millis,
    last_sum: Option<Millis>,
    /// A pod waits for the document to be cleared …
    uncleared: bool,
    /// … and the controller was asked for it since it last had something to say.
    sought: bool,
    /// [`Session::is_confirmed`].
    confirmed: bool,
    outputs: VecDeque<Output>,
    counters: Counters,
}

/// A connection that stands.
#[derive(Debug)]
struct Connection {
    /// The nonce in its last will.
    nonce: Nonce,
    /// Nonce of the birth that waits for its welcome; `None` when welcomed.
    birth: Option<Nonce>,
    /// When the next birth is due.
    birth_timer: Retry,
    /// Facts in the last birth.
    facts: NodeFacts,
    /// The boot of the controller that welcomed us.
    controller: Option<Boot>,
}

/// When to do something (again): 10 s doubling to 5 min, plus or minus half.
#[derive(Debug, Clone, Copy)]
struct Retry {
    due: Millis,
    attempt: u32,
}

impl Retry {
    const FIRST_MS: u64 = 10_000;
    const MOST_MS: u64 = 300_000;
    const NONE: Self = Self {
        due: Millis::NEVER,
        attempt: 0,
    };

    fn back_off(&mut self, now: Millis, random: &mut Random) {
        let delay = (Self::FIRST_MS << self.attempt.min(5)).min(Self::MOST_MS);
        self.due = now + random.jitter(delay);
        self.attempt += 1;
    }

    fn is_due(&self, now: Millis) -> bool {
        self.due <= now
    }
}

/// Nodes announce themselves anew within this time when another controller process appears.
const ANNOUNCE_WITHIN_MS: u64 = 30_000;
/// Nodes announce themselves so long after a document that contradicts theirs.
const CONFLICT_ANNOUNCE_MS: u64 = 60_000;
/// A board that is refused for the first time shows soon that it is there …
const REFUSED_MS: u64 = 2_000;
/// … and then comes again as seldom as after so many attempts ([`Retry`]).
const REFUSED_ATTEMPTS: u32 = 3;
/// Digests are compared at least so often.
const SUM_INTERVAL_MS: u64 = 15 * 60_000;
/// After a change, changes are gathered for so long before digests are compared.
const SUM_GATHER_MS: u64 = 30_000;
/// Events gather for so long before they are reported without a change of a pod.
const TELL_GATHER_MS: u64 = 1_000;
/// Two sums are at least so far apart.
const SUM_SPACING_MS: u64 = 10_000;

impl Session {
    /// A session of a process that has just started.
    ///
    /// `document` is the one accepted in an earlier life, as read from disk; `seed` is 32 fresh
    /// random bytes.
    pub fn new(config: Arc<Config>, document: Option<Arc<Document>>, seed: &[u8; 32]) -> Self {
        let mut reporter = Reporter::default();
        reporter.set_document(document.as_deref(), "");
        let mut random = Random::new(seed, "bramble/session/1");
        Self {
            process: random.nonce(),
            refused: None,
            me: KeyId::of(&config.identity.verifying_key()),
            controller: KeyId::of(&config.controller),
            config,
            random,
            seq: 0,
            guard: ReplayGuard::default(),
            stream_guard: ReplayGuard::default(),
            document,
            connection: None,
            fetch: Fetch::default(),
            asked: None,
            ask_timer: Retry::NONE,
            reporter,
            report_timer: Retry::NONE,
            tell_due: Millis::NEVER,
            sum_due: Millis::NEVER,
            last_sum: None,
            uncleared: false,
            sought: false,
            confirmed: false,
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// The accepted document; it is on disk.
    pub fn document(&self) -> Option<&Arc<Document>> {
        self.document.as_ref()
    }

    /// The accepted document's version, when the controller said in this session that pods of it that
    /// must not run twice may be started.
    pub fn cleared(&self) -> Option<Version> {
        let document = self.document.as_ref()?;
        (self.fetch.is_cleared(document)).then_some(document.version)
    }

    /// Whether the controller said in this life that the accepted document, or one before it, was its newest:
    /// it is not just what was left on the disk.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Whether the controller has welcomed this connection.
    pub fn is_welcomed(&self) -> bool {
        self.reporter.session().is_some()
    }

    /// Whether the controller serves another board as this node.
    pub fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Whether the controller has all that there is to say, and nothing that was asked waits for an
    /// answer.
    pub fn is_settled(&self) -> bool {
        self.is_welcomed() && self.asked.is_none() && !self.reporter.is_in_flight()
    }

    /// What was dropped and done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The link is connected and subscribed to [`bramble_wire::topic::node_filters`]; `connection`
    /// is the nonce in its last will.
    pub fn handle_connected(&mut self, connection: Nonce, now: Millis) {
        self.connection = Some(Connection {
            nonce: connection,
            birth: None,
            birth_timer: Retry {
                due: now,
                attempt: 0,
            },
            facts: NodeFacts::default(),
            controller: None,
        });
        self.announce(now);
    }

    /// The link is gone. Containers do not notice; what was pulled of a document stays.
    pub fn handle_disconnected(&mut self, _now: Millis) {
        self.connection = None;
        self.end_session();
    }

    /// A message arrived.
    pub fn handle_packet(&mut self, topic: &str, payload: &[u8], now: Millis) {
        if let Err(error) = self.dispatch(topic, payload, now) {
            self.count(error);
        }
    }

    /// The document of [`Output::Persist`] with this version is on disk.
    pub fn handle_persisted(&mut self, version: Version, now: Millis) {
        let Some(document) = self.fetch.handle_persisted(version) else {
            return;
        };
        self.document = Some(document);
        self.confirmed = true;
        self.document_changed(now);
        self.forget();
        self.look_at_hint(now);
    }

    /// What the node sees of itself now.
    pub fn handle_observed(&mut self, observation: Observation, now: Millis) {
        self.uncleared = observation.uncleared;
        self.reporter.observe(observation, self.document.as_deref());
        self.report(now);
        self.seek_clearance(now);
    }

    /// Something happened to a pod. It waits a moment for others, or for the next report.
    pub fn handle_event(&mut self, event: PodEvent, now: Millis) {
        self.reporter.tell(event);
        self.tell_due = self.tell_due.min(now + TELL_GATHER_MS);
    }

    /// What containers use now.
    pub fn handle_usage(&mut self, usage: Usage, now: Millis) {
        self.reporter.meter.offer(usage);
        if !self.reporter.is_in_flight() {
            self.tell_due = self.tell_due.min(self.reporter.meter.due(now));
        }
        if self.tell_due <= now {
            self.report(now);
        }
    }

    /// Time has passed; harmless when nothing is due.
    pub fn handle_timeout(&mut self, now: Millis) {
        let Some(connection) = &self.connection else {
            return;
        };
        if connection.birth_timer.is_due(now) {
            self.announce(now);
            return;
        }
        if self.ask_timer.is_due(now) {
            self.counters.retries += u64::from(self.asked.is_some());
            self.asked = None;
            self.ask(now);
        }
        if self.report_timer.is_due(now) {
            self.counters.retries += 1;
            self.send_report(now);
        }
        if self.tell_due <= now {
            self.report(now);
        }
        if self.sum_due <= now {
            self.send_sum(now);
        }
    }

    /// The next thing to do; `None` when there is nothing more.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Session::handle_timeout`].
    pub fn next_wake(&self) -> Option<Millis> {
        let connection = self.connection.as_ref()?;
        let timers = [
            connection.birth_timer.due,
            self.ask_timer.due,
            self.report_timer.due,
            // A report that is out is waited for first.
            match self.is_welcomed() && !self.reporter.is_in_flight() {
                true => self.tell_due,
                false => Millis::NEVER,
            },
            self.sum_due,
        ];
        timers.into_iter().min().filter(|due| *due != Millis::NEVER)
    }

    /// Signs output of a stream.
    pub fn stream_out(&mut self, id: StreamId, out: &stream::Out) -> Option<Publish> {
        self.sign(
            Topic::StreamOut(self.config.node.clone(), id),
            Delivery::Message,
            out,
        )
    }
}
