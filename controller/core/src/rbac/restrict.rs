//! What a node may not write, although it may write to the object: upstream's NodeRestriction.
//!
//! In: the node, what it does, the object before and after. Out: upstream's reason of a refusal.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::node::LEASES;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object, or something below one.
    Create,
    /// A change of one.
    Update,
    /// Its end.
    Delete,
}

/// A write of a node.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// Who writes.
    pub node: &'a str,
    /// How.
    pub operation: Operation,
    /// API group.
    pub group: &'a str,
    /// Plural resource name.
    pub resource: &'a str,
    /// Subresource; empty for none.
    pub subresource: &'a str,
    /// Namespace of the request.
    pub namespace: &'a str,
    /// Name of the object.
    pub name: &'a str,
    /// What is written: the object, or the body of a subresource.
    pub new: Option<&'a Value>,
    /// The stored object.
    pub old: Option<&'a Value>,
}

fn text<'a>(object: Option<&'a Value>, pointer: &str) -> &'a str {
    object
        .and_then(|o| o.pointer(pointer))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Whether the node may write that.
///
/// # Errors
/// Why not.
pub fn admit(write: &Write<'_>) -> Result<(), String> {
    match (write.group, write.resource) {
        ("", "pods") => pod(write),
        ("", "nodes") => node(write),
        ("", "persistentvolumeclaims") if write.subresource != "status" => {
            Err("may only update PVC status".to_owned())
        }
        ("", "serviceaccounts") => token(write),
        ("coordination.k8s.io", "leases") => lease(write),
        _ => Ok(()),
    }
}

fn pod(write: &Write<'_>) -> Result<(), String> {
    use Operation::{Create, Delete, Update};
    let node = write.node;
    let bound_here = text(write.old, "/spec/nodeName") == node;
    let check = |fine: bool, why: String| if fine { Ok(()) } else { Err(why) };
    match (write.subresource, write.operation) {
        ("", Create) => mirror(write),
        ("", Delete) => check(
            bound_here,
            format!("node {node:?} can only delete pods with spec.nodeName set to itself"),
        ),
        ("", Update) => Err(format!(
            "unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"
        )),
        ("status", Update) => {
            let labels = |object: Option<&Value>| map(object, "/metadata/labels");
            check(
                bound_here,
                format!(
                    "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
                ),
            )?;
            check(
                labels(write.old) == labels(write.new),
                format!("node {node:?} cannot update labels through pod status"),
            )
        }
        ("eviction", Create) => check(
            bound_here,
            format!("node {node} can only evict pods with spec.nodeName set to itself"),
        ),
        ("status" | "eviction", _) => Err("unexpected operation".to_owned()),
        (other, _) => Err(format!(
            "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
        )),
    }
}

/// The only pods a node may make stand for what it runs by itself, and refer to nothing.
fn mirror(write: &Write<'_>) -> Result<(), String> {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    let node = write.node;
    let annotations = map(write.new, "/metadata/annotations");
    if !annotations.contains_key(MIRROR) {
        return Err(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if text(write.new, "/spec/nodeName") != node {
        return Err(format!(
            "node {node:?} can only create pods with spec.nodeName set to itself"
        ));
    }
    let owners = write
        .new
        .and_then(|pod| pod.pointer("/metadata/ownerReferences"));
    let owned = match owners.and_then(Value::as_array).map(Vec::as_slice) {
        Some([owner]) => {
            text(Some(owner), "/kind") == "Node"
                && text(Some(owner), "/apiVersion") == "v1"
                && text(Some(owner), "/name") == node
                && owner["controller"] == true
                && owner["blockOwnerDeletion"] != true
        }
        _ => false,
    };
    if !owned {
        return Err(format!(
            "node {node:?} can only create pods with an owner reference set to itself"
        ));
    }
    if !text(write.new, "/spec/serviceAccountName").is_empty() {
        return Err(format!(
            "node {node:?} can not create pods that reference a service account"
        ));
    }
    let spec = write.new.and_then(|pod| pod.get("spec"));
    for (keys, what) in [
        (
            &["secret", "secretRef", "secretKeyRef", "imagePullSecrets"][..],
            "secrets",
        ),
        (
            &["configMap", "configMapRef", "configMapKeyRef"],
            "configmaps",
        ),
        (
            &["persistentVolumeClaim", "ephemeral"],
            "persistentvolumeclaims",
        ),
        (&["clusterTrustBundle"], "clustertrustbundles"),
    ] {
        if spec.is_some_and(|spec| mentions(spec, keys)) {
            return Err(format!(
                "node {node:?} can not create pods that reference {what}"
            ));
        }
    }
    Ok(())
}

fn mentions(value: &Value, keys: &[&str]) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| {
            keys.contains(&key.as_str()) && !value.is_null() || mentions(value, keys)
        }),
        Value::Array(items) => items.iter().any(|item| mentions(item, keys)),
        _ => false,
    }
}

