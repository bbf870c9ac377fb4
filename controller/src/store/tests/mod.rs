//! Tests of the stores: one suite for all of them, a model, power cuts, and a failing disk.

mod crash;
mod failure;
mod model;
mod release;
mod suite;

use std::sync::Arc;

use bramble_ledger::{Options, harness::Recorder};

use super::{
    Body, Durability, Entry, Event, Expect, Key, LedgerStore, Limits, Op, Page, Revision, Scope,
    Settings, Store,
};

fn key(name: &str) -> Key {
    Key::new("", "pods", "default", name)
}

fn pods() -> Scope {
    Scope::all("", "pods")
}

/// An object as the API server stores it.
fn body(value: &str) -> Body {
    let json = format!(r#"{{"metadata":{{"resourceVersion":""}},"value":"{value}"}}"#);
    let marker = r#""resourceVersion":""#;
    let revision_at = json.find(marker).map(|at| at + marker.len());
    Body {
        json: json.into_bytes(),
        revision_at,
    }
}

fn put(key: Key, expect: Expect, value: &str, durability: Durability) -> Op {
    Op::Put {
        key,
        expect,
        body: body(value),
        durability,
    }
}

fn hard(name: &str, value: &str) -> Op {
    put(key(name), Expect::Any, value, Durability::Hard)
}

fn delete(key: Key, durability: Durability) -> Op {
    Op::Delete {
        key,
        expect: Expect::Any,
        durability,
    }
}

/// The `resourceVersion` and value inside of an object.
fn parse(entry: &Entry) -> (Revision, String) {
    let json: serde_json::Value = serde_json::from_slice(&entry.json).unwrap();
    let revision = json["metadata"]["resourceVersion"].as_str().unwrap();
    let value = json["value"].as_str().unwrap().to_owned();
    (revision.parse().unwrap(), value)
}

fn value(store: &dyn Store, key: &Key) -> Option<String> {
    store.get(key).map(|entry| {
        let (revision, value) = parse(&entry);
        assert_eq!(
            revision, entry.modified,
            "the object names its own revision"
        );
        value
    })
}

/// `name=value` of what a page of pods holds.
fn show(entries: &[Arc<Entry>]) -> Vec<String> {
    entries
        .iter()
        .map(|e| format!("{}/{}={}", e.key.namespace, e.key.name, parse(e).1))
        .collect()
}

fn everything(store: &dyn Store) -> Vec<String> {
    show(&store.list(&pods(), &Page::default()).unwrap().entries)
}

fn describe(event: &Event) -> String {
    let previous = event.previous.as_ref().map(|previous| parse(previous).1);
    let (revision, value) = parse(&event.entry);
    assert_eq!(revision, event.revision);
    assert_eq!(event.entry.modified, event.revision);
    format!(
        "{:?} {}={value} was {previous:?}",
        event.kind, event.entry.key.name
    )
}

/// A store on a small disk, so that segments fill up and snapshots are made.
fn small() -> Settings {
    let limits = Limits {
        object_bytes: 1000,
        commit_bytes: 2000,
        ..Limits::default()
    };
    let ledger = Options {
        segment_bytes: 4096,
        max_record: 4096,
        max_batch: 4096,
        compact_bytes: 3000,
    };
    Settings {
        limits,
        ledger,
        ..Settings::default()
    }
}

fn open(disk: &Recorder) -> LedgerStore {
    LedgerStore::open_on(disk.clone(), small()).unwrap()
}

/// The outcome of something that must not take long.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    let limit = std::time::Duration::from_secs(10);
    tokio::time::timeout(limit, future)
        .await
        .expect("it should have happened by now")
}
