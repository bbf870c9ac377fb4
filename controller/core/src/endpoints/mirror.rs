//! Endpoints that somebody made by hand, mirrored into slices for those who only read slices.

use std::net::IpAddr;

use bramble_api::view::{
    Endpoint, EndpointAddress, EndpointConditions, EndpointPort, EndpointSlice, Endpoints, Service,
    Subset,
};

use super::slices::{self, Owner, Wanted};
use super::{MANAGED_BY, MIRROR, SERVICE_NAME};
use crate::action::{Action, Observed};
use crate::kinds;

/// Most addresses of a subset that are mirrored, as upstream.
const SUBSET_MAX: usize = 1000;
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// What to do about the mirror of Endpoints. They are mirrored while there is a Service of their
/// name without a selector; `slices` are those that name it.
pub fn mirror(
    endpoints: Option<&Observed<Endpoints>>,
    service: Option<&Service>,
    slices: &[Observed<EndpointSlice>],
) -> Vec<Action> {
    let by_hand = service.is_some_and(|s| s.spec.selector.is_empty() && !s.metadata.is_deleting());
    let Some(endpoints) = endpoints.filter(|endpoints| by_hand && wants_mirror(endpoints)) else {
        // Also those of a Service that has a selector by now.
        return remove_all(slices);
    };
    let mut wanted = Vec::new();
    for subset in &endpoints.subsets {
        add(subset, &mut wanted);
    }
    let mut labels = endpoints.metadata.labels.clone();
    labels.remove(SERVICE_NAME);
    labels.remove(MANAGED_BY);
    let owner = Owner {
        kind: kinds::endpoints(),
        metadata: &endpoints.metadata,
        managed_by: MIRROR,
        labels,
    };
    slices::plan(&owner, wanted, slices)
}

fn wants_mirror(endpoints: &Endpoints) -> bool {
    let metadata = &endpoints.metadata;
    metadata.labels.get(SKIP).is_none_or(|skip| skip != "true")
        && !metadata.annotations.contains_key(LEADER)
        && !metadata.is_deleting()
}

fn remove_all(slices: &[Observed<EndpointSlice>]) -> Vec<Action> {
    // An owner is needed for new slices only.
    let nobody = bramble_api::view::Metadata::default();
    let owner = Owner {
        kind: kinds::endpoints(),
        metadata: &nobody,
        managed_by: MIRROR,
        labels: Default::default(),
    };
    slices::plan(&owner, Vec::new(), slices)
}

fn add(subset: &Subset, wanted: &mut Vec<Wanted>) {
    let mut ports: Vec<EndpointPort> = subset.ports.clone();
    ports.sort_unstable();
    let ready = subset.addresses.iter().map(|address| (address, true));
    let others = subset
        .not_ready_addresses
        .iter()
        .map(|address| (address, false));
    for (address, ready) in ready.chain(others).take(SUBSET_MAX) {
        let address_type = match address.ip.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => "IPv4",
            Ok(IpAddr::V6(_)) => "IPv6",
            Err(_) => continue,
        };
        let endpoint = endpoint(address, ready);
        let group = wanted
            .iter_mut()
            .find(|group| group.address_type == address_type && group.ports == ports);
        match group {
            Some(group) => group.endpoints.push(endpoint),
            None => wanted.push(Wanted {
                address_type,
                ports: ports.clone(),
                endpoints: vec![endpoint],
            }),
        }
    }
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        },
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        zone: None,
    }
}
