//! What each node is to run, as far as it is durable: the index from nodes to the objects that
//! their documents are made of, and which documents are to be compiled again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bramble_wire::name::NodeName;
use bramble_wire::object::PodUid;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::released;
use super::watch::Source;
use crate::join::NodeKey;
use crate::store::{Entry, EventKind, Key};

/// Namespace and name.
type Name = (Arc<str>, Arc<str>);

/// A change of the cluster's members.
#[derive(Debug)]
pub(super) enum Membership {
    Joined(Box<NodeKey>),
    Left(Box<NodeKey>),
}

/// Where a pod is and which it is; all that the index reads of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Placed {
    metadata: PlacedMetadata,
    spec: PlacedSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PlacedMetadata {
    uid: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PlacedSpec {
    node_name: String,
}

/// Whether two states of an object differ in nothing that a document is made of: not in the status,
/// nor in what the API keeps for itself. Doubt is a difference.
fn same_but_status(a: &[u8], b: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Parts<'a> {
        #[serde(borrow)]
        metadata: BTreeMap<&'a str, &'a RawValue>,
        #[serde(borrow)]
        spec: &'a RawValue,
    }
    let parts = |json| {
        let mut parts: Parts<'_> = serde_json::from_slice(json).ok()?;
        parts.metadata.remove("resourceVersion");
        parts.metadata.remove("managedFields");
        let metadata: Vec<_> = parts
            .metadata
            .into_iter()
            .map(|(key, value)| (key, value.get()))
            .collect();
        Some((metadata, parts.spec.get()))
    };
    parts(a).is_some_and(|a| parts(b) == Some(a))
}

/// The index. Entries are shared with the store.
#[derive(Debug, Default)]
pub(super) struct Desired {
    members: BTreeMap<NodeName, NodeKey>,
    pods: HashMap<NodeName, BTreeMap<Key, Arc<Entry>>>,
    places: HashMap<Key, (NodeName, PodUid)>,
    uids: HashMap<PodUid, Key>,
    config_maps: BTreeMap<Name, Arc<Entry>>,
    secrets: BTreeMap<Name, Arc<Entry>>,
    /// UIDs of accounts.
    accounts: BTreeMap<Name, String>,
    /// Unclaimed pods that a person lets go.
    released: BTreeSet<(NodeName, PodUid)>,
    dirty: BTreeSet<NodeName>,
}

impl Desired {
    /// Takes a change. Changes of members are the caller's to pass on.
    pub(super) fn apply(
        &mut self,
        source: Source,
        kind: EventKind,
        entry: &Arc<Entry>,
    ) -> Option<Membership> {
        let gone = kind == EventKind::Deleted;
        match source {
            Source::Pods => self.apply_pod(gone, entry),
            Source::ConfigMaps => self.apply_config(gone, entry, false),
            Source::Secrets => self.apply_config(gone, entry, true),
            Source::ServiceAccounts => self.apply_account(gone, entry),
            Source::NodeKeys => return self.apply_member(gone, entry),
            Source::Released => self.apply_released(gone, entry),
            // No document is made of these.
            Source::Namespaces => {}
        }
        None
    }

    fn apply_pod(&mut self, gone: bool, entry: &Arc<Entry>) {
        if !gone
            && let Some((node, _)) = self.places.get(&entry.key)
            && let Some(known) = self.pods.get_mut(node).and_then(|p| p.get_mut(&entry.key))
            && same_but_status(&known.json, &entry.json)
        {
            // Most writes of a pod are what its node reported: no news to the node.
            *known = Arc::clone(entry);
            return;
        }
        if let Some((node, uid)) = self.places.remove(&entry.key) {
            self.uids.remove(&uid);
            if let Some(pods) = self.pods.get_mut(&node) {
                pods.remove(&entry.key);
                if pods.is_empty() {
                    self.pods.remove(&node);
                }
            }
            self.dirty.insert(node);
        }
        if gone {
            return;
        }
        let placed: Placed = serde_json::from_slice(&entry.json).unwrap_or_default();
        let (Ok(node), Some(uid)) = (
            NodeName::new(&placed.spec.node_name),
            PodUid::parse(&placed.metadata.uid),
        ) else {
            return;
        };
        self.places.insert(entry.key.clone(), (node.clone(), uid));
        self.uids.insert(uid, entry.key.clone());
        let pods = self.pods.entry(node.clone()).or_default();
        pods.insert(entry.key.clone(), Arc::clone(entry));
        self.dirty.insert(node);
    }

