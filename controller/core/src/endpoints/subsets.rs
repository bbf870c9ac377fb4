//! Endpoints, the older form: for clients that have not learned of slices.

use bramble_api::view::{EndpointAddress, EndpointPort, Endpoints, Pod, Service, Subset};
use serde_json::{Map, Value, json};

use super::{hostname, is_ready, label_patch, mark_headless, node, ports, reference};
use crate::action::{Action, Durability, Observed, Target};
use crate::kinds;

/// Most addresses, as upstream.
const ADDRESSES_MAX: usize = 1000;
pub(super) const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
pub(super) const CONTROLLER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// What to do about the Endpoints of a Service.
pub(super) fn plan(
    service: &Observed<Service>,
    pods: &[&Observed<Pod>],
    found: Option<&Observed<Endpoints>>,
) -> Vec<Action> {
    let mut labels = service.metadata.labels.clone();
    labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    mark_headless(service, &mut labels);
    let mut subsets = subsets(service, pods);
    let over = truncate(&mut subsets);
    let metadata = &service.metadata;
    let Some(found) = found else {
        let mut object = json!({
            "kind": "Endpoints",
            "apiVersion": "v1",
            "metadata": {
                "name": metadata.name,
                "namespace": metadata.namespace,
                "labels": labels,
            },
        });
        if over {
            object["metadata"]["annotations"] = json!({OVER_CAPACITY: "truncated"});
        }
        if !subsets.is_empty() {
            object["subsets"] = json!(subsets);
        }
        return vec![Action::Create {
            kind: kinds::endpoints(),
            namespace: metadata.namespace.clone(),
            object,
            note: None,
        }];
    };
    let mut patch = Map::new();
    if sorted(found.subsets.clone()) != subsets {
        let list = match subsets.is_empty() {
            true => Value::Null,
            false => json!(subsets),
        };
        patch.insert("subsets".into(), list);
    }
    let mut changed = Map::new();
    if let Some(labels) = label_patch(&found.metadata.labels, &labels) {
        changed.insert("labels".into(), labels);
    }
    if found.metadata.annotations.contains_key(OVER_CAPACITY) != over {
        let value = if over {
            "truncated".into()
        } else {
            Value::Null
        };
        changed.insert("annotations".into(), json!({OVER_CAPACITY: value}));
    }
    if !changed.is_empty() {
        patch.insert("metadata".into(), Value::Object(changed));
    }
    if patch.is_empty() {
        return Vec::new();
    }
    vec![Action::Patch {
        target: Target::of(kinds::endpoints(), &found.metadata),
        revision: found.revision,
        patch: Value::Object(patch),
        durability: Durability::Soft,
        note: None,
    }]
}

/// Addresses by their ports, each subset and the list of them in order.
fn subsets(service: &Service, pods: &[&Observed<Pod>]) -> Vec<Subset> {
    let mut subsets: Vec<Subset> = Vec::new();
    for pod in pods {
        if pod.metadata.is_deleting() && !service.spec.publish_not_ready_addresses {
            continue;
        }
        let ports = ports(service, pod);
        // No port at all means every port for a headless Service, and nothing for another.
        if ports.is_empty() && !service.is_headless() {
            continue;
        }
        let subset = subset_of(&mut subsets, ports);
        let address = EndpointAddress {
            ip: pod.status.pod_ip.clone(),
            hostname: hostname(service, pod),
            node_name: node(pod),
            target_ref: Some(reference(&pod.metadata)),
        };
        match is_ready(service, pod) {
            true => subset.addresses.push(address),
            false => subset.not_ready_addresses.push(address),
        }
    }
    sorted(subsets)
}

fn subset_of(subsets: &mut Vec<Subset>, ports: Vec<EndpointPort>) -> &mut Subset {
    let at = subsets.iter().position(|subset| subset.ports == ports);
    let at = at.unwrap_or_else(|| {
        subsets.push(Subset {
            ports,
            ..Subset::default()
        });
        subsets.len() - 1
    });
    &mut subsets[at]
}

fn sorted(mut subsets: Vec<Subset>) -> Vec<Subset> {
    for subset in &mut subsets {
        subset.addresses.sort_unstable();
        subset.not_ready_addresses.sort_unstable();
        subset.ports.sort_unstable();
    }
    subsets.sort_unstable();
    subsets
}

/// Keeps the first addresses, ready ones before others; true when some had to go.
fn truncate(subsets: &mut Vec<Subset>) -> bool {
    let mut left = ADDRESSES_MAX;
    let mut over = false;
    let mut cut = |list: &mut Vec<EndpointAddress>| {
        over |= list.len() > left;
        list.truncate(left);
        left -= list.len();
    };
    subsets
        .iter_mut()
        .for_each(|subset| cut(&mut subset.addresses));
    subsets
        .iter_mut()
        .for_each(|subset| cut(&mut subset.not_ready_addresses));
    subsets.retain(|s| !s.addresses.is_empty() || !s.not_ready_addresses.is_empty());
    over
}
