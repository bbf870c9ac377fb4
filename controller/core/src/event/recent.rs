//! The entries that were used last, never more than a fixed number of them.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Most entries of one map. Upstream keeps 4096; a board's controller has fewer speakers and less memory.
pub(super) const MOST: usize = 1024;

/// A map that forgets the entry that was used longest ago.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: BTreeMap<Arc<K>, Slot<V>>,
    /// The same keys by the turn in which they were used.
    order: BTreeMap<u64, Arc<K>>,
    turn: u64,
}

#[derive(Debug)]
struct Slot<V> {
    turn: u64,
    value: V,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            turn: 0,
        }
    }
}

impl<K: Ord, V> Recent<K, V> {
    /// The value of a key, made when there is none. Counts as a use.
    pub(super) fn of(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.turn += 1;
        let turn = self.turn;
        let key = match self.entries.get(&key) {
            // The shared key moves on, so that each is held once.
            Some(slot) => self
                .order
                .remove(&slot.turn)
                .unwrap_or_else(|| Arc::new(key)),
            None => {
                if self.entries.len() >= MOST
                    && let Some((_, oldest)) = self.order.pop_first()
                {
                    self.entries.remove(&oldest);
                }
                Arc::new(key)
            }
        };
        self.order.insert(turn, key.clone());
        let slot = self.entries.entry(key).or_insert_with(|| Slot {
            turn,
            value: make(),
        });
        slot.turn = turn;
        &mut slot.value
    }

    /// Forgets what does not pass.
    pub(super) fn retain(&mut self, pass: impl Fn(&V) -> bool) {
        let order = &mut self.order;
        self.entries.retain(|_, slot| {
            let stays = pass(&slot.value);
            if !stays {
                order.remove(&slot.turn);
            }
            stays
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys from the one used longest ago on, and whether both maps hold the same.
    fn keys(recent: &Recent<usize, usize>) -> Vec<usize> {
        let keys: Vec<_> = recent.order.values().map(|key| **key).collect();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        let held: Vec<_> = recent.entries.keys().map(|key| **key).collect();
        assert_eq!(sorted, held);
        keys
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let mut recent = Recent::default();
        for key in 0..MOST {
            recent.of(key, || key);
        }
        assert_eq!(*recent.of(0, || 7), 0, "known, and used now");
        recent.of(MOST, || 0);
        recent.of(MOST + 1, || 0);
        let keys = keys(&recent);
        assert_eq!(keys.len(), MOST);
        assert_eq!((keys[0], keys[MOST - 3]), (3, 0));
    }

    #[test]
    fn what_does_not_pass_leaves_nothing_behind() {
        let mut recent = Recent::default();
        for key in 0..5 {
            recent.of(key, || key);
        }
        recent.of(1, || 9);
        recent.retain(|value| value % 2 == 1);
        assert_eq!(keys(&recent), [3, 1]);
        recent.retain(|_| false);
        assert!(recent.is_empty() && recent.order.is_empty());
    }
}
