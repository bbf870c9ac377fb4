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

mod document;
mod events;
mod fetch;
mod reporter;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bramble_wire::clock::Millis;
use bramble_wire::envelope::{self, KeyId, Message, Opened, ReplayGuard, Sequence};
use bramble_wire::limits::SCHEMA;
use bramble_wire::message::{self, Answer, Life};
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::object::PodUid;
use bramble_wire::publish::{Delivery, Publish};
use bramble_wire::random::Random;
use bramble_wire::report::{NodeFacts, PodEvent, PodReport, Usage};
use bramble_wire::stream;
use bramble_wire::topic::{StreamId, Topic};
use bramble_wire::version::{Boot, Nonce, Version};
use bramble_wire::{SigningKey, VerifyingKey};

pub use document::{Document, Stored};

use fetch::{Fetch, Judgement, Progress};
use reporter::Reporter;

/// Who this node is and whom it obeys.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeName,
    /// The node's signing key.
    pub identity: SigningKey,
    /// The controller's, pinned at the join.
    pub controller: VerifyingKey,
    /// Raised and on disk since this process started.
    pub boot: Boot,
}

impl Config {
    /// The last will of a connection. `connection` is a fresh nonce, the one that
    /// [`Session::handle_connected`] is given when this connection stands.
    pub fn last_will(&self, connection: Nonce) -> Publish {
        self.life(Life::Lost {
            boot: self.boot,
            connection,
        })
    }

    /// To be published before the agent disconnects on purpose.
    pub fn goodbye(&self, connection: Nonce) -> Publish {
        self.life(Life::Bye {
            boot: self.boot,
            connection,
        })
    }

    fn life(&self, life: Life) -> Publish {
        let topic = Topic::Life(self.node.clone());
        // Judged by its connection nonce: a will is signed before everything that it ends.
        let sequence = Sequence {
            epoch: 0,
            boot: self.boot,
            seq: 0,
        };
        let text = topic.text(&self.cluster);
        let to = KeyId::of(&self.controller);
        let payload = envelope::sign(&self.identity, &text, to, sequence, &life)
            .expect("a life message is far smaller than a packet");
        Publish {
            topic,
            payload,
            delivery: Delivery::Message,
        }
    }
}