    fn apply_config(&mut self, gone: bool, entry: &Arc<Entry>, secret: bool) {
        let table = if secret {
            &mut self.secrets
        } else {
            &mut self.config_maps
        };
        let name = (
            Arc::clone(&entry.key.namespace),
            Arc::clone(&entry.key.name),
        );
        if gone {
            table.remove(&name);
        } else {
            table.insert(name, Arc::clone(entry));
        }
        self.touch_namespace(&entry.key.namespace);
    }

    /// Of an account only its UID matters, which is another one once it was made anew.
    fn apply_account(&mut self, gone: bool, entry: &Arc<Entry>) {
        #[derive(Deserialize)]
        struct Account {
            metadata: PlacedMetadata,
        }
        let name = (
            Arc::clone(&entry.key.namespace),
            Arc::clone(&entry.key.name),
        );
        let uid = serde_json::from_slice::<Account>(&entry.json)
            .ok()
            .filter(|_| !gone)
            .map(|account| account.metadata.uid);
        let before = match &uid {
            Some(uid) => self.accounts.insert(name, uid.clone()),
            None => self.accounts.remove(&name),
        };
        if before != uid {
            self.touch_namespace(&entry.key.namespace);
        }
    }

    /// Whoever has a pod in the namespace may use what has changed there; compiling tells, and a
    /// document that comes out the same is not announced.
    fn touch_namespace(&mut self, namespace: &Arc<str>) {
        let in_namespace =
            |pods: &BTreeMap<Key, Arc<Entry>>| pods.keys().any(|key| key.namespace == *namespace);
        let users = self.pods.iter().filter(|(_, pods)| in_namespace(pods));
        self.dirty.extend(users.map(|(node, _)| node.clone()));
    }

    fn apply_released(&mut self, gone: bool, entry: &Entry) {
        let Some(pod) = released::from_entry(entry) else {
            return;
        };
        self.dirty.insert(pod.0.clone());
        match gone {
            true => self.released.remove(&pod),
            false => self.released.insert(pod),
        };
    }

    fn apply_member(&mut self, gone: bool, entry: &Arc<Entry>) -> Option<Membership> {
        let key = NodeKey::from_entry(entry)?;
        let node = key.node.clone();
        if gone {
            self.members.remove(&node);
            return Some(Membership::Left(Box::new(key)));
        }
        self.members.insert(node.clone(), key.clone());
        self.dirty.insert(node);
        Some(Membership::Joined(Box::new(key)))
    }

    /// The next member whose document is to be compiled again.
    pub(super) fn next_dirty(&mut self) -> Option<&NodeKey> {
        while let Some(node) = self.dirty.pop_first() {
            if self.members.contains_key(&node) {
                return self.members.get(&node);
            }
        }
        None
    }

    /// Every document is to be compiled again.
    pub(super) fn touch_all(&mut self) {
        self.dirty.extend(self.members.keys().cloned());
    }

    /// A node's document is to be compiled again.
    pub(super) fn touch(&mut self, node: NodeName) {
        self.dirty.insert(node);
    }

    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Members as they are now, for a machine that starts over.
    pub(super) fn members(&self) -> impl Iterator<Item = &NodeKey> {
        self.members.values()
    }

    /// Pods bound to a node, in the order of their keys.
    pub(super) fn pods(&self, node: &NodeName) -> impl Iterator<Item = &Arc<Entry>> {
        self.pods.get(node).into_iter().flat_map(BTreeMap::values)
    }

    /// Unclaimed pods of a node that a person lets go.
    pub(super) fn released(&self, node: &NodeName) -> Vec<PodUid> {
        let of_node = self.released.iter().filter(|(at, _)| at == node);
        of_node.map(|(_, uid)| *uid).collect()
    }

    pub(super) fn config_map(&self, namespace: &str, name: &str) -> Option<&Arc<Entry>> {
        self.config_maps.get(&(namespace.into(), name.into()))
    }

    pub(super) fn secret(&self, namespace: &str, name: &str) -> Option<&Arc<Entry>> {
        self.secrets.get(&(namespace.into(), name.into()))
    }

    /// UID of an account.
    pub(super) fn account(&self, namespace: &str, name: &str) -> Option<&str> {
        let name = (namespace.into(), name.into());
        self.accounts.get(&name).map(String::as_str)
    }

