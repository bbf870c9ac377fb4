//! What server-side apply needs and the two crates behind the table do not say: which messages and
//! maps have one owner as a whole, lists whose keys differ from strategic merge's single key, and
//! the defaults of keys.
//!
//! Source: the `x-kubernetes-map-type`, `x-kubernetes-list-type`, `x-kubernetes-list-map-keys` and
//! `default` extensions of the Kubernetes API reference, v1.37.

use super::{Field, Merge, Message};

const CORE: &str = "io.k8s.api.core.v1.";

/// Messages that have one owner as a whole.
const ATOMIC_MESSAGES: &[&str] = &[
    "io.k8s.api.autoscaling.v1.CrossVersionObjectReference",
    "io.k8s.api.core.v1.ConfigMapKeySelector",
    "io.k8s.api.core.v1.EndpointAddress",
    "io.k8s.api.core.v1.EndpointPort",
    "io.k8s.api.core.v1.EvictionResponder",
    "io.k8s.api.core.v1.FileKeySelector",
    "io.k8s.api.core.v1.LocalObjectReference",
    "io.k8s.api.core.v1.NodeSelector",
    "io.k8s.api.core.v1.NodeSelectorTerm",
    "io.k8s.api.core.v1.ObjectFieldSelector",
    "io.k8s.api.core.v1.ObjectReference",
    "io.k8s.api.core.v1.ResourceFieldSelector",
    "io.k8s.api.core.v1.ScopeSelector",
    "io.k8s.api.core.v1.SecretKeySelector",
    "io.k8s.api.core.v1.SecretReference",
    "io.k8s.api.core.v1.TopologySelectorTerm",
    "io.k8s.api.core.v1.TypedLocalObjectReference",
    "io.k8s.api.discovery.v1.EndpointPort",
    "io.k8s.api.networking.v1.ServiceBackendPort",
    "io.k8s.api.rbac.v1.RoleRef",
    "io.k8s.api.rbac.v1.Subject",
    "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
    "io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference",
];

/// Maps that have one owner as a whole.
const ATOMIC_MAPS: &[(&str, &str)] = &[
    ("io.k8s.api.core.v1.PodSpec", "nodeSelector"),
    ("io.k8s.api.core.v1.ReplicationControllerSpec", "selector"),
    ("io.k8s.api.core.v1.ServiceSpec", "selector"),
    ("io.k8s.api.node.v1.Scheduling", "nodeSelector"),
];

/// A message that is atomic elsewhere and granular here.
const GRANULAR: &[(&str, &str)] = &[("io.k8s.api.core.v1.PersistentVolumeSpec", "claimRef")];

const PORT: Merge = Merge::Keys(&["containerPort", "protocol"]);

/// Lists that merge in another way than by strategic merge's key.
const LISTS: &[(&str, &str, Merge)] = &[
    (
        "io.k8s.api.apps.v1.StatefulSetSpec",
        "volumeClaimTemplates",
        Merge::Atomic,
    ),
    ("io.k8s.api.batch.v1.JobStatus", "conditions", Merge::Atomic),
    ("io.k8s.api.core.v1.Container", "ports", PORT),
    ("io.k8s.api.core.v1.EphemeralContainer", "ports", PORT),
    (
        "io.k8s.api.core.v1.PodSpec",
        "topologySpreadConstraints",
        Merge::Keys(&["topologyKey", "whenUnsatisfiable"]),
    ),
    ("io.k8s.api.core.v1.PodStatus", "hostIPs", Merge::Atomic),
    (
        "io.k8s.api.core.v1.PodVolumeHealth",
        "healthConditions",
        Merge::Keys(&["status", "reason"]),
    ),
    (
        "io.k8s.api.core.v1.ServiceSpec",
        "ports",
        Merge::Keys(&["port", "protocol"]),
    ),
    (
        "io.k8s.api.core.v1.VolumeHealthStatus",
        "healthConditions",
        Merge::Keys(&["status", "reason"]),
    ),
];

impl Message {
    /// Whether the message has one owner as a whole, wherever it stands.
    pub fn is_atomic(&self) -> bool {
        ATOMIC_MESSAGES.binary_search(&self.name).is_ok()
    }

    /// Whether this field's value (a message or a map) has one owner as a whole.
    pub fn is_atomic_field(&self, field: &Field) -> bool {
        let this = (self.name, field.name);
        match field.ty.message() {
            Some(of) if field.shape == super::Shape::One => {
                of.is_atomic() && !GRANULAR.contains(&this)
            }
            _ => ATOMIC_MAPS.contains(&this),
        }
    }

    /// How server-side apply merges a list field: upstream's list type and all its keys.
    pub fn list_type(&self, field: &Field) -> Merge {
        LISTS
            .iter()
            .find(|(message, name, _)| *message == self.name && *name == field.name)
            .map_or(field.merge, |(_, _, merge)| *merge)
    }

    /// The value that a key field of a list item has when it is left out.
    pub fn key_default(&self, key: &str) -> Option<&'static str> {
        let port = matches!(
            self.name.strip_prefix(CORE),
            Some("ContainerPort" | "ServicePort")
        );
        (port && key == "protocol").then_some("TCP")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Shape, message, messages};
    use super::*;

    #[test]
    fn every_name_is_in_the_table() {
        assert!(ATOMIC_MESSAGES.is_sorted());
        for name in ATOMIC_MESSAGES {
            assert!(message(name).is_some(), "{name}");
        }
        let lists = LISTS.iter().map(|(m, f, _)| (m, f));
        let fields = ATOMIC_MAPS.iter().chain(GRANULAR).map(|(m, f)| (m, f));
        for (name, field) in lists.chain(fields) {
            let found = message(name).and_then(|m| m.field(field));
            assert!(found.is_some(), "{name}.{field}");
        }
    }

    #[test]
    fn keys_are_scalar_fields_of_the_items() {
        for message in messages() {
            for field in message.fields.iter().filter(|f| f.shape == Shape::List) {
                let Merge::Keys(keys) = message.list_type(field) else {
                    continue;
                };
                let item = field.ty.message().expect(message.name);
                for key in keys {
                    let key = item.field(key);
                    assert!(
                        key.is_some_and(|k| k.shape == Shape::One && k.ty.message().is_none()),
                        "{}.{} {key:?}",
                        message.name,
                        field.name
                    );
                }
            }
        }
    }
}