fn map(object: Option<&Value>, pointer: &str) -> Map<String, Value> {
    let map = object
        .and_then(|o| o.pointer(pointer))
        .and_then(Value::as_object);
    map.cloned().unwrap_or_default()
}

fn node(write: &Write<'_>) -> Result<(), String> {
    let node = write.node;
    if write.name != node {
        return Err(format!(
            "node {node:?} is not allowed to modify node {:?}",
            write.name
        ));
    }
    if write.operation == Operation::Delete {
        return Ok(());
    }
    let list = |object: Option<&Value>, pointer: &str| {
        let list = object
            .and_then(|o| o.pointer(pointer))
            .and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let update = write.operation == Operation::Update;
    if update && list(write.new, "/spec/taints") != list(write.old, "/spec/taints") {
        return Err(format!("node {node:?} is not allowed to modify taints"));
    }
    // It would get the owner's deletion to remove it, or keep others from it.
    let owners = "/metadata/ownerReferences";
    if update && list(write.new, owners) != list(write.old, owners) {
        return Err(format!(
            "node {node:?} is not allowed to modify ownerReferences"
        ));
    }
    let (new, old) = (
        map(write.new, "/metadata/labels"),
        map(write.old, "/metadata/labels"),
    );
    let changed =
        |(key, value): &(&String, &Value)| new.get(*key) != old.get(*key) || value.is_null();
    let forbidden: BTreeSet<&str> = new
        .iter()
        .chain(&old)
        .filter(changed)
        .map(|(key, _)| key.as_str())
        .filter(|key| !may_set(key))
        .collect();
    if forbidden.is_empty() {
        return Ok(());
    }
    let list = forbidden.into_iter().collect::<Vec<_>>().join(", ");
    Err(if update {
        format!("is not allowed to modify labels: {list}")
    } else {
        format!("node {node:?} is not allowed to set the following labels: {list}")
    })
}

/// Labels that would steer other people's pods to the node are not the node's to set.
fn may_set(label: &str) -> bool {
    const KUBELET: [&str; 12] = [
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "node.kubernetes.io/instance-type",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "node.kubernetes.io/windows-build",
    ];
    let Some((domain, _)) = label.split_once('/') else {
        return true;
    };
    let below = |parent: &str| {
        domain == parent
            || domain
                .strip_suffix(parent)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    if below("node-restriction.kubernetes.io") {
        return false;
    }
    if !below("kubernetes.io") && !below("k8s.io") {
        return true;
    }
    KUBELET.contains(&label) || below("kubelet.kubernetes.io") || below("node.kubernetes.io")
}

/// `old` is the pod that the token is to be bound to.
fn token(write: &Write<'_>) -> Result<(), String> {
    if write.operation != Operation::Create || write.subresource != "token" {
        return Ok(());
    }
    let reference = |field: &str| text(write.new, &format!("/spec/boundObjectRef/{field}"));
    let to_pod = reference("kind") == "Pod" && reference("apiVersion") == "v1";
    if !to_pod || reference("name").is_empty() {
        return Err("node requested token not bound to a pod".to_owned());
    }
    let uid = reference("uid");
    if uid.is_empty() {
        return Err("node requested token with a pod binding without a uid".to_owned());
    }
    if text(write.old, "/metadata/uid") != uid {
        return Err(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The \
             object might have been deleted and then recreated"
        ));
    }
    if text(write.old, "/spec/nodeName") != write.node {
        return Err("node requested token bound to a pod scheduled on a different node".to_owned());
    }
    Ok(())
}

fn lease(write: &Write<'_>) -> Result<(), String> {
    if write.namespace != LEASES {
        return Err(format!(
            "can only access leases in the {LEASES:?} system namespace"
        ));
    }
    if write.name != write.node {
        return Err(
            "can only access node lease with the same name as the requesting node".to_owned(),
        );
    }
    Ok(())
}
