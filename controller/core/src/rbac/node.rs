//! What a node may do: read what its own pods refer to, and write its own Node, its Lease and the
//! status of its pods.
//!
//! The [`Graph`] knows which node each pod is bound to and what it refers to; it is told of pods one by
//! one. What a node may *write into* these is [`super::restrict`]'s matter.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use super::rule::nullable;
use super::{Attributes, Resource, Target, User, defaults};

/// Every node is in it.
pub const GROUP: &str = "system:nodes";
/// Before the node's name.
pub const PREFIX: &str = "system:node:";
/// Where nodes keep their Leases.
pub const LEASES: &str = "kube-node-lease";

/// The node that a user is: `system:node:NAME` in the group `system:nodes`.
#[must_use]
pub fn node_of<'a>(user: User<'a>) -> Option<&'a str> {
    user.is_in(GROUP)
        .then(|| user.name.strip_prefix(PREFIX))
        .flatten()
}

/// What a pod can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Secret,
    ConfigMap,
    ServiceAccount,
    Claim,
}

/// What the graph reads of a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    #[serde(deserialize_with = "nullable")]
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(deserialize_with = "nullable")]
    node_name: String,
    #[serde(deserialize_with = "nullable")]
    service_account_name: String,
    #[serde(deserialize_with = "nullable")]
    image_pull_secrets: Vec<Named>,
    #[serde(deserialize_with = "nullable")]
    volumes: Vec<Volume>,
    #[serde(deserialize_with = "nullable")]
    containers: Vec<Container>,
    #[serde(deserialize_with = "nullable")]
    init_containers: Vec<Container>,
    #[serde(deserialize_with = "nullable")]
    ephemeral_containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    #[serde(deserialize_with = "nullable")]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Volume {
    #[serde(deserialize_with = "nullable")]
    name: String,
    secret: Option<VolumeSecret>,
    config_map: Option<Named>,
    projected: Option<Projected>,
    persistent_volume_claim: Option<VolumeClaim>,
    ephemeral: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VolumeSecret {
    #[serde(deserialize_with = "nullable")]
    secret_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VolumeClaim {
    #[serde(deserialize_with = "nullable")]
    claim_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Projected {
    #[serde(deserialize_with = "nullable")]
    sources: Vec<Source>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Source {
    secret: Option<Named>,
    config_map: Option<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    #[serde(deserialize_with = "nullable")]
    env: Vec<Env>,
    #[serde(deserialize_with = "nullable")]
    env_from: Vec<EnvFrom>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Env {
    value_from: Option<ValueFrom>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ValueFrom {
    secret_key_ref: Option<Named>,
    config_map_key_ref: Option<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EnvFrom {
    secret_ref: Option<Named>,
    config_map_ref: Option<Named>,
}

impl Pod {
    /// Everything it refers to, by kind and name in its namespace.
    fn references(&self, name: &str) -> BTreeSet<(Kind, String)> {
        let mut out = BTreeSet::new();
        let mut add = |kind, name: &str| {
            if !name.is_empty() {
                out.insert((kind, name.to_owned()));
            }
        };
        let spec = &self.spec;
        add(Kind::ServiceAccount, &spec.service_account_name);
        for secret in &spec.image_pull_secrets {
            add(Kind::Secret, &secret.name);
        }
        for volume in &spec.volumes {
            if let Some(secret) = &volume.secret {
                add(Kind::Secret, &secret.secret_name);
            }
            if let Some(map) = &volume.config_map {
                add(Kind::ConfigMap, &map.name);
            }
            if let Some(claim) = &volume.persistent_volume_claim {
                add(Kind::Claim, &claim.claim_name);
            }
            if volume.ephemeral.is_some() {
                add(Kind::Claim, &format!("{name}-{}", volume.name));
            }
            for source in volume.projected.iter().flat_map(|p| &p.sources) {
                if let Some(secret) = &source.secret {
                    add(Kind::Secret, &secret.name);
                }
                if let Some(map) = &source.config_map {
                    add(Kind::ConfigMap, &map.name);
                }
            }
        }
        let containers = spec.containers.iter().chain(&spec.init_containers);
        for container in containers.chain(&spec.ephemeral_containers) {
            for from in container.env.iter().filter_map(|e| e.value_from.as_ref()) {
                if let Some(secret) = &from.secret_key_ref {
                    add(Kind::Secret, &secret.name);
                }
                if let Some(map) = &from.config_map_key_ref {
                    add(Kind::ConfigMap, &map.name);
                }
            }
            for from in &container.env_from {
                if let Some(secret) = &from.secret_ref {
                    add(Kind::Secret, &secret.name);
                }
                if let Some(map) = &from.config_map_ref {
                    add(Kind::ConfigMap, &map.name);
                }
            }
        }
        out
    }
}

/// A namespace and a name in it.
type Place = (Arc<str>, Arc<str>);

/// What pods refer to: kind, namespace, name.
type Reference = (Kind, Arc<str>, Arc<str>);

/// A pod that is bound.
#[derive(Debug)]
struct Bound {
    node: Arc<str>,
    refers: Vec<(Kind, Arc<str>)>,
}

/// Which node has to do with what.
#[derive(Debug, Default)]
pub struct Graph {
    pods: HashMap<Place, Bound>,
    /// How many pods of each node refer to it.
    uses: HashMap<Reference, HashMap<Arc<str>, usize>>,
}

impl Graph {
    /// A pod as it is now; `None` when it is gone.
    pub fn set_pod(&mut self, namespace: &str, name: &str, pod: Option<&Pod>) {
        let place: Place = (namespace.into(), name.into());
        if let Some(old) = self.pods.remove(&place) {
            for (kind, name) in old.refers {
                let key = (kind, place.0.clone(), name);
                let Some(nodes) = self.uses.get_mut(&key) else {
                    continue;
                };
                if let Some(count) = nodes.get_mut(&old.node) {
                    *count -= 1;
                    if *count == 0 {
                        nodes.remove(&old.node);
                    }
                }
                if nodes.is_empty() {
                    self.uses.remove(&key);
                }
            }
        }
        let Some(pod) = pod.filter(|pod| !pod.spec.node_name.is_empty()) else {
            return;
        };
        let node: Arc<str> = pod.spec.node_name.as_str().into();
        let refers: Vec<(Kind, Arc<str>)> = pod
            .references(name)
            .into_iter()
            .map(|(kind, name)| (kind, name.into()))
            .collect();
        for (kind, name) in &refers {
            let key = (*kind, place.0.clone(), name.clone());
            let nodes = self.uses.entry(key).or_default();
            *nodes.entry(node.clone()).or_default() += 1;
        }
        self.pods.insert(place, Bound { node, refers });
    }

    fn uses(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        let key = (kind, Arc::from(namespace), Arc::from(name));
        self.uses
            .get(&key)
            .is_some_and(|nodes| nodes.contains_key(node))
    }

    fn runs(&self, node: &str, namespace: &str, name: &str) -> bool {
        let key: Place = (namespace.into(), name.into());
        self.pods.get(&key).is_some_and(|pod| *pod.node == *node)
    }
}

/// Whether a node may; else why not, in upstream's words (which may be none). `selected` is the node
/// that the request's field selector names, `spec.nodeName=…`.
///
/// # Errors
/// The reason of the refusal.
pub fn decide(
    graph: &Graph,
    node: &str,
    attributes: &Attributes<'_>,
    selected: Option<&str>,
) -> Result<(), String> {
    let by_rules = || {
        let allowed = defaults::node_rules()
            .iter()
            .any(|rule| rule.allows(attributes));
        allowed.then_some(()).ok_or_else(String::new)
    };
    let Target::Resource(r) = attributes.target else {
        return by_rules();
    };
    let asked = Asked {
        graph,
        node,
        verb: attributes.verb,
        r,
    };
    match (r.group, r.resource) {
        ("", "secrets") => asked.read(Kind::Secret),
        ("", "configmaps") => asked.read(Kind::ConfigMap),
        ("", "persistentvolumeclaims") if r.subresource == "status" => match asked.verb {
            "update" | "patch" => asked.related(Kind::Claim),
            _ => no("can only get/update/patch this type"),
        },
        ("", "persistentvolumeclaims") => asked.get(Kind::Claim),
        // Nothing leads from a pod's node to these here.
        ("", "persistentvolumes") | ("storage.k8s.io", "volumeattachments") => asked.unrelated(),
        ("", "serviceaccounts") => asked.token(),
        ("coordination.k8s.io", "leases") => asked.lease(),
        ("", "nodes") => asked.nodes(),
        ("", "pods") => asked.pods(selected),
        _ => by_rules(),
    }
}

fn no(why: &str) -> Result<(), String> {
    Err(why.to_owned())
}

struct Asked<'a> {
    graph: &'a Graph,
    node: &'a str,
    verb: &'a str,
    r: Resource<'a>,
}

impl Asked<'_> {
    fn unrelated(&self) -> Result<(), String> {
        let node = self.node;
        Err(format!(
            "no relationship found between node '{node}' and this object"
        ))
    }

    fn related(&self, kind: Kind) -> Result<(), String> {
        if self.r.name.is_empty() {
            return no("No Object name found");
        }
        let related = self
            .graph
            .uses(self.node, kind, self.r.namespace, self.r.name);
        if related { Ok(()) } else { self.unrelated() }
    }

    fn get(&self, kind: Kind) -> Result<(), String> {
        match (self.verb, self.r.subresource) {
            ("get", "") => self.related(kind),
            ("get", _) => no("cannot get subresource"),
            _ => no("can only get individual resources of this type"),
        }
    }

    fn read(&self, kind: Kind) -> Result<(), String> {
        if !matches!(self.verb, "get" | "list" | "watch") {
            return no("can only read resources of this type");
        }
        if !self.r.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if self.r.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.related(kind)
    }

    fn token(&self) -> Result<(), String> {
        if self.verb != "create" || self.r.name.is_empty() {
            return no("can only create tokens for individual service accounts");
        }
        if self.r.subresource != "token" {
            return no("can only create token subresource of serviceaccount");
        }
        self.related(Kind::ServiceAccount)
    }

    fn lease(&self) -> Result<(), String> {
        if !matches!(self.verb, "get" | "create" | "update" | "patch" | "delete") {
            return no("can only get, create, update, patch, or delete a node lease");
        }
        if self.r.namespace != LEASES {
            return Err(format!(
                "can only access leases in the {LEASES:?} system namespace"
            ));
        }
        if self.verb != "create" && self.r.name != self.node {
            return no("can only access node lease with the same name as the requesting node");
        }
        Ok(())
    }

    fn nodes(&self) -> Result<(), String> {
        let (node, name) = (self.node, self.r.name);
        match (self.r.subresource, self.verb) {
            // Whose, the restriction of writes says.
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
            ("", "get" | "list" | "watch") if name == node => Ok(()),
            ("", "get" | "list" | "watch") if name.is_empty() => Err(format!(
                "node '{node}' cannot read all nodes, only its own Node object"
            )),
            ("", "get" | "list" | "watch") => Err(format!(
                "node '{node}' cannot read '{name}', only its own Node object"
            )),
            _ => no(""),
        }
    }

    fn pods(&self, selected: Option<&str>) -> Result<(), String> {
        let named = !self.r.name.is_empty();
        let own = || {
            let runs = self.graph.runs(self.node, self.r.namespace, self.r.name);
            if runs { Ok(()) } else { self.unrelated() }
        };
        match (self.r.subresource, self.verb) {
            ("", "get") if named => own(),
            ("", "get") => no("No Object name found"),
            ("", "list" | "watch") if selected == Some(self.node) => Ok(()),
            ("", "list" | "watch") if named => own(),
            ("", "list" | "watch") => {
                no("can only list/watch pods with spec.nodeName field selector")
            }
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Ok(())
            }
            _ => no(""),
        }
    }
}
