//! What nodes say becomes statuses in the store, and what the store says becomes documents. Between
//! the pure decisions of the core and the store; no state of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use bramble_api::admit;
use bramble_api::metadata;
use bramble_api::patch;
use bramble_api::view::{self, FullPod};
use bramble_controller_core::action::{Action, Durability as Class, Note, Observed, Target};
use bramble_controller_core::document::tokens::Wanted;
use bramble_controller_core::document::{self, Configuration, Document};
use bramble_controller_core::node::{self, Absence};
use bramble_controller_core::nodelink::{Compiled, Presence, Report};
use bramble_controller_core::{event, kinds, status};
use bramble_wire::name::NodeName;
use bramble_wire::object::{Cidr as WireCidr, NodeConfig, ObjectName, PodUid};
use bramble_wire::report::NodeFacts;
use serde_json::{Value, json};

use super::desired::Desired;
use super::tokens::Maker;
use crate::join::{Cidr, NodeKey};
use crate::object;
use crate::store::{
    Body, Durability, Durable, Entry, Error as StoreError, Expect, Key, Op, Revision, Store,
};

/// Writes against an object that somebody else changes at the same time.
const TRIES: usize = 5;
/// The reason in the status of a pod that its node does not get; `kubectl get pods` shows it.
const LEFT_OUT: &str = "NotSentToNode";

/// Why something a node said was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored object does not decode.
    #[error("read {key}")]
    Decode {
        /// Which.
        key: Key,
        /// Why.
        source: serde_json::Error,
    },
    /// A patch or a new object was refused.
    #[error("change {key}: {message}")]
    Change {
        /// Which.
        key: Key,
        /// Why.
        message: String,
    },
}

/// What a report led to.
pub(super) struct Written {
    /// Resolves when everything up to the report's writes is durable.
    pub(super) durable: Durable,
    /// Pods that the node may forget once it is.
    pub(super) forget: Vec<PodUid>,
    /// What happened, for people.
    pub(super) notes: Vec<Note>,
}

/// The document of a node.
pub(super) fn compile(
    desired: &Desired,
    member: &NodeKey,
    service_cidr: Cidr,
    confirmed_epoch: u64,
    tokens: &Maker,
) -> Document {
    let config = NodeConfig {
        pod_cidr: member.pod_cidr.parse().map(wire_cidr).unwrap_or_default(),
        service_cidr: wire_cidr(service_cidr),
        confirmed_epoch,
    };
    let (mut pods, mut undecodable) = (Vec::<FullPod>::new(), Vec::new());
    for entry in desired.pods(&member.node) {
        match view::decode(&entry.json) {
            Ok(pod) => pods.push(pod),
            Err(error) => {
                let name = ObjectName {
                    namespace: entry.key.namespace.to_string(),
                    name: entry.key.name.to_string(),
                };
                undecodable.push((name, document::Error::Undecodable(error.to_string())));
            }
        }
    }
    let mut document = document::compile(&config, &pods, &Lookup { desired, tokens });
    document.left_out.extend(undecodable);
    document
}

