//! Compiles a node's document: the pods bound to it and the configuration that they name.
//!
//! In: Kubernetes objects of one moment. Out: wire objects, and what could not be compiled. A pod
//! that can't be expressed, or that does not fit into the node's limits with what it names, is left
//! out and told of, and never holds up the others; a ConfigMap or Secret that is missing is the
//! agent's to report, on the pod that needs it.

mod budget;

use std::collections::BTreeSet;

use bramble_api::view::{self, FullPod};
use bramble_wire::limits::{BODY_MAX, DOCUMENT_MAX, DOCUMENT_OBJECTS_MAX};
use bramble_wire::object::{
    ConfigMap, Container, EnvFrom, EnvFromSource, EnvValue, EnvVar, KeyFile, KeyFiles, Mount,
    NodeConfig, Object, ObjectId, ObjectName, Pod, PodField, PodUid, PullPolicy, Resources,
    RestartPolicy, SecretData, Security, Stop, Volume, VolumeSource,
};

use crate::action::Observed;
use crate::nodelink::{Compiled, Objects};
use budget::Budget;

/// Looks ConfigMaps and Secrets up.
pub trait Configuration {
    /// A ConfigMap.
    fn config_map(&self, name: &ObjectName) -> Option<Observed<view::ConfigMap>>;
    /// A Secret.
    fn secret(&self, name: &ObjectName) -> Option<Observed<view::Secret>>;
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
    for container in &pod.containers {
        for entry in &container.env_from {
            references.insert(match &entry.source {
                EnvFromSource::ConfigMap(name) => ObjectId::ConfigMap(named(name)),
                EnvFromSource::Secret(name) => ObjectId::Secret(named(name)),
            });
        }
        for entry in &container.env {
            match &entry.value {
                EnvValue::ConfigMapKey { name, .. } => {
                    references.insert(ObjectId::ConfigMap(named(name)));
                }
                EnvValue::SecretKey { name, .. } => {
                    references.insert(ObjectId::Secret(named(name)));
                }
                EnvValue::Literal(_) | EnvValue::Field(_) | EnvValue::Resource(_) => {}
            }
        }
    }
    for volume in &pod.volumes {
        match &volume.source {
            VolumeSource::ConfigMap(keys) => {
                references.insert(ObjectId::ConfigMap(named(&keys.name)));
            }
            VolumeSource::Secret(keys) => {
                references.insert(ObjectId::Secret(named(&keys.name)));
            }
            VolumeSource::EmptyDir { .. }
            | VolumeSource::HostPath { .. }
            | VolumeSource::DownwardApi { .. }
            | VolumeSource::Projected { .. } => {}
        }
    }
}

fn compile_pod(pod: &FullPod) -> Result<Pod, Error> {
    let metadata = &pod.metadata;
    let spec = &pod.spec;
    let uid = PodUid::parse(&metadata.uid).ok_or_else(|| Error::Uid(metadata.uid.clone()))?;
    if !spec.init_containers.is_empty() {
        return Err(Error::Unsupported("spec.initContainers".into()));
    }
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
    let containers = spec
        .containers
        .iter()
        .map(|c| container(c, &spec.security_context));
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
        containers: containers.collect::<Result<_, _>>()?,
        volumes: spec.volumes.iter().map(volume).collect::<Result<_, _>>()?,
        ..Pod::default()
    })
}

fn hostname(pod: &FullPod) -> String {
    let name = match pod.spec.hostname.as_str() {
        "" => pod.metadata.name.as_str(),
        given => given,
    };
    // Names are ASCII; `get` keeps an object that is not from ending the process.
    let cut = name.get(..name.len().min(63)).unwrap_or("pod");
    cut.trim_end_matches(['-', '.']).to_owned()
}

fn container(from: &view::Container, pod: &view::PodSecurity) -> Result<Container, Error> {
    let resources = &from.resources;
    let working_dir = Some(from.working_dir.clone()).filter(|dir| !dir.is_empty());
    let message_path = match from.termination_message_path.as_str() {
        "" => "/dev/termination-log",
        path => path,
    };
    Ok(Container {
        name: from.name.clone(),
        image: from.image.clone(),
        pull_policy: match from.image_pull_policy.as_str() {
            "Always" => PullPolicy::Always,
            "Never" => PullPolicy::Never,
            _ => PullPolicy::IfNotPresent,
        },
        command: from.command.clone(),
        args: from.args.clone(),
        working_dir,
        env_from: from
            .env_from
            .iter()
            .map(env_from)
            .collect::<Result<_, _>>()?,
        env: from.env.iter().map(env).collect::<Result<_, _>>()?,
        resources: Resources {
            cpu_request_milli: resources.requests.milli("cpu"),
            cpu_limit_milli: resources.limits.milli("cpu"),
            memory_request_bytes: resources.requests.units("memory"),
            memory_limit_bytes: resources.limits.units("memory"),
            storage_request_bytes: resources.requests.units("ephemeral-storage"),
            storage_limit_bytes: resources.limits.units("ephemeral-storage"),
        },
        security: security(&from.security_context, pod)?,
        mounts: from.volume_mounts.iter().map(mount).collect(),
        termination_message_path: message_path.to_owned(),
        tty: from.tty,
        ..Container::default()
    })
}

