//! What arrives: believed, judged, and what follows from it.

use bramble_wire::clock::Millis;
use bramble_wire::envelope::{self, Message, Opened, ReplayGuard, Sequence};
use bramble_wire::message::{self, Answer};
use bramble_wire::stream;
use bramble_wire::topic::Topic;
use bramble_wire::version::{Boot, Nonce};

use super::fetch::Progress;
use super::judge::{Judgement, judge};
use super::{
    ANNOUNCE_WITHIN_MS, CONFLICT_ANNOUNCE_MS, Output, REFUSED_ATTEMPTS, REFUSED_MS, Retry,
    SUM_GATHER_MS, SUM_INTERVAL_MS, Session,
};

impl Session {
    pub(super) fn dispatch(
        &mut self,
        topic: &str,
        payload: &[u8],
        now: Millis,
    ) -> Result<(), Dropped> {
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
                // Of two boards with one identity, it is for the one that is served.
                if opened.message.boot != self.config.boot || self.refused.is_some() {
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
            Answer::Welcome { .. } | Answer::Refused { .. } => birth == nonce,
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

    pub(super) fn count(&mut self, dropped: Dropped) {
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
            Judgement::Same => {
                self.answer_head(now);
                self.sought = false;
                self.seek_clearance(now);
            }
            Judgement::Older => {
                self.counters.refused += 1;
                self.answer_head(now);
            }
            Judgement::Conflict(_) => {
                self.counters.refused += 1;
                self.document_changed(now);
                // A birth says which history and content are held here: the controller begins a new
                // epoch when it does not know them.
                let due = now + self.random.jitter(CONFLICT_ANNOUNCE_MS);
                if let Some(connection) = &mut self.connection {
                    connection.birth_timer.due = connection.birth_timer.due.min(due);
                }
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
                self.refused = None;
                // What another life of the controller knew, this one may not.
                self.fetch.revoke();
                self.sought = false;
                self.reporter.begin(session, connection.facts.clone());
                self.outputs.push_back(Output::TimeFloor { unix_s });
                self.sum_due = now + self.random.jitter(SUM_INTERVAL_MS);
                self.ask_timer = Retry::NONE;
                // Not any head says so: a retained one may be old.
                self.confirmed |= judge(self.document.as_deref(), &head) == Judgement::Same;
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
            Answer::Refused { challenge } => self.handle_refused(nonce, challenge, now),
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

    fn handle_refused(&mut self, nonce: Nonce, challenge: Nonce, now: Millis) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        if connection.birth != Some(nonce) {
            self.counters.unasked += 1;
            return;
        }
        connection.birth = None;
        let timer = &mut connection.birth_timer;
        if self.refused.replace(challenge).is_none() {
            timer.due = now + self.random.jitter(REFUSED_MS);
            timer.attempt = REFUSED_ATTEMPTS;
        } else {
            // The birth has counted as one.
            timer.attempt = timer.attempt.saturating_sub(1).max(REFUSED_ATTEMPTS);
            timer.back_off(now, &mut self.random);
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

    pub(super) fn look_at_hint(&mut self, now: Millis) {
        if let Some(head) = self.fetch.take_hint() {
            self.handle_head(head, now);
        }
    }
}

const REPLAY: Dropped = Dropped::Envelope(envelope::Error::Replay);

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dropped {
    Topic,
    Envelope(envelope::Error),
}

impl From<envelope::Error> for Dropped {
    fn from(error: envelope::Error) -> Self {
        Self::Envelope(error)
    }
}