/// What the node sees of itself: a level, given whole whenever something may have changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observation {
    /// Every pod that the node knows of. `unclaimed` is filled in by the session.
    pub pods: BTreeMap<PodUid, PodReport>,
    /// The document that has been carried out.
    pub converged: Option<Version>,
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
        Self {
            me: KeyId::of(&config.identity.verifying_key()),
            controller: KeyId::of(&config.controller),
            config,
            random: Random::new(seed, "bramble/session/1"),
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
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// The accepted document; it is on disk.
    pub fn document(&self) -> Option<&Arc<Document>> {
        self.document.as_ref()
    }

    /// Whether the controller has welcomed this connection.
    pub fn is_welcomed(&self) -> bool {
        self.reporter.session().is_some()
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
        self.document_changed(now);
        self.forget();
        self.look_at_hint(now);
    }

    /// What the node sees of itself now.
    pub fn handle_observed(&mut self, observation: Observation, now: Millis) {
        self.reporter.observe(observation, self.document.as_deref());
        self.report(now);
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

    fn dispatch(&mut self, topic: &str, payload: &[u8], now: Millis) -> Result<(), Dropped> {
        let parsed = Topic::parse(&self.config.cluster, topic).ok_or(Dropped::Topic)?;
        if parsed.node().is_some_and(|node| *node != self.config.node) {
            return Err(Dropped::Topic);
        }
        match parsed {
            Topic::Head(_) => {
                let head: message::Head = self.open(topic, payload)?;
                self.handle_head(head, now);
            }
            Topic::Response(_, boot) if boot == self.config.boot => {
                let opened = self.verify::<message::Response>(topic, payload)?;
                let sequence = opened.sequence;
                let fresh = self.is_fresh(&opened.message);
                // What echoes a nonce that we wait for is no replay, whatever its number: a restored
                // controller counts from older ones.
                self.note(sequence)
                    .or(if fresh { Ok(()) } else { Err(REPLAY) })?;
                if fresh && matches!(opened.message.answer, Answer::Welcome { .. }) {
                    self.guard = ReplayGuard::starting_at(sequence);
                    if self.stream_guard.is_ahead_of(sequence) {
                        self.stream_guard = ReplayGuard::starting_at(sequence);
                    }
                }
                self.handle_response(opened.sequence.boot, opened.message, now);
            }
            Topic::Controller => {
                let opened = self.verify::<message::ControllerState>(topic, payload)?;
                self.handle_controller(opened.message, now);
            }
            Topic::StreamOpen(_, id) => {
                let opened = self.verify::<stream::Open>(topic, payload)?;
                self.stream_guard.accept(opened.sequence)?;
                if opened.message.boot != self.config.boot {
                    return Err(REPLAY);
                }
                self.outputs
                    .push_back(Output::StreamOpen(id, opened.message));
            }
            Topic::StreamIn(_, id) => {
                let opened = self.verify::<stream::In>(topic, payload)?;
                self.stream_guard.accept(opened.sequence)?;
                self.outputs.push_back(Output::StreamIn(id, opened.message));
            }
            Topic::Response(..)
            | Topic::Request(..)
            | Topic::Birth(_)
            | Topic::Life(_)
            | Topic::Sum(_)
            | Topic::Report(_)
            | Topic::StreamOut(..) => return Err(Dropped::Topic),
        }
        Ok(())
    }

    /// Whether this is the answer that is being waited for: true once for each.
    fn is_fresh(&self, response: &message::Response) -> bool {
        let nonce = Some(response.nonce);
        let birth = (self.connection.as_ref()).and_then(|connection| connection.birth);
        match response.answer {
            Answer::Welcome { .. } => birth == nonce,
            Answer::ReportAck { number, .. } => {
                self.reporter.session() == nonce && self.reporter.awaits(number)
            }
            Answer::Announce => self.asked == nonce || self.reporter.session() == nonce,
            Answer::Index { .. }
            | Answer::Objects(_)
            | Answer::Chunk { .. }
            | Answer::Superseded(_) => self.asked == nonce,
        }
    }

    fn verify<M: Message>(&self, topic: &str, payload: &[u8]) -> Result<Opened<M>, Dropped> {
        Ok(envelope::open(
            payload,
            topic,
            self.me,
            &self.config.controller,
        )?)
    }

    fn open<M: Message>(&mut self, topic: &str, payload: &[u8]) -> Result<M, Dropped> {
        let opened = self.verify::<M>(topic, payload)?;
        self.note(opened.sequence)?;
        Ok(opened.message)
    }

    /// Refuses replays. Only the controller that welcomed this connection moves the guard: what an
    /// unknown life of it says is looked at, and must not shut the door on this one.
    fn note(&mut self, sequence: Sequence) -> Result<(), Dropped> {
        let connection = self.connection.as_ref();
        let welcomed = connection.and_then(|connection| connection.controller);
        if welcomed == Some(sequence.boot) {
            Ok(self.guard.accept(sequence)?)
        } else if self.guard.has_seen(sequence) {
            Err(REPLAY)
        } else {
            Ok(())
        }
    }

    fn count(&mut self, dropped: Dropped) {
        let counters = &mut self.counters;
        let counter = match dropped {
            Dropped::Topic => &mut counters.topic,
            Dropped::Envelope(error) => match error {
                envelope::Error::Oversize(_) => &mut counters.oversize,
                envelope::Error::Malformed
                | envelope::Error::Protocol(_)
                | envelope::Error::Kind(_)
                | envelope::Error::Body => &mut counters.malformed,
                envelope::Error::Sender | envelope::Error::Signature => &mut counters.signature,
                envelope::Error::Recipient => &mut counters.recipient,
                envelope::Error::Replay => &mut counters.replay,
            },
        };
        *counter += 1;
    }

    fn handle_head(&mut self, head: message::Head, now: Millis) {
        let judgement = self.fetch.handle_head(self.document.as_deref(), head);
        match judgement {
            Judgement::Newer => {}
            // The controller wants to know whether we are here and what we hold.
            Judgement::Same => self.answer_head(now),
            Judgement::Older => {
                self.counters.refused += 1;
                self.answer_head(now);
            }
            Judgement::Conflict(_) => {
                self.counters.refused += 1;
                self.document_changed(now);
            }
        }
        if self.is_welcomed() && self.asked.is_none() && self.ask_timer.due == Millis::NEVER {
            self.ask(now);
        }
    }

    fn handle_controller(&mut self, state: message::ControllerState, now: Millis) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        // The boot that this connection has been welcomed by, or is being announced to at this moment.
        let known = match connection.controller {
            Some(boot) => boot == state.boot,
            None => connection.birth_timer.attempt <= 1,
        };
        if state.online && !known {
            let within = now + self.random.below(ANNOUNCE_WITHIN_MS);
            connection.birth_timer = Retry {
                due: within.min(connection.birth_timer.due),
                attempt: 0,
            };
        }
    }

    fn handle_response(&mut self, from: Boot, response: message::Response, now: Millis) {
        let nonce = response.nonce;
        match response.answer {
            Answer::Welcome {
                session,
                head,
                unix_s,
            } => {
                let Some(connection) = &mut self.connection else {
                    return;
                };
                if connection.birth != Some(nonce) {
                    self.counters.unasked += 1;
                    return;
                }
                connection.birth = None;
                connection.birth_timer = Retry::NONE;
                connection.controller = Some(from);
                self.reporter.begin(session, connection.facts.clone());
                self.outputs.push_back(Output::TimeFloor { unix_s });
                self.sum_due = now + self.random.jitter(SUM_INTERVAL_MS);
                self.ask_timer = Retry::NONE;
                self.handle_head(head, now);
                self.report(now);
            }
            Answer::ReportAck { number, forget } => {
                if !self.reporter.handle_ack(nonce, number, forget) {
                    self.counters.unasked += 1;
                    return;
                }
                self.report_timer = Retry::NONE;
                self.tell_due = self.tell_due.min(self.reporter.meter.due(now));
                self.sum_soon(now, SUM_GATHER_MS);
                self.forget();
                self.report(now);
            }
            Answer::Announce => {
                let asked = self.asked == Some(nonce) || self.reporter.session() == Some(nonce);
                if asked {
                    self.announce(now);
                } else {
                    self.counters.unasked += 1;
                }
            }
            answer @ (Answer::Index { .. }
            | Answer::Objects(_)
            | Answer::Chunk { .. }
            | Answer::Superseded(_)) => {
                if self.asked != Some(nonce) {
                    self.counters.unasked += 1;
                    return;
                }
                self.asked = None;
                self.ask_timer.due = Millis::NEVER;
                self.handle_answer(from, answer, now);
            }
        }
    }

    fn handle_answer(&mut self, from: Boot, answer: Answer, now: Millis) {
        match self
            .fetch
            .handle_answer(self.document.as_deref(), from, answer)
        {
            Progress::More => {
                self.ask_timer.attempt = 0;
                self.ask(now);
            }
            Progress::Complete(document) => {
                self.ask_timer = Retry::NONE;
                self.outputs.push_back(Output::Persist(document));
            }
            Progress::Done => {
                self.ask_timer = Retry::NONE;
                self.look_at_hint(now);
            }
            Progress::Refused => {
                self.counters.refused += 1;
                self.ask_timer = Retry::NONE;
                self.document_changed(now);
                self.look_at_hint(now);
            }
            Progress::Invalid => {
                self.counters.invalid += 1;
                self.ask_timer.back_off(now, &mut self.random);
            }
        }
    }

    fn look_at_hint(&mut self, now: Millis) {
        if let Some(head) = self.fetch.take_hint() {
            self.handle_head(head, now);
        }
    }

    /// Says who we are; the session ends until the controller has welcomed us.
    fn announce(&mut self, now: Millis) {
        self.end_session();
        let have = self.document.as_ref();
        let nonce = self.random.nonce();
        let facts = self.reporter.facts().clone();
        let Some(connection) = &mut self.connection else {
            return;
        };
        let birth = message::Birth {
            boot: self.config.boot,
            nonce,
            connection: connection.nonce,
            schemas: (SCHEMA, SCHEMA),
            have: have.map(|document| (document.version, document.history)),
            digest: have.map(|document| document.digest).unwrap_or_default(),
            facts: facts.clone(),
        };
        self.counters.retries += u64::from(connection.birth.is_some());
        connection.birth = Some(nonce);
        connection.facts = facts;
        connection.controller = None;
        connection.birth_timer.back_off(now, &mut self.random);
        self.publish(
            Topic::Birth(self.config.node.clone()),
            Delivery::State,
            &birth,
        );
    }

    fn end_session(&mut self) {
        self.reporter.end();
        self.asked = None;
        self.ask_timer = Retry::NONE;
        self.report_timer = Retry::NONE;
        self.sum_due = Millis::NEVER;
    }

    fn ask(&mut self, now: Millis) {
        self.ask_timer.due = Millis::NEVER;
        let Some(ask) = self.fetch.ask(self.document.as_deref()) else {
            return;
        };
        let nonce = self.random.nonce();
        self.asked = Some(nonce);
        self.ask_timer.back_off(now, &mut self.random);
        let topic = Topic::Request(self.config.node.clone(), self.config.boot);
        self.publish(topic, Delivery::Message, &message::Request { nonce, ask });
    }

    fn document_changed(&mut self, now: Millis) {
        self.reporter
            .set_document(self.document.as_deref(), self.fetch.rejected());
        self.report(now);
    }

    fn report(&mut self, now: Millis) {
        if !self.reporter.is_in_flight() {
            self.report_timer = Retry::NONE;
            self.send_report(now);
        }
    }

    fn send_report(&mut self, now: Millis) {
        self.report_timer.due = Millis::NEVER;
        let report = self.reporter.next(self.tell_due <= now, now);
        if !self.reporter.has_more_to_tell() {
            self.tell_due = Millis::NEVER;
        }
        if let Some(report) = report {
            self.report_timer.back_off(now, &mut self.random);
            self.publish(
                Topic::Report(self.config.node.clone()),
                Delivery::State,
                &report,
            );
        }
    }

    /// A sign of life: the digests, or the report that waits for its acknowledgement.
    fn answer_head(&mut self, now: Millis) {
        if !self.reporter.is_in_flight() {
            self.sum_soon(now, 0);
        } else if self
            .last_sum
            .is_none_or(|last| last + SUM_SPACING_MS <= now)
        {
            self.last_sum = Some(now);
            self.counters.retries += 1;
            self.send_report(now);
        }
    }

    fn sum_soon(&mut self, now: Millis, gather: u64) {
        if self.is_welcomed() {
            let spaced = self.last_sum.map_or(now, |last| last + SUM_SPACING_MS);
            self.sum_due = self.sum_due.min((now + gather).max(spaced));
        }
        if self.sum_due <= now {
            self.send_sum(now);
        }
    }

    fn send_sum(&mut self, now: Millis) {
        if self.reporter.is_in_flight() {
            // Both ends differ until it is acknowledged.
            self.sum_due = self.report_timer.due.max(now) + SUM_SPACING_MS;
            return;
        }
        self.sum_due = now + self.random.jitter(SUM_INTERVAL_MS);
        self.reporter.repeat_endings();
        let Some(sum) = self.reporter.sum(self.document.as_deref()) else {
            return;
        };
        self.last_sum = Some(now);
        self.publish(Topic::Sum(self.config.node.clone()), Delivery::State, &sum);
        self.report(now);
    }

    fn forget(&mut self) {
        let pods = self.reporter.forget(self.document.as_deref());
        if !pods.is_empty() {
            self.outputs.push_back(Output::Forget(pods));
        }
    }

    fn publish<M: Message>(&mut self, topic: Topic, delivery: Delivery, message: &M) {
        if let Some(publish) = self.sign(topic, delivery, message) {
            self.outputs.push_back(Output::Publish(publish));
        }
    }

    fn sign<M: Message>(
        &mut self,
        topic: Topic,
        delivery: Delivery,
        message: &M,
    ) -> Option<Publish> {
        self.seq += 1;
        let epoch = self
            .document
            .as_ref()
            .map_or(0, |document| document.version.epoch);
        let sequence = Sequence {
            epoch,
            boot: self.config.boot,
            seq: self.seq,
        };
        let text = topic.text(&self.config.cluster);
        let signed = envelope::sign(
            &self.config.identity,
            &text,
            self.controller,
            sequence,
            message,
        );
        match signed {
            Ok(payload) => Some(Publish {
                topic,
                payload,
                delivery,
            }),
            Err(_) => {
                self.counters.oversize += 1;
                None
            }
        }
    }
}

const REPLAY: Dropped = Dropped::Envelope(envelope::Error::Replay);

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy)]
enum Dropped {
    Topic,
    Envelope(envelope::Error),
}

impl From<envelope::Error> for Dropped {
    fn from(error: envelope::Error) -> Self {
        Self::Envelope(error)
    }
}
