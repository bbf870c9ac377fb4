//! What a decision looks at: the nodes, the pods on them, and the room kept for others.
//!
//! In: nodes, namespaces and pods as they come, change and go, in any order. Out: [`Cluster`], which
//! the scheduler's loop owns.

use std::collections::{BTreeMap, HashMap};

use bramble_api::time::Timestamp;
use bramble_api::view::{Affinity, Labels, Node, Pod};

use super::Amount;
use super::images::Images;

/// A node with what its pods have asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Place {
    /// None while there are pods on a node that is not there (any more).
    pub(super) node: Option<Node>,
    pub(super) allocatable: Amount,
    pub(super) used: Amount,
    /// Pods by UID of their controller.
    pub(super) siblings: HashMap<String, u32>,
    /// Its pods by UID.
    pub(super) residents: BTreeMap<String, Resident>,
    /// Pods that others made room for here, by UID.
    nominated: BTreeMap<String, (i32, Amount)>,
}

/// A pod on a node, as far as others care.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Resident {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) deleting: bool,
    pub(super) priority: i32,
    /// When its node began with it; not yet if there is none.
    pub(super) started: Option<Timestamp>,
    pub(super) amount: Amount,
    ports: Vec<HostPort>,
    /// Only if it is about other pods.
    pub(super) affinity: Option<Box<Affinity>>,
}

#[derive(Debug, Clone, PartialEq)]
struct HostPort {
    /// Empty for all addresses.
    address: String,
    protocol: String,
    port: i32,
}

impl HostPort {
    fn of(pod: &Pod) -> Vec<Self> {
        let ports = (pod.spec.containers.iter()).flat_map(|container| &container.ports);
        ports
            .filter(|port| port.host_port != 0)
            .map(|port| Self {
                address: match port.host_ip.as_str() {
                    "0.0.0.0" | "::" => String::new(),
                    address => address.to_owned(),
                },
                protocol: match port.protocol.as_str() {
                    "" => "TCP".to_owned(),
                    protocol => protocol.to_owned(),
                },
                port: port.host_port,
            })
            .collect()
    }

    fn collides(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address.is_empty()
                || other.address.is_empty()
                || self.address == other.address)
    }
}

impl Resident {
    fn of(pod: &Pod) -> Self {
        let concerns_pods = |affinity: &Affinity| {
            [&affinity.pod_affinity, &affinity.pod_anti_affinity]
                .iter()
                .any(|one| !one.required.is_empty() || !one.preferred.is_empty())
        };
        Self {
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            labels: pod.metadata.labels.clone(),
            deleting: pod.metadata.is_deleting(),
            priority: pod.spec.priority,
            started: pod.status.start_time,
            amount: Amount::of(pod),
            ports: HostPort::of(pod),
            affinity: (pod.spec.affinity.as_ref())
                .filter(|affinity| concerns_pods(affinity))
                .cloned(),
        }
    }
}

impl Place {
    /// Whether a host port that the pod wants is taken.
    pub(super) fn has_port_of(&self, pod: &Pod) -> bool {
        self.has_port_of_without(pod, &[])
    }

    pub(super) fn has_port_of_without(&self, pod: &Pod, gone: &[&str]) -> bool {
        let wanted = HostPort::of(pod);
        !wanted.is_empty()
            && (self.residents.iter())
                .filter(|(uid, _)| !gone.contains(&uid.as_str()))
                .flat_map(|(_, one)| &one.ports)
                .any(|taken| wanted.iter().any(|port| port.collides(taken)))
    }

    /// What is kept here for pods that matter at least as much and that others left for.
    pub(super) fn reserved_before(&self, pod: &Pod) -> Amount {
        (self.nominated.iter())
            .filter(|(uid, (priority, _))| {
                **uid != pod.metadata.uid && *priority >= pod.spec.priority
            })
            .fold(Amount::default(), |sum, (_, (_, amount))| sum.plus(*amount))
    }
}

/// The nodes, and what their pods have asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    pub(super) places: BTreeMap<String, Place>,
    /// Labels of namespaces, by name.
    pub(super) namespaces: BTreeMap<String, Labels>,
    pub(super) images: Images,
}

