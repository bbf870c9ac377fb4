//! A pod's containers.
//!
//! Source of the wording: `validateContainers`, `validateInitContainers`,
//! `validateEphemeralContainers` and what they call in kubernetes/kubernetes
//! `pkg/apis/core/validation/validation.go`.

use super::super::Errors;
use super::volume::{Volumes, descending};
use super::{MAX_CONTAINERS, env, flag, list, number, probe, resources, security, text};
use crate::metadata;
use crate::status::Cause;
use crate::support::NOT_SUPPORTED;
use serde_json::Value;
use std::collections::HashSet;

/// What is known of the pod around a container.
pub(super) struct Pod<'a> {
    volumes: &'a Volumes<'a>,
    pub(super) grace: Option<i64>,
    /// `spec.os.name` is set.
    pub(super) has_os: bool,
    restart_policy: &'a str,
    host_users: bool,
}

/// Init, regular and ephemeral containers; in templates and pods alike.
pub(super) fn validate(spec: &Value, path: &str, volumes: &Volumes<'_>, errors: &mut Errors) {
    let pod = Pod {
        volumes,
        grace: number(spec, "terminationGracePeriodSeconds"),
        has_os: spec
            .get("os")
            .is_some_and(|os| !text(os, "name").is_empty()),
        restart_policy: text(spec, "restartPolicy"),
        host_users: flag(spec, "hostUsers") != Some(false),
    };
    let at = format!("{path}.containers");
    if list(spec, "containers").is_empty() {
        errors.required(&at, "");
    }
    let Some(regular) = bounded(spec, "containers", &at, errors) else {
        return;
    };
    let mut names = HashSet::new();
    let mut ports = HashSet::new();
    for (index, container) in regular.iter().enumerate() {
        let path = format!("{at}[{index}]");
        common(container, &path, &pod, errors);
        unique(container, &path, &mut names, errors);
        probe::lifecycle(container, &path, &pod, errors);
        probe::validate(container, &path, pod.grace, errors);
        if container.get("restartPolicy").is_some() {
            let why = "may not be set for non-init containers";
            errors.forbidden(format!("{path}.restartPolicy"), why);
        }
        host_ports(container, &path, &mut ports, errors);
    }
    let at = format!("{path}.initContainers");
    let Some(init) = bounded(spec, "initContainers", &at, errors) else {
        return;
    };
    for (index, container) in init.iter().enumerate() {
        let path = format!("{at}[{index}]");
        common(container, &path, &pod, errors);
        restartable(container, &path, &pod, errors);
        unique(container, &path, &mut names, errors);
        // They run one after the other, so only one's own ports can clash.
        host_ports(container, &path, &mut HashSet::new(), errors);
    }
    let at = format!("{path}.ephemeralContainers");
    let Some(ephemeral) = bounded(spec, "ephemeralContainers", &at, errors) else {
        return;
    };
    let others = names.clone();
    for (index, container) in ephemeral.iter().enumerate() {
        let path = format!("{at}[{index}]");
        common(container, &path, &pod, errors);
        unique(container, &path, &mut names, errors);
        passing(container, &path, &others, errors);
    }
}

fn bounded<'a>(spec: &'a Value, key: &str, path: &str, errors: &mut Errors) -> Option<&'a [Value]> {
    let containers = list(spec, key);
    if containers.len() > MAX_CONTAINERS {
        errors.push(Cause::too_many(path, containers.len(), MAX_CONTAINERS));
        return None;
    }
    Some(containers)
}

fn unique<'a>(container: &'a Value, path: &str, names: &mut HashSet<&'a str>, errors: &mut Errors) {
    let name = text(container, "name");
    if !name.is_empty() && !names.insert(name) {
        errors.push(Cause::duplicate(format!("{path}.name"), &name.into()));
    }
}

/// What an init container may have: more, when it goes on running beside the others.
fn restartable(container: &Value, path: &str, pod: &Pod<'_>, errors: &mut Errors) {
    let policy = container.get("restartPolicy");
    errors.one_of(format!("{path}.restartPolicy"), policy, &["Always"]);
    if policy.is_some_and(|p| p == "Always") {
        probe::lifecycle(container, path, pod, errors);
        probe::validate(container, path, pod.grace, errors);
        return;
    }
    for key in [
        "lifecycle",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
    ] {
        if container.get(key).is_some() {
            errors.forbidden(
                format!("{path}.{key}"),
                "may not be set for init containers without restartPolicy=Always",
            );
        }
    }
}

