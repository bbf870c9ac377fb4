//! What processes may do.
//!
//! Source of the wording: `ValidateSecurityContext`, `validatePodSpecSecurityContext` and their
//! neighbours in kubernetes/kubernetes `pkg/apis/core/validation/validation.go`.

use super::super::Errors;
use super::{flag, list, text};
use crate::status::Cause;
use serde_json::Value;
use std::collections::HashSet;

/// Of a container; `host_users`: the pod has no user namespace of its own.
pub(super) fn container(container: &Value, path: &str, host_users: bool, errors: &mut Errors) {
    let Some(security) = container.get("securityContext") else {
        return;
    };
    let path = format!("{path}.securityContext");
    ids(security, &path, &["runAsUser", "runAsGroup"], errors);
    if let Some(mount) = security.get("procMount") {
        let path = format!("{path}.procMount");
        if host_users && mount == "Unmasked" {
            let why = "`hostUsers` must be false to use `Unmasked`";
            errors.invalid(&path, mount, why);
        }
        errors.one_of(path, Some(mount), &["Default", "Unmasked"]);
    }
    profiles(security, &path, errors);
    if flag(security, "allowPrivilegeEscalation") != Some(false) {
        return;
    }
    if flag(security, "privileged") == Some(true) {
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.invalid(&path, security, why);
    }
    let adds = security
        .get("capabilities")
        .map_or(&[][..], |c| list(c, "add"));
    if adds.iter().any(|c| c.as_str() == Some("CAP_SYS_ADMIN")) {
        let why =
            "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.invalid(&path, security, why);
    }
}

/// Of a pod.
pub(super) fn pod(spec: &Value, path: &str, errors: &mut Errors) {
    let Some(security) = spec.get("securityContext") else {
        return;
    };
    let host_pid = flag(spec, "hostPID") == Some(true);
    if host_pid && flag(spec, "shareProcessNamespace") == Some(true) {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(
            format!("{path}.securityContext.shareProcessNamespace"),
            &true.into(),
            why,
        );
    }
    let path = format!("{path}.securityContext");
    ids(
        security,
        &path,
        &["fsGroup", "runAsUser", "runAsGroup"],
        errors,
    );
    for (at, group) in list(security, "supplementalGroups").iter().enumerate() {
        id(&format!("{path}.supplementalGroups[{at}]"), group, errors);
    }
    sysctls(spec, security, &format!("{path}.sysctls"), errors);
    for (key, values) in [
        ("fsGroupChangePolicy", &["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", &["Merge", "Strict"]),
        ("seLinuxChangePolicy", &["MountOption", "Recursive"]),
    ] {
        errors.one_of(format!("{path}.{key}"), security.get(key), values);
    }
    profiles(security, &path, errors);
}

/// `hostUsers: false` goes with no namespace of the host.
pub(super) fn host_users(spec: &Value, path: &str, errors: &mut Errors) {
    if flag(spec, "hostUsers") != Some(false) {
        return;
    }
    // Upstream's paths, capitals and all.
    for (key, shown) in [
        ("hostNetwork", "hostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ] {
        if flag(spec, key) == Some(true) {
            errors.forbidden(
                format!("{path}.{shown}"),
                "when `pod.Spec.HostUsers` is false",
            );
        }
    }
}

fn ids(security: &Value, path: &str, keys: &[&str], errors: &mut Errors) {
    for key in keys {
        if let Some(value) = security.get(key) {
            id(&format!("{path}.{key}"), value, errors);
        }
    }
}

fn id(path: &str, id: &Value, errors: &mut Errors) {
    if !id
        .as_i64()
        .is_some_and(|id| (0..=i64::from(i32::MAX)).contains(&id))
    {
        errors.invalid(path, id, "must be between 0 and 2147483647, inclusive");
    }
}

const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

/// Seccomp and AppArmor profiles, which are written alike.
fn profiles(security: &Value, path: &str, errors: &mut Errors) {
    for (key, what) in [
        ("seccompProfile", "seccomp"),
        ("appArmorProfile", "AppArmor"),
    ] {
        let Some(profile) = security.get(key) else {
            continue;
        };
        let path = format!("{path}.{key}");
        let kind = text(profile, "type");
        if kind.is_empty() {
            errors.required(
                format!("{path}.type"),
                &format!("type is required when {key} is set"),
            );
        } else if !PROFILES.contains(&kind) {
            errors.push(Cause::not_supported(
                format!("{path}.type"),
                &kind.into(),
                &PROFILES,
            ));
        }
        let local = profile.get("localhostProfile");
        let path = format!("{path}.localhostProfile");
        match (kind == "Localhost", local) {
            (true, None) => {
                errors.required(path, &format!("must be set when {what} type is Localhost"));
            }
            (true, Some(file)) if key == "seccompProfile" => {
                super::volume::descending(file.as_str().unwrap_or_default(), path, errors);
            }
            (false, Some(file)) => errors.invalid(
                path,
                if what == "seccomp" { profile } else { file },
                &format!("can only be set when {what} type is Localhost"),
            ),
            _ => {}
        }
    }
}

fn sysctls(spec: &Value, security: &Value, path: &str, errors: &mut Errors) {
    const FORM: &str = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    let mut names = HashSet::new();
    for (at, sysctl) in list(security, "sysctls").iter().enumerate() {
        let name = text(sysctl, "name");
        let path = format!("{path}[{at}].name");
        if name.is_empty() {
            errors.required(&path, "");
        } else if name.len() > 253 || !name.split(['.', '/']).all(is_segment) {
            let why = format!("must have at most 253 characters and match regex {FORM}");
            errors.invalid(&path, &name.into(), &why);
        } else if !names.insert(name) {
            errors.push(Cause::duplicate(&path, &name.into()));
        } else if !SAFE.contains(&dotted(name).as_str()) {
            // Upstream's nodes say this, once the pod is bound.
            errors.forbidden(
                &path,
                &format!("forbidden sysctl: {name:?} not allowlisted"),
            );
        }
        for (namespace, heads) in [
            ("hostNetwork", &["net."][..]),
            (
                "hostIPC",
                &["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."],
            ),
        ] {
            if flag(spec, namespace) == Some(true) && heads.iter().any(|h| name.starts_with(h)) {
                let why = format!("may not be specified when '{namespace}' is true");
                errors.invalid(&path, &name.into(), &why);
            }
        }
    }
}

/// What upstream's nodes allow without being asked
/// (`pkg/kubelet/sysctl/safe_sysctls.go`): settings of a pod's own namespaces that harm no other.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// As upstream, the first separator tells how a name is written.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('/') => name.replace('/', "."),
        _ => name.to_owned(),
    }
}

fn is_segment(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(b))
}
