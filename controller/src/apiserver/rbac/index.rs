//! Roles and bindings as the store has them, decoded once for each change.
//!
//! Nothing runs in the background: whoever asks first after a change takes it in. So an answer is
//! never older than the last write that anybody was told of, and an idle cluster does nothing. Only
//! durable changes count: a right that a power cut takes back was never given.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bramble_controller_core::rbac::node::{Graph, Pod};
use bramble_controller_core::rbac::{GROUP, Policy};
use serde::de::DeserializeOwned;

use crate::store::{Entry, Error, EventKind, Page, Scope, Store, Watcher};

const RESOURCES: [&str; 4] = [
    "clusterroles",
    "clusterrolebindings",
    "roles",
    "rolebindings",
];

pub(super) struct Index {
    store: Arc<dyn Store>,
    policy: Following<Policy>,
    /// Read when the first node asks; most clusters' nodes never do.
    graph: Following<Option<Graph>>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").finish_non_exhaustive()
    }
}

/// Something made of objects, and how far it has come.
struct Following<T> {
    /// The store's visible revision when it was last brought up to date.
    seen: AtomicU64,
    state: RwLock<State<T>>,
}

struct State<T> {
    made: T,
    watchers: Vec<Watcher>,
}

impl<T> State<T> {
    fn empty(made: T) -> Self {
        Self {
            made,
            watchers: Vec::new(),
        }
    }
}

impl<T> Following<T> {
    fn new(made: T) -> Self {
        Self {
            seen: AtomicU64::new(0),
            state: RwLock::new(State::empty(made)),
        }
    }

