//! The way back: a pod as its node has it, as an object of the API.
//!
//! A node keeps what a restored store lacks. What it was told is enough to make the pod again: the manifest
//! that comes out compiles to the very pod that went in, so that its node finds nothing to do. What a node
//! is never told (owners, affinity, tolerations) is lost.

mod volumes;

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bramble_wire::object::{
    ConfigMap, Container, EnvFrom, EnvFromSource, EnvValue, EnvVar, Handler, ObjectId, Pod,
    PodField, Port, PortRef, Probe, Protocol, PullPolicy, ResourceField, ResourceName, Resources,
    RestartPolicy, Seccomp, Security,
};
use serde_json::{Map, Value, json};

use super::{ONCE, default_hostname, refer};

/// Annotation of a pod that was made again from what a node had: the node.
pub const ADOPTED_FROM: &str = "bramble.dev/adopted-from";

/// What a pod names, in the order of their ids.
#[must_use]
pub fn references(pod: &Pod) -> BTreeSet<ObjectId> {
    let mut references = BTreeSet::new();
    refer(pod, &mut references);
    references
}

/// The manifest of a pod that is bound to a node. Its UID, and containers that were added to it while it
/// ran, are in it; neither may be in a manifest of a client.
#[must_use]
pub fn pod(pod: &Pod, node: &str) -> Value {
    let mut annotations = pod.annotations.clone();
    if pod.once {
        // It may have been a StatefulSet that made it one; that is not known here.
        annotations.entry(ONCE.into()).or_insert("true".into());
    }
    let all = |containers: &[Container]| containers.iter().map(container).collect::<Vec<_>>();
    // The same in every container: the pod's own.
    let groups = pod
        .all_containers()
        .next()
        .map(|c| &c.security.supplemental_groups);
    let sysctls = (pod.sysctls.iter()).map(|(name, value)| json!({"name": name, "value": value}));
    let rights = object([
        (
            "supplementalGroups",
            list(groups.into_iter().flatten().map(|id| json!(id))),
        ),
        ("fsGroup", json!(pod.fs_group)),
        (
            "fsGroupChangePolicy",
            when(pod.fs_group_on_root_mismatch, "OnRootMismatch"),
        ),
        ("sysctls", list(sysctls)),
    ]);
    let aliases =
        (pod.host_aliases.iter()).map(|(ip, names)| json!({"ip": ip, "hostnames": names}));
    let policy = match pod.restart_policy {
        RestartPolicy::Always => "Always",
        RestartPolicy::OnFailure => "OnFailure",
        RestartPolicy::Never => "Never",
    };
    let signals = pod.all_containers().any(|c| c.stop_signal.is_some());
    let spec = object([
        ("nodeName", text(node)),
        ("restartPolicy", text(policy)),
        (
            "terminationGracePeriodSeconds",
            json!(pod.termination_grace_s),
        ),
        ("activeDeadlineSeconds", json!(pod.active_deadline_s)),
        (
            "hostname",
            when(
                pod.hostname != default_hostname(&pod.name.name),
                &pod.hostname,
            ),
        ),
        ("hostNetwork", flag(pod.host_network)),
        ("hostPID", flag(pod.host_pid)),
        ("hostIPC", flag(pod.host_ipc)),
        ("shareProcessNamespace", flag(pod.share_process_namespace)),
        ("hostAliases", list(aliases)),
        (
            "imagePullSecrets",
            list(pod.pull_secrets.iter().map(|name| json!({"name": name}))),
        ),
        ("serviceAccountName", text(&pod.service_account)),
        ("securityContext", rights),
        // Signals go with a system that is named.
        (
            "os",
            if signals {
                json!({"name": "linux"})
            } else {
                Value::Null
            },
        ),
        ("containers", json!(all(&pod.containers))),
        (
            "initContainers",
            list(all(&pod.init_containers).into_iter()),
        ),
        (
            "ephemeralContainers",
            list(all(&pod.ephemeral_containers).into_iter()),
        ),
        ("volumes", list(pod.volumes.iter().map(volumes::volume))),
    ]);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod.name.name,
            "namespace": pod.name.namespace,
            "uid": pod.uid.to_string(),
            "labels": pod.labels,
            "annotations": annotations,
        },
        "spec": spec,
    })
}

/// The manifest of a ConfigMap. What is no text was in `binaryData`; where a text was does not matter.
#[must_use]
pub fn config_map(map: &ConfigMap) -> Value {
    let mut data = Map::new();
    let mut binary = Map::new();
    for (key, bytes) in &map.data {
        match std::str::from_utf8(bytes) {
            Ok(text) => drop(data.insert(key.clone(), text.into())),
            Err(_) => drop(binary.insert(key.clone(), STANDARD.encode(bytes).into())),
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": map.name.name, "namespace": map.name.namespace},
        "data": data,
        "binaryData": binary,
    })
}

/// An object without what is null.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let given = fields.into_iter().filter(|(_, value)| !value.is_null());
    given
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Nothing where there is nothing.
fn list(items: impl Iterator<Item = Value>) -> Value {
    let items: Vec<Value> = items.collect();
    match items.is_empty() {
        true => Value::Null,
        false => items.into(),
    }
}

