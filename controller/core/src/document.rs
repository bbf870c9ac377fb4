//! Compiles a node's document: the pods bound to it and the configuration that they name.
//!
//! In: Kubernetes objects of one moment. Out: wire objects, and what could not be compiled. A pod
//! that can't be expressed, or that does not fit into the node's limits with what it names, is left
//! out and told of, and never holds up the others; a ConfigMap or Secret that is missing is the
//! agent's to report, on the pod that needs it.

mod budget;
mod containers;
mod env;
mod probes;
pub mod recover;
mod security;
pub mod tokens;
mod volumes;

use std::collections::BTreeSet;

use bramble_api::view::{self, FullPod, Metadata};
use bramble_wire::limits::{BODY_MAX, DOCUMENT_MAX, DOCUMENT_OBJECTS_MAX};
use bramble_wire::object::{
    ConfigMap, EnvFromSource, EnvValue, NodeConfig, Object, ObjectId, ObjectName, Pod, PodUid,
    Projection, RestartPolicy, SecretData, Stop, VolumeSource,
};

use crate::action::Observed;
use crate::nodelink::{Compiled, Objects};
use budget::Budget;
use containers::Kind;
use tokens::Wanted;

/// Annotation of a pod that must not run twice, `"true"`: it is started only when no other copy of it
/// can be running. `"false"` starts it all the same, also one of a StatefulSet.
pub const ONCE: &str = "bramble.dev/once";

/// Looks up what pods name, and has their tokens made.
pub trait Configuration {
    /// A ConfigMap.
    fn config_map(&self, name: &ObjectName) -> Option<Observed<view::ConfigMap>>;
    /// A Secret.
    fn secret(&self, name: &ObjectName) -> Option<Observed<view::Secret>>;
    /// The tokens that a pod's volumes ask for; none while its account is not there.
    fn tokens(&self, pod: &FullPod, wanted: &BTreeSet<Wanted>) -> Option<Compiled>;
}

/// A compiled document.
#[derive(Debug, Default)]
pub struct Document {
    /// Its objects.
    pub objects: Objects,
    /// What it names, there or not: a change of one of these is a reason to compile again.
    pub references: BTreeSet<ObjectId>,
    /// Pods that could not be expressed, with the reason.
    pub left_out: Vec<(ObjectName, Error)>,
}

/// Why a pod can't be expressed. The API server refuses such pods; one that got in by another way
/// must not stop the node's others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a UUID.
    #[error("uid \"{0}\" is not a UUID")]
    Uid(String),
    /// A field outside of what this release carries out.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// A number out of its range.
    #[error("{0} is out of range")]
    Range(&'static str),
    /// The stored object is not a pod as this release knows them.
    #[error("the stored pod does not decode: {0}")]
    Undecodable(String),
    /// It or something that it names is over the limit of one object.
    #[error("{id} has {bytes} bytes, over the limit of {BODY_MAX}")]
    TooLarge {
        /// Which.
        id: ObjectId,
        /// Its size.
        bytes: usize,
    },
    /// Older pods have taken what a node's document may hold.
    #[error(
        "the node has no room for it beside its older pods and their configuration: \
         {DOCUMENT_MAX} bytes and {DOCUMENT_OBJECTS_MAX} objects in all"
    )]
    NodeFull,
}

/// Compiles the document of a node from the pods bound to it.
///
/// A pod's revision in the index is its generation: a status, which the node itself reported, is no
/// news to it, and what else changes shows in the hash.
///
/// Where all of them are too much, pods that end go first, since ending makes room, and then the
/// older ones: a newcomer never costs a pod its place.
pub fn compile<'a>(
    node: &NodeConfig,
    pods: impl IntoIterator<Item = &'a FullPod>,
    configuration: &dyn Configuration,
) -> Document {
    let mut out = Document::default();
    let mut budget = Budget::default();
    let node = Compiled::plain(0, &Object::Node(node.clone()));
    budget.take_always(&node);
    out.objects.insert(ObjectId::Node, node);
    let mut pods: Vec<&FullPod> = pods.into_iter().collect();
    pods.sort_by_key(|pod| {
        let metadata = &pod.metadata;
        (
            !metadata.is_deleting(),
            metadata.creation_timestamp,
            &metadata.namespace,
            &metadata.name,
        )
    });
    for pod in pods {
        let added = compile_pod(pod).and_then(|compiled| {
            let objects = with_configuration(pod, compiled, configuration, &mut out);
            budget.take(&objects)?;
            out.objects.extend(objects);
            Ok(())
        });
        if let Err(error) = added {
            out.left_out.push((name_of(pod), error));
        }
    }
    out
}

