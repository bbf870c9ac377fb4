//! A container of any kind, for the wire.

use bramble_api::view;
use bramble_wire::object::{Container, Port, Protocol, PullPolicy, Resources};

use super::{Error, env, probes, security, volumes};

/// Which list of the pod a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Init,
    Main,
    Ephemeral,
}

pub(super) fn all(
    from: &[view::Container],
    kind: Kind,
    pod: &view::FullSpec,
) -> Result<Vec<Container>, Error> {
    from.iter().map(|c| container(c, kind, pod)).collect()
}

fn container(from: &view::Container, kind: Kind, pod: &view::FullSpec) -> Result<Container, Error> {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
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
        working_dir: some(&from.working_dir),
        env_from: env::from_maps(&from.env_from)?,
        env: env::variables(&from.env)?,
        resources: resources(&from.resources),
        security: security::merged(&from.security_context, &pod.security_context)?,
        mounts: volumes::mounts(&from.volume_mounts)?,
        termination_message_path: message_path.to_owned(),
        tty: from.tty,
        stdin: from.stdin,
        stdin_once: from.stdin_once,
        sidecar: is_sidecar(from, kind)?,
        target: some(&from.target_container_name).filter(|_| kind == Kind::Ephemeral),
        termination_message_from_logs: from.termination_message_policy == "FallbackToLogsOnError",
        ports: ports(&from.ports)?,
        liveness: probes::probe(from.liveness_probe.as_ref())?,
        readiness: probes::probe(from.readiness_probe.as_ref())?,
        startup: probes::probe(from.startup_probe.as_ref())?,
        post_start: probes::hook(from.lifecycle.post_start.as_ref())?,
        pre_stop: probes::hook(from.lifecycle.pre_stop.as_ref())?,
        stop_signal: some(&from.lifecycle.stop_signal),
    })
}

/// Only init containers may say when they start again, and only `Always`.
fn is_sidecar(from: &view::Container, kind: Kind) -> Result<bool, Error> {
    match (from.restart_policy.as_str(), kind) {
        ("", _) => Ok(false),
        ("Always", Kind::Init) => Ok(true),
        _ => Err(Error::Unsupported(format!(
            "restartPolicy of container \"{}\"",
            from.name
        ))),
    }
}

fn resources(from: &view::Resources) -> Resources {
    Resources {
        cpu_request_milli: from.requests.milli("cpu"),
        cpu_limit_milli: from.limits.milli("cpu"),
        memory_request_bytes: from.requests.units("memory"),
        memory_limit_bytes: from.limits.units("memory"),
        storage_request_bytes: from.requests.units("ephemeral-storage"),
        storage_limit_bytes: from.limits.units("ephemeral-storage"),
    }
}

fn ports(from: &[view::ContainerPort]) -> Result<Vec<Port>, Error> {
    let number = |n: i32| u16::try_from(n).map_err(|_| Error::Range("a port"));
    let port = |from: &view::ContainerPort| {
        Ok(Port {
            name: from.name.clone(),
            port: number(from.container_port)?,
            protocol: match from.protocol.as_str() {
                "UDP" => Protocol::Udp,
                "SCTP" => Protocol::Sctp,
                _ => Protocol::Tcp,
            },
            host_port: number(from.host_port)?,
            host_ip: from.host_ip.clone(),
        })
    };
    from.iter().map(port).collect()
}
