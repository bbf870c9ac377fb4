//! ResourceQuota: what an object uses is written into the status of its namespace's quotas, in the
//! transaction that writes the object.
//!
//! Two objects can't both take the last place: each commit expects the quota as it was counted on.

use bramble_api::kind::{self, Kind};
use bramble_api::status::Status;
use bramble_controller_core::admission::quota::{self, Change, Subject};
use serde_json::Value;

use super::{Admission, Attributes, Operation, name_of, unavailable};
use crate::apiserver::write::put;
use crate::object;
use crate::store::{Entry, Expect, Op, Page, Scope, Store};

fn subject(kind: &Kind) -> Subject<'static> {
    Subject {
        group: kind.group,
        resource: kind.plural,
    }
}

impl Admission {
    pub(super) fn charge(
        &self,
        attributes: &Attributes<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<Op>, Status> {
        let Some(namespace) = attributes.namespace else {
            return Ok(Vec::new());
        };
        let change = match (attributes.operation, old) {
            (Operation::Update, Some(old)) => Change::Update(old),
            _ => Change::Create,
        };
        let subject = subject(attributes.kind);
        if attributes.subresource.is_some() || !quota::counts(subject, change) {
            return Ok(Vec::new());
        }
        let scope = Scope::namespaced("", "resourcequotas", namespace);
        let entries = self.store.list(&scope, &Page::default());
        let entries = entries.map_err(unavailable)?.entries;
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let mut quotas = Vec::with_capacity(entries.len());
        for entry in &entries {
            let mut quota: Value = serde_json::from_slice(&entry.json).map_err(Status::internal)?;
            // Right after a quota was made or changed nobody has counted yet; nothing slips in.
            if !quota::is_current(&quota) && quota::measured(&quota, subject) {
                quota["status"] = count(&*self.store, namespace, &quota)?;
            }
            quotas.push(quota);
        }
        let refs: Vec<&Value> = quotas.iter().collect();
        let charged = quota::check(&refs, subject, object, change, object::now())
            .map_err(|why| attributes.forbidden(name_of(object), &why))?;
        let kind = kind::find("", "v1", "resourcequotas")
            .ok_or_else(|| Status::internal("no resourcequotas"))?;
        let write = |(at, status): (usize, Value)| {
            let entry: &Entry = &entries[at];
            let mut quota = quotas[at].clone();
            quota["status"] = status;
            put(
                kind,
                entry.key.clone(),
                &quota,
                Expect::Revision(entry.modified),
            )
        };
        Ok(charged.into_iter().map(write).collect())
    }
}

/// The status that a quota should have, from what is stored.
pub(crate) fn count(store: &dyn Store, namespace: &str, quota: &Value) -> Result<Value, Status> {
    let mut objects: Vec<(Subject<'static>, Value)> = Vec::new();
    // A kind that is served from two groups has one home; it is counted under that.
    for kind in kind::stored().filter(|kind| kind.namespaced) {
        let subject = subject(kind);
        if !quota::measured(quota, subject) {
            continue;
        }
        let scope = Scope::namespaced(kind.storage_group, kind.plural, namespace);
        let listing = store.list(&scope, &Page::default()).map_err(unavailable)?;
        for entry in listing.entries {
            let object = serde_json::from_slice(&entry.json).map_err(Status::internal)?;
            objects.push((subject, object));
        }
    }
    let objects = objects.iter().map(|(subject, object)| (*subject, object));
    Ok(quota::usage(quota, objects, object::now()))
}
