//! How much an object uses of what quotas can limit.

use std::collections::{BTreeMap, BTreeSet};

use bramble_api::quantity::Quantity;
use bramble_api::time::Timestamp;
use serde_json::Value;

use crate::admission::resources::{Amounts, add, of_container, of_pod};
use crate::admission::{items, part, text};

/// The resource of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// API group; empty for core.
    pub group: &'a str,
    /// Plural name.
    pub resource: &'a str,
}

/// What pods use, besides huge pages and extended resources.
const POD: [&str; 11] = [
    "count/pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];

/// When a quota limits one of these, every container must say what it wants of it.
const MUST_SAY: [&str; 6] = [
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
];

/// Resources whose count has a short name of its own.
const SHORT: [&str; 4] = [
    "configmaps",
    "resourcequotas",
    "replicationcontrollers",
    "secrets",
];

const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";

enum Sort {
    Pod,
    Service,
    Claim,
    Other,
}

impl Subject<'_> {
    fn sort(self) -> Sort {
        match (self.group, self.resource) {
            ("", "pods") => Sort::Pod,
            ("", "services") => Sort::Service,
            ("", "persistentvolumeclaims") => Sort::Claim,
            _ => Sort::Other,
        }
    }

    /// `count/deployments.apps`.
    fn count_name(self) -> String {
        if self.group.is_empty() {
            format!("count/{}", self.resource)
        } else {
            format!("count/{}.{}", self.resource, self.group)
        }
    }

    /// Whether a limit of this name counts such objects.
    pub(super) fn is_measured_by(self, name: &str) -> bool {
        match self.sort() {
            Sort::Pod => {
                POD.contains(&name)
                    || name.starts_with("hugepages-")
                    || name
                        .strip_prefix("requests.")
                        .is_some_and(|rest| rest.contains('/') || rest.starts_with("hugepages-"))
                        && !name.contains(STORAGE_CLASS)
            }
            Sort::Service => matches!(
                name,
                "count/services" | "services" | "services.nodeports" | "services.loadbalancers"
            ),
            Sort::Claim => {
                matches!(
                    name,
                    "count/persistentvolumeclaims" | "persistentvolumeclaims" | "requests.storage"
                ) || name.contains(STORAGE_CLASS)
            }
            Sort::Other => {
                name == self.count_name()
                    || self.group.is_empty() && name == self.resource && SHORT.contains(&name)
            }
        }
    }

    /// What an object uses.
    pub(super) fn usage(self, object: &Value, now: Timestamp) -> Amounts {
        let one = Quantity::from_count(1);
        let mut out = Amounts::from([(self.count_name(), one)]);
        match self.sort() {
            Sort::Pod => {
                if is_charged(object, now) {
                    let spec = part(object, "spec");
                    let own = compute(&of_pod(spec, "requests"), &of_pod(spec, "limits"));
                    add(&mut out, &own);
                }
            }
            Sort::Service => service(part(object, "spec"), &mut out),
            Sort::Claim => claim(object, &mut out),
            Sort::Other => {
                if self.group.is_empty() && SHORT.contains(&self.resource) {
                    out.insert(self.resource.to_owned(), one);
                }
            }
        }
        out
    }
}

/// A pod that has ended, or whose grace is over, uses nothing but its place in the store.
fn is_charged(pod: &Value, now: Timestamp) -> bool {
    if matches!(text(part(pod, "status"), "phase"), "Succeeded" | "Failed") {
        return false;
    }
    let metadata = part(pod, "metadata");
    let deletion = Timestamp::parse(text(metadata, "deletionTimestamp"));
    let grace = metadata
        .get("deletionGracePeriodSeconds")
        .and_then(Value::as_i64);
    match (deletion, grace) {
        (Some(at), Some(grace)) => now.seconds <= at.seconds.saturating_add(grace),
        _ => true,
    }
}

fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut out = Amounts::from([("pods".to_owned(), Quantity::from_count(1))]);
    for (name, amount) in requests {
        let plain = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        if plain || name.starts_with("hugepages-") {
            out.insert(name.clone(), *amount);
        }
        // Extended resources have a domain.
        if plain || name.starts_with("hugepages-") || name.contains('/') {
            out.insert(format!("requests.{name}"), *amount);
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            out.insert(format!("limits.{name}"), *amount);
        }
    }
    out
}

fn service(spec: &Value, out: &mut Amounts) {
    let count = |n: usize| Quantity::from_count(i64::try_from(n).unwrap_or(i64::MAX));
    let ports = items(spec, "ports");
    let kind = text(spec, "type");
    let suppressed = part(spec, "allocateLoadBalancerNodePorts").as_bool() == Some(false);
    // Ports are not given out yet, so what counts is what will be.
    let node_ports = match kind {
        "NodePort" => ports.len(),
        "LoadBalancer" if suppressed => ports
            .iter()
            .filter(|port| part(port, "nodePort").as_i64().unwrap_or(0) != 0)
            .count(),
        "LoadBalancer" => ports.len(),
        _ => 0,
    };
    out.insert("services".into(), count(1));
    out.insert("services.nodeports".into(), count(node_ports));
    let balancers = usize::from(kind == "LoadBalancer");
    out.insert("services.loadbalancers".into(), count(balancers));
}

fn claim(claim: &Value, out: &mut Amounts) {
    let one = Quantity::from_count(1);
    let spec = part(claim, "spec");
    out.insert("persistentvolumeclaims".into(), one);
    let requested = of_container(spec, "requests").get("storage").copied();
    let allocated =
        crate::admission::resources::amounts(part(part(claim, "status"), "allocatedResources"));
    let storage = requested.max(allocated.get("storage").copied());
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        out.insert(format!("{class}{STORAGE_CLASS}persistentvolumeclaims"), one);
    }
    if let Some(storage) = storage {
        out.insert("requests.storage".into(), storage);
        if !class.is_empty() {
            out.insert(format!("{class}{STORAGE_CLASS}requests.storage"), storage);
        }
    }
}

/// Whether every container says what it wants of the limited resources.
///
/// # Errors
/// `must specify …`.
pub fn missing(subject: Subject<'_>, object: &Value, limited: &[&str]) -> Result<(), String> {
    if !matches!(subject.sort(), Sort::Pod) {
        return Ok(());
    }
    let required: Vec<&str> = limited
        .iter()
        .copied()
        .filter(|name| MUST_SAY.contains(name))
        .collect();
    let spec = part(object, "spec");
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let containers = items(spec, "containers")
        .iter()
        .chain(items(spec, "initContainers"));
    for container in containers {
        let said = compute(
            &of_container(container, "requests"),
            &of_container(container, "limits"),
        );
        for name in &required {
            if !said.contains_key(*name) {
                missing
                    .entry(name)
                    .or_default()
                    .insert(text(container, "name"));
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let parts: Vec<String> = missing
        .into_iter()
        .map(|(resource, containers)| {
            let containers: Vec<&str> = containers.into_iter().collect();
            format!("{resource} for: {}", containers.join(","))
        })
        .collect();
    Err(format!("must specify {}", parts.join("; ")))
}
