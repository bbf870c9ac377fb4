//! Carries actions out on the store.

use bramble_api::admit;
use bramble_api::kind::Kind;
use bramble_api::patch;
use bramble_api::status::Status;
use bramble_api::view::Condition;
use bramble_controller_core::action::{Action, Durability as Class, Note, Target};
use bramble_controller_core::conditions;
use bramble_controller_core::deletion::{self, Deletion, Propagation};
use serde_json::Value;

use super::Controllers;
use super::cache::Id;
use crate::apiserver::admission::{Attributes, Mutated};
use crate::store::{Durability, Entry, Error as StoreError, Expect, Key, Op, Revision};
use crate::{join, object};

/// Why an action was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The object has moved since the decision; the change is on its way here.
    #[error("the object has changed meanwhile")]
    Stale,
    /// The namespace is being deleted: nothing new, and no reason to try again.
    #[error("the namespace is being deleted")]
    Ending,
    /// Admission says no.
    #[error("{0}")]
    Refused(String),
    /// The store says no.
    #[error(transparent)]
    Store(StoreError),
    /// A stored object that is not JSON.
    #[error("read {0}")]
    Decode(Key, #[source] serde_json::Error),
    /// No random numbers.
    #[error("draw a random number")]
    Random(#[from] crate::pki::Error),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } | StoreError::NotFound(_) | StoreError::Exists(_) => {
                Self::Stale
            }
            other => Self::Store(other),
        }
    }
}

/// Names that are drawn before giving up on a taken one.
const NAME_TRIES: usize = 8;

impl Controllers {
    /// Carries one action out, and tells of it.
    pub(super) fn act(&mut self, action: &Action) -> Result<(), Error> {
        match action {
            Action::Create {
                kind,
                namespace,
                object,
                note,
            } => {
                let name = self.create(kind, namespace, object)?;
                let note = note.clone();
                let note = note.map(|note| Note {
                    message: note.message.replace("{}", &name),
                    ..note
                });
                self.tell(note.as_ref());
            }
            Action::Patch {
                target,
                revision,
                patch,
                durability,
                note,
            } => {
                self.patch(target, *revision, patch, *durability)?;
                self.tell(note.as_ref());
            }
            Action::Delete {
                target,
                uid,
                told,
                note,
            } => {
                let options = deletion::Options::BACKGROUND;
                if self.delete_with(target, uid, &options, told.as_ref())? {
                    self.tell(note.as_ref());
                }
            }
            Action::DeleteForeground { target, uid } => {
                let options = deletion::Options {
                    grace: None,
                    propagation: Some(Propagation::Foreground),
                };
                self.delete_with(target, uid, &options, None)?;
            }
            Action::Remove { target, uid } => {
                if let Some(entry) = self.find(target, uid)? {
                    self.remove(&entry)?;
                }
            }
            Action::Event(note) => self.tell(Some(note)),
        }
        Ok(())
    }

