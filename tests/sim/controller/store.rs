//! What users ask for and the controller keeps.

use super::*;

/// What the controller keeps on disk.
#[derive(Debug, Clone)]
pub struct Store {
    /// Newest revision: `epoch << 40 | n`.
    pub revision: u64,
    /// Starts of the process.
    pub boot: u64,
    /// Epoch.
    pub epoch: u64,
    /// History.
    pub history: HistoryId,
    /// What the process began with at each start.
    pub(super) lives: Vec<Recovered>,
    /// Epoch whose differences a person confirmed.
    pub confirmed_epoch: u64,
    pub(super) workloads: BTreeMap<String, Workload>,
    /// Pod objects.
    pub pods: BTreeMap<PodUid, PodObject>,
    pub(super) configs: BTreeMap<String, (u64, u64)>,
    pub(super) secrets: BTreeMap<String, (u64, [u8; 16])>,
    /// Every pod that this store has ever had; only the oracle looks at it.
    pub had: Arc<BTreeSet<PodUid>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Workload {
    pub(super) replicas: usize,
    pub(super) policy: RestartPolicy,
    /// Its one pod must not run twice.
    pub(super) once: bool,
    /// How long its containers live, milliseconds, and with what they end; `None`: as chance has it.
    pub(super) lives: Option<((u64, u64), i32)>,
}

/// A pod object; it is bound when it is made.
#[derive(Debug, Clone)]
pub struct PodObject {
    pub(super) workload: String,
    /// Where it runs.
    pub node: usize,
    pub(super) revision: u64,
    pub(super) policy: RestartPolicy,
    pub(super) once: bool,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// `Succeeded` or `Failed`.
    pub ended: Option<Phase>,
}

/// What a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserOperation {
    /// Change something; the how-many-th time.
    Change(u32),
    /// Confirm the differences after an epoch rose.
    Confirm,
    /// The controllers of a life of the process look at the world.
    Reconcile(u32),
}

impl Store {
    pub(super) fn next(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    /// The controller's way to compile a node's document, in miniature.
    pub fn compile(&self, node: usize) -> BTreeMap<ObjectId, (u64, Source)> {
        let mut out = BTreeMap::new();
        let address = [10, 42, node as u8, 0];
        let config = NodeConfig {
            pod_cidr: Cidr {
                address,
                // Small, so that addresses are used again.
                prefix: 26,
            },
            confirmed_epoch: self.confirmed_epoch,
            ..NodeConfig::default()
        };
        out.insert(ObjectId::Node, (0, Source::Plain(Object::Node(config))));
        for (uid, pod) in self.pods.iter().filter(|(_, pod)| pod.node == node) {
            let name = named(&pod.workload);
            let object = Object::Pod(pod.compile(*uid));
            out.insert(ObjectId::Pod(*uid), (pod.revision, Source::Plain(object)));
            if let Some((revision, value)) = self.configs.get(&pod.workload) {
                // Large enough to be pulled in pieces, sometimes.
                let filler = vec![*value as u8; if *value % 8 == 0 { 40_000 } else { 0 }];
                let data = BTreeMap::from([
                    ("key".to_owned(), value.to_string().into_bytes()),
                    ("filler".to_owned(), filler),
                ]);
                let object = Object::ConfigMap(ConfigMap {
                    name: name.clone(),
                    data,
                });
                let id = ObjectId::ConfigMap(name.clone());
                out.insert(id, (*revision, Source::Plain(object)));
            }
            if let Some((revision, value)) = self.secrets.get(&pod.workload) {
                let mut data = BTreeMap::from([("key".to_owned(), value.to_vec())]);
                if value[15] < 24 {
                    data.insert("filler".into(), vec![value[15]; 40_000]);
                }
                out.insert(
                    ObjectId::Secret(name),
                    (*revision, Source::Secret(SecretData(data))),
                );
            }
        }
        out
    }
}

/// An object before it is compiled.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "few, and they do not wait")]
pub enum Source {
    /// For everybody.
    Plain(Object),
    /// For its node.
    Secret(SecretData),
}

fn named(workload: &str) -> ObjectName {
    ObjectName {
        namespace: "default".into(),
        name: workload.to_owned(),
    }
}

impl PodObject {
    pub(super) fn compile(&self, uid: PodUid) -> Pod {
        let key = || (self.workload.clone(), "key".to_owned(), true);
        let (name, secret_key, optional) = key();
        let secret = EnvValue::SecretKey {
            name,
            key: secret_key,
            optional,
        };
        let (name, config_key, optional) = key();
        let config = EnvValue::ConfigMapKey {
            name,
            key: config_key,
            optional,
        };
        Pod {
            uid,
            name: ObjectName {
                namespace: "default".into(),
                name: format!("p-{uid}"),
            },
            hostname: "pod".into(),
            restart_policy: self.policy,
            termination_grace_s: 5,
            stop: self.deleting.then_some(Stop { grace_s: 5 }),
            once: self.once,
            containers: vec![Container {
                name: "main".into(),
                image: "app:1".into(),
                env: vec![
                    EnvVar {
                        name: "SECRET".into(),
                        value: secret,
                    },
                    EnvVar {
                        name: "CONFIG".into(),
                        value: config,
                    },
                ],
                ..Container::default()
            }],
            ..Pod::default()
        }
    }
}

/// The digest that a document compiled from this store must have.
pub fn expected_digest(compiled: &BTreeMap<ObjectId, (u64, Source)>) -> Digest {
    let mut index: Vec<IndexEntry> = compiled
        .iter()
        .map(|(id, (revision, source))| {
            let body = match source {
                Source::Plain(object) => bramble_wire::encode(object),
                Source::Secret(_) => Vec::new(),
            };
            IndexEntry::of(id.clone(), *revision, &body)
        })
        .collect();
    digest(&mut index)
}
