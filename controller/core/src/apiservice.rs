//! The Service `kubernetes` in `default`: the API, as pods find it.
//!
//! In: where the API is reached, and what is stored. Out: what to make or to put right. The Service
//! itself is a person's to change, as upstream, where only its ports are kept; Endpoints and the
//! EndpointSlice follow the controller's addresses. Upstream's counterpart is
//! `pkg/controlplane/reconcilers/endpointsadapter.go`.

use std::net::Ipv4Addr;

use bramble_api::kind::Kind;
use serde_json::{Map, Value, json};

use crate::action::{Action, Durability, Observed, Target};
use crate::kinds;

/// Name of the Service and of what belongs to it.
pub const NAME: &str = "kubernetes";
/// Its namespace.
pub const NAMESPACE: &str = "default";
/// The Service's port.
const PORT: u16 = 443;

/// Where the API is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// The Service's address.
    pub cluster_ip: Ipv4Addr,
    /// The controller's addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// The port that the API listens on.
    pub port: u16,
}

/// What is stored of it, each as it is.
#[derive(Debug, Default)]
pub struct Stored {
    /// The Service.
    pub service: Option<Observed<Value>>,
    /// The Endpoints.
    pub endpoints: Option<Observed<Value>>,
    /// The EndpointSlice.
    pub slice: Option<Observed<Value>>,
}

/// What to do so that pods find the API. With no address known, what is there stays.
pub fn ensure(api: &Api, stored: &Stored) -> Vec<Action> {
    let mut actions: Vec<Action> = ensured(
        kinds::service(),
        stored.service.as_ref(),
        &service(api),
        &["/spec/ports"],
    )
    .into_iter()
    .collect();
    // Kubernetes takes no loopback address for an endpoint: a pod would talk to itself.
    let mut addresses: Vec<Ipv4Addr> = api
        .addresses
        .iter()
        .copied()
        .filter(|address| !address.is_loopback() && !address.is_unspecified())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return actions;
    }
    let wanted = endpoints(&addresses, api.port);
    let found = stored.endpoints.as_ref();
    actions.extend(ensured(kinds::endpoints(), found, &wanted, &["/subsets"]));
    let wanted = slice(&addresses, api.port);
    let found = stored.slice.as_ref();
    let lists = ["/endpoints", "/ports"];
    actions.extend(ensured(kinds::endpoint_slice(), found, &wanted, &lists));
    actions
}

/// Creates an object, or puts these of its fields right.
fn ensured(
    kind: &'static Kind,
    found: Option<&Observed<Value>>,
    wanted: &Value,
    fields: &[&str],
) -> Option<Action> {
    let Some(found) = found else {
        return Some(Action::Create {
            kind,
            namespace: NAMESPACE.to_owned(),
            object: wanted.clone(),
            note: None,
        });
    };
    let mut patch = Value::Object(Map::new());
    for field in fields {
        let (is, should) = (found.object.pointer(field), wanted.pointer(field));
        if is.is_some_and(|is| should.is_some_and(|should| holds(is, should))) {
            continue;
        }
        let mut at = &mut patch;
        for key in field.split('/').skip(1) {
            at = &mut at[key];
        }
        *at = should.cloned().unwrap_or(Value::Null);
    }
    let target = Target {
        kind,
        namespace: NAMESPACE.to_owned(),
        name: NAME.to_owned(),
    };
    (patch != json!({})).then_some(Action::Patch {
        target,
        revision: found.revision,
        patch,
        durability: Durability::Hard,
        note: None,
    })
}

/// Whether a stored value says all that is wanted; defaults may have been added.
fn holds(is: &Value, should: &Value) -> bool {
    match (is, should) {
        (Value::Object(is), Value::Object(should)) => should
            .iter()
            .all(|(key, should)| is.get(key).is_some_and(|is| holds(is, should))),
        (Value::Array(is), Value::Array(should)) => {
            is.len() == should.len() && is.iter().zip(should).all(|(is, should)| holds(is, should))
        }
        _ => is == should,
    }
}

fn service(api: &Api) -> Value {
    let address = api.cluster_ip.to_string();
    json!({
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "ports": [{"name": "https", "protocol": "TCP", "port": PORT, "targetPort": api.port}],
        },
        "status": {"loadBalancer": {}},
    })
}

fn endpoints(addresses: &[Ipv4Addr], port: u16) -> Value {
    let address = |address: &Ipv4Addr| json!({"ip": address.to_string()});
    json!({
        "kind": "Endpoints",
        "apiVersion": "v1",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": addresses.iter().map(address).collect::<Vec<_>>(),
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }],
    })
}

fn slice(addresses: &[Ipv4Addr], port: u16) -> Value {
    let endpoint = |address: &Ipv4Addr| json!({"addresses": [address.to_string()], "conditions": {"ready": true}});
    json!({
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": NAME},
        },
        "addressType": "IPv4",
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(addresses: &[[u8; 4]]) -> Api {
        Api {
            cluster_ip: Ipv4Addr::new(10, 43, 0, 1),
            addresses: addresses.iter().map(|a| Ipv4Addr::from(*a)).collect(),
            port: 6443,
        }
    }

    fn seen(object: &Value) -> Option<Observed<Value>> {
        Some(Observed {
            revision: 3,
            object: object.clone(),
        })
    }

    /// Carries out on nothing, with a default that admission would add.
    fn stored(api: &Api) -> Stored {
        let mut out = Stored::default();
        for action in ensure(api, &Stored::default()) {
            let Action::Create { kind, object, .. } = action else {
                panic!("{action:?}");
            };
            let mut object = object;
            match kind.kind {
                "Service" => {
                    object["spec"]["ports"][0]["more"] = 1.into();
                    out.service = seen(&object);
                }
                "Endpoints" => out.endpoints = seen(&object),
                _ => out.slice = seen(&object),
            }
        }
        out
    }

    fn patches(actions: &[Action]) -> Vec<String> {
        let say = |action: &Action| match action {
            Action::Patch { target, patch, .. } => format!("{} {patch}", target.kind.kind),
            other => panic!("{other:?}"),
        };
        actions.iter().map(say).collect()
    }

    #[test]
    fn it_follows_the_addresses_and_is_left_alone_else() {
        let one = api(&[[192, 0, 2, 7], [127, 0, 0, 1]]);
        let mut there = stored(&one);
        assert!(ensure(&one, &there).is_empty(), "a satisfied world");
        assert!(
            ensure(&api(&[]), &there).is_empty(),
            "unknown is not nowhere"
        );
        let moved = patches(&ensure(&api(&[[192, 0, 2, 8]]), &there));
        assert_eq!(
            moved,
            [
                r#"Endpoints {"subsets":[{"addresses":[{"ip":"192.0.2.8"}],"ports":[{"name":"https","port":6443,"protocol":"TCP"}]}]}"#,
                r#"EndpointSlice {"endpoints":[{"addresses":["192.0.2.8"],"conditions":{"ready":true}}]}"#,
            ]
        );
        let service = there.service.as_mut().unwrap();
        service.object["spec"]["sessionAffinity"] = "ClientIP".into();
        assert!(ensure(&one, &there).is_empty(), "a person's to change");
        let service = there.service.as_mut().unwrap();
        service.object["spec"]["ports"][0]["targetPort"] = 1.into();
        assert_eq!(patches(&ensure(&one, &there)).len(), 1);
    }

    #[test]
    fn a_loopback_address_is_no_endpoint() {
        let actions = ensure(&api(&[[127, 0, 0, 1]]), &Stored::default());
        assert_eq!(actions.len(), 1, "the Service alone");
    }
}
