//! Events: counted instead of repeated, combined when they differ by words alone, limited for each
//! source and object, gone after an hour.
//!
//! In: notes of controllers. Out: Event objects to write. One task owns the recorder; it holds a
//! bounded number of recent events so that the same note raises a count. The steps and their order
//! are those of client-go's `EventCorrelator`.

mod from_node;
mod from_report;
mod recent;
mod similar;

use std::borrow::Cow;

use bramble_api::time::Timestamp;
use serde_json::{Value, json};

use crate::action::{Note, Regarding};
pub use from_node::from_node;
pub use from_report::from_report;
use recent::Recent;
use similar::{Allowance, Similar};

/// Seconds that an Event is kept after it happened last.
pub const TTL_S: i64 = 3600;
/// Most Events kept; beyond it the oldest go.
pub const MAX: usize = 2000;
/// Longest name of an object.
const NAME_MAX: usize = 253;
/// Text of an event is cut to this, as upstream.
const MESSAGE_MAX: usize = 1024;
/// What precedes the newest of combined messages.
const COMBINED: &str = "(combined from similar events): ";

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

/// Who speaks of what; the field path is left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Speaker {
    component: &'static str,
    host: String,
    regarding: Regarding,
}

/// What is told, whatever the words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Matter {
    speaker: Speaker,
    warning: bool,
    reason: Cow<'static, str>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    matter: Matter,
    /// Field path and message; none for what is combined.
    words: Option<(String, String)>,
}

#[derive(Debug)]
struct Known {
    name: String,
    first: Timestamp,
    last: Timestamp,
    count: u64,
}

/// When something was seen last, and how often since it was told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: Timestamp,
    /// How often.
    pub count: u32,
}

/// Remembers recent events.
///
/// Three maps of at most 1024 entries each: an event at most about 2 KiB, a matter or an allowance
/// at most about 1 KiB; a few hundred bytes as a rule.
#[derive(Debug, Default)]
pub struct Recorder {
    known: Recent<Key, Known>,
    similar: Recent<Matter, Similar>,
    allowances: Recent<Speaker, Allowance>,
    serial: u64,
    dropped: u64,
}

impl Recorder {
    /// The write that a note calls for; none when its source says too much about its object. It is
    /// counted all the same, and seen when there is something to say again.
    pub fn record(&mut self, note: &Note, now: Timestamp) -> Option<Write> {
        self.record_seen(note, Seen { at: now, count: 1 }, now)
    }

    /// The same for what was seen elsewhere, and perhaps several times.
    pub fn record_seen(&mut self, note: &Note, seen: Seen, now: Timestamp) -> Option<Write> {
        let matter = matter(note);
        let speaker = matter.speaker.clone();
        let similar = self.similar.of(matter.clone(), Similar::default);
        let (message, words) = if similar.combines(&note.message, now) {
            (cut(format!("{COMBINED}{}", note.message)), None)
        } else {
            let message = cut(note.message.clone());
            let words = (note.regarding.field_path.clone(), message.clone());
            (message, Some(words))
        };
        let serial = &mut self.serial;
        let known = self.known.of(Key { matter, words }, || {
            *serial += 1;
            Known {
                name: name(&note.regarding, *serial, now),
                first: seen.at,
                last: seen.at,
                count: 0,
            }
        });
        known.count += u64::from(seen.count);
        known.last = known.last.max(seen.at);
        let allowance = self.allowances.of(speaker, || Allowance::full(now));
        if !allowance.take(now) {
            self.dropped += 1;
            return None;
        }
        Some(Write {
            namespace: namespace(&note.regarding).to_owned(),
            name: known.name.clone(),
            object: object(note, &message, known),
        })
    }

    /// Forgets what is over its time. The objects themselves are removed by whoever lists them.
    pub fn expire(&mut self, now: Timestamp) {
        self.known.retain(|known| now.since(known.last) < TTL_S);
        self.similar.retain(|similar| !similar.is_silent(now));
        self.allowances.retain(|allowance| !allowance.is_full(now));
    }

    /// Notes dropped because their source said too much about their object.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether it remembers anything.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.similar.is_empty() && self.allowances.is_empty()
    }
}

fn matter(note: &Note) -> Matter {
    let mut regarding = note.regarding.clone();
    regarding.field_path = String::new();
    Matter {
        speaker: Speaker {
            component: note.component,
            host: note.host.clone(),
            regarding,
        },
        warning: note.warning,
        reason: note.reason.clone(),
    }
}

fn cut(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MESSAGE_MAX));
    message
}

/// Time and a serial number: unique also across restarts, as upstream's nanoseconds are.
fn name(regarding: &Regarding, serial: u64, now: Timestamp) -> String {
    let suffix = format!(".{:x}{:03x}", similar::nanos(now), serial & 0xfff);
    let most = NAME_MAX - suffix.len();
    format!("{}{suffix}", shortened(&regarding.name, most))
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

fn object(note: &Note, message: &str, known: &Known) -> Value {
    let regarding = &note.regarding;
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
    let mut source = json!({"component": note.component});
    if !note.host.is_empty() {
        source["host"] = note.host.as_str().into();
    }
    let mut object = json!({
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {
            "name": known.name,
            "namespace": namespace(regarding),
            "creationTimestamp": known.first.rfc3339(),
        },
        "involvedObject": involved,
        "reason": note.reason,
        "message": message,
        "source": source,
        "firstTimestamp": known.first.rfc3339(),
        "lastTimestamp": known.last.rfc3339(),
        "count": known.count,
        "type": if note.warning { "Warning" } else { "Normal" },
        "reportingComponent": note.component,
        "reportingInstance": note.host,
    });
    // Readers of `events.k8s.io/v1` look here alone; for others it says what the count says.
    if known.count > 1 {
        object["series"] = json!({
            "count": known.count,
            "lastObservedTime": known.last.rfc3339_micro(),
        });
    }
    object
}

#[cfg(test)]
mod tests;
