//! What a connection has shown, and what it may therefore cost us.
//!
//! A client that came without a certificate of ours is a stranger: its place is one of few, it is soon
//! closed when it does nothing, and it may ask for little at once. The first token that counts makes it
//! known, like one with a certificate. Tokens that don't count are checked a few times, then the
//! connection ends: guessing costs a handshake each time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bramble_api::status::Status;
use http::HeaderMap;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::authn::{self, Identity, Shown};
use super::connection::{Request, Requests};
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
    /// Its requests under way.
    requests: Requests,
    wrong: AtomicUsize,
    unwelcome: Notify,
}

/// What the connection counts as.
#[derive(Debug)]
enum Seat {
    Stranger { _place: Place },
    Known { _seat: Known },
}

/// A seat among the known, counted for its user.
#[derive(Debug)]
struct Known {
    _permit: OwnedSemaphorePermit,
    users: Arc<Mutex<HashMap<String, usize>>>,
    user: String,
}

impl Known {
    /// `None` when there is no seat, or none for this user: one program that goes wrong must not keep
    /// everybody else out.
    fn sit(ctx: &Context, user: &str) -> Option<Self> {
        let permit = ctx.certified.clone().try_acquire_owned().ok()?;
        let mut users = ctx.users.lock().unwrap_or_else(PoisonError::into_inner);
        let count = users.get(user).copied().unwrap_or(0);
        if count >= ctx.limits.connections_per_user {
            return None;
        }
        users.insert(user.to_owned(), count + 1);
        drop(users);
        Some(Self {
            _permit: permit,
            users: ctx.users.clone(),
            user: user.to_owned(),
        })
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.user);
            }
        }
    }
}

impl Standing {
    /// Of a client with a certificate; `None` when there are too many.
    pub(super) fn certified(
        ctx: Arc<Context>,
        certificate: authn::Certified,
        requests: Requests,
    ) -> Option<Self> {
        let Some(seat) = Known::sit(&ctx, certificate.user()) else {
            ctx.refusals.note(Kind::Certified, certificate.user());
            return None;
        };
        let shown = Shown::Certificate(Box::new(certificate));
        let seat = Seat::Known { _seat: seat };
        Some(Self::new(ctx, shown, seat, None, requests))
    }

    /// Of a client without one, or with one of somebody else.
    pub(super) fn stranger(
        ctx: Arc<Context>,
        foreign: bool,
        place: Place,
        requests: Requests,
    ) -> Self {
        let evicted = Some(place.evicted());
        let shown = if foreign {
            Shown::Foreign
        } else {
            Shown::Nothing
        };
        let seat = Seat::Stranger { _place: place };
        Self::new(ctx, shown, seat, evicted, requests)
    }

    fn new(
        ctx: Arc<Context>,
        shown: Shown,
        seat: Seat,
        evicted: Option<Arc<Notify>>,
        requests: Requests,
    ) -> Self {
        Self {
            ctx,
            shown,
            seat: Mutex::new(seat),
            evicted,
            requests,
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

    /// Something goes on with the connection, as while a request is answered, until the result is
    /// dropped: it does not count as idle.
    pub(super) fn occupy(&self) -> Request {
        self.requests.begin()
    }

    /// Resolves when the connection lost its place. An upgraded one has its place until its stream
    /// ends, so whoever carries that waits for this too.
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
                self.welcome(&identity.user);
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
    fn welcome(&self, user: &str) {
        self.wrong.store(0, Ordering::Relaxed);
        let mut seat = self.seat.lock().unwrap_or_else(PoisonError::into_inner);
        if let Seat::Stranger { .. } = *seat
            && let Some(known) = Known::sit(&self.ctx, user)
        {
            *seat = Seat::Known { _seat: known };
        }
    }
}