fn env_from(from: &view::EnvFrom) -> Result<EnvFrom, Error> {
    let (source, optional) = match (&from.config_map_ref, &from.secret_ref) {
        (Some(map), None) => (EnvFromSource::ConfigMap(map.name.clone()), map.optional),
        (None, Some(secret)) => (EnvFromSource::Secret(secret.name.clone()), secret.optional),
        _ => return Err(Error::Unsupported("envFrom without one source".into())),
    };
    Ok(EnvFrom {
        prefix: from.prefix.clone(),
        source,
        optional,
    })
}

fn env(from: &view::EnvVar) -> Result<EnvVar, Error> {
    let value = match &from.value_from {
        None => EnvValue::Literal(from.value.clone()),
        Some(source) => env_source(source)?,
    };
    Ok(EnvVar {
        name: from.name.clone(),
        value,
    })
}

fn env_source(from: &view::EnvSource) -> Result<EnvValue, Error> {
    if let Some(key) = &from.config_map_key_ref {
        let (name, key, optional) = (key.name.clone(), key.key.clone(), key.optional);
        return Ok(EnvValue::ConfigMapKey {
            name,
            key,
            optional,
        });
    }
    if let Some(key) = &from.secret_key_ref {
        let (name, key, optional) = (key.name.clone(), key.key.clone(), key.optional);
        return Ok(EnvValue::SecretKey {
            name,
            key,
            optional,
        });
    }
    let Some(field) = &from.field_ref else {
        return Err(Error::Unsupported("valueFrom".into()));
    };
    let path = field.field_path.as_str();
    let quoted = |kind: &str| {
        path.strip_prefix(kind)?
            .strip_prefix("['")?
            .strip_suffix("']")
    };
    let field = match path {
        "metadata.name" => PodField::Name,
        "metadata.namespace" => PodField::Namespace,
        "metadata.uid" => PodField::Uid,
        "spec.nodeName" => PodField::NodeName,
        "spec.serviceAccountName" => PodField::ServiceAccountName,
        "status.podIP" => PodField::PodIp,
        "status.hostIP" => PodField::HostIp,
        _ => match (quoted("metadata.labels"), quoted("metadata.annotations")) {
            (Some(key), _) => PodField::Label(key.to_owned()),
            (_, Some(key)) => PodField::Annotation(key.to_owned()),
            _ => return Err(Error::Unsupported(format!("fieldPath \"{path}\""))),
        },
    };
    Ok(EnvValue::Field(field))
}

fn security(from: &view::ContainerSecurity, pod: &view::PodSecurity) -> Result<Security, Error> {
    let id = |id: i64| u32::try_from(id).map_err(|_| Error::Range("a user or group id"));
    let groups = pod.fs_group.iter().chain(&pod.supplemental_groups);
    let plain = |names: &[String]| {
        let strip = |name: &String| name.strip_prefix("CAP_").unwrap_or(name).to_owned();
        names.iter().map(strip).collect::<Vec<_>>()
    };
    Ok(Security {
        run_as_user: from.run_as_user.or(pod.run_as_user).map(id).transpose()?,
        run_as_group: from.run_as_group.or(pod.run_as_group).map(id).transpose()?,
        run_as_non_root: from
            .run_as_non_root
            .or(pod.run_as_non_root)
            .unwrap_or(false),
        supplemental_groups: groups.map(|group| id(*group)).collect::<Result<_, _>>()?,
        privileged: from.privileged,
        allow_privilege_escalation: from.allow_privilege_escalation.unwrap_or(true),
        read_only_root: from.read_only_root_filesystem,
        capabilities_add: plain(&from.capabilities.add),
        capabilities_drop: plain(&from.capabilities.drop),
        ..Security::default()
    })
}

fn mount(from: &view::VolumeMount) -> Mount {
    Mount {
        volume: from.name.clone(),
        path: from.mount_path.clone(),
        sub_path: from.sub_path.clone(),
        read_only: from.read_only,
        ..Mount::default()
    }
}

fn volume(from: &view::Volume) -> Result<Volume, Error> {
    let keys = |name: &str, items: &[view::KeyToPath], mode: Option<u32>, optional| KeyFiles {
        name: name.to_owned(),
        items: items
            .iter()
            .map(|i| KeyFile {
                key: i.key.clone(),
                path: i.path.clone(),
                mode: i.mode,
            })
            .collect(),
        default_mode: mode.unwrap_or(0o644),
        optional,
    };
    let source = match (&from.empty_dir, &from.config_map, &from.secret) {
        (Some(dir), None, None) => {
            let limit = dir
                .size_limit
                .as_deref()
                .map(bramble_api::quantity::Quantity::parse);
            let limit = limit
                .transpose()
                .map_err(|_| Error::Range("emptyDir.sizeLimit"))?;
            VolumeSource::EmptyDir {
                memory: dir.medium == "Memory",
                size_limit_bytes: limit.map(|q| u64::try_from(q.value()).unwrap_or(0)),
            }
        }
        (None, Some(map), None) => {
            VolumeSource::ConfigMap(keys(&map.name, &map.items, map.default_mode, map.optional))
        }
        (None, None, Some(secret)) => VolumeSource::Secret(keys(
            &secret.secret_name,
            &secret.items,
            secret.default_mode,
            secret.optional,
        )),
        _ => {
            return Err(Error::Unsupported(format!(
                "source of volume \"{}\"",
                from.name
            )));
        }
    };
    Ok(Volume {
        name: from.name.clone(),
        source,
    })
}

#[cfg(test)]
mod tests;