    fn create(
        &self,
        kind: &'static Kind,
        namespace: &str,
        object: &Value,
    ) -> Result<String, Error> {
        if kind.namespaced {
            let ending = match self.cache.namespace(namespace) {
                Some((_, view)) => view.metadata().is_deleting(),
                None => true,
            };
            if ending {
                return Err(Error::Ending);
            }
        }
        for _ in 0..NAME_TRIES {
            let mut object = object.clone();
            let (uid, suffix) = (object::uid()?, object::suffix()?);
            let context = admit::Create {
                now: (self.clock)(),
                uid: &uid,
                suffix: &suffix,
                namespace: kind.namespaced.then_some(namespace),
            };
            let refused = |status: Status| Error::Refused(status.message().to_owned());
            let attributes = Attributes::created(kind, namespace);
            let mut mutated = Mutated::default();
            // Warnings are for whoever wrote the template, and were given then.
            admit::create_with(kind, &mut object, &context, &mut |object| {
                mutated = self.admission.mutate(&attributes, object, None)?;
                Ok(())
            })
            .map_err(refused)?;
            self.admission
                .validate(&attributes, &object, None)
                .map_err(refused)?;
            let charged = self
                .admission
                .reserve(&attributes, &object, None)
                .map_err(refused)?;
            let name = object["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let namespace = if kind.namespaced { namespace } else { "" };
            let key = Key::new(kind.storage_group, kind.plural, namespace, name.as_str());
            let mut ops = vec![object::put(key, &object, Expect::Absent, Durability::Hard)];
            ops.extend(charged);
            // Nothing leaves the process from here: whoever shows it outside waits for the disk.
            match self.store.commit(ops) {
                Ok(_) => return Ok(name),
                // The name is taken, or a quota that was counted on has moved.
                Err(StoreError::Exists(_) | StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Stale)
    }

    pub(super) fn put(
        &self,
        key: Key,
        object: &Value,
        expect: Expect,
        durability: Durability,
    ) -> Result<(), StoreError> {
        // Nothing leaves the process from here: whoever shows it outside waits for the disk.
        self.store
            .commit(vec![object::put(key, object, expect, durability)])
            .map(drop)
    }

    fn patch(
        &self,
        target: &Target,
        revision: u64,
        patch: &Value,
        class: Class,
    ) -> Result<(), Error> {
        let entry = self
            .store
            .get(&Id::from(target).key())
            .ok_or(Error::Stale)?;
        if entry.modified != Revision(revision) {
            return Err(Error::Stale);
        }
        self.change(target.kind, &entry, patch, class)
    }

    /// Merges a patch into an object; the generation moves with the spec and with the first mark of
    /// a deletion, and a marked object whose last finalizer goes, goes.
    fn change(&self, kind: &Kind, entry: &Entry, patch: &Value, class: Class) -> Result<(), Error> {
        let old = decode(entry)?;
        let mut new = patch::merge(kind, &old, patch)
            .map_err(|status| Error::Refused(status.message().to_owned()))?;
        if new == old {
            return Ok(());
        }
        let metadata = |object: &Value, key: &str| object["metadata"].get(key).cloned();
        let marked = |object: &Value| metadata(object, "deletionTimestamp").is_some();
        let moved = old.get("spec") != new.get("spec") || marked(&old) != marked(&new);
        if kind.has_generation() && moved {
            let generation = metadata(&old, "generation")
                .and_then(|g| g.as_i64())
                .unwrap_or(0);
            new["metadata"]["generation"] = (generation + 1).into();
        }
        // Whoever held it last has let go.
        if deletion::is_finished(kind, &new) {
            return self.remove(entry);
        }
        let durability = match class {
            Class::Soft => Durability::Soft,
            Class::Hard => Durability::Hard,
        };
        let expect = Expect::Revision(entry.modified);
        Ok(self.put(entry.key.clone(), &new, expect, durability)?)
    }

    /// The object that a target means; none when it is gone or another one by now.
    fn find(&self, target: &Target, uid: &str) -> Result<Option<std::sync::Arc<Entry>>, Error> {
        let Some(entry) = self.store.get(&Id::from(target).key()) else {
            return Ok(None);
        };
        let object = decode(&entry)?;
        Ok((object["metadata"]["uid"].as_str() == Some(uid)).then_some(entry))
    }

    /// Deletes without grace: what holds the object are its finalizers alone.
    pub(super) fn delete_at_once(&self, target: &Target, uid: &str) -> Result<(), Error> {
        let options = deletion::Options {
            grace: Some(0),
            ..deletion::Options::BACKGROUND
        };
        self.delete_with(target, uid, &options, None).map(drop)
    }

    /// Deletes as the API server does; true when that began or ended something. What stays for now
    /// says in its status what it is told.
    fn delete_with(
        &self,
        target: &Target,
        uid: &str,
        options: &deletion::Options,
        told: Option<&Condition>,
    ) -> Result<bool, Error> {
        let Some(entry) = self.find(target, uid)? else {
            return Ok(false);
        };
        let old = decode(&entry)?;
        let mut object = old.clone();
        if let Some(told) = told {
            conditions::set_in(&mut object, told);
        }
        match deletion::decide(target.kind, &object, options, (self.clock)()) {
            Deletion::Pending => return Ok(false),
            Deletion::Mark(new) if new == old => return Ok(false),
            Deletion::Mark(new) => {
                let expect = Expect::Revision(entry.modified);
                self.put(entry.key.clone(), &new, expect, Durability::Hard)?;
            }
            Deletion::Remove => self.remove(&entry)?,
        }
        Ok(true)
    }

    fn remove(&self, entry: &Entry) -> Result<(), Error> {
        let expect = Expect::Revision(entry.modified);
        let (key, durability) = (entry.key.clone(), Durability::Hard);
        let own = Op::Delete {
            key,
            expect,
            durability,
        };
        let with_it = join::ends_with(&*self.store, &entry.key);
        let ops = std::iter::once(own).chain(with_it).collect();
        Ok(self.store.commit(ops).map(drop)?)
    }

    /// Removes an Event.
    pub(super) fn remove_event(&self, id: &Id) {
        let (key, expect) = (id.key(), Expect::Any);
        // Gone already is as good; a store that has failed says so elsewhere.
        let _ = self.store.commit(vec![Op::Delete {
            key,
            expect,
            durability: Durability::Memory,
        }]);
    }

    /// Writes the Event of a note. An Event that can't be written is no reason to stop.
    pub(super) fn tell(&mut self, note: Option<&Note>) {
        let Some(note) = note else { return };
        let Some(write) = self.recorder.record(note, (self.clock)()) else {
            return;
        };
        let ending = self.cache.namespace(&write.namespace);
        if ending.is_none_or(|(_, view)| view.metadata().is_deleting()) {
            return;
        }
        let key = Key::new("", "events", write.namespace.as_str(), write.name.as_str());
        let mut object = write.object;
        let known = self.store.get(&key).and_then(|entry| decode(&entry).ok());
        let uid = known.and_then(|old| old["metadata"]["uid"].as_str().map(str::to_owned));
        let Some(uid) = uid.or_else(|| object::uid().ok()) else {
            return;
        };
        object["metadata"]["uid"] = uid.into();
        if let Err(error) = self.put(key, &object, Expect::Any, Durability::Memory) {
            tracing::debug!(%error, reason = %note.reason, "an event was not written");
        }
    }
}

fn decode(entry: &Entry) -> Result<Value, Error> {
    serde_json::from_slice(&entry.json).map_err(|error| Error::Decode(entry.key.clone(), error))
}