    /// The state as of now; `catch_up` is called when there may be something new.
    fn now(
        &self,
        store: &dyn Store,
        catch_up: impl FnOnce(&mut State<T>) -> Result<(), Error>,
    ) -> RwLockReadGuard<'_, State<T>> {
        let visible = store.visible().0;
        if self.seen.load(Ordering::Acquire) < visible {
            // What a panic left half done is rebuilt: the watchers are taken out meanwhile.
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if self.seen.load(Ordering::Acquire) < visible {
                match catch_up(&mut state) {
                    Ok(()) => self.seen.store(visible, Ordering::Release),
                    // Only a store that has failed, and takes the process with it.
                    Err(error) => tracing::error!(%error, "the rules of access stay as they are"),
                }
            }
        }
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Applies every change since the last time; `false` when there were more than the store remembers.
fn drain(watchers: &mut [Watcher], mut apply: impl FnMut(&Entry, bool)) -> Result<bool, Error> {
    for watcher in watchers {
        loop {
            match watcher.try_next() {
                Ok(Some(event)) => apply(&event.entry, event.kind == EventKind::Deleted),
                Ok(None) => break,
                Err(Error::Compacted { .. } | Error::Future { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(true)
}

/// Lists a resource as far as it is durable, and watches it from there.
fn open(
    store: &dyn Store,
    scope: &Scope,
    mut apply: impl FnMut(&Entry, bool),
) -> Result<Watcher, Error> {
    let durable = Page {
        at: Some(store.visible()),
        ..Page::default()
    };
    let listing = store
        .list(scope, &durable)
        .or_else(|_| store.list(scope, &Page::default()))?;
    let watcher = store.watch(scope, listing.revision)?;
    listing.entries.iter().for_each(|entry| apply(entry, false));
    Ok(watcher)
}

impl Index {
    pub(super) fn open(store: Arc<dyn Store>) -> Result<Self, Error> {
        let index = Self {
            policy: Following::new(Policy::default()),
            graph: Following::new(None),
            store,
        };
        let mut state = State::empty(Policy::default());
        rebuild_policy(&*index.store, &mut state)?;
        *index
            .policy
            .state
            .write()
            .unwrap_or_else(PoisonError::into_inner) = state;
        Ok(index)
    }

    pub(super) fn with<R>(&self, ask: impl FnOnce(&Policy) -> R) -> R {
        let store = &*self.store;
        let state = self.policy.now(store, |state| {
            let mut watchers = std::mem::take(&mut state.watchers);
            let complete = !watchers.is_empty()
                && drain(&mut watchers, |entry, gone| {
                    apply(&mut state.made, entry, gone);
                })?;
            if complete {
                state.watchers = watchers;
                return Ok(());
            }
            rebuild_policy(store, state)
        });
        ask(&state.made)
    }

    pub(super) fn with_graph<R>(&self, ask: impl FnOnce(&Graph) -> R) -> R {
        let store = &*self.store;
        let state = self.graph.now(store, |state| {
            let mut watchers = std::mem::take(&mut state.watchers);
            if let Some(graph) = &mut state.made
                && !watchers.is_empty()
                && drain(&mut watchers, |entry, gone| set_pod(graph, entry, gone))?
            {
                state.watchers = watchers;
                return Ok(());
            }
            let mut graph = Graph::default();
            let scope = Scope::all("", "pods");
            let watcher = open(store, &scope, |entry, gone| {
                set_pod(&mut graph, entry, gone);
            })?;
            state.watchers = vec![watcher];
            state.made = Some(graph);
            Ok(())
        });
        match &state.made {
            Some(graph) => ask(graph),
            // The store has failed before the first look: nothing is known, so nothing is allowed.
            None => ask(&Graph::default()),
        }
    }
}

fn rebuild_policy(store: &dyn Store, state: &mut State<Policy>) -> Result<(), Error> {
    let mut policy = Policy::default();
    let mut watchers = Vec::new();
    for resource in RESOURCES {
        let scope = Scope::all(GROUP, resource);
        watchers.push(open(store, &scope, |entry, gone| {
            apply(&mut policy, entry, gone);
        })?);
    }
    state.made = policy;
    state.watchers = watchers;
    Ok(())
}

/// An object that is there and decodes.
fn decoded<T: DeserializeOwned>(entry: &Entry, gone: bool) -> Option<T> {
    if gone {
        return None;
    }
    let object = serde_json::from_slice(&entry.json);
    object
        .inspect_err(|error| {
            // Rules only ever allow, so leaving one out is safe.
            tracing::error!(object = %entry.key, %error, "left out: it does not decode");
        })
        .ok()
}

fn apply(policy: &mut Policy, entry: &Entry, gone: bool) {
    let (namespace, name) = (&*entry.key.namespace, &*entry.key.name);
    match &*entry.key.resource {
        "clusterroles" => policy.set_cluster_role(name, decoded(entry, gone)),
        "clusterrolebindings" => policy.set_cluster_binding(name, decoded(entry, gone)),
        "roles" => policy.set_role(namespace, name, decoded(entry, gone)),
        "rolebindings" => policy.set_binding(namespace, name, decoded(entry, gone)),
        _ => {}
    }
}

fn set_pod(graph: &mut Graph, entry: &Entry, gone: bool) {
    let pod: Option<Pod> = decoded(entry, gone);
    graph.set_pod(&entry.key.namespace, &entry.key.name, pod.as_ref());
}

#[cfg(test)]
mod tests {
    use bramble_controller_core::rbac::{Attributes, Resource, User};
    use serde_json::json;

    use super::*;
    use crate::store::{Body, Durability, Expect, Key, Limits, MemoryStore, Op};

    fn put(store: &MemoryStore, resource: &str, name: &str, json: &str) {
        let op = Op::Put {
            key: Key::new(GROUP, resource, "", name),
            expect: Expect::Any,
            body: Body {
                json: json.as_bytes().to_vec(),
                revision_at: None,
            },
            durability: Durability::Hard,
        };
        drop(store.commit(vec![op]).unwrap());
    }

    fn role(store: &MemoryStore, name: &str, verb: &str) {
        let rules = json!([{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}]);
        put(
            store,
            "clusterroles",
            name,
            &json!({"rules": rules}).to_string(),
        );
    }

    fn bind(store: &MemoryStore, name: &str, role: &str) {
        let binding = json!({
            "subjects": [{"kind": "User", "name": "ann"}],
            "roleRef": {"kind": "ClusterRole", "name": role},
        });
        put(store, "clusterrolebindings", name, &binding.to_string());
    }

    fn may(index: &Index, verb: &str) -> bool {
        let user = User {
            name: "ann",
            groups: &[],
        };
        let pods = Resource {
            resource: "pods",
            ..Resource::default()
        };
        index.with(|policy| policy.allows(user, &Attributes::resource(verb, pods)))
    }

    #[test]
    fn it_knows_what_was_there_and_what_comes() {
        let store = MemoryStore::default();
        role(&store, "reader", "get");
        bind(&store, "ann", "reader");
        let index = Index::open(Arc::new(store.clone())).unwrap();
        assert!(may(&index, "get"));
        assert!(!may(&index, "list"));
        role(&store, "reader", "list");
        assert!(may(&index, "list"));
        assert!(!may(&index, "get"));
        let key = Key::new(GROUP, "clusterrolebindings", "", "ann");
        let gone = Op::Delete {
            key,
            expect: Expect::Any,
            durability: Durability::Hard,
        };
        drop(store.commit(vec![gone]).unwrap());
        assert!(!may(&index, "list"));
    }

    #[test]
    fn a_bad_object_stops_no_other() {
        let store = MemoryStore::default();
        put(&store, "clusterroles", "bad", "{\"rules\": 5}");
        put(&store, "clusterrolebindings", "bad", "not json");
        role(&store, "reader", "get");
        bind(&store, "ann", "reader");
        let index = Index::open(Arc::new(store.clone())).unwrap();
        assert!(may(&index, "get"));
        // What was good and is bad now allows nothing any more.
        put(&store, "clusterroles", "reader", "[]");
        assert!(!may(&index, "get"));
        role(&store, "reader", "get");
        assert!(may(&index, "get"));
    }

    #[test]
    fn only_what_is_durable_counts() {
        let store = MemoryStore::held();
        let index = Index::open(Arc::new(store.clone())).unwrap();
        role(&store, "reader", "get");
        bind(&store, "ann", "reader");
        assert!(!may(&index, "get"));
        store.release();
        assert!(may(&index, "get"));
    }

    #[test]
    fn more_changes_than_the_store_remembers_are_read_anew() {
        let store = MemoryStore::new(Limits {
            history_events: 4,
            ..Limits::default()
        });
        bind(&store, "ann", "reader");
        let index = Index::open(Arc::new(store.clone())).unwrap();
        for n in 0..40 {
            role(&store, &format!("other-{n}"), "delete");
        }
        role(&store, "reader", "get");
        for n in 0..40 {
            role(&store, &format!("more-{n}"), "delete");
        }
        assert!(may(&index, "get"));
    }
}