/// What an ephemeral container may not have.
fn passing(container: &Value, path: &str, others: &HashSet<&str>, errors: &mut Errors) {
    const WHY: &str = "cannot be set for an Ephemeral Container";
    let target = text(container, "targetContainerName");
    if !target.is_empty() && !others.contains(target) {
        let path = format!("{path}.targetContainerName");
        errors.push(Cause::not_found(path, &target.into()));
    }
    for key in [
        "ports",
        "resources",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
        "resizePolicy",
        "restartPolicy",
    ] {
        let empty = |v: &Value| v.as_object().is_some_and(serde_json::Map::is_empty);
        if container.get(key).is_some_and(|v| !empty(v)) {
            errors.forbidden(format!("{path}.{key}"), WHY);
        }
    }
    for (at, mount) in list(container, "volumeMounts").iter().enumerate() {
        for key in ["subPath", "subPathExpr"] {
            if !text(mount, key).is_empty() {
                errors.forbidden(format!("{path}.volumeMounts[{at}].{key}"), WHY);
            }
        }
    }
}

/// What holds for every container.
fn common(container: &Value, path: &str, pod: &Pod<'_>, errors: &mut Errors) {
    match text(container, "name") {
        "" => errors.required(format!("{path}.name"), ""),
        name => errors.each(&format!("{path}.name"), name, metadata::dns_label(name)),
    }
    if text(container, "image").is_empty() {
        errors.required(format!("{path}.image"), "");
    }
    errors.one_of(
        format!("{path}.terminationMessagePolicy"),
        container.get("terminationMessagePolicy"),
        &["File", "FallbackToLogsOnError"],
    );
    ports(container, path, errors);
    env::validate(container, path, errors);
    mounts(container, path, pod.volumes, errors);
    errors.one_of(
        format!("{path}.imagePullPolicy"),
        container.get("imagePullPolicy"),
        &["Always", "IfNotPresent", "Never"],
    );
    resources::validate(container, path, errors);
    resize_policy(container, path, pod.restart_policy, errors);
    security::container(container, path, pod.host_users, errors);
}

/// Only of pods: upstream lets blanks in templates pass, for those who had them.
pub(super) fn images(spec: &Value, path: &str, errors: &mut Errors) {
    for kind in ["containers", "initContainers", "ephemeralContainers"] {
        let containers = list(spec, kind).iter().take(MAX_CONTAINERS);
        for (at, container) in containers.enumerate() {
            let image = text(container, "image");
            if image.trim() != image {
                errors.invalid(
                    format!("{path}.{kind}[{at}].image"),
                    &image.into(),
                    "must not have leading or trailing whitespace",
                );
            }
        }
    }
}

fn ports(container: &Value, path: &str, errors: &mut Errors) {
    let mut names = HashSet::new();
    for (at, port) in list(container, "ports").iter().enumerate() {
        let path = format!("{path}.ports[{at}]");
        let name = text(port, "name");
        if !name.is_empty() {
            let reasons = port_name(name);
            if reasons.is_empty() && !names.insert(name) {
                errors.push(Cause::duplicate(format!("{path}.name"), &name.into()));
            }
            errors.each(&format!("{path}.name"), name, reasons);
        }
        match number(port, "containerPort").unwrap_or(0) {
            0 => errors.required(format!("{path}.containerPort"), ""),
            number => port_number(number, format!("{path}.containerPort"), errors),
        }
        match number(port, "hostPort").unwrap_or(0) {
            0 => {}
            number => port_number(number, format!("{path}.hostPort"), errors),
        }
        errors.one_of(
            format!("{path}.protocol"),
            port.get("protocol"),
            &["SCTP", "TCP", "UDP"],
        );
    }
}

fn port_number(number: i64, path: String, errors: &mut Errors) {
    if !(1..=65535).contains(&number) {
        let why = "must be between 1 and 65535, inclusive";
        errors.invalid(path, &number.into(), why);
    }
}

fn host_ports(container: &Value, path: &str, taken: &mut HashSet<String>, errors: &mut Errors) {
    for (at, port) in list(container, "ports").iter().enumerate() {
        let number = number(port, "hostPort").unwrap_or(0);
        if number == 0 {
            continue;
        }
        let id = format!(
            "{}/{}/{number}",
            text(port, "protocol"),
            text(port, "hostIP")
        );
        if taken.contains(&id) {
            let path = format!("{path}.ports[{at}].hostPort");
            errors.push(Cause::duplicate(path, &id.into()));
        } else {
            taken.insert(id);
        }
    }
}

/// With the board's network a declared port is the port; without it none leads to the pod.
pub(super) fn host_network(spec: &Value, path: &str, is_pod: bool, errors: &mut Errors) {
    if flag(spec, "hostNetwork") != Some(true) {
        return no_host_ports(spec, path, errors);
    }
    for (at, container) in list(spec, "containers").iter().enumerate() {
        for (index, port) in list(container, "ports").iter().enumerate() {
            let host = number(port, "hostPort").unwrap_or(0);
            let own = number(port, "containerPort").unwrap_or(0);
            if (is_pod || host != 0) && host != own {
                errors.invalid(
                    format!("{path}.containers[{at}].ports[{index}].hostPort"),
                    &host.into(),
                    "must match `containerPort` when `hostNetwork` is true",
                );
            }
        }
    }
}