/// A pod with what it names and the document does not have yet.
fn with_configuration(
    pod: &FullPod,
    compiled: Pod,
    configuration: &dyn Configuration,
    out: &mut Document,
) -> Objects {
    let mut references = BTreeSet::new();
    refer(&compiled, &mut references);
    let new = references
        .iter()
        .filter(|id| !out.objects.contains_key(*id));
    let found = new.filter_map(|id| Some((id.clone(), look_up(id, configuration)?)));
    let mut objects: Objects = found.collect();
    let wanted = tokens::wanted(&compiled);
    // Whoever has ended reads none any more.
    let ended = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
    if !wanted.is_empty()
        && !ended
        && compiled.stop.is_none()
        && let Some(made) = configuration.tokens(pod, &wanted)
    {
        objects.insert(ObjectId::Tokens(compiled.uid), made);
    }
    let generation = u64::try_from(pod.metadata.generation).unwrap_or(0);
    let id = ObjectId::Pod(compiled.uid);
    objects.insert(id, Compiled::plain(generation, &Object::Pod(compiled)));
    out.references.extend(references);
    objects
}

fn look_up(id: &ObjectId, configuration: &dyn Configuration) -> Option<Compiled> {
    match id {
        ObjectId::ConfigMap(name) => configuration.config_map(name).map(|found| {
            let data = found.object.bytes();
            let object = Object::ConfigMap(ConfigMap {
                name: name.clone(),
                data,
            });
            Compiled::plain(found.revision, &object)
        }),
        ObjectId::Secret(name) => configuration
            .secret(name)
            .map(|found| Compiled::secret(found.revision, &SecretData(found.object.bytes()))),
        ObjectId::Node | ObjectId::Pod(_) | ObjectId::Tokens(_) => None,
    }
}

fn name_of(pod: &FullPod) -> ObjectName {
    ObjectName {
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
    }
}

/// What a pod names of ConfigMaps and Secrets. A pod that ends needs none.
fn refer(pod: &Pod, references: &mut BTreeSet<ObjectId>) {
    if pod.stop.is_some() {
        return;
    }
    let named = |name: &str| ObjectName {
        namespace: pod.name.namespace.clone(),
        name: name.to_owned(),
    };
    let map = |name: &str| ObjectId::ConfigMap(named(name));
    let secret = |name: &str| ObjectId::Secret(named(name));
    let containers = pod.init_containers.iter().chain(&pod.containers);
    for container in containers.chain(&pod.ephemeral_containers) {
        references.extend(container.env_from.iter().map(|entry| match &entry.source {
            EnvFromSource::ConfigMap(name) => map(name),
            EnvFromSource::Secret(name) => secret(name),
        }));
        references.extend(container.env.iter().filter_map(|entry| match &entry.value {
            EnvValue::ConfigMapKey { name, .. } => Some(map(name)),
            EnvValue::SecretKey { name, .. } => Some(secret(name)),
            EnvValue::Literal(_) | EnvValue::Field(_) | EnvValue::Resource(_) => None,
        }));
    }
    for volume in &pod.volumes {
        match &volume.source {
            VolumeSource::ConfigMap(keys) => drop(references.insert(map(&keys.name))),
            VolumeSource::Secret(keys) => drop(references.insert(secret(&keys.name))),
            VolumeSource::Projected { sources, .. } => {
                references.extend(sources.iter().filter_map(|source| match source {
                    Projection::ConfigMap(keys) => Some(map(&keys.name)),
                    Projection::Secret(keys) => Some(secret(&keys.name)),
                    Projection::Token { .. } => Some(ObjectId::Tokens(pod.uid)),
                    Projection::DownwardApi(_) => None,
                }));
            }
            VolumeSource::EmptyDir { .. }
            | VolumeSource::HostPath { .. }
            | VolumeSource::DownwardApi { .. } => {}
        }
    }
    references.extend(pod.pull_secrets.iter().map(|name| secret(name)));
}