/// Says on a pod why its node does not get it. Nothing is written when the pod says so already.
pub(super) fn write_left_out(
    store: &dyn Store,
    node: &NodeName,
    pod: &ObjectName,
    why: &document::Error,
) -> Result<(), Error> {
    let key = Key::new("", "pods", pod.namespace.as_str(), pod.name.as_str());
    for attempt in 1.. {
        let Some(entry) = store.get(&key) else {
            return Ok(());
        };
        let value = decode(&entry)?;
        let text = |path: &str| {
            value
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let ended = matches!(text("/status/phase"), "Succeeded" | "Failed");
        if ended || text("/spec/nodeName") != node.as_str() {
            return Ok(());
        }
        let action = Action::Patch {
            target: Target {
                kind: kinds::pod(),
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
            },
            revision: entry.modified.0,
            patch: json!({"status": {
                "reason": LEFT_OUT,
                "message": format!("node {node} does not get this pod: {why}"),
            }}),
            durability: Class::Soft,
            note: None,
        };
        let Some(op) = op(&entry, &value, &action)? else {
            return Ok(());
        };
        match store.commit(vec![op]) {
            Ok(_) => return Ok(()),
            Err(error) if is_race(&error) && attempt < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the last attempt returns")
}

struct Lookup<'a> {
    desired: &'a Desired,
    tokens: &'a Maker,
}

impl Configuration for Lookup<'_> {
    fn config_map(&self, name: &ObjectName) -> Option<Observed<view::ConfigMap>> {
        observed(self.desired.config_map(&name.namespace, &name.name)?)
    }

    fn secret(&self, name: &ObjectName) -> Option<Observed<view::Secret>> {
        observed(self.desired.secret(&name.namespace, &name.name)?)
    }

    fn tokens(&self, pod: &FullPod, wanted: &BTreeSet<Wanted>) -> Option<Compiled> {
        let (namespace, name) = (&pod.metadata.namespace, &pod.spec.service_account_name);
        let account = self.desired.account(namespace, name)?;
        self.tokens.tokens(pod, account, wanted)
    }
}

fn observed<T: serde::de::DeserializeOwned>(entry: &Entry) -> Option<Observed<T>> {
    let object = serde_json::from_slice(&entry.json).ok()?;
    Some(Observed {
        revision: entry.modified.0,
        object,
    })
}

fn wire_cidr(cidr: Cidr) -> WireCidr {
    WireCidr {
        address: cidr.base().octets(),
        prefix: cidr.prefix(),
    }
}

/// Writes the statuses that a report calls for, all in one commit.
pub(super) fn write(
    store: &dyn Store,
    desired: &Desired,
    report: &Report,
) -> Result<Written, Error> {
    let host_ip = host_ip(store, &report.node);
    for attempt in 1.. {
        let mut ops = Vec::new();
        let mut forget = Vec::new();
        let mut notes = Vec::new();
        for pod in &report.pods {
            // Only pods bound to this node are found: it has no say about others.
            let entry = desired
                .pod_of(&report.node, &pod.uid)
                .and_then(|key| store.get(key));
            let Some(entry) = entry else {
                if pod.unclaimed {
                    // What a person must look at before confirming an epoch; said when it changes.
                    let images = pod.containers.iter().map(|c| c.image.as_str());
                    let images: Vec<&str> = images.collect();
                    tracing::warn!(node = %report.node, pod = %pod.uid, ?images, "unclaimed pod");
                }
                forget.extend(pod.gone.then_some(pod.uid));
                continue;
            };
            let (node, revision) = (report.node.as_str(), entry.modified.0);
            let decided = decode(&entry).and_then(|value| {
                let host_ip = host_ip.as_deref();
                status::from_report(node, &value, revision, pod, host_ip, object::now())
                    .map(|action| (value, action))
                    .map_err(|source| Error::Decode {
                        key: entry.key.clone(),
                        source,
                    })
            });
            let (value, action) = match decided {
                Ok(decided) => decided,
                // It would not decode the next time either, and must not hold up the others.
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "what a node says of a pod is left out");
                    continue;
                }
            };
            forget.extend(matches!(action, Some(Action::Remove { .. })).then_some(pod.uid));
            if let Some(action) = action {
                ops.extend(op(&entry, &value, &action)?);
                // It decoded a moment ago; and no report fails for what is only told.
                notes.extend(event::from_report(node, &value, pod).unwrap_or_default());
            }
        }
        if ops.is_empty() {
            // What is known may be known from a write that is still on its way.
            return Ok(Written {
                durable: store.settled(store.revision()),
                forget,
                notes: Vec::new(),
            });
        }
        match store.commit(ops) {
            Ok(commit) => {
                return Ok(Written {
                    durable: commit.handle(),
                    forget,
                    notes,
                });
            }
            Err(error) if is_race(&error) && attempt < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the last attempt returns")
}

/// Writes whether a node is there; what is to be told of that.
pub(super) fn write_presence(
    store: &dyn Store,
    node: &NodeName,
    presence: Presence,
) -> Result<Vec<Note>, Error> {
    let told = patch_node(store, node, |view| match presence {
        Presence::Unknown => (None, Vec::new()),
        Presence::Ready => (
            node::heartbeat(view, None, object::now()),
            node::notes(view, None),
        ),
        Presence::Stopped => (
            node::lost(view, Absence::Stopped, object::now()),
            Vec::new(),
        ),
        Presence::Lost => (node::lost(view, Absence::Lost, object::now()), Vec::new()),
    })?;
    Ok(told.unwrap_or_default())
}

/// Writes the facts of a node that answers; what is to be told of them. A Node that somebody deleted is made again, as the
/// board is still a member.
pub(super) fn write_facts(
    store: &dyn Store,
    member: &NodeKey,
    facts: &NodeFacts,
) -> Result<Vec<Note>, Error> {
    let told = patch_node(store, &member.node, |view| {
        let patch = node::heartbeat(view, Some(facts), object::now());
        (patch, node::notes(view, Some(facts)))
    })?;
    if let Some(told) = told {
        return Ok(told);
    }
    let key = node_key(&member.node);
    let refused = |message: String| Error::Change {
        key: key.clone(),
        message,
    };
    let now = object::now();
    let mut value = node::create(member.node.as_str(), &member.pod_cidr, facts, now);
    let uid = object::uid().map_err(|error| refused(error.to_string()))?;
    let context = admit::Create {
        now,
        uid: &uid,
        suffix: "",
        namespace: None,
    };
    admit::create(kinds::node(), &mut value, &context)
        .map_err(|status| refused(status.message().to_owned()))?;
    let (expect, durability) = (Expect::Absent, Durability::Hard);
    let put = Op::Put {
        key: key.clone(),
        expect,
        body: body(&value),
        durability,
    };
    store.commit(vec![put]).map(drop)?;
    write_presence(store, &member.node, Presence::Ready)
}

/// Patches a Node; what is to be told then, or `None` when there is no such Node.
fn patch_node(
    store: &dyn Store,
    node: &NodeName,
    decide: impl Fn(&view::Node) -> (Option<Value>, Vec<Note>),
) -> Result<Option<Vec<Note>>, Error> {
    let key = node_key(node);
    for attempt in 1.. {
        let Some(entry) = store.get(&key) else {
            return Ok(None);
        };
        let decode_error = |source| Error::Decode {
            key: key.clone(),
            source,
        };
        let view: view::Node = view::decode(&entry.json).map_err(decode_error)?;
        let (Some(patch), notes) = decide(&view) else {
            return Ok(Some(Vec::new()));
        };
        let action = Action::Patch {
            target: Target::of(kinds::node(), &view.metadata),
            revision: entry.modified.0,
            patch,
            durability: Class::Soft,
            note: None,
        };
        let Some(op) = op(&entry, &decode(&entry)?, &action)? else {
            return Ok(Some(Vec::new()));
        };
        match store.commit(vec![op]) {
            Ok(_) => return Ok(Some(notes)),
            Err(error) if is_race(&error) && attempt < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the last attempt returns")
}

/// The write that an action on a stored object asks for.
pub(super) fn op(entry: &Entry, value: &Value, action: &Action) -> Result<Option<Op>, Error> {
    let key = entry.key.clone();
    Ok(match action {
        Action::Patch {
            target,
            revision,
            patch,
            durability,
            ..
        } => {
            let changed =
                patch::merge(target.kind, value, patch).map_err(|status| Error::Change {
                    key: key.clone(),
                    message: status.message().to_owned(),
                })?;
            if changed == *value {
                return Ok(None);
            }
            let durability = match durability {
                Class::Soft => Durability::Soft,
                Class::Hard => Durability::Hard,
            };
            let expect = Expect::Revision(Revision(*revision));
            Some(Op::Put {
                key,
                expect,
                body: body(&changed),
                durability,
            })
        }
        Action::Remove { .. } => {
            let expect = Expect::Revision(entry.modified);
            Some(Op::Delete {
                key,
                expect,
                durability: Durability::Hard,
            })
        }
        // A report asks for neither.
        Action::Create { .. }
        | Action::Delete { .. }
        | Action::DeleteForeground { .. }
        | Action::Event(_) => None,
    })
}

fn body(value: &Value) -> Body {
    let canonical = metadata::canonical(value);
    Body {
        json: canonical.bytes,
        revision_at: canonical.revision_at,
    }
}

fn decode(entry: &Arc<Entry>) -> Result<Value, Error> {
    let error = |source| Error::Decode {
        key: entry.key.clone(),
        source,
    };
    serde_json::from_slice(&entry.json).map_err(error)
}

/// Somebody else was faster: look again.
pub(super) fn is_race(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Conflict { .. } | StoreError::NotFound(_) | StoreError::Exists(_)
    )
}

fn host_ip(store: &dyn Store, node: &NodeName) -> Option<String> {
    let entry = store.get(&node_key(node))?;
    let view: view::Node = view::decode(&entry.json).ok()?;
    let internal = view
        .status
        .addresses
        .into_iter()
        .find(|a| a.kind == "InternalIP");
    internal.map(|address| address.address)
}

fn node_key(node: &NodeName) -> Key {
    Key::new("", "nodes", "", node.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::tokens::Shelf;
    use super::super::watch::Source;
    use super::*;
    use crate::store::{EventKind, MemoryStore};
    use bramble_wire::join::hex_of;
    use bramble_wire::report::{Phase, PodReport};

    const UID: [&str; 2] = [
        "00000000-0000-4000-8000-000000000001",
        "00000000-0000-4000-8000-000000000002",
    ];

    struct Bed {
        store: MemoryStore,
        desired: Desired,
        node: NodeName,
    }

    impl Bed {
        fn new(pods: &[Value]) -> Bed {
            let (store, mut desired) = (MemoryStore::default(), Desired::default());
            for pod in pods {
                let name = pod["metadata"]["name"].as_str().unwrap();
                let put = Op::Put {
                    key: Key::new("", "pods", "default", name),
                    expect: Expect::Absent,
                    body: body(pod),
                    durability: Durability::Hard,
                };
                let commit = store.commit(vec![put]).unwrap();
                desired.apply(Source::Pods, EventKind::Added, &commit.entries[0]);
            }
            let node = NodeName::new("n1").unwrap();
            Bed {
                store,
                desired,
                node,
            }
        }

        fn pod(&self, name: &str) -> Value {
            let entry = self.store.get(&Key::new("", "pods", "default", name));
            serde_json::from_slice(&entry.unwrap().json).unwrap()
        }
    }

    fn pod(name: &str, uid: &str) -> Value {
        json!({"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": name, "namespace": "default", "uid": uid},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}})
    }

    fn name(name: &str) -> ObjectName {
        let namespace = "default".to_owned();
        let name = name.to_owned();
        ObjectName { namespace, name }
    }

    #[test]
    fn a_pod_that_is_left_out_says_so_once_and_only_for_its_node() {
        let bed = Bed::new(&[pod("a", UID[0])]);
        let other = NodeName::new("n2").unwrap();
        let why = document::Error::NodeFull;
        write_left_out(&bed.store, &other, &name("a"), &why).unwrap();
        assert!(bed.pod("a").get("status").is_none(), "not its node");
        write_left_out(&bed.store, &bed.node, &name("a"), &why).unwrap();
        let status = bed.pod("a")["status"].clone();
        assert_eq!(status["reason"], LEFT_OUT);
        assert!(
            status["message"]
                .as_str()
                .unwrap()
                .ends_with(&why.to_string())
        );
        let before = bed.store.revision();
        write_left_out(&bed.store, &bed.node, &name("a"), &why).unwrap();
        write_left_out(&bed.store, &bed.node, &name("gone"), &why).unwrap();
        assert_eq!(bed.store.revision(), before, "nothing new, nothing written");
    }

    #[test]
    fn an_undecodable_pod_is_told_of_and_holds_up_no_other() {
        let mut odd = pod("odd", UID[0]);
        odd["spec"]["containers"] = "none".into();
        let bed = Bed::new(&[odd, pod("plain", UID[1])]);
        let identity = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key();
        let record = json!({"node": "n1", "certificate": "00".repeat(32), "podCidr": "10.42.0.0/24",
            "identity": hex_of(identity.as_bytes()), "sealing": "00".repeat(32), "index": 0, "token": ""});
        let entry = Entry {
            key: node_key(&bed.node),
            json: record.to_string().into(),
            created: Revision(1),
            modified: Revision(1),
            revision_at: None,
        };
        let member = NodeKey::from_entry(&entry).unwrap();
        let range: Cidr = "10.43.0.0/16".parse().unwrap();
        let minter = crate::nodelink::tokens::tests::minter(&bed.store);
        let maker = Shelf::new(minter).take(&bed.node, 0);
        let document = compile(&bed.desired, &member, range, 1, &maker);
        assert_eq!(document.objects.len(), 2, "the node and the plain pod");
        assert!(matches!(
            &document.left_out[..],
            [(pod, document::Error::Undecodable(_))] if *pod == name("odd")
        ));

        let running = |uid| PodReport {
            uid: PodUid::parse(uid).unwrap(),
            phase: Phase::Running,
            ..PodReport::default()
        };
        let report = Report {
            node: bed.node.clone(),
            number: 1,
            hard: false,
            pods: UID.map(running).into(),
            all: None,
            accepted: None,
            converged: None,
            rejected: String::new(),
            events: Vec::new(),
            usage: None,
        };
        write(&bed.store, &bed.desired, &report).unwrap();
        assert_eq!(bed.pod("plain")["status"]["phase"], "Running");
        assert!(bed.pod("odd").get("status").is_none());
    }
}