fn no_host_ports(spec: &Value, path: &str, errors: &mut Errors) {
    let mut named = 0;
    for kind in ["containers", "initContainers"] {
        let containers = list(spec, kind).iter().take(MAX_CONTAINERS);
        for (at, container) in containers.enumerate() {
            for (index, port) in list(container, "ports").iter().enumerate() {
                if named >= MAX_CONTAINERS {
                    return;
                }
                let path = format!("{path}.{kind}[{at}].ports[{index}]");
                let why = format!("{NOT_SUPPORTED}: use the pod's address, or hostNetwork");
                for key in ["hostIP", "hostPort"] {
                    if port.get(key).is_some() {
                        named += 1;
                        errors.forbidden(format!("{path}.{key}"), &why);
                    }
                }
            }
        }
    }
}

pub(super) fn port_name(name: &str) -> Vec<String> {
    let mut out = Vec::new();
    let bytes = name.as_bytes();
    if name.len() > 15 {
        out.push("must be no more than 15 characters");
    }
    if !bytes
        .iter()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
    {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !bytes.iter().any(u8::is_ascii_lowercase) {
        out.push("must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        out.push("must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        out.push("must not begin or end with a hyphen");
    }
    out.into_iter().map(str::to_owned).collect()
}

fn mounts(container: &Value, path: &str, volumes: &Volumes<'_>, errors: &mut Errors) {
    // What concerns the path in the volume is reported without the index, as upstream does.
    let base = format!("{path}.volumeMounts");
    let privileged = container
        .get("securityContext")
        .is_some_and(|s| flag(s, "privileged") == Some(true));
    let mut targets = HashSet::new();
    for (at, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = format!("{base}[{at}]");
        let name = text(mount, "name");
        if name.is_empty() {
            errors.required(format!("{path}.name"), "");
        }
        if !volumes.contains(name) {
            errors.push(Cause::not_found(format!("{path}.name"), &name.into()));
        }
        let target = text(mount, "mountPath");
        if target.is_empty() {
            errors.required(format!("{path}.mountPath"), "");
        }
        if !targets.insert(target) {
            let path = format!("{path}.mountPath");
            errors.invalid(path, &target.into(), "must be unique");
        }
        let (sub_path, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        if !sub_path.is_empty() {
            descending(sub_path, format!("{base}.subPath"), errors);
        }
        if !expression.is_empty() {
            if !sub_path.is_empty() {
                let why = "subPathExpr and subPath are mutually exclusive";
                errors.invalid(format!("{path}.subPathExpr"), &expression.into(), why);
            }
            descending(expression, format!("{base}.subPathExpr"), errors);
        }
        propagation(mount, &base, privileged, errors);
    }
}

fn propagation(mount: &Value, base: &str, privileged: bool, errors: &mut Errors) {
    let propagation = mount.get("mountPropagation");
    let path = format!("{base}.mountPropagation");
    if propagation.is_some_and(|p| p == "Bidirectional") && !privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.forbidden(&path, why);
    }
    errors.one_of(
        path,
        propagation,
        &["Bidirectional", "HostToContainer", "None"],
    );
    let path = format!("{base}.recursiveReadOnly");
    let recursive = mount.get("recursiveReadOnly");
    errors.one_of(
        path.clone(),
        recursive,
        &["Disabled", "IfPossible", "Enabled"],
    );
    if matches!(
        recursive.and_then(Value::as_str),
        Some("Enabled" | "IfPossible")
    ) {
        if flag(mount, "readOnly") != Some(true) {
            errors.forbidden(&path, "may only be specified when readOnly is true");
        }
        if propagation.is_some_and(|p| p != "None") {
            let why = "may only be specified when mountPropagation is None or not specified";
            errors.forbidden(&path, why);
        }
    }
}

fn resize_policy(container: &Value, path: &str, restart_policy: &str, errors: &mut Errors) {
    let path = format!("{path}.resizePolicy");
    let mut seen = HashSet::new();
    for (at, policy) in list(container, "resizePolicy").iter().enumerate() {
        let resource = text(policy, "resourceName");
        if !seen.insert(resource) {
            errors.push(Cause::duplicate(format!("{path}[{at}]"), &resource.into()));
        }
        match resource {
            "cpu" | "memory" => {}
            "" => errors.required(&path, ""),
            _ => errors.push(Cause::not_supported(
                &path,
                &resource.into(),
                &["cpu", "memory"],
            )),
        }
        let restart = text(policy, "restartPolicy");
        match restart {
            "NotRequired" | "RestartContainer" => {}
            "" => errors.required(&path, ""),
            _ => errors.push(Cause::not_supported(
                &path,
                &restart.into(),
                &["NotRequired", "RestartContainer"],
            )),
        }
        if restart_policy == "Never" && restart != "NotRequired" {
            let why = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.invalid(&path, &restart.into(), why);
        }
    }
}
