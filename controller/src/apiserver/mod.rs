//! The Kubernetes API over HTTPS.
//!
//! In: connections, their client certificates, requests. Out: upstream's answers. One generic
//! pipeline serves every kind of [`bramble_api::kind::KINDS`]: a path becomes a [`request::Info`],
//! the verb picks read, watch, write or delete, and each of those works on stored bytes and
//! `bramble-api`. There is no handler per kind; what is particular to pods (graceful deletion,
//! binding, logs) stands in files of its own.
//!
//! This layer owns no state but the open connections. Nothing is answered before what it says is
//! durable ([`crate::store`]).

mod accept;
pub(crate) mod admission;
mod adopt;
mod apply;
mod authn;
mod authorize;
mod binding;
mod bodies;
mod bootstrap;
mod bramble;
mod conditions;
mod connection;
mod create;
mod delete;
mod documents;
mod gzip;
mod health;
mod list;
mod logs;
mod meta;
mod metrics;
mod options;
mod rbac;
mod recovery;
mod refusals;
mod request;
mod respond;
mod review;
mod route;
mod scale;
mod serve;
mod shares;
mod stall;
mod standing;
mod strangers;
mod stream;
mod subresource;
mod token;
mod usage;
mod watch;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bramble_link::tls::FloorClock;
use rustls::server::danger::ClientCertVerifier;
use tokio::sync::Semaphore;

pub use authn::Identity;
pub use bootstrap::ensure_namespaces;
pub use logs::{LogRequest, LogStream, NoLogs, NodeStream, PodLogs};
pub use serve::{Error, Server, Trust, start};

use crate::join::Joiner;
use crate::store::Store;
use crate::tokens::Tokens;
use crate::usage::Usages;

/// Bounds that protect a small board from its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections with a client certificate at once; one more is closed.
    pub connections: usize,
    /// Of these, connections of one user; one more is closed.
    pub connections_per_user: usize,
    /// Connections at once whose client has not shown a certificate; one more takes the place of
    /// another.
    pub strangers: usize,
    /// The same for each address they come from.
    pub strangers_per_source: usize,
    /// Requests at once, watches and logs apart; one more is answered 429.
    pub requests: usize,
    /// Of these, requests of one user, or of one namespace's service accounts; administrators have no
    /// such bound, and the last eighth of all to themselves.
    pub requests_per_user: usize,
    /// Joins at once; one more is answered 429. Apart from the requests, as anybody may try to join.
    pub joins: usize,
    /// Watches and log streams at once; one more is answered 429.
    pub watches: usize,
    /// Of these, those of one user, as for requests.
    pub watches_per_user: usize,
    /// The largest body; a larger one is answered 413.
    pub body_bytes: usize,
    /// How long TLS may take to be set up.
    pub handshake: Duration,
    /// How long the head of a request may take, and a connection may idle.
    pub header: Duration,
    /// The same without a client certificate.
    pub stranger_idle: Duration,
    /// How long a body may take to arrive.
    pub body: Duration,
    /// How long a client may leave an answer unread.
    pub stall: Duration,
    /// How often a quiet watch is told how far it has come; also finds dead connections.
    pub bookmark: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_per_user: 256,
            strangers: 128,
            strangers_per_source: 32,
            requests: 128,
            requests_per_user: 64,
            joins: 16,
            watches: 512,
            watches_per_user: 256,
            body_bytes: bramble_api::decode::MAX_BODY,
            handshake: Duration::from_secs(5),
            header: Duration::from_secs(90),
            stranger_idle: Duration::from_secs(10),
            body: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            bookmark: Duration::from_secs(60),
        }
    }
}

/// What the handlers share.
pub struct Context {
    /// Objects.
    pub(crate) store: Arc<dyn Store>,
    /// Logs of pods.
    pub(crate) logs: Arc<dyn PodLogs>,
    /// What nodes and pods use.
    pub(crate) usage: Arc<Usages>,
    /// Joins and tokens.
    pub(crate) joiner: Arc<Joiner>,
    /// What depends on other objects than the one that is written.
    pub(crate) admission: Arc<admission::Admission>,
    /// Who may do what.
    pub(crate) rbac: rbac::Rbac,
    /// Tokens of service accounts.
    pub(crate) tokens: Arc<Tokens>,
    /// Decides which client certificates are ours.
    clients: Arc<dyn ClientCertVerifier>,
    clock: Arc<FloorClock>,
    pub(crate) limits: Limits,
    metrics: metrics::Metrics,
    refusals: refusals::Refusals,
    certified: Arc<Semaphore>,
    /// Connections of each user among them.
    users: Arc<Mutex<HashMap<String, usize>>>,
    pub(crate) requests: shares::Shares,
    pub(crate) joins: Arc<Semaphore>,
    /// One backup at a time.
    pub(crate) backups: Arc<Semaphore>,
    pub(crate) watches: shares::Shares,
    /// Turns true when the server stops: long answers end.
    pub(crate) stopping: Stopping,
}

/// Tells when the server stops.
#[derive(Clone, Debug)]
pub(crate) struct Stopping(pub(crate) tokio::sync::watch::Receiver<bool>);

impl Stopping {
    /// Whether it does now.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when it does.
    pub(crate) async fn wait(&mut self) {
        // A server that went away without a word stops too.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
