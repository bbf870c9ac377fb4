//! Admission: what depends on other objects than the one that is written.
//!
//! In: an object on its way into the store, by whom and how. Out: the object with what the cluster
//! adds ([`Admission::mutate`], between defaults and validation), a refusal in upstream's words, or
//! warnings ([`Admission::validate`]), and further writes that belong into the same transaction
//! ([`Admission::reserve`]: what a quota has used). The API server and the controllers of this process
//! go through it alike.
//!
//! What is decided is decided by [`bramble_controller_core::admission`]; here is what it needs to know
//! of the store. Nothing is kept but the addresses and ports of Services, an index of what is stored,
//! with what is on its way there: a restart begins from the store, so nothing leaks.

mod pods;
mod quotas;
mod security;
mod services;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bramble_api::kind::{self, Kind};
use bramble_api::status::Status;
use bramble_controller_core::admission::{account, priority};
use serde_json::Value;

use super::request::{Info, key};
use crate::join::Cidr;
use crate::store::{Error, Op, Page, Scope, Store};
pub(crate) use quotas::count;
pub(crate) use services::Claim;

/// How long a pod of a new namespace waits for the namespace's account.
const ACCOUNT_WAIT: Duration = Duration::from_secs(1);

/// What happens to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
}

/// What is written, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) kind: &'static Kind,
    pub(crate) subresource: Option<&'a str>,
    /// `None` for cluster-scoped kinds.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) operation: Operation,
    pub(crate) dry_run: bool,
}

impl<'a> Attributes<'a> {
    /// Of a request.
    pub(crate) fn of(info: &'a Info, operation: Operation, dry_run: bool) -> Self {
        Self {
            kind: info.kind,
            subresource: info.subresource.map(|s| s.name),
            namespace: info.namespace.as_deref(),
            operation,
            dry_run,
        }
    }

    /// Of an object that a controller of this process makes.
    pub(crate) fn created(kind: &'static Kind, namespace: &'a str) -> Self {
        Self {
            kind,
            subresource: None,
            namespace: kind.namespaced.then_some(namespace),
            operation: Operation::Create,
            dry_run: false,
        }
    }

    fn is(&self, group: &str, resource: &str) -> bool {
        self.kind.group == group && self.kind.plural == resource && self.subresource.is_none()
    }

    fn creates(&self, group: &str, resource: &str) -> bool {
        self.operation == Operation::Create && self.is(group, resource)
    }

    fn adds_debug_containers(&self) -> bool {
        self.kind.kind == "Pod" && self.subresource == Some("ephemeralcontainers")
    }

    fn forbidden(&self, name: &str, why: &str) -> Status {
        Status::forbidden(self.kind.group, self.kind.plural, name, why)
    }
}

/// What [`Admission::mutate`] adds besides the changes. Keep it until the write is committed or given
/// up: until then, what was allotted to the object is nobody else's.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Mutated {
    pub(crate) warnings: Vec<String>,
    /// Held for its `Drop`.
    _claim: Option<Claim>,
}

/// See the module.
pub(crate) struct Admission {
    store: Arc<dyn Store>,
    /// None where no Services are made.
    services: Option<services::Services>,
    turn: Mutex<()>,
}

impl Admission {
    pub(crate) fn new(store: Arc<dyn Store>, service_cidr: Cidr) -> Self {
        Self {
            services: Some(services::Services::new(service_cidr)),
            store,
            turn: Mutex::new(()),
        }
    }

    /// For the controllers, whose only Service says itself what it has.
    pub(crate) fn without_services(store: Arc<dyn Store>) -> Self {
        Self {
            services: None,
            store,
            turn: Mutex::new(()),
        }
    }

    /// Waits, for a moment at most, for what the cluster makes by itself and the object needs: the
    /// `default` service account of a new namespace.
    pub(crate) async fn ready(&self, attributes: &Attributes<'_>, object: &Value) {
        if !attributes.creates("", "pods") || account::name_of(object) != account::DEFAULT {
            return;
        }
        let Some(namespace) = attributes.namespace else {
            return;
        };
        let scope = Scope::namespaced("", "serviceaccounts", namespace);
        let Ok(mut watcher) = self.store.watch_pending(&scope, self.store.revision()) else {
            return;
        };
        let there = async {
            while self
                .find("", "serviceaccounts", namespace, account::DEFAULT)
                .is_none()
            {
                // Too slow for the history, or the end of the store: what follows says so.
                if watcher.next().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(ACCOUNT_WAIT, there).await;
    }

    /// Adds what the cluster adds. `old` is the stored object of an update.
    pub(crate) fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<Mutated, Status> {
        let mut mutated = Mutated::default();
        if attributes.is("", "pods") {
            match old {
                None => self.mutate_pod(attributes, object)?,
                Some(old) => priority::preserve(object, old),
            }
        }
        if let Some(services) = self
            .services
            .as_ref()
            .filter(|_| attributes.is("", "services"))
        {
            mutated._claim = Some(services.allot(&*self.store, attributes, object, old)?);
        }
        Ok(mutated)
    }

    /// Whether the valid object may be stored; the texts are warnings.
    pub(crate) fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        let creates = attributes.operation == Operation::Create;
        if creates && (attributes.is("", "pods") || attributes.is("", "persistentvolumeclaims")) {
            self.check_limits(attributes, object)?;
        }
        if attributes.creates("", "pods") || attributes.adds_debug_containers() {
            self.check_account(attributes, object)?;
        }
        let warnings = self.check_security(attributes, object, old)?;
        if attributes.is("scheduling.k8s.io", "priorityclasses") {
            let classes = self.all("scheduling.k8s.io", "priorityclasses", None)?;
            priority::check_class(object, &classes)
                .map_err(|why| attributes.forbidden(name_of(object), &why))?;
        }
        Ok(warnings)
    }

    /// The last step before the commit, under [`Admission::turn`]: what must be written together with
    /// the object, after it in the same transaction. When the commit meets a conflict on one of these,
    /// ask again.
    pub(crate) fn reserve(
        &self,
        attributes: &Attributes<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<Op>, Status> {
        let mut writes = self.charge(attributes, object, old)?;
        if attributes.dry_run {
            // A trial is counted and leaves no trace.
            writes.clear();
        }
        Ok(writes)
    }

    /// One decision about shared amounts at a time. Never held across an await.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        // Nothing is behind the lock that a panic could have broken.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One object, pending writes included.
    fn find(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let kind = kind::find(group, "v1", resource)?;
        let entry = self.store.get(&key(kind, namespace, name))?;
        serde_json::from_slice(&entry.json).ok()
    }

    /// All objects of a resource, of one namespace or of all.
    fn all(
        &self,
        group: &str,
        resource: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, Status> {
        let scope = Scope {
            group: group.into(),
            resource: resource.into(),
            namespace: namespace.map(Into::into),
        };
        let listing = self.store.list(&scope, &Page::default());
        let entries = listing.map_err(unavailable)?.entries;
        // One that does not decode was not admitted by us; it holds nobody else up.
        Ok(entries
            .iter()
            .filter_map(|entry| serde_json::from_slice(&entry.json).ok())
            .collect())
    }
}

fn unavailable(error: Error) -> Status {
    Status::internal(error)
}

fn name_of(object: &Value) -> &str {
    object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// What upstream calls an object whose name is not drawn yet when admission first sees it.
fn early_name(object: &Value) -> &str {
    let prefix = object
        .pointer("/metadata/generateName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let name = name_of(object);
    let drawn = name
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == 5);
    if !prefix.is_empty() && drawn {
        prefix
    } else {
        name
    }
}
