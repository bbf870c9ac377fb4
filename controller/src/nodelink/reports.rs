//! What nodes say of their pods becomes statuses in the store. Between the pure decisions of the core
//! and the store; no state of its own.

use std::sync::Arc;

use bramble_api::metadata;
use bramble_api::patch;
use bramble_controller_core::action::{Action, Durability as Class, Note};
use bramble_controller_core::nodelink::Report;
use bramble_controller_core::{event, status};
use bramble_wire::object::PodUid;
use serde_json::Value;

use super::desired::Desired;
use super::presence::host_ip;
use crate::object;
use crate::store::{
    Body, Durability, Durable, Entry, Error as StoreError, Expect, Key, Op, Revision, Store,
};

/// Writes against an object that somebody else changes at the same time.
pub(super) const TRIES: usize = 5;

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
                    let name = pod.name.as_ref().map(ToString::to_string);
                    let (node, name) = (&report.node, name.unwrap_or_default());
                    tracing::warn!(%node, pod = %pod.uid, name, ?images, "unclaimed pod");
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

pub(super) fn body(value: &Value) -> Body {
    let canonical = metadata::canonical(value);
    Body {
        json: canonical.bytes,
        revision_at: canonical.revision_at,
    }
}

pub(super) fn decode(entry: &Arc<Entry>) -> Result<Value, Error> {
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

#[cfg(test)]
mod tests {
    use super::super::documents::{LEFT_OUT, compile, write_left_out};
    use super::super::presence::node_key;
    use super::super::tokens::Shelf;
    use super::super::watch::Source;
    use super::*;
    use crate::join::NodeKey;
    use crate::nodelink::Common;
    use crate::store::{EventKind, MemoryStore};
    use bramble_controller_core::document;
    use bramble_wire::join::hex_of;
    use bramble_wire::name::NodeName;
    use bramble_wire::object::ObjectName;
    use bramble_wire::report::{Phase, PodReport};
    use serde_json::json;

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
        let common = Common {
            service_cidr: "10.43.0.0/16".parse().unwrap(),
            brokers: Vec::new(),
        };
        let minter = crate::nodelink::tokens::tests::minter(&bed.store);
        let maker = Shelf::new(minter).take(&bed.node, 0);
        let document = compile(&bed.desired, &member, &common, 1, &maker);
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