impl Cluster {
    /// A node came, changed or went (`None`).
    pub fn handle_node(&mut self, name: &str, node: Option<&Node>) {
        let place = self.places.entry(name.to_owned()).or_default();
        place.allocatable = node.map(Amount::allocatable).unwrap_or_default();
        place.node = node.cloned();
        self.forget_if_empty(name);
    }

    /// A namespace came, changed or went (`None`).
    pub fn handle_namespace(&mut self, name: &str, labels: Option<&Labels>) {
        match labels.filter(|labels| !labels.is_empty()) {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels.clone()),
            None => self.namespaces.remove(name),
        };
    }

    /// A pod came, changed or went.
    pub fn handle_pod(&mut self, before: Option<&Pod>, after: Option<&Pod>) {
        if let Some(pod) = before.filter(|pod| occupies(pod)) {
            if let Some(place) = self.places.get_mut(&pod.spec.node_name) {
                place.residents.remove(&pod.metadata.uid);
                place.used = place.used.minus(Amount::of(pod));
                if let Some(owner) = pod.metadata.controller()
                    && let Some(count) = place.siblings.get_mut(&owner.uid)
                {
                    *count -= 1;
                    if *count == 0 {
                        place.siblings.remove(&owner.uid);
                    }
                }
            }
            self.forget_if_empty(&pod.spec.node_name);
        }
        if let Some(pod) = before.filter(|pod| is_nominated(pod)) {
            if let Some(place) = self.places.get_mut(&pod.status.nominated_node_name) {
                place.nominated.remove(&pod.metadata.uid);
            }
            self.forget_if_empty(&pod.status.nominated_node_name);
        }
        if let Some(pod) = after.filter(|pod| occupies(pod)) {
            let place = self.places.entry(pod.spec.node_name.clone()).or_default();
            let uid = pod.metadata.uid.clone();
            place.residents.insert(uid, Resident::of(pod));
            place.used = place.used.plus(Amount::of(pod));
            if let Some(owner) = pod.metadata.controller() {
                *place.siblings.entry(owner.uid.clone()).or_default() += 1;
            }
        }
        if let Some(pod) = after.filter(|pod| is_nominated(pod)) {
            let name = pod.status.nominated_node_name.clone();
            let kept = (pod.spec.priority, Amount::of(pod));
            let place = self.places.entry(name).or_default();
            place.nominated.insert(pod.metadata.uid.clone(), kept);
        }
    }

    /// A pod came, changed or went: what its node says of its images.
    pub fn handle_images(&mut self, before: Option<&Pod>, after: Option<&Pod>, now: Timestamp) {
        let places = &self.places;
        let platforms = |pod: &Pod| {
            let node = places.get(&pod.spec.node_name)?.node.as_ref()?;
            node.metadata
                .annotations
                .get(crate::node::PLATFORMS)
                .cloned()
        };
        self.images.handle_pod(before, after, platforms, now);
    }

    /// How many pods of a kind there are by value of a node label.
    pub(super) fn count(&self, key: &str, is: impl Fn(&Resident) -> bool) -> BTreeMap<String, i64> {
        let mut counts = BTreeMap::new();
        for (_, place, node) in self.nodes() {
            let Some(value) = node.metadata.labels.get(key) else {
                continue;
            };
            let here = place.residents.values().filter(|one| is(one)).count();
            if here > 0 {
                *counts.entry(value.clone()).or_default() += i64::try_from(here).unwrap_or(0);
            }
        }
        counts
    }

    fn forget_if_empty(&mut self, name: &str) {
        let empty = |place: &Place| {
            place.node.is_none() && place.residents.is_empty() && place.nominated.is_empty()
        };
        if self.places.get(name).is_some_and(empty) {
            self.places.remove(name);
        }
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&str, &Place, &Node)> {
        self.places
            .iter()
            .filter_map(|(name, place)| Some((name.as_str(), place, place.node.as_ref()?)))
    }

    /// Whether a node of this name exists.
    pub fn has_node(&self, name: &str) -> bool {
        self.places
            .get(name)
            .is_some_and(|place| place.node.is_some())
    }
}

/// Whether a pod takes room on its node: also while it stops.
fn occupies(pod: &Pod) -> bool {
    !pod.spec.node_name.is_empty() && !pod.is_terminated()
}

/// Whether others make room for a pod that waits.
fn is_nominated(pod: &Pod) -> bool {
    pod.spec.node_name.is_empty() && pod.is_active() && !pod.status.nominated_node_name.is_empty()
}
