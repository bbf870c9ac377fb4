//! Keeps `status` of ResourceQuotas true: what is used, counted from what is there.
//!
//! Admission adds what is created in the same transaction; here is everything else: what goes, ends,
//! or was there before the quota. A count is written on the revision of the quota that it began with,
//! so one that an admission has outdated is thrown away and made again. Changes are gathered for a
//! moment, since counting reads the whole namespace; idle, the task waits for the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bramble_api::kind;
use bramble_controller_core::admission::quota::{self, Subject};
use serde_json::Value;

use crate::apiserver::admission::count;
use crate::object;
use crate::store::{
    Durability, Entry, Error, Event, EventKind, Expect, Key, Page, Scope, Store, Watcher,
};

/// How long changes are gathered.
const GATHER: Duration = Duration::from_millis(100);

/// Runs until the store fails, and says how.
pub(super) async fn run(store: Arc<dyn Store>) -> Error {
    loop {
        let error = match Quotas::open(store.clone()) {
            Ok(mut quotas) => quotas.follow().await,
            Err(error) => error,
        };
        match error {
            // More was written than the watch history holds: count everything again.
            Error::Compacted { .. } | Error::Future { .. } => tokio::task::yield_now().await,
            error => return error,
        }
    }
}

/// One resource whose objects may count.
struct Source {
    subject: Subject<'static>,
    watcher: Watcher,
}

struct Quotas {
    store: Arc<dyn Store>,
    sources: Vec<Source>,
    /// Quotas by namespace; most have none, and then nothing is looked at.
    quotas: BTreeMap<Arc<str>, BTreeSet<Key>>,
    dirty: BTreeSet<Key>,
}

impl Quotas {
    fn open(store: Arc<dyn Store>) -> Result<Self, Error> {
        let mut this = Self {
            sources: Vec::new(),
            quotas: BTreeMap::new(),
            dirty: BTreeSet::new(),
            store,
        };
        for kind in kind::stored().filter(|kind| kind.namespaced) {
            let subject = Subject {
                group: kind.group,
                resource: kind.plural,
            };
            if !quota::counts(subject, quota::Change::Create)
                || this.sources.iter().any(|source| source.subject == subject)
            {
                continue;
            }
            let scope = Scope::all(kind.storage_group, kind.plural);
            let watcher = this.store.watch_pending(&scope, this.store.revision())?;
            this.sources.push(Source { subject, watcher });
        }
        // Listed after the watches began, so nothing is missed.
        let quotas = this
            .store
            .list(&Scope::all("", "resourcequotas"), &Page::default())?;
        for entry in quotas.entries {
            this.note_quota(&entry, false);
        }
        Ok(this)
    }

