//! Where Services lead: Endpoints and EndpointSlices.
//!
//! In: a Service, the pods of its namespace, and what is stored of its Endpoints and EndpointSlices.
//! Out: what to make, change and delete, which is nothing when the stored objects say the same
//! already, in whatever order. Upstream's counterparts are
//! `pkg/controller/endpoint/endpoints_controller.go`,
//! `staging/src/k8s.io/endpointslice/reconciler.go` and `pkg/controller/endpointslicemirroring`.
//! Pods have IPv4 addresses only, so there are no slices for others but mirrored ones.

mod mirror;
mod slices;
mod subsets;

use bramble_api::view::{
    Endpoint, EndpointConditions, EndpointPort, EndpointSlice, Endpoints, Labels, Metadata,
    ObjectReference, Pod, PortRef, Service, ServicePort,
};
use serde_json::{Map, Value};

use crate::action::{Action, Observed};
use crate::kinds;
pub use mirror::mirror;
use slices::{Owner, Wanted};

/// Says which Service an EndpointSlice belongs to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Says who makes an EndpointSlice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Who makes those of Services with a selector.
pub const OURS: &str = "endpointslice-controller.k8s.io";
/// Who makes those of Endpoints by hand.
pub const MIRROR: &str = "endpointslicemirroring-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// What a Service is decided on.
pub struct Input<'a> {
    /// It.
    pub service: &'a Observed<Service>,
    /// The pods of its namespace; those with other labels are passed over.
    pub pods: &'a [&'a Observed<Pod>],
    /// The Endpoints of its name.
    pub endpoints: Option<&'a Observed<Endpoints>>,
    /// The EndpointSlices that name it, whoever makes them.
    pub slices: &'a [Observed<EndpointSlice>],
    /// The zone of a node.
    pub zone: &'a dyn Fn(&str) -> Option<String>,
}

/// Decides where a Service with a selector leads. One without is somebody else's.
pub fn plan(input: &Input<'_>) -> Vec<Action> {
    let service = input.service;
    if !service.selects() || service.metadata.is_deleting() {
        return Vec::new();
    }
    let pods: Vec<&Observed<Pod>> = input
        .pods
        .iter()
        .copied()
        .filter(|pod| selects(service, &pod.metadata.labels) && is_endpoint(pod))
        .collect();
    let mut actions = subsets::plan(service, &pods, input.endpoints);
    let mut wanted: Vec<Wanted> = Vec::new();
    for pod in pods {
        let ports = ports(service, pod);
        let endpoint = endpoint(service, pod, input.zone);
        match wanted.iter_mut().find(|group| group.ports == ports) {
            Some(group) => group.endpoints.push(endpoint),
            None => wanted.push(Wanted {
                address_type: "IPv4",
                ports,
                endpoints: vec![endpoint],
            }),
        }
    }
    if wanted.is_empty() {
        // As upstream: a Service that leads nowhere says so in a slice.
        wanted.push(Wanted {
            address_type: "IPv4",
            ports: Vec::new(),
            endpoints: Vec::new(),
        });
    }
    let mut labels = service.metadata.labels.clone();
    mark_headless(service, &mut labels);
    let owner = Owner {
        kind: kinds::service(),
        metadata: &service.metadata,
        managed_by: OURS,
        labels,
    };
    actions.extend(slices::plan(&owner, wanted, input.slices));
    actions
}