/// Compiles one pod.
///
/// # Errors
/// Why it can't be expressed.
pub fn compile_pod(pod: &FullPod) -> Result<Pod, Error> {
    let metadata = &pod.metadata;
    let spec = &pod.spec;
    let uid = PodUid::parse(&metadata.uid).ok_or_else(|| Error::Uid(metadata.uid.clone()))?;
    let seconds = |seconds: i64| u32::try_from(seconds.max(0)).unwrap_or(u32::MAX);
    // A negative one is "at least a moment", as upstream has it.
    let grace = match spec.termination_grace_period_seconds.unwrap_or(30) {
        ..0 => 1,
        given => seconds(given),
    };
    let stop = metadata.is_deleting().then(|| Stop {
        grace_s: metadata
            .deletion_grace_period_seconds
            .map_or(grace, seconds),
    });
    let mut annotations = metadata.annotations.clone();
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    let rights = &spec.security_context;
    let aliases = spec.host_aliases.iter();
    let pull_secrets = spec.image_pull_secrets.iter().map(|s| s.name.clone());
    Ok(Pod {
        uid,
        name: name_of(pod),
        labels: metadata.labels.clone(),
        annotations,
        hostname: hostname(pod),
        restart_policy: match spec.restart_policy.as_str() {
            "Never" => RestartPolicy::Never,
            "OnFailure" => RestartPolicy::OnFailure,
            _ => RestartPolicy::Always,
        },
        termination_grace_s: grace,
        stop,
        host_network: spec.host_network,
        service_account: spec.service_account_name.clone(),
        containers: containers::all(&spec.containers, Kind::Main, spec)?,
        volumes: volumes::all(&spec.volumes)?,
        init_containers: containers::all(&spec.init_containers, Kind::Init, spec)?,
        ephemeral_containers: containers::all(&spec.ephemeral_containers, Kind::Ephemeral, spec)?,
        active_deadline_s: spec.active_deadline_seconds.map(seconds),
        share_process_namespace: spec.share_process_namespace,
        host_pid: spec.host_pid,
        host_ipc: spec.host_ipc,
        sysctls: security::sysctls(rights),
        fs_group: rights.fs_group.map(security::id).transpose()?,
        fs_group_on_root_mismatch: rights.fs_group_change_policy == "OnRootMismatch",
        host_aliases: aliases
            .map(|alias| (alias.ip.clone(), alias.hostnames.clone()))
            .collect(),
        pull_secrets: pull_secrets.filter(|name| !name.is_empty()).collect(),
        once: is_once(metadata),
    })
}

/// Whether a pod must not run twice: one of a StatefulSet, or one that says so.
pub fn is_once(metadata: &Metadata) -> bool {
    match metadata.annotations.get(ONCE) {
        Some(once) => once == "true",
        None => {
            let mut owners = metadata.owner_references.iter();
            owners.any(|owner| owner.controller && owner.kind == "StatefulSet")
        }
    }
}

fn hostname(pod: &FullPod) -> String {
    default_hostname(match pod.spec.hostname.as_str() {
        "" => pod.metadata.name.as_str(),
        given => given,
    })
}

fn default_hostname(name: &str) -> String {
    // Names are ASCII; `get` keeps an object that is not from ending the process.
    let cut = name.get(..name.len().min(63)).unwrap_or("pod");
    cut.trim_end_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests;
