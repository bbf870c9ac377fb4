//! Small views of every object that controllers look at, with the indexes between them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use bramble_api::kind::{Kind, stored};
use bramble_api::view::{
    self, Deployment, Metadata, Node, Pod, ReplicaSet, ReplicationController, Service,
};
use bramble_controller_core::action::{Observed, Target};

use crate::store::{Entry, Key, Scope};

/// Where an object is. Resource names are unique among the stored kinds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) resource: &'static str,
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
}

impl Id {
    pub(super) fn kind(&self) -> &'static Kind {
        stored()
            .find(|kind| kind.plural == self.resource)
            .expect("an id is made of a stored kind's resource")
    }

    pub(super) fn key(&self) -> Key {
        let kind = self.kind();
        Key::new(
            kind.storage_group,
            kind.plural,
            self.namespace.clone(),
            self.name.clone(),
        )
    }

    fn of(entry: &Entry) -> Option<Self> {
        let kind = stored().find(|kind| {
            *kind.plural == *entry.key.resource && *kind.storage_group == *entry.key.group
        })?;
        Some(Self {
            resource: kind.plural,
            namespace: entry.key.namespace.clone(),
            name: entry.key.name.clone(),
        })
    }
}

impl From<&Target> for Id {
    fn from(target: &Target) -> Self {
        Self {
            resource: target.kind.plural,
            namespace: target.namespace.as_str().into(),
            name: target.name.as_str().into(),
        }
    }
}

/// What is watched: every stored kind.
pub(super) fn scopes() -> impl Iterator<Item = Scope> {
    stored().map(|kind| Scope::all(kind.storage_group, kind.plural))
}

/// A view of an object.
#[derive(Debug)]
pub(super) enum View {
    Pod(Box<Observed<Pod>>),
    /// Also of a ReplicationController.
    ReplicaSet(Box<Observed<ReplicaSet>>),
    Deployment(Box<Observed<Deployment>>),
    Node(Box<Observed<Node>>),
    Service(Box<Observed<Service>>),
    /// Only what garbage collection needs.
    Other(Box<Observed<Metadata>>),
}

impl View {
    fn decode(resource: &str, entry: &Entry) -> Result<Self, serde_json::Error> {
        fn observed<T: serde::de::DeserializeOwned>(
            entry: &Entry,
        ) -> Result<Observed<T>, serde_json::Error> {
            let object = serde_json::from_slice(&entry.json)?;
            Ok(Observed {
                revision: entry.modified.0,
                object,
            })
        }
        Ok(match resource {
            "pods" => Self::Pod(Box::new(observed(entry)?)),
            "replicasets" => Self::ReplicaSet(Box::new(observed(entry)?)),
            "deployments" => Self::Deployment(Box::new(observed(entry)?)),
            "nodes" => Self::Node(Box::new(observed(entry)?)),
            "services" => Self::Service(Box::new(observed(entry)?)),
            "replicationcontrollers" => {
                let seen: Observed<ReplicationController> = observed(entry)?;
                Self::ReplicaSet(Box::new(Observed {
                    revision: seen.revision,
                    object: seen.object.into(),
                }))
            }
            _ => {
                let seen: Observed<view::Object> = observed(entry)?;
                let mut object = seen.object.metadata;
                // The only thing of size, and nobody asks a ConfigMap for it.
                object.annotations.clear();
                Self::Other(Box::new(Observed {
                    revision: seen.revision,
                    object,
                }))
            }
        })
    }

    pub(super) fn metadata(&self) -> &Metadata {
        match self {
            Self::Pod(pod) => &pod.object.metadata,
            Self::ReplicaSet(set) => &set.object.metadata,
            Self::Deployment(deployment) => &deployment.object.metadata,
            Self::Node(node) => &node.object.metadata,
            Self::Service(service) => &service.object.metadata,
            Self::Other(metadata) => &metadata.object,
        }
    }

    pub(super) fn observed_metadata(&self) -> Observed<Metadata> {
        let revision = match self {
            Self::Pod(pod) => pod.revision,
            Self::ReplicaSet(set) => set.revision,
            Self::Deployment(deployment) => deployment.revision,
            Self::Node(node) => node.revision,
            Self::Service(service) => service.revision,
            Self::Other(metadata) => metadata.revision,
        };
        Observed {
            revision,
            object: self.metadata().clone(),
        }
    }

    pub(super) fn pod(&self) -> Option<&Observed<Pod>> {
        if let Self::Pod(pod) = self {
            Some(pod)
        } else {
            None
        }
    }

    pub(super) fn replica_set(&self) -> Option<&Observed<ReplicaSet>> {
        if let Self::ReplicaSet(set) = self {
            Some(set)
        } else {
            None
        }
    }

    pub(super) fn deployment(&self) -> Option<&Observed<Deployment>> {
        if let Self::Deployment(deployment) = self {
            Some(deployment)
        } else {
            None
        }
    }

    pub(super) fn service(&self) -> Option<&Observed<Service>> {
        if let Self::Service(service) = self {
            Some(service)
        } else {
            None
        }
    }

    pub(super) fn node(&self) -> Option<&Observed<Node>> {
        if let Self::Node(node) = self {
            Some(node)
        } else {
            None
        }
    }
}

/// A change of the cache.
pub(super) struct Change {
    pub(super) id: Id,
    pub(super) before: Option<Arc<View>>,
    pub(super) after: Option<Arc<View>>,
}

