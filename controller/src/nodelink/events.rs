//! What happened on the nodes, as Event objects. Owned by the node link's task.
//!
//! In: the core's notes of a report that has been written, and what a node told itself. Out: Events in the store, in memory only.
//! Nothing waits for them and nothing fails because of them; who keeps their number within bounds
//! is the controllers' loop, as with its own.

use bramble_api::time::Timestamp;
use bramble_controller_core::action::Note;
use bramble_controller_core::event::{self, Recorder, Seen, Write};
use bramble_wire::name::NodeName;
use bramble_wire::object::PodUid;
use bramble_wire::report::PodEvent;
use serde_json::Value;

use crate::object;
use crate::store::{Durability, Expect, Key, Op, Store};

/// Seconds between two looks for what can be forgotten.
const EXPIRE_S: i64 = 60;

/// Tells of what happened.
#[derive(Default)]
pub(super) struct Events {
    recorder: Recorder,
    expired: Option<Timestamp>,
}

impl Events {
    /// Writes what notes call for.
    pub(super) fn tell(&mut self, store: &dyn Store, notes: &[Note], now: Timestamp) {
        for note in notes {
            self.write(store, note, Seen { at: now, count: 1 }, now);
        }
    }

    /// Writes what a node told of its pods. `pod` finds one that is bound to it.
    pub(super) fn relay<'a>(
        &mut self,
        store: &dyn Store,
        node: &NodeName,
        told: &[PodEvent],
        pod: impl Fn(&PodUid) -> Option<&'a Key>,
        now: Timestamp,
    ) {
        for event in told {
            let stored = pod(&event.uid).and_then(|key| store.get(key));
            let stored = stored.and_then(|entry| serde_json::from_slice(&entry.json).ok());
            let stored: Option<Value> = stored;
            let note = stored.and_then(|pod| event::from_node(node.as_str(), &pod, event, now));
            if let Some((note, seen)) = note {
                self.write(store, &note, seen, now);
            }
        }
    }

    fn write(&mut self, store: &dyn Store, note: &Note, seen: Seen, now: Timestamp) {
        if self.expired.is_none_or(|at| now.since(at) >= EXPIRE_S) {
            self.recorder.expire(now);
            self.expired = Some(now);
        }
        if let Some(write) = self.recorder.record_seen(note, seen, now)
            && let Some(op) = op(store, write)
            && let Err(error) = store.commit(vec![op])
        {
            tracing::debug!(%error, reason = %note.reason, "an event was not written");
        }
    }
}

/// None for a namespace that is gone or going: nothing would remove the Event with it.
fn op(store: &dyn Store, write: Write) -> Option<Op> {
    let stored =
        |key: &Key| -> Option<Value> { serde_json::from_slice(&store.get(key)?.json).ok() };
    let namespace = stored(&Key::new("", "namespaces", "", write.namespace.as_str()))?;
    if namespace["metadata"].get("deletionTimestamp").is_some() {
        return None;
    }
    let key = Key::new("", "events", write.namespace.as_str(), write.name.as_str());
    let mut object = write.object;
    object["metadata"]["uid"] = match stored(&key) {
        Some(known) => known["metadata"]["uid"].clone(),
        None => object::uid().ok()?.into(),
    };
    Some(object::put(key, &object, Expect::Any, Durability::Memory))
}
