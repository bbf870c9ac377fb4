//! What a connection has shown, and what it may therefore cost us.
//!
//! A client that came without a certificate of ours is a stranger: its place is one of few, it is soon
//! closed when it does nothing, and it may ask for little at once. The first token that counts makes it
//! known, like one with a certificate. Tokens that don't count are checked a few times, then the
//! connection ends: guessing costs a handshake each time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bramble_api::status::Status;
use http::HeaderMap;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::authn::{self, Identity, Shown};
use super::refusals::Kind;
use super::strangers::Place;
use super::{Context, watch};

/// Requests at once of a stranger: there is little to ask for.
const STRANGERS_REQUESTS: usize = 8;
/// Wrong tokens before the connection ends.
const WRONG: usize = 8;

/// One connection's standing; its requests share it.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) ctx: Arc<Context>,
    shown: Shown,
    seat: Mutex<Seat>,
    /// Fires when another took the stranger's place.
    evicted: Option<Arc<Notify>>,
    wrong: AtomicUsize,
    unwelcome: Notify,
}

/// What the connection counts as.
#[derive(Debug)]
enum Seat {
    Stranger { _place: Place },
    Known { _permit: OwnedSemaphorePermit },
}

impl Standing {
    /// Of a client with a certificate; `None` when there are too many.
    pub(super) fn certified(ctx: Arc<Context>, certificate: authn::Certified) -> Option<Self> {
        let Ok(permit) = ctx.certified.clone().try_acquire_owned() else {
            ctx.refusals.note(Kind::Certified, certificate.user());
            return None;
        };
        let shown = Shown::Certificate(certificate);
        Some(Self::new(ctx, shown, Seat::Known { _permit: permit }, None))
    }

    /// Of a client without one, or with one of somebody else.
    pub(super) fn stranger(ctx: Arc<Context>, foreign: bool, place: Place) -> Self {
        let evicted = Some(place.evicted());
        let shown = if foreign {
            Shown::Foreign
        } else {
            Shown::Nothing
        };
        Self::new(ctx, shown, Seat::Stranger { _place: place }, evicted)
    }

    fn new(ctx: Arc<Context>, shown: Shown, seat: Seat, evicted: Option<Arc<Notify>>) -> Self {
        Self {
            ctx,
            shown,
            seat: Mutex::new(seat),
            evicted,
            wrong: AtomicUsize::new(0),
            unwelcome: Notify::new(),
        }
    }

    pub(super) fn is_stranger(&self) -> bool {
        let seat = self.seat.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*seat, Seat::Stranger { .. })
    }

    /// How long it may do nothing.
    pub(super) fn idle(&self) -> Duration {
        if self.is_stranger() {
            self.ctx.limits.stranger_idle
        } else {
            self.ctx.limits.header
        }
    }

    /// Resolves when the connection lost its place.
    pub(super) async fn lost(&self) {
        match &self.evicted {
            Some(evicted) => evicted.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Resolves when it had its chances.
    pub(super) async fn unwelcome(&self) {
        self.unwelcome.notified().await;
    }

    /// Who sends a request with these headers, while `under_way` requests are, this one included.
    pub(crate) fn who(&self, headers: &HeaderMap, under_way: usize) -> Result<Identity, Status> {
        if self.wrong.load(Ordering::Relaxed) >= WRONG {
            return Err(Status::unauthorized());
        }
        match authn::authenticate(&self.ctx, &self.shown, headers) {
            Ok(identity) if identity.is_anonymous() => {
                if under_way > STRANGERS_REQUESTS {
                    return Err(watch::busy());
                }
                Ok(identity)
            }
            Ok(identity) => {
                self.welcome();
                Ok(identity)
            }
            Err(status) => {
                // One that was known and no longer is has no claim to its seat either.
                if self.wrong.fetch_add(1, Ordering::Relaxed) + 1 == WRONG {
                    self.unwelcome.notify_one();
                }
                Err(status)
            }
        }
    }

    /// Takes a seat among the known, if one is free: without one, it goes on as a stranger.
    fn welcome(&self) {
        self.wrong.store(0, Ordering::Relaxed);
        let mut seat = self.seat.lock().unwrap_or_else(PoisonError::into_inner);
        if let Seat::Stranger { .. } = *seat
            && let Ok(permit) = self.ctx.certified.clone().try_acquire_owned()
        {
            *seat = Seat::Known { _permit: permit };
        }
    }
}
