//! What the server refuses, told in few lines: the first of a kind at once, the others once a minute
//! by number. A stranger must not be able to fill the log.

use std::sync::{Mutex, PoisonError};

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Too many connections without a certificate.
    Strangers,
    /// Too many of them from one address.
    Source,
    /// Too many connections with a certificate.
    Certified,
    /// The system did not give us a connection.
    Accept,
    /// A request without a certificate that we failed to answer.
    Request,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Strangers,
        Self::Source,
        Self::Certified,
        Self::Accept,
        Self::Request,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Strangers => {
                "too many connections without a client certificate: the oldest of the busiest \
                 address was closed"
            }
            Self::Source => {
                "too many connections without a client certificate from one address: its oldest \
                 was closed"
            }
            Self::Certified => "too many connections: one was closed",
            Self::Accept => "a connection could not be accepted",
            Self::Request => "a request without a client certificate failed",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Refusals([Mutex<Seen>; Kind::ALL.len()]);

#[derive(Debug, Default)]
struct Seen {
    /// A line was written in this minute or the last.
    told: bool,
    /// Since that line.
    count: u64,
}

impl Refusals {
    /// Notes one; writes a line if it is the first.
    pub(super) fn note(&self, kind: Kind, detail: impl std::fmt::Display) {
        let mut seen = self.seen(kind);
        if seen.told {
            seen.count += 1;
            return;
        }
        seen.told = true;
        drop(seen);
        tracing::warn!(%detail, "{}; further ones are counted", kind.text());
    }

    /// Tells the numbers since the last call; to be called every minute.
    pub(super) fn report(&self) {
        for kind in Kind::ALL {
            let count = {
                let mut seen = self.seen(kind);
                seen.told = seen.count > 0;
                std::mem::take(&mut seen.count)
            };
            if count > 0 {
                tracing::warn!(count, "{}; more in the last minute", kind.text());
            }
        }
    }

    fn seen(&self, kind: Kind) -> std::sync::MutexGuard<'_, Seen> {
        self.0[kind as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
