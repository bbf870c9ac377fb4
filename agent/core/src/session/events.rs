//! Events that wait for a report.
//!
//! In: what happened to pods, one by one. Out: those for the next report. At most
//! [`REPORT_EVENTS_MAX`] wait, also through months without a controller: the oldest give way. They
//! are lost with the process; nothing depends on them.

use std::collections::VecDeque;

use bramble_wire::limits::REPORT_EVENTS_MAX;
use bramble_wire::report::PodEvent;

/// Largest total of one report's events, in bytes; the rest waits for the next.
const BYTES_MAX: usize = 16 * 1024;

/// The ring. Events have numbers, counted over this life of the agent, so that the controller knows
/// those that a repeated report tells again.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    events: VecDeque<PodEvent>,
    first: u64,
}

impl Waiting {
    /// One more; the same as one that waits is counted there. Those before the number `sent` are
    /// in a report that is out, and stay as they are.
    pub(super) fn push(&mut self, event: PodEvent, sent: u64) {
        let same = |other: &PodEvent| {
            (other.uid, other.warning) == (event.uid, event.warning)
                && other.container == event.container
                && other.reason == event.reason
                && other.message == event.message
        };
        let fixed = sent.saturating_sub(self.first) as usize;
        if let Some(other) = self.events.iter_mut().skip(fixed).find(|other| same(other)) {
            other.count = other.count.saturating_add(event.count);
            other.at = event.at;
            return;
        }
        if self.events.len() == REPORT_EVENTS_MAX {
            self.events.pop_front();
            self.first += 1;
        }
        self.events.push_back(event);
    }

    /// The number of the first and those for a report now, oldest first.
    pub(super) fn next(&self) -> (u64, Vec<PodEvent>) {
        let mut bytes = 0;
        let fit = self.events.iter().take_while(|event| {
            bytes += bramble_wire::encode(*event).len();
            bytes <= BYTES_MAX
        });
        (self.first, fit.cloned().collect())
    }

    /// The controller has those before this number.
    pub(super) fn told(&mut self, before: u64) {
        while self.first < before && self.events.pop_front().is_some() {
            self.first += 1;
        }
    }

    /// Number of the first that waits, or will.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Number after the last that waits.
    pub(super) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }
}
