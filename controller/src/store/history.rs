//! One resource: its index and its part of the watch history.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use tokio::sync::Notify;

use super::types::{Entry, Event, EventKind, Key, Revision};

type Names = BTreeMap<Arc<str>, Slot>;

/// An indexed object.
struct Slot {
    entry: Arc<Entry>,
    /// Whether some version of it is on disk, or on its way there.
    stored: bool,
}

/// All objects of one resource, by namespace and name, with recent changes.
pub(super) struct Bucket {
    namespaces: BTreeMap<Arc<str>, Names>,
    history: VecDeque<Event>,
    /// Events up to here may have been dropped.
    floor: Revision,
    /// Wakes `watch_pending` watchers.
    pub(super) committed: Arc<Notify>,
    /// Wakes `watch` watchers.
    pub(super) shown: Arc<Notify>,
}

impl Bucket {
    pub(super) fn new(floor: Revision) -> Self {
        Self {
            namespaces: BTreeMap::new(),
            history: VecDeque::new(),
            floor,
            committed: Arc::default(),
            shown: Arc::default(),
        }
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Entry>> {
        self.namespaces
            .get(namespace)?
            .get(name)
            .map(|slot| &slot.entry)
    }

    /// Whether some version of the object is on disk, or on its way there.
    pub(super) fn is_stored(&self, key: &Key) -> bool {
        let slot = self
            .namespaces
            .get(&key.namespace)
            .and_then(|names| names.get(&key.name));
        slot.is_some_and(|slot| slot.stored)
    }

    pub(super) fn floor(&self) -> Revision {
        self.floor
    }

    /// The newest change, if the history holds one.
    pub(super) fn newest(&self) -> Option<Revision> {
        self.history.back().map(|event| event.revision)
    }

    /// The oldest change, if the history holds one.
    pub(super) fn oldest(&self) -> Option<Revision> {
        self.history.front().map(|event| event.revision)
    }

    pub(super) fn history_len(&self) -> usize {
        self.history.len()
    }

    /// Puts an entry into the index only: what a start does.
    pub(super) fn restore(&mut self, entry: Arc<Entry>, stored: bool) {
        let (namespace, name) = (entry.key.namespace.clone(), entry.key.name.clone());
        let names = self.namespaces.entry(namespace).or_default();
        names.insert(name, Slot { entry, stored });
    }

    /// Removes an entry from the index only.
    pub(super) fn forget(&mut self, key: &Key) -> Option<Arc<Entry>> {
        let names = self.namespaces.get_mut(&key.namespace)?;
        let removed = names.remove(&key.name).map(|slot| slot.entry);
        if names.is_empty() {
            self.namespaces.remove(&key.namespace);
        }
        removed
    }

    /// Applies a change to index and history. Returns the bytes that the history grew by.
    pub(super) fn apply(&mut self, event: Event, stored: bool) -> usize {
        match event.kind {
            EventKind::Added | EventKind::Modified => self.restore(event.entry.clone(), stored),
            EventKind::Deleted => {
                self.forget(&event.entry.key);
            }
        }
        let weight = weight(&event);
        self.history.push_back(event);
        weight
    }

    /// Drops the oldest change. Returns the bytes that the history shrank by.
    pub(super) fn drop_oldest(&mut self) -> usize {
        let Some(event) = self.history.pop_front() else {
            return 0;
        };
        self.floor = event.revision;
        weight(&event)
    }

    /// Changes after `from`, in order.
    pub(super) fn since(&self, from: Revision) -> impl Iterator<Item = &Event> {
        let start = self.history.partition_point(|event| event.revision <= from);
        self.history.range(start..)
    }

    /// Every object of which some version is on disk, or on its way there.
    pub(super) fn stored(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let slots = self.namespaces.values().flat_map(BTreeMap::values);
        slots.filter(|slot| slot.stored).map(|slot| &slot.entry)
    }

    /// Objects as they were at `at`, from (`namespace`, `name`) on, in key order. The history must
    /// reach back to `at`.
    pub(super) fn range_at<'a>(
        &'a self,
        at: Revision,
        namespace: Option<&'a str>,
        from: (&'a str, &'a str),
    ) -> impl Iterator<Item = &'a Arc<Entry>> {
        let before = self.before(at, namespace, from);
        Merge {
            now: self.range(namespace, from).peekable(),
            before: before.into_iter().peekable(),
        }
    }

    fn range<'a>(
        &'a self,
        only: Option<&'a str>,
        from: (&'a str, &'a str),
    ) -> impl Iterator<Item = &'a Arc<Entry>> {
        let first = only.unwrap_or(from.0);
        let namespaces = self.namespaces.range::<str, _>((
            Bound::Included(first),
            only.map_or(Bound::Unbounded, Bound::Included),
        ));
        namespaces.flat_map(move |(namespace, names)| {
            let start = if namespace.as_ref() == from.0 {
                from.1
            } else {
                ""
            };
            let start = if namespace.as_ref() < from.0 {
                None
            } else {
                Some(start)
            };
            start.into_iter().flat_map(move |start| {
                names
                    .range::<str, _>((Bound::Included(start), Bound::Unbounded))
                    .map(|(_, slot)| &slot.entry)
            })
        })
    }

    /// For every object changed since `at`: what it was then.
    fn before<'a>(
        &'a self,
        at: Revision,
        only: Option<&'a str>,
        from: (&'a str, &'a str),
    ) -> BTreeMap<(&'a str, &'a str), Option<&'a Arc<Entry>>> {
        let mut before = BTreeMap::new();
        for event in self.since(at) {
            let key = &event.entry.key;
            let place = (key.namespace.as_ref(), key.name.as_ref());
            if place >= from && only.is_none_or(|only| only == place.0) {
                // The first change after `at` knows the state at `at`; later ones do not.
                before.entry(place).or_insert(event.previous.as_ref());
            }
        }
        before
    }
}

/// The bytes an event holds on to: the object, and the previous one, which the event before it in
/// the history may share. Counting both is the safe side.
fn weight(event: &Event) -> usize {
    event.entry.json.len() + event.previous.as_ref().map_or(0, |entry| entry.json.len())
}

/// Merges two orders of keys: what is there now, and what was there before it changed, which wins.
struct Merge<'a, N, B>
where
    N: Iterator<Item = &'a Arc<Entry>>,
    B: Iterator<Item = ((&'a str, &'a str), Option<&'a Arc<Entry>>)>,
{
    now: std::iter::Peekable<N>,
    before: std::iter::Peekable<B>,
}

impl<'a, N, B> Iterator for Merge<'a, N, B>
where
    N: Iterator<Item = &'a Arc<Entry>>,
    B: Iterator<Item = ((&'a str, &'a str), Option<&'a Arc<Entry>>)>,
{
    type Item = &'a Arc<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((place, _)) = self.before.peek() else {
                return self.now.next();
            };
            let place = *place;
            let now = self
                .now
                .peek()
                .map(|e| (e.key.namespace.as_ref(), e.key.name.as_ref()));
            if now.is_some_and(|now| now < place) {
                return self.now.next();
            }
            if now == Some(place) {
                self.now.next();
            }
            if let Some((_, Some(entry))) = self.before.next() {
                return Some(entry);
            }
        }
    }
}
