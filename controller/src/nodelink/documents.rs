//! What the store says becomes the documents of nodes, and what a node does not get is said on the
//! pod. Between the pure decisions of the core and the store; no state of its own.

use std::collections::BTreeSet;

use bramble_api::view::{self, FullPod};
use bramble_controller_core::action::{Action, Durability as Class, Observed, Target};
use bramble_controller_core::document::tokens::Wanted;
use bramble_controller_core::document::{self, Configuration, Document};
use bramble_controller_core::kinds;
use bramble_controller_core::nodelink::Compiled;
use bramble_wire::name::NodeName;
use bramble_wire::object::{Cidr as WireCidr, NodeConfig, ObjectName};
use serde_json::{Value, json};

use super::desired::Desired;
use super::reports::{Error, TRIES, decode, is_race, op};
use super::tokens::Maker;
use crate::join::{Cidr, NodeKey};
use crate::store::{Entry, Key, Store};

/// The reason in the status of a pod that its node does not get; `kubectl get pods` shows it.
pub(super) const LEFT_OUT: &str = "NotSentToNode";

/// What every node is told alike.
#[derive(Debug, Clone)]
pub struct Common {
    /// Range of Services.
    pub service_cidr: Cidr,
    /// Where nodes find the brokers, best first ([`NodeConfig::brokers`]).
    pub brokers: Vec<String>,
}

/// The last document of a node that was deleted: nothing is to run there.
pub(super) fn farewell(member: &NodeKey, common: &Common, confirmed_epoch: u64) -> Document {
    let config = config(member, common, confirmed_epoch);
    document::compile(&config, [], &Nothing)
}

/// The document of a node.
pub(super) fn compile(
    desired: &Desired,
    member: &NodeKey,
    common: &Common,
    confirmed_epoch: u64,
    tokens: &Maker,
) -> Document {
    let config = NodeConfig {
        released: desired.released(&member.node),
        ..config(member, common, confirmed_epoch)
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

fn config(member: &NodeKey, common: &Common, confirmed_epoch: u64) -> NodeConfig {
    NodeConfig {
        pod_cidr: member.pod_cidr.parse().map(wire_cidr).unwrap_or_default(),
        service_cidr: wire_cidr(common.service_cidr),
        confirmed_epoch,
        brokers: common.brokers.clone(),
        released: Vec::new(),
    }
}

/// For a document without pods.
struct Nothing;

impl Configuration for Nothing {
    fn config_map(&self, _: &ObjectName) -> Option<Observed<view::ConfigMap>> {
        None
    }

    fn secret(&self, _: &ObjectName) -> Option<Observed<view::Secret>> {
        None
    }

    fn tokens(&self, _: &FullPod, _: &BTreeSet<Wanted>) -> Option<Compiled> {
        None
    }
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