    async fn follow(&mut self) -> Error {
        loop {
            if let Err(error) = self.take() {
                return error;
            }
            if let Err(error) = self.count_dirty() {
                return error;
            }
            if let Err(error) = self.wait().await {
                return error;
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Waits for any change.
    async fn wait(&mut self) -> Result<(), Error> {
        let changes = self
            .sources
            .iter_mut()
            .map(|source| Box::pin(source.watcher.next()));
        let (event, at, _) = futures_util::future::select_all(changes).await;
        let subject = self.sources[at].subject;
        self.note(subject, &event?);
        Ok(())
    }

    /// Takes every change that the store has.
    fn take(&mut self) -> Result<(), Error> {
        let mut sources = std::mem::take(&mut self.sources);
        let mut taken = Ok(());
        'all: for source in &mut sources {
            loop {
                match source.watcher.try_next() {
                    Ok(Some(event)) => self.note(source.subject, &event),
                    Ok(None) => break,
                    Err(error) => {
                        taken = Err(error);
                        break 'all;
                    }
                }
            }
        }
        self.sources = sources;
        taken
    }

    fn note_quota(&mut self, entry: &Entry, gone: bool) {
        let key = entry.key.clone();
        let inside = self.quotas.entry(key.namespace.clone()).or_default();
        if gone {
            inside.remove(&key);
            if inside.is_empty() {
                self.quotas.remove(&key.namespace);
            }
        } else {
            inside.insert(key.clone());
            self.dirty.insert(key);
        }
    }

    fn note(&mut self, subject: Subject<'static>, event: &Event) {
        let is_quota = (subject.group, subject.resource) == ("", "resourcequotas");
        if is_quota && !is_own(event) {
            self.note_quota(&event.entry, event.kind == EventKind::Deleted);
        }
        let Some(quotas) = self.quotas.get(&event.entry.key.namespace) else {
            return;
        };
        let same = event.kind == EventKind::Modified
            && event.previous.as_ref().is_some_and(|before| {
                let (old, new) = (decode(before), decode(&event.entry));
                quota::is_same(subject, &old, &new, object::now())
            });
        if !same {
            self.dirty.extend(quotas.iter().cloned());
        }
    }

    fn count_dirty(&mut self) -> Result<(), Error> {
        while let Some(key) = self.dirty.pop_first() {
            if !self.count_one(&key)? {
                // Somebody was faster; the change is on its way here, and counts again.
                self.dirty.insert(key);
                return Ok(());
            }
        }
        Ok(())
    }

    /// False when the quota has moved meanwhile.
    fn count_one(&self, key: &Key) -> Result<bool, Error> {
        let Some(entry) = self.store.get(key) else {
            return Ok(true);
        };
        let mut quota = decode(&entry);
        let status = match count(&*self.store, &key.namespace, &quota) {
            Ok(status) => status,
            Err(error) => {
                tracing::error!(quota = %key, %error, "left out: what it limits does not decode");
                return Ok(true);
            }
        };
        if quota.get("status") == Some(&status) {
            return Ok(true);
        }
        quota["status"] = status;
        // Lost in a crash it is counted again.
        let expect = Expect::Revision(entry.modified);
        let op = object::put(key.clone(), &quota, expect, Durability::Soft);
        match self.store.commit(vec![op]) {
            Ok(_) => Ok(true),
            Err(Error::Conflict { .. } | Error::NotFound(_)) => Ok(false),
            Err(error @ (Error::Failed | Error::Compacted { .. })) => Err(error),
            Err(error) => {
                tracing::warn!(quota = %key, %error, "a count was not written");
                Ok(true)
            }
        }
    }
}

/// A change of nothing but the status: of our own making, or of admission's.
fn is_own(event: &Event) -> bool {
    let Some(before) = &event.previous else {
        return false;
    };
    let (old, new) = (decode(before), decode(&event.entry));
    event.kind == EventKind::Modified && old["spec"] == new["spec"] && quota::is_current(&new)
}

fn decode(entry: &Entry) -> Value {
    serde_json::from_slice(&entry.json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, Op};
    use serde_json::json;

    fn put(store: &MemoryStore, resource: &str, name: &str, object: &Value) {
        let mut object = object.clone();
        object["metadata"]["name"] = name.into();
        let key = Key::new("", resource, "default", name);
        let op = object::put(key, &object, Expect::Any, Durability::Hard);
        let _ = store.commit(vec![op]).unwrap();
    }

    async fn used(store: &MemoryStore, want: &str) {
        let key = Key::new("", "resourcequotas", "default", "q");
        let scope = Scope::all("", "resourcequotas");
        let mut watcher = store.watch_pending(&scope, store.revision()).unwrap();
        let reached = async {
            loop {
                let quota = store.get(&key).map(|e| decode(&e)).unwrap_or_default();
                if quota["status"]["used"]["pods"] == want {
                    return;
                }
                watcher.next().await.unwrap();
            }
        };
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, reached).await.expect(want);
    }

    #[tokio::test]
    async fn what_ends_or_goes_is_given_back() {
        let store = MemoryStore::default();
        let pod = json!({"spec": {"containers": []}});
        put(&store, "pods", "a", &pod);
        put(
            &store,
            "resourcequotas",
            "q",
            &json!({"spec": {"hard": {"pods": "9"}}}),
        );
        let task = tokio::spawn(run(Arc::new(store.clone())));
        used(&store, "1").await;
        put(&store, "pods", "b", &pod);
        used(&store, "2").await;
        put(
            &store,
            "pods",
            "b",
            &json!({"spec": {"containers": []}, "status": {"phase": "Failed"}}),
        );
        used(&store, "1").await;
        let op = Op::Delete {
            key: Key::new("", "pods", "default", "a"),
            expect: Expect::Any,
            durability: Durability::Hard,
        };
        let _ = store.commit(vec![op]).unwrap();
        used(&store, "0").await;
        task.abort();
    }
}
