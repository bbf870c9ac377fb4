//! Events: counted instead of repeated, limited for each object, gone after an hour.
//!
//! In: notes of controllers. Out: Event objects to write. One task owns the recorder; it holds a
//! bounded number of recent events so that the same note raises a count.

mod from_report;

use std::collections::{BTreeMap, VecDeque};

use bramble_api::time::Timestamp;
use serde_json::{Value, json};

use crate::action::{Note, Regarding};
pub use from_report::from_report;

/// Seconds that an Event is kept after it happened last.
pub const TTL_S: i64 = 3600;
/// Most Events kept; beyond it the oldest go.
pub const MAX: usize = 2000;
/// Notes that an object may bring at once, as upstream.
const BURST: f64 = 25.0;
/// Seconds in which an object gains one more.
const REFILL_S: f64 = 300.0;
/// Longest name of an object.
const NAME_MAX: usize = 253;
/// Text of an event is cut to this, as upstream.
const MESSAGE_MAX: usize = 1024;

/// An Event to write, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The object, without UID and revision.
    pub object: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    regarding: Regarding,
    warning: bool,
    reason: &'static str,
    message: String,
    component: &'static str,
    host: String,
}

#[derive(Debug)]
struct Known {
    name: String,
    first: Timestamp,
    last: Timestamp,
    count: u64,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

/// Remembers recent events.
#[derive(Debug, Default)]
pub struct Recorder {
    known: BTreeMap<Key, Known>,
    /// Keys in the order in which they came, for the bound.
    order: VecDeque<Key>,
    /// Allowance by UID.
    buckets: BTreeMap<String, Bucket>,
    serial: u64,
    dropped: u64,
}

impl Recorder {
    /// The write that a note calls for; none when its object talks too much.
    pub fn record(&mut self, note: &Note, now: Timestamp) -> Option<Write> {
        if !self.take(&note.regarding.uid, now) {
            self.dropped += 1;
            return None;
        }
        let mut message = note.message.clone();
        if message.len() > MESSAGE_MAX {
            let end = (0..=MESSAGE_MAX)
                .rev()
                .find(|at| message.is_char_boundary(*at));
            message.truncate(end.unwrap_or(0));
        }
        let key = Key {
            regarding: note.regarding.clone(),
            warning: note.warning,
            reason: note.reason,
            message,
            component: note.component,
            host: note.host.clone(),
        };
        if !self.known.contains_key(&key) {
            self.add(key.clone(), now);
        }
        let known = self.known.get_mut(&key)?;
        known.count += 1;
        known.last = now;
        Some(Write {
            namespace: namespace(&key.regarding).to_owned(),
            name: known.name.clone(),
            object: object(&key, known),
        })
    }

    fn add(&mut self, key: Key, now: Timestamp) {
        if self.order.len() >= MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        // Time and a serial number: unique also across restarts, as upstream's nanoseconds are.
        self.serial += 1;
        let nanos = i128::from(now.seconds) * 1_000_000_000 + i128::from(now.nanos);
        let suffix = format!(".{:x}{:03x}", nanos, self.serial & 0xfff);
        let name = format!(
            "{}{suffix}",
            shortened(&key.regarding.name, NAME_MAX - suffix.len())
        );
        self.known.insert(
            key.clone(),
            Known {
                name,
                first: now,
                last: now,
                count: 0,
            },
        );
        self.order.push_back(key);
    }

    /// Token bucket by object.
    fn take(&mut self, uid: &str, now: Timestamp) -> bool {
        if self.buckets.len() >= MAX && !self.buckets.contains_key(uid) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            // Nobody is full: the one who has spoken longest ago is forgotten.
            if self.buckets.len() >= MAX
                && let Some(oldest) = self
                    .buckets
                    .iter()
                    .min_by_key(|(_, b)| b.at)
                    .map(|(uid, _)| uid.clone())
            {
                self.buckets.remove(&oldest);
            }
        }
        let bucket = self.buckets.entry(uid.to_owned()).or_insert(Bucket {
            tokens: BURST,
            at: now,
        });
        bucket.tokens = bucket.level(now);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    /// Forgets what is over its time. The objects themselves are removed by whoever lists them.
    pub fn expire(&mut self, now: Timestamp) {
        self.known.retain(|_, known| now.since(known.last) < TTL_S);
        let known = &self.known;
        self.order.retain(|key| known.contains_key(key));
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
    }

    /// Notes dropped because their object talked too much.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether it remembers anything.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.buckets.is_empty()
    }
}

impl Bucket {
    fn level(&self, now: Timestamp) -> f64 {
        // Ages of hours: nowhere near where the conversion loses anything.
        #[allow(clippy::cast_precision_loss)]
        let gained = now.since(self.at).max(0) as f64 / REFILL_S;
        (self.tokens + gained).min(BURST)
    }

    fn is_full(&self, now: Timestamp) -> bool {
        self.level(now) >= BURST
    }
}

/// As much of a name as fits and is a name still.
fn shortened(name: &str, most: usize) -> &str {
    let cut = name.get(..name.len().min(most)).unwrap_or("object");
    cut.trim_end_matches(['-', '.'])
}

/// Events about cluster-scoped objects live in `default`, as upstream.
fn namespace(regarding: &Regarding) -> &str {
    if regarding.namespace.is_empty() {
        "default"
    } else {
        &regarding.namespace
    }
}

fn object(key: &Key, known: &Known) -> Value {
    let regarding = &key.regarding;
    let mut involved = json!({
        "kind": regarding.kind,
        "apiVersion": regarding.api_version,
        "name": regarding.name,
        "uid": regarding.uid,
    });
    if !regarding.namespace.is_empty() {
        involved["namespace"] = regarding.namespace.as_str().into();
    }
    if !regarding.field_path.is_empty() {
        involved["fieldPath"] = regarding.field_path.as_str().into();
    }
    let mut source = json!({"component": key.component});
    if !key.host.is_empty() {
        source["host"] = key.host.as_str().into();
    }
    json!({
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {
            "name": known.name,
            "namespace": namespace(regarding),
            "creationTimestamp": known.first.rfc3339(),
        },
        "involvedObject": involved,
        "reason": key.reason,
        "message": key.message,
        "source": source,
        "firstTimestamp": known.first.rfc3339(),
        "lastTimestamp": known.last.rfc3339(),
        "count": known.count,
        "type": if key.warning { "Warning" } else { "Normal" },
        "reportingComponent": key.component,
        "reportingInstance": key.host,
    })
}

#[cfg(test)]
mod tests;
