//! What is said: births, questions, reports and sums, each signed, and when to say it again.

use bramble_wire::clock::Millis;
use bramble_wire::envelope::{self, Message, Sequence};
use bramble_wire::limits::SCHEMA;
use bramble_wire::message;
use bramble_wire::publish::{Delivery, Publish};
use bramble_wire::topic::Topic;

use super::{Output, Retry, SUM_INTERVAL_MS, SUM_SPACING_MS, Session};

impl Session {
    /// Says who we are; the session ends until the controller has welcomed us.
    pub(super) fn announce(&mut self, now: Millis) {
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
            hardware: self.config.hardware,
            process: self.process,
            refused: self.refused,
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

    pub(super) fn end_session(&mut self) {
        self.reporter.end();
        self.asked = None;
        self.ask_timer = Retry::NONE;
        self.report_timer = Retry::NONE;
        self.sum_due = Millis::NEVER;
    }

    pub(super) fn ask(&mut self, now: Millis) {
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

    /// Asks for the index of the document that is held, which says whether it is cleared.
    pub(super) fn seek_clearance(&mut self, now: Millis) {
        let wanted = self.uncleared && self.cleared().is_none() && self.is_welcomed();
        if !wanted || self.sought || !self.fetch.look() {
            return;
        }
        self.sought = true;
        if self.asked.is_none() && self.ask_timer.due == Millis::NEVER {
            self.ask(now);
        }
    }

    pub(super) fn document_changed(&mut self, now: Millis) {
        self.reporter
            .set_document(self.document.as_deref(), self.fetch.rejected());
        self.report(now);
    }

    pub(super) fn report(&mut self, now: Millis) {
        if !self.reporter.is_in_flight() {
            self.report_timer = Retry::NONE;
            self.send_report(now);
        }
    }

    pub(super) fn send_report(&mut self, now: Millis) {
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
    pub(super) fn answer_head(&mut self, now: Millis) {
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

    pub(super) fn sum_soon(&mut self, now: Millis, gather: u64) {
        if self.is_welcomed() {
            let spaced = self.last_sum.map_or(now, |last| last + SUM_SPACING_MS);
            self.sum_due = self.sum_due.min((now + gather).max(spaced));
        }
        if self.sum_due <= now {
            self.send_sum(now);
        }
    }

    pub(super) fn send_sum(&mut self, now: Millis) {
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
        self.sought = false;
        self.seek_clearance(now);
        self.publish(Topic::Sum(self.config.node.clone()), Delivery::State, &sum);
        self.report(now);
    }

    pub(super) fn forget(&mut self) {
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

    pub(super) fn sign<M: Message>(
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