fn text(text: &str) -> Value {
    when(!text.is_empty(), text)
}

fn when(given: bool, text: &str) -> Value {
    match given {
        true => text.into(),
        false => Value::Null,
    }
}

fn flag(set: bool) -> Value {
    match set {
        true => true.into(),
        false => Value::Null,
    }
}

fn container(from: &Container) -> Value {
    let strings = |of: &[String]| list(of.iter().map(|text| json!(text)));
    let policy = match from.pull_policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    };
    let lifecycle = object([
        (
            "postStart",
            from.post_start.as_ref().map_or(Value::Null, handler),
        ),
        (
            "preStop",
            from.pre_stop.as_ref().map_or(Value::Null, handler),
        ),
        (
            "stopSignal",
            text(from.stop_signal.as_deref().unwrap_or_default()),
        ),
    ]);
    let last_words = match from.termination_message_from_logs {
        true => "FallbackToLogsOnError",
        false => "File",
    };
    object([
        ("name", text(&from.name)),
        ("image", text(&from.image)),
        ("imagePullPolicy", text(policy)),
        ("command", strings(&from.command)),
        ("args", strings(&from.args)),
        (
            "workingDir",
            text(from.working_dir.as_deref().unwrap_or_default()),
        ),
        ("envFrom", list(from.env_from.iter().map(env_from))),
        ("env", list(from.env.iter().map(env))),
        ("resources", resources(&from.resources)),
        ("securityContext", security(&from.security)),
        ("volumeMounts", list(from.mounts.iter().map(volumes::mount))),
        (
            "terminationMessagePath",
            text(&from.termination_message_path),
        ),
        ("terminationMessagePolicy", text(last_words)),
        ("tty", flag(from.tty)),
        ("stdin", flag(from.stdin)),
        ("stdinOnce", flag(from.stdin_once)),
        ("restartPolicy", when(from.sidecar, "Always")),
        (
            "targetContainerName",
            text(from.target.as_deref().unwrap_or_default()),
        ),
        ("ports", list(from.ports.iter().map(port))),
        (
            "livenessProbe",
            from.liveness.as_ref().map_or(Value::Null, probe),
        ),
        (
            "readinessProbe",
            from.readiness.as_ref().map_or(Value::Null, probe),
        ),
        (
            "startupProbe",
            from.startup.as_ref().map_or(Value::Null, probe),
        ),
        (
            "lifecycle",
            if lifecycle == json!({}) {
                Value::Null
            } else {
                lifecycle
            },
        ),
    ])
}

fn env_from(from: &EnvFrom) -> Value {
    let (kind, name) = match &from.source {
        EnvFromSource::ConfigMap(name) => ("configMapRef", name),
        EnvFromSource::Secret(name) => ("secretRef", name),
    };
    let source = object([("name", text(name)), ("optional", flag(from.optional))]);
    object([("prefix", text(&from.prefix)), (kind, source)])
}

fn env(from: &EnvVar) -> Value {
    let key = |name: &str, key: &str, optional: bool| {
        object([
            ("name", text(name)),
            ("key", text(key)),
            ("optional", flag(optional)),
        ])
    };
    let source = match &from.value {
        EnvValue::Literal(value) => {
            return object([("name", text(&from.name)), ("value", text(value))]);
        }
        EnvValue::ConfigMapKey {
            name,
            key: of,
            optional,
        } => {
            json!({"configMapKeyRef": key(name, of, *optional)})
        }
        EnvValue::SecretKey {
            name,
            key: of,
            optional,
        } => {
            json!({"secretKeyRef": key(name, of, *optional)})
        }
        EnvValue::Field(of) => json!({"fieldRef": field(of)}),
        EnvValue::Resource(of) => json!({"resourceFieldRef": resource(of)}),
    };
    json!({"name": from.name, "valueFrom": source})
}

fn field(of: &PodField) -> Value {
    let path = match of {
        PodField::Name => "metadata.name".to_owned(),
        PodField::Namespace => "metadata.namespace".to_owned(),
        PodField::Uid => "metadata.uid".to_owned(),
        PodField::Label(key) => format!("metadata.labels['{key}']"),
        PodField::Annotation(key) => format!("metadata.annotations['{key}']"),
        PodField::NodeName => "spec.nodeName".to_owned(),
        PodField::ServiceAccountName => "spec.serviceAccountName".to_owned(),
        PodField::PodIp => "status.podIP".to_owned(),
        PodField::HostIp => "status.hostIP".to_owned(),
        PodField::PodIps => "status.podIPs".to_owned(),
        PodField::HostIps => "status.hostIPs".to_owned(),
        PodField::Labels => "metadata.labels".to_owned(),
        PodField::Annotations => "metadata.annotations".to_owned(),
    };
    json!({"fieldPath": path})
}

fn resource(of: &ResourceField) -> Value {
    let set = if of.limit { "limits" } else { "requests" };
    let name = match of.resource {
        ResourceName::Cpu => "cpu",
        ResourceName::Memory => "memory",
        ResourceName::EphemeralStorage => "ephemeral-storage",
    };
    object([
        ("containerName", text(&of.container)),
        ("resource", format!("{set}.{name}").into()),
        ("divisor", divisor(of.divisor_milli)),
    ])
}

