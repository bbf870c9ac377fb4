//! What the node should run: an accepted document, decoded once.

use std::collections::{BTreeMap, BTreeSet};

use bramble_wire::object::{
    ConfigMap, NodeConfig, Object, ObjectId, ObjectName, Pod, PodUid, SecretData, Tokens,
};
use bramble_wire::report::NodeFacts;
use bramble_wire::seal::Sealed;

/// The node itself, as pods may ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// The node's name.
    pub name: String,
    /// The board's address.
    pub address: Option<[u8; 4]>,
    /// Processor that pods may use, thousandths of a core.
    pub cpu_milli: u64,
    /// Memory that pods may use, bytes.
    pub memory_bytes: u64,
    /// Disk that pods may use, bytes.
    pub storage_bytes: u64,
}

impl Host {
    /// The node of that name: what the board has, less what is kept for the board itself.
    pub fn new(name: impl Into<String>, facts: &NodeFacts) -> Self {
        Self {
            name: name.into(),
            address: facts.address,
            cpu_milli: facts.cpu_milli.saturating_sub(facts.reserved_cpu_milli),
            memory_bytes: (facts.memory_bytes).saturating_sub(facts.reserved_memory_bytes),
            storage_bytes: (facts.storage_bytes).saturating_sub(facts.reserved_storage_bytes),
        }
    }
}

/// An accepted document, decoded.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Desired {
    /// The node's configuration.
    pub node: NodeConfig,
    /// Pods by UID.
    pub pods: BTreeMap<PodUid, Pod>,
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<ObjectName, ConfigMap>,
    /// Secrets by name; `None` when the seal could not be opened.
    pub secrets: BTreeMap<ObjectName, Option<SecretData>>,
    /// Service-account tokens of pods; `None` when the seal could not be opened.
    pub tokens: BTreeMap<PodUid, Option<Tokens>>,
    /// The controller says of this very document that nothing runs anywhere that its store does not
    /// have: a pod that must not run twice may be started.
    pub cleared: bool,
    /// What the node remembers has gaps: a pod that is not started again after its end may have come to it.
    /// Such a pod has failed, unless it runs.
    pub doubted: bool,
    /// Pods of the document that this agent can't read. They are left as they are: not being able
    /// to read is not an order to stop.
    pub unreadable: BTreeSet<PodUid>,
}

impl Desired {
    /// Decodes the objects of a document. An object that does not decode never holds up the others.
    ///
    /// `open` opens a seal; the plain text is the encoding of [`SecretData`] or [`Tokens`].
    pub fn from_objects<'a>(
        objects: impl IntoIterator<Item = (&'a ObjectId, u64, &'a [u8])>,
        mut open: impl FnMut(&ObjectId, u64, &Sealed) -> Option<Vec<u8>>,
    ) -> Self {
        let mut desired = Self::default();
        for (id, revision, body) in objects {
            let object = bramble_wire::decode::<Object>(body, "object").ok();
            match (id, object) {
                (ObjectId::Node, Some(Object::Node(node))) => desired.node = node,
                (ObjectId::Pod(uid), Some(Object::Pod(pod))) if *uid == pod.uid => {
                    desired.pods.insert(*uid, pod);
                }
                (ObjectId::ConfigMap(name), Some(Object::ConfigMap(map))) => {
                    desired.config_maps.insert(name.clone(), map);
                }
                (ObjectId::Secret(name), Some(Object::Secret(secret))) => {
                    let data = open(id, revision, &secret.sealed)
                        .and_then(|plain| bramble_wire::decode(&plain, "secret").ok());
                    desired.secrets.insert(name.clone(), data);
                }
                (ObjectId::Pod(uid), _) => {
                    desired.unreadable.insert(*uid);
                }
                (ObjectId::Tokens(uid), Some(Object::Tokens(sealed))) => {
                    let tokens = open(id, revision, &sealed)
                        .and_then(|plain| bramble_wire::decode(&plain, "tokens").ok());
                    desired.tokens.insert(*uid, tokens);
                }
                (ObjectId::Tokens(uid), _) => {
                    desired.tokens.insert(*uid, None);
                }
                (ObjectId::Secret(name), _) => {
                    desired.secrets.insert(name.clone(), None);
                }
                (ObjectId::Node | ObjectId::ConfigMap(_), _) => {}
            }
        }
        desired
    }

    /// Adds the board's own pods and what they read. What the document has under the same name counts first.
    pub fn add_static<'a>(
        &mut self,
        pods: impl IntoIterator<Item = &'a Pod>,
        config_maps: impl IntoIterator<Item = &'a ConfigMap>,
        secrets: impl IntoIterator<Item = &'a (ObjectName, SecretData)>,
    ) {
        for pod in pods {
            self.pods.insert(pod.uid, pod.clone());
        }
        for map in config_maps {
            let place = self.config_maps.entry(map.name.clone());
            place.or_insert_with(|| map.clone());
        }
        for (name, data) in secrets {
            let place = self.secrets.entry(name.clone());
            place.or_insert_with(|| Some(data.clone()));
        }
    }

    /// Image references that the document names, each once.
    pub fn images(&self) -> BTreeSet<&str> {
        self.pods
            .values()
            .flat_map(Pod::all_containers)
            .map(|container| container.image.as_str())
            .collect()
    }
}
