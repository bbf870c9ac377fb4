//! The addresses and ports of Services: an index of what stored Services have, and what is promised to
//! those on their way into the store.
//!
//! The index follows the store's history; when it can't, it is built anew. A promise lasts as long as
//! its [`Claim`]: once the Service is committed the index has it, and when the write fails or was a
//! trial, dropping the claim is all that it takes.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bramble_api::status::Status;
use bramble_controller_core::admission::service::{self, Error, Holdings, InUse, Range};
use serde_json::Value;

use super::{Attributes, name_of, unavailable};
use crate::join::Cidr;
use crate::pki::random;
use crate::store::{self, Entry, EventKind, Key, Page, Scope, Store, Watcher};

/// See the module.
pub(super) struct Services {
    range: Range,
    index: Arc<Mutex<Index>>,
}

#[derive(Default)]
struct Index {
    watcher: Option<Watcher>,
    stored: HashMap<Key, Holdings>,
    /// How many have or were promised each; more than one only in stores from before.
    addresses: HashMap<Ipv4Addr, usize>,
    ports: HashMap<u16, usize>,
}

/// Addresses and ports that are nobody else's while this lives.
pub(crate) struct Claim {
    holdings: Holdings,
    index: Arc<Mutex<Index>>,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Claim").field(&self.holdings).finish()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        locked(&self.index).release(&self.holdings);
    }
}

fn locked(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    // Counts are whole between any two statements that could panic.
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Services {
    pub(super) fn new(cidr: Cidr) -> Self {
        Self {
            range: Range {
                base: cidr.base(),
                prefix: cidr.prefix(),
            },
            index: Arc::default(),
        }
    }

    /// Gives a Service what it needs.
    pub(super) fn allot(
        &self,
        store: &dyn Store,
        attributes: &Attributes<'_>,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<Claim, Status> {
        let random = u64::from_le_bytes(random().map_err(Status::internal)?);
        let mut index = locked(&self.index);
        index.catch_up(store).map_err(unavailable)?;
        let is_api = attributes.namespace == Some("default") && name_of(service) == "kubernetes";
        let view = View {
            index: &index,
            reserved: (!is_api).then(|| self.range.first()),
        };
        let holdings = service::allot(service, old, self.range, &view, random).map_err(
            |error| match error {
                Error::Invalid(causes) => attributes.kind.invalid(name_of(service), causes),
                Error::Full(what) => Status::internal(what),
            },
        )?;
        index.hold(&holdings);
        drop(index);
        Ok(Claim {
            holdings,
            index: Arc::clone(&self.index),
        })
    }
}

/// What is taken, for one who may not have the API's own address.
struct View<'a> {
    index: &'a Index,
    reserved: Option<Ipv4Addr>,
}

impl InUse for View<'_> {
    fn address(&self, address: Ipv4Addr) -> bool {
        self.reserved == Some(address) || self.index.addresses.contains_key(&address)
    }

    fn port(&self, port: u16) -> bool {
        self.index.ports.contains_key(&port)
    }
}

impl Index {
    /// Takes every change that the store has.
    fn catch_up(&mut self, store: &dyn Store) -> Result<(), store::Error> {
        loop {
            let Some(watcher) = &mut self.watcher else {
                self.rebuild(store)?;
                continue;
            };
            match watcher.try_next() {
                Ok(Some(event)) => {
                    self.apply(&event.entry, event.kind == EventKind::Deleted);
                }
                Ok(None) => return Ok(()),
                // More was written than the history holds.
                Err(store::Error::Compacted { .. } | store::Error::Future { .. }) => {
                    self.watcher = None;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn rebuild(&mut self, store: &dyn Store) -> Result<(), store::Error> {
        for (_, holdings) in std::mem::take(&mut self.stored) {
            self.release(&holdings);
        }
        let scope = Scope::all("", "services");
        let listing = store.list(&scope, &Page::default())?;
        for entry in &listing.entries {
            self.apply(entry, false);
        }
        self.watcher = Some(store.watch_pending(&scope, listing.revision)?);
        Ok(())
    }

    fn apply(&mut self, entry: &Entry, gone: bool) {
        if let Some(before) = self.stored.remove(&entry.key) {
            self.release(&before);
        }
        if gone {
            return;
        }
        let service: Value = serde_json::from_slice(&entry.json).unwrap_or_default();
        let holdings = Holdings::of(&service);
        self.hold(&holdings);
        self.stored.insert(entry.key.clone(), holdings);
    }

    fn hold(&mut self, holdings: &Holdings) {
        for address in &holdings.addresses {
            *self.addresses.entry(*address).or_default() += 1;
        }
        for port in &holdings.ports {
            *self.ports.entry(*port).or_default() += 1;
        }
    }

    fn release(&mut self, holdings: &Holdings) {
        for address in &holdings.addresses {
            decrease(&mut self.addresses, address);
        }
        for port in &holdings.ports {
            decrease(&mut self.ports, port);
        }
    }
}

fn decrease<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
