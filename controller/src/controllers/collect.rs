//! What goes with what: owners and dependents, a namespace and its content.

use bramble_api::kind::{Kind, find_kind, split_api_version};
use bramble_api::time::Timestamp;
use bramble_api::view::{Namespace, Object, OwnerReference};
use bramble_controller_core::action::Action;
use bramble_controller_core::lifecycle::{self, Owner};
use bramble_controller_core::namespace;

use super::Controllers;
use super::cache::{self, Change, Id};
use super::queue::Work;
use super::write::Error;
use crate::store::{Key, Page, Scope};

impl Controllers {
    /// Owners, dependents and the namespace.
    pub(super) fn queue_collection(&mut self, change: &Change) {
        let Change { id, before, after } = change;
        if let Some(view) = after {
            let metadata = view.metadata();
            let held = metadata.is_deleting() && !metadata.finalizers.is_empty();
            if held || !metadata.owner_references.is_empty() {
                self.queue.push(Work::Collect(id.clone()));
            }
            // Its dependents go before it does, each by its own decision.
            if held
                && metadata
                    .finalizers
                    .iter()
                    .any(|f| f == lifecycle::FOREGROUND)
            {
                self.queue_dependents(&metadata.uid);
            }
            if id.resource == "namespaces" && metadata.is_deleting() {
                self.queue.push(Work::Namespace(id.clone()));
            }
        }
        if let (Some(view), None) = (before, after) {
            self.queue_dependents(&view.metadata().uid);
        }
        // An owner that waits may have waited for this very one.
        for owner in before
            .iter()
            .flat_map(|view| &view.metadata().owner_references)
        {
            let waiting = self.cache.by_uid(&owner.uid);
            if let Some((id, _)) = waiting.filter(|(_, view)| view.metadata().is_deleting()) {
                let id = id.clone();
                self.queue.push(Work::Collect(id));
            }
        }
        if !id.namespace.is_empty()
            && let Some((namespace, view)) = self.cache.namespace(&id.namespace)
            && view.metadata().is_deleting()
        {
            self.queue.push(Work::Namespace(namespace));
        }
    }

    fn queue_dependents(&mut self, uid: &str) {
        let dependents: Vec<Id> = self
            .cache
            .dependents(uid)
            .map(|(id, _)| id.clone())
            .collect();
        for id in dependents {
            self.queue.push(Work::Collect(id));
        }
    }

    pub(super) fn collect(&mut self, id: &Id) -> Result<(), Error> {
        let Some(view) = self.cache.get(id).cloned() else {
            return Ok(());
        };
        let dependents: Vec<_> = self
            .cache
            .dependents(&view.metadata().uid)
            .map(|(id, view)| (id.kind(), view.observed_metadata()))
            .collect();
        let dependents: Vec<_> = dependents
            .iter()
            .map(|(kind, view)| (*kind, view))
            .collect();
        let owner = |owner: &OwnerReference| self.owner_state(id, owner);
        let object = view.observed_metadata();
        let actions = lifecycle::collect(id.kind(), &object, &owner, &dependents);
        actions.iter().try_for_each(|action| self.act(action))
    }

    fn owner_state(&self, dependent: &Id, owner: &OwnerReference) -> Owner {
        let (group, version) = split_api_version(&owner.api_version);
        let Some(kind) = find_kind(group, version, &owner.kind) else {
            // Nobody can say that it is gone.
            return Owner::Present;
        };
        if kind.namespaced && dependent.namespace.is_empty() {
            return Owner::Unresolvable;
        }
        match self.cache.by_uid(&owner.uid) {
            Some((id, view)) if id.namespace.is_empty() || id.namespace == dependent.namespace => {
                let metadata = view.metadata();
                let foreground = metadata
                    .finalizers
                    .iter()
                    .any(|f| f == lifecycle::FOREGROUND);
                if metadata.is_deleting() && foreground {
                    Owner::WaitsForDependents
                } else {
                    Owner::Present
                }
            }
            Some(_) => Owner::Elsewhere,
            // An owner that does not decode is there all the same.
            None if self.is_stored(kind, dependent, owner) => Owner::Present,
            None => Owner::Absent,
        }
    }

    /// Whether the owner is in the store though not in the cache: nothing is deleted on a doubt.
    fn is_stored(&self, kind: &Kind, dependent: &Id, owner: &OwnerReference) -> bool {
        let namespace = if kind.namespaced {
            &*dependent.namespace
        } else {
            ""
        };
        let key = Key::new(
            kind.storage_group,
            kind.plural,
            namespace,
            owner.name.as_str(),
        );
        self.store.get(&key).is_some_and(|entry| {
            serde_json::from_slice::<Object>(&entry.json)
                .map_or(true, |object| object.metadata.uid == owner.uid)
        })
    }

    pub(super) fn end_namespace(&mut self, id: &Id, now: Timestamp) -> Result<(), Error> {
        if !self
            .cache
            .get(id)
            .is_some_and(|view| view.metadata().is_deleting())
        {
            return Ok(());
        }
        let Some(namespace) = self.stored::<Namespace>(id) else {
            return Ok(());
        };
        let content: Vec<_> = self
            .cache
            .content(&id.name)
            .into_iter()
            .map(|(id, view)| (id.kind(), view.observed_metadata()))
            .collect();
        let content: Vec<_> = content.iter().map(|(kind, view)| (*kind, view)).collect();
        let mut failures = Vec::new();
        // What does not decode is content all the same; somebody has to look at it first.
        if content.is_empty() {
            failures.extend(self.holds_more(&id.name)?);
        }
        let input = namespace::Input {
            namespace: &namespace,
            content: &content,
            failures: &failures,
        };
        let mut first = None;
        let mut told = Vec::new();
        for action in namespace::end(&input, now) {
            match self.act(&action) {
                Ok(()) | Err(Error::Stale) => {}
                Err(error) => {
                    told.push(error.to_string());
                    first.get_or_insert(error);
                }
            }
        }
        let Some(error) = first else { return Ok(()) };
        let input = namespace::Input {
            failures: &told,
            ..input
        };
        for action in namespace::end(&input, now) {
            if let Action::Patch { .. } = action {
                // Best effort: the next try writes it again.
                let _ = self.act(&action);
            }
        }
        Err(error)
    }

    /// Whether the store has objects in a namespace that the cache left out.
    fn holds_more(&self, namespace: &str) -> Result<Option<String>, Error> {
        let page = Page {
            limit: Some(1),
            ..Page::default()
        };
        for scope in cache::scopes() {
            let scope = Scope {
                namespace: Some(namespace.into()),
                ..scope
            };
            let listing = self.store.list(&scope, &page)?;
            if let Some(entry) = listing.entries.first() {
                tracing::warn!(object = %entry.key, "keeps its namespace from ending");
                return Ok(Some(format!("{} can't be read", entry.key)));
            }
        }
        Ok(None)
    }
}