/// Whether a Service means pods with these labels.
pub fn selects(service: &Service, labels: &Labels) -> bool {
    let mut wanted = service.spec.selector.iter();
    service.selects() && wanted.all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether Endpoints were made here, for a Service with a selector.
pub fn is_ours(endpoints: &Endpoints) -> bool {
    let by = endpoints.metadata.labels.get(subsets::MANAGED_BY);
    by.is_some_and(|by| by == subsets::CONTROLLER)
}

/// Whether two states of a pod are the same to every Service.
pub fn same_endpoint(a: &Pod, b: &Pod) -> bool {
    let face = |pod: &Pod| (is_endpoint(pod), pod.is_ready(), pod.metadata.is_deleting());
    let ports = |pod: &Pod| -> Vec<_> {
        let containers = pod.spec.containers.iter();
        containers.flat_map(|c| c.ports.clone()).collect()
    };
    face(a) == face(b)
        && a.status.pod_ip == b.status.pod_ip
        && a.metadata.uid == b.metadata.uid
        && a.metadata.labels == b.metadata.labels
        && a.spec.node_name == b.spec.node_name
        && a.spec.hostname == b.spec.hostname
        && a.spec.subdomain == b.spec.subdomain
        && ports(a) == ports(b)
}

/// Whether a pod can be talked to, or could a moment ago.
fn is_endpoint(pod: &Pod) -> bool {
    !pod.is_terminated() && !pod.status.pod_ip.is_empty()
}

fn mark_headless(service: &Service, labels: &mut Labels) {
    labels.remove(HEADLESS);
    if service.is_headless() {
        labels.insert(HEADLESS.into(), String::new());
    }
}

/// The ports under which a pod serves; one whose name no container has is left out.
fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let port = |port: &ServicePort| {
        let protocol = or_tcp(&port.protocol);
        Some(EndpointPort {
            name: port.name.clone(),
            protocol: protocol.to_owned(),
            port: Some(match &port.target_port {
                None | Some(PortRef::Number(0)) => port.port,
                Some(PortRef::Number(number)) => *number,
                Some(PortRef::Name(name)) => named_port(pod, name, protocol)?,
            }),
            app_protocol: port.app_protocol.clone(),
        })
    };
    let mut ports: Vec<_> = service.spec.ports.iter().filter_map(port).collect();
    ports.sort_unstable();
    ports
}

fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let mut ports = pod.spec.containers.iter().flat_map(|c| &c.ports);
    ports
        .find(|port| port.name == name && or_tcp(&port.protocol) == protocol)
        .map(|port| port.container_port)
}

fn or_tcp(protocol: &str) -> &str {
    if protocol.is_empty() { "TCP" } else { protocol }
}

fn is_ready(service: &Service, pod: &Pod) -> bool {
    service.spec.publish_not_ready_addresses || (pod.is_ready() && !pod.metadata.is_deleting())
}

/// The host name of a pod below the name of its headless Service.
fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = &pod.spec;
    let below = !spec.hostname.is_empty() && spec.subdomain == service.metadata.name;
    below.then(|| spec.hostname.clone())
}

fn reference(metadata: &Metadata) -> ObjectReference {
    ObjectReference {
        kind: "Pod".to_owned(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
    }
}

fn node(pod: &Pod) -> Option<String> {
    let node = &pod.spec.node_name;
    (!node.is_empty()).then(|| node.clone())
}

fn endpoint(service: &Service, pod: &Pod, zone: &dyn Fn(&str) -> Option<String>) -> Endpoint {
    Endpoint {
        addresses: vec![pod.status.pod_ip.clone()],
        conditions: EndpointConditions {
            ready: Some(is_ready(service, pod)),
            serving: Some(pod.is_ready()),
            terminating: Some(pod.metadata.is_deleting()),
        },
        hostname: hostname(service, pod),
        node_name: node(pod),
        target_ref: Some(reference(&pod.metadata)),
        zone: zone(&pod.spec.node_name),
    }
}

/// A merge patch from some labels to others; none when they are the same.
fn label_patch(is: &Labels, should: &Labels) -> Option<Value> {
    if is == should {
        return None;
    }
    let gone = is.keys().filter(|key| !should.contains_key(*key));
    let mut patch: Map<String, Value> = gone.map(|key| (key.clone(), Value::Null)).collect();
    patch.extend(
        should
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().into())),
    );
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests;