    /// Where the pod with this UID is stored, if it is bound to this node.
    pub(super) fn pod_of(&self, node: &NodeName, uid: &PodUid) -> Option<&Key> {
        let key = self.uids.get(uid)?;
        self.places
            .get(key)
            .is_some_and(|(at, _)| at == node)
            .then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Revision;

    const UID: &str = "00000000-0000-4000-8000-000000000001";

    fn entry(resource: &str, name: &str, json: &str) -> Arc<Entry> {
        Arc::new(Entry {
            key: Key::new("", resource, "default", name),
            json: json.to_owned().into(),
            created: Revision(1),
            modified: Revision(1),
            revision_at: None,
        })
    }

    fn pod(name: &str, node: &str) -> Arc<Entry> {
        let json = format!(r#"{{"metadata":{{"uid":"{UID}"}},"spec":{{"nodeName":"{node}"}}}}"#);
        entry("pods", name, &json)
    }

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn dirty(desired: &mut Desired) -> Vec<String> {
        std::mem::take(&mut desired.dirty)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn pods_follow_their_binding() {
        let mut desired = Desired::default();
        let uid = PodUid::parse(UID).unwrap();
        desired.apply(Source::Pods, EventKind::Added, &pod("a", ""));
        assert!(dirty(&mut desired).is_empty(), "nobody has it yet");
        desired.apply(Source::Pods, EventKind::Modified, &pod("a", "n1"));
        assert_eq!(dirty(&mut desired), ["n1"]);
        assert!(desired.pod_of(&node("n1"), &uid).is_some());
        assert!(
            desired.pod_of(&node("n2"), &uid).is_none(),
            "another node has no say"
        );
        desired.apply(Source::Pods, EventKind::Deleted, &pod("a", "n1"));
        assert_eq!(dirty(&mut desired), ["n1"]);
        assert!(desired.pod_of(&node("n1"), &uid).is_none());
        assert_eq!(desired.pods(&node("n1")).count(), 0);
    }

    #[test]
    fn a_status_is_no_news_to_the_node_that_reported_it() {
        let pod = |revision: u64, label: &str, rest: &str| {
            let json = format!(
                r#"{{"metadata":{{"uid":"{UID}","resourceVersion":"{revision}","labels":{{"l":"{label}"}}}},"spec":{{"nodeName":"n1"}}{rest}}}"#
            );
            entry("pods", "a", &json)
        };
        let mut desired = Desired::default();
        for (revision, label, rest, news) in [
            (1, "1", "", true),
            (2, "1", r#","status":{"phase":"Running"}"#, false),
            (3, "2", r#","status":{"phase":"Running"}"#, true),
        ] {
            desired.apply(
                Source::Pods,
                EventKind::Modified,
                &pod(revision, label, rest),
            );
            assert_eq!(!dirty(&mut desired).is_empty(), news, "{revision}");
            let kept = desired.pods(&node("n1")).next().unwrap();
            assert!(String::from_utf8_lossy(&kept.json).contains(&format!("\"{revision}\"")));
        }
    }

    #[test]
    fn an_account_touches_nodes_when_it_becomes_another() {
        let account = |uid: &str, more: &str| {
            let json = format!(r#"{{"metadata":{{"uid":"{uid}"}}{more}}}"#);
            entry("serviceaccounts", "sa", &json)
        };
        let mut desired = Desired::default();
        desired.apply(Source::Pods, EventKind::Added, &pod("a", "n1"));
        dirty(&mut desired);
        for (kind, account, news, uid) in [
            (EventKind::Added, account("1", ""), true, Some("1")),
            (
                EventKind::Modified,
                account("1", r#","secrets":[]"#),
                false,
                Some("1"),
            ),
            (EventKind::Modified, account("2", ""), true, Some("2")),
            (EventKind::Deleted, account("2", ""), true, None),
        ] {
            desired.apply(Source::ServiceAccounts, kind, &account);
            assert_eq!(!dirty(&mut desired).is_empty(), news, "{uid:?}");
            assert_eq!(desired.account("default", "sa"), uid);
        }
    }

    #[test]
    fn configuration_touches_the_nodes_with_pods_of_its_namespace() {
        let mut desired = Desired::default();
        desired.apply(Source::Pods, EventKind::Added, &pod("a", "n1"));
        dirty(&mut desired);
        desired.apply(
            Source::ConfigMaps,
            EventKind::Added,
            &entry("configmaps", "c", "{}"),
        );
        assert_eq!(dirty(&mut desired), ["n1"]);
        assert!(desired.config_map("default", "c").is_some());
        assert!(desired.secret("default", "c").is_none());
        let mut other = entry("secrets", "s", "{}");
        Arc::get_mut(&mut other).unwrap().key.namespace = "other".into();
        desired.apply(Source::Secrets, EventKind::Added, &other);
        assert!(dirty(&mut desired).is_empty());
    }
}
