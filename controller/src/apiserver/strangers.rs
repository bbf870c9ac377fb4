//! Places for connections whose client has not shown a certificate of ours: a TLS handshake under
//! way, or a client without one.
//!
//! Anybody can open these, so there are few, a source has its share of them, and a newcomer is never
//! turned away: it takes the place of an older one. An administrator's handshake is such a newcomer,
//! and has left for the places of the certified long before it is the oldest.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, watch};

use super::Limits;
use super::refusals::Kind;

#[derive(Debug)]
pub(super) struct Strangers {
    max: usize,
    per_source: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// In the order of their coming.
    held: BTreeMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    source: IpAddr,
    /// Requests under way.
    requests: watch::Receiver<usize>,
    evict: Arc<Notify>,
}

/// A place, until it is dropped or given to another.
#[derive(Debug)]
pub(super) struct Place {
    strangers: Arc<Strangers>,
    id: u64,
    evict: Arc<Notify>,
}

impl Strangers {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max: limits.strangers.max(1),
            per_source: limits.strangers_per_source.max(1),
            table: Mutex::default(),
        }
    }

    /// A place for a newcomer, and what was full when another had to go for it.
    pub(super) fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        requests: watch::Receiver<usize>,
    ) -> (Place, Option<Kind>) {
        let source = source(address);
        let mut table = self.table();
        let full = table.make_room(self, source);
        let id = table.next;
        table.next += 1;
        let evict = Arc::<Notify>::default();
        let held = Held {
            source,
            requests,
            evict: evict.clone(),
        };
        table.held.insert(id, held);
        drop(table);
        let place = Place {
            strangers: self.clone(),
            id,
            evict,
        };
        (place, full)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Table {
    fn make_room(&mut self, limits: &Strangers, source: IpAddr) -> Option<Kind> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for held in self.held.values() {
            *counts.entry(held.source).or_default() += 1;
        }
        let (from, full) = if counts.get(&source).is_some_and(|n| *n >= limits.per_source) {
            (source, Kind::Source)
        } else if self.held.len() >= limits.max {
            // Whoever holds the most gives, so that one connection from a quiet place is safe.
            let (most, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
            (most, Kind::Strangers)
        } else {
            return None;
        };
        let (&victim, _) = self
            .held
            .iter()
            .filter(|(_, held)| held.source == from)
            .min_by_key(|(id, held)| (*held.requests.borrow() > 0, **id))?;
        self.held.remove(&victim)?.evict.notify_one();
        Some(full)
    }
}

/// Who has many IPv4 addresses is rare; IPv6 hands out networks of 2^64 to everybody.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

impl Place {
    /// Resolves when another took it.
    pub(super) async fn lost(&self) {
        self.evict.notified().await;
    }

    /// What [`Place::lost`] waits for, for longer than the place is held.
    pub(super) fn evicted(&self) -> Arc<Notify> {
        self.evict.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.strangers.table().held.remove(&self.id);
    }
}
