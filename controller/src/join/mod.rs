//! Who belongs to the cluster: join tokens and the table of node keys.
//!
//! In: tokens that an administrator makes, requests of boards that present one. Out: a node's
//! certificate, its range of pod addresses and its Node object, and [`NodeKeys`], which broker and
//! node link ask whether a peer is who it says. The records live in the store under the group
//! [`GROUP`], which the Kubernetes API never shows.

mod cidr;
mod keys;
mod request;
mod strangers;
mod tokens;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bramble_api::status::Status;

pub use cidr::{Cidr, InvalidCidr};
pub(crate) use keys::key_of as node_key;
pub use keys::{NodeKey, NodeKeys};

use crate::pki::{Csr, Pki, certificate_pem};
use crate::store::{Commit, Durability, Error as StoreError, Expect, Key, Op, Store};

/// Group of the records in the store.
pub const GROUP: &str = "bramble.internal";
/// Resource of the node keys; the name is the node's.
pub const NODE_KEYS: &str = "nodekeys";
const TOKENS: &str = "tokens";

/// What a joining node is told, and what it is given addresses from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Broker URLs, best first; `{controller}` stands for the host the board reached us under.
    pub brokers: Vec<String>,
    /// Range of all pods; each node gets a /24 of it.
    pub pod_cidr: Cidr,
    /// Range of all services.
    pub service_cidr: Cidr,
}

/// Serves joins and token administration.
pub struct Joiner {
    store: Arc<dyn Store>,
    pki: Arc<Pki>,
    keys: NodeKeys,
    settings: Settings,
    /// Addresses are given out and tokens are used up by one request at a time.
    turn: Mutex<()>,
}

impl std::fmt::Debug for Joiner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Joiner").finish_non_exhaustive()
    }
}

impl Joiner {
    /// Serves joins from `store` and `pki`, keeping `keys` up to date.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, pki: Arc<Pki>, keys: NodeKeys, settings: Settings) -> Self {
        Self {
            store,
            pki,
            keys,
            settings,
            turn: Mutex::new(()),
        }
    }

    /// A client certificate for a person, as PEM.
    pub(crate) fn sign_user(
        &self,
        user: &str,
        groups: &[String],
        until: u64,
        csr: Csr,
    ) -> Result<String, Status> {
        let signed = self.pki.sign_user(user, groups, until, csr);
        Ok(certificate_pem(&signed.map_err(internal)?))
    }

    /// The cluster's keys.
    pub(crate) fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Who is a member.
    pub(crate) fn keys(&self) -> &NodeKeys {
        &self.keys
    }

    /// The range of service addresses.
    #[must_use]
    pub fn service_cidr(&self) -> Cidr {
        self.settings.service_cidr
    }
}

/// How long the board of a Node that was deleted may take to hear that it is to stop everything. It is
/// no member any more: all that it can still get is that.
pub(crate) const FAREWELL: Duration = Duration::from_secs(10);

/// What goes with an object that is removed, however that comes about: a Node's end is the end of the
/// board's membership, and its keys open nothing any more.
pub(crate) fn ends_with(store: &dyn Store, object: &Key) -> Option<Op> {
    let is_node = object.group.is_empty() && &*object.resource == "nodes";
    let key = is_node.then(|| node_key(&object.name))?;
    store.get(&key)?;
    Some(Op::Delete {
        key,
        expect: Expect::Any,
        durability: Durability::Hard,
    })
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error)
}

async fn durable(commit: Commit) -> Result<(), Status> {
    commit
        .durable()
        .await
        .map(|_| ())
        .map_err(|e: StoreError| internal(e))
}

#[cfg(test)]
mod tests;