/// The views and their indexes.
#[derive(Debug, Default)]
pub(super) struct Cache {
    objects: BTreeMap<Id, Arc<View>>,
    uids: HashMap<String, Id>,
    /// Objects by the UIDs that they name as owners.
    dependents: HashMap<String, BTreeSet<Id>>,
    /// Pods by node.
    on_node: HashMap<String, BTreeSet<Id>>,
    /// Pods that nobody controls, by namespace.
    orphans: HashMap<String, BTreeSet<Id>>,
    /// Objects that don't decode, so that each is logged once.
    poisoned: HashSet<Id>,
}

impl Cache {
    /// Takes a change of the store; none for what is not looked at.
    pub(super) fn apply(&mut self, entry: &Entry, gone: bool) -> Option<Change> {
        let id = Id::of(entry)?;
        let after = if gone { None } else { self.decode(&id, entry) };
        let before = self.remove(&id);
        if let Some(view) = &after {
            self.insert(&id, view);
        }
        if gone {
            self.poisoned.remove(&id);
        }
        Some(Change { id, before, after })
    }

    fn decode(&mut self, id: &Id, entry: &Entry) -> Option<Arc<View>> {
        match View::decode(id.resource, entry) {
            Ok(view) => {
                self.poisoned.remove(id);
                Some(Arc::new(view))
            }
            Err(error) => {
                if self.poisoned.insert(id.clone()) {
                    tracing::error!(object = %entry.key, %error, "left out: it does not decode");
                }
                None
            }
        }
    }

    fn remove(&mut self, id: &Id) -> Option<Arc<View>> {
        let view = self.objects.remove(id)?;
        let metadata = view.metadata();
        self.uids.remove(&metadata.uid);
        for owner in &metadata.owner_references {
            take(&mut self.dependents, &owner.uid, id);
        }
        if let Some(pod) = view.pod() {
            take(&mut self.orphans, &id.namespace, id);
            take(&mut self.on_node, &pod.spec.node_name, id);
        }
        Some(view)
    }

    fn insert(&mut self, id: &Id, view: &Arc<View>) {
        let metadata = view.metadata();
        self.uids.insert(metadata.uid.clone(), id.clone());
        for owner in &metadata.owner_references {
            self.dependents
                .entry(owner.uid.clone())
                .or_default()
                .insert(id.clone());
        }
        if let Some(pod) = view.pod().filter(|pod| !pod.spec.node_name.is_empty()) {
            self.on_node
                .entry(pod.spec.node_name.clone())
                .or_default()
                .insert(id.clone());
        }
        if view.pod().is_some() && metadata.controller().is_none() {
            let orphans = self.orphans.entry(id.namespace.to_string()).or_default();
            orphans.insert(id.clone());
        }
        self.objects.insert(id.clone(), view.clone());
    }

    pub(super) fn get(&self, id: &Id) -> Option<&Arc<View>> {
        self.objects.get(id)
    }

    pub(super) fn by_uid(&self, uid: &str) -> Option<(&Id, &Arc<View>)> {
        let id = self.uids.get(uid)?;
        Some((id, self.objects.get(id)?))
    }

    /// Objects that name a UID as an owner.
    pub(super) fn dependents(&self, uid: &str) -> impl Iterator<Item = (&Id, &Arc<View>)> {
        let ids = self.dependents.get(uid).into_iter().flatten();
        ids.filter_map(|id| Some((id, self.objects.get(id)?)))
    }

    /// Pods bound to a node.
    pub(super) fn on_node(&self, node: &str) -> impl Iterator<Item = &Id> {
        self.on_node.get(node).into_iter().flatten()
    }

    /// Pods of a namespace that nobody controls.
    pub(super) fn orphans(&self, namespace: &str) -> impl Iterator<Item = &Arc<View>> {
        let ids = self.orphans.get(namespace).into_iter().flatten();
        ids.filter_map(|id| self.objects.get(id))
    }

    /// Objects of a resource in a namespace.
    pub(super) fn namespaced(
        &self,
        resource: &'static str,
        namespace: &str,
    ) -> impl Iterator<Item = (&Id, &Arc<View>)> + use<'_> {
        let first = Id {
            resource,
            namespace: namespace.into(),
            name: "".into(),
        };
        let namespace = first.namespace.clone();
        self.objects
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(move |(id, _)| id.resource == resource && id.namespace == namespace)
    }

    /// Everything of a resource.
    pub(super) fn all(&self, resource: &'static str) -> impl Iterator<Item = (&Id, &Arc<View>)> {
        let first = Id {
            resource,
            namespace: "".into(),
            name: "".into(),
        };
        self.objects
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(move |(id, _)| id.resource == resource)
    }

    /// Everything in a namespace.
    pub(super) fn content(&self, namespace: &str) -> Vec<(&Id, &Arc<View>)> {
        stored()
            .filter(|kind| kind.namespaced)
            .flat_map(|kind| self.namespaced(kind.plural, namespace))
            .collect()
    }

    /// A namespace.
    pub(super) fn namespace(&self, name: &str) -> Option<(Id, &Arc<View>)> {
        let id = Id {
            resource: "namespaces",
            namespace: "".into(),
            name: name.into(),
        };
        let view = self.objects.get(&id)?;
        Some((id, view))
    }
}

fn take(index: &mut HashMap<String, BTreeSet<Id>>, key: &str, id: &Id) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}