/// A quantity.
fn milli(milli: u64) -> Value {
    match milli % 1000 {
        0 => (milli / 1000).to_string().into(),
        _ => format!("{milli}m").into(),
    }
}

/// A unit, written as the API wants it: `1Mi`, and not as a number.
fn divisor(of: u64) -> Value {
    let named = [("k", 1000_u64), ("Ki", 1024)]
        .into_iter()
        .flat_map(|(first, step)| {
            let binary = first.len() > 1;
            let letters = [first, "M", "G", "T", "P", "E"].into_iter().zip(1..);
            letters.map(move |(letter, power)| {
                let i = if binary && power > 1 { "i" } else { "" };
                (step.checked_pow(power), format!("1{letter}{i}"))
            })
        });
    let unit = of.is_multiple_of(1000).then_some(of / 1000);
    let mut named = named.filter(|(value, _)| value.is_some() && *value == unit);
    named
        .next()
        .map_or_else(|| milli(of), |(_, text)| text.into())
}

fn resources(from: &Resources) -> Value {
    let set = |cpu: Option<u64>, memory: Option<u64>, storage: Option<u64>| {
        let bytes = |bytes: Option<u64>| bytes.map_or(Value::Null, |n| n.to_string().into());
        object([
            ("cpu", cpu.map_or(Value::Null, milli)),
            ("memory", bytes(memory)),
            ("ephemeral-storage", bytes(storage)),
        ])
    };
    let requests = (
        from.cpu_request_milli,
        from.memory_request_bytes,
        from.storage_request_bytes,
    );
    let limits = (
        from.cpu_limit_milli,
        from.memory_limit_bytes,
        from.storage_limit_bytes,
    );
    json!({
        "requests": set(requests.0, requests.1, requests.2),
        "limits": set(limits.0, limits.1, limits.2),
    })
}

fn security(from: &Security) -> Value {
    let strings = |of: &[String]| list(of.iter().map(|text| json!(text)));
    let seccomp = match &from.seccomp {
        Seccomp::Unconfined => Value::Null,
        Seccomp::RuntimeDefault => json!({"type": "RuntimeDefault"}),
        Seccomp::Localhost(path) => json!({"type": "Localhost", "localhostProfile": path}),
    };
    let escalation = match from.allow_privilege_escalation {
        true => Value::Null,
        false => false.into(),
    };
    object([
        ("runAsUser", json!(from.run_as_user)),
        ("runAsGroup", json!(from.run_as_group)),
        ("runAsNonRoot", flag(from.run_as_non_root)),
        ("privileged", flag(from.privileged)),
        ("allowPrivilegeEscalation", escalation),
        ("readOnlyRootFilesystem", flag(from.read_only_root)),
        (
            "capabilities",
            object([
                ("add", strings(&from.capabilities_add)),
                ("drop", strings(&from.capabilities_drop)),
            ]),
        ),
        ("seccompProfile", seccomp),
        ("procMount", when(from.proc_unmasked, "Unmasked")),
    ])
}

fn port(from: &Port) -> Value {
    let protocol = match from.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    };
    object([
        ("name", text(&from.name)),
        ("containerPort", from.port.into()),
        ("protocol", text(protocol)),
        (
            "hostPort",
            if from.host_port == 0 {
                Value::Null
            } else {
                from.host_port.into()
            },
        ),
        ("hostIP", text(&from.host_ip)),
    ])
}

fn probe(from: &Probe) -> Value {
    let mut probe = handler(&from.handler);
    probe["initialDelaySeconds"] = from.initial_delay_s.into();
    probe["timeoutSeconds"] = from.timeout_s.into();
    probe["periodSeconds"] = from.period_s.into();
    probe["successThreshold"] = from.success_threshold.into();
    probe["failureThreshold"] = from.failure_threshold.into();
    if let Some(grace) = from.termination_grace_s {
        probe["terminationGracePeriodSeconds"] = grace.into();
    }
    probe
}

fn handler(from: &Handler) -> Value {
    let port = |of: &PortRef| match of {
        PortRef::Number(number) => json!(number),
        PortRef::Name(name) => json!(name),
    };
    match from {
        Handler::Exec(command) => json!({"exec": {"command": command}}),
        Handler::Http(get) => {
            let header = |(name, value): &(String, String)| json!({"name": name, "value": value});
            json!({"httpGet": object([
                ("host", text(&get.host)),
                ("port", port(&get.port)),
                ("path", text(&get.path)),
                ("scheme", text(if get.https { "HTTPS" } else { "HTTP" })),
                ("httpHeaders", list(get.headers.iter().map(header))),
            ])})
        }
        Handler::Tcp { host, port: of } => {
            json!({"tcpSocket": object([("host", text(host)), ("port", port(of))])})
        }
        Handler::Grpc { port, service } => json!({"grpc": {"port": port, "service": service}}),
        Handler::Sleep { seconds } => json!({"sleep": {"seconds": seconds}}),
    }
}

#[cfg(test)]
mod tests;
