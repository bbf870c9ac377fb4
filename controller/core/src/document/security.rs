//! Rights of a container: what it says itself, else what the pod says.
//!
//! Source of the rules: `DetermineEffectiveSecurityContext` in kubernetes/kubernetes
//! `pkg/securitycontext/util.go`, `getSeccompProfile` in `pkg/kubelet/kuberuntime/helpers.go`.

use bramble_api::view;
use bramble_wire::object::{Seccomp, Security};

use super::Error;

pub(super) fn id(id: i64) -> Result<u32, Error> {
    u32::try_from(id).map_err(|_| Error::Range("a user or group id"))
}

pub(super) fn merged(
    from: &view::ContainerSecurity,
    pod: &view::PodSecurity,
) -> Result<Security, Error> {
    // The group of the volumes is the pod's (`fs_group`); the node adds it.
    let groups = pod.supplemental_groups.iter();
    let plain = |names: &[String]| {
        let strip = |name: &String| name.strip_prefix("CAP_").unwrap_or(name).to_owned();
        names.iter().map(strip).collect::<Vec<_>>()
    };
    let non_root = from.run_as_non_root.or(pod.run_as_non_root);
    let profile = from.seccomp_profile.as_ref();
    Ok(Security {
        run_as_user: from.run_as_user.or(pod.run_as_user).map(id).transpose()?,
        run_as_group: from.run_as_group.or(pod.run_as_group).map(id).transpose()?,
        run_as_non_root: non_root.unwrap_or(false),
        supplemental_groups: groups.map(|group| id(*group)).collect::<Result<_, _>>()?,
        privileged: from.privileged,
        allow_privilege_escalation: from.allow_privilege_escalation.unwrap_or(true),
        read_only_root: from.read_only_root_filesystem,
        capabilities_add: plain(&from.capabilities.add),
        capabilities_drop: plain(&from.capabilities.drop),
        seccomp: match profile.or(pod.seccomp_profile.as_ref()) {
            // Runtimes filter nothing of a privileged container, whatever it asks for.
            _ if from.privileged => Seccomp::Unconfined,
            None => Seccomp::Unconfined,
            Some(profile) => seccomp(profile)?,
        },
        proc_unmasked: from.proc_mount == "Unmasked",
    })
}

fn seccomp(profile: &view::SeccompProfile) -> Result<Seccomp, Error> {
    let path = profile.localhost_profile.as_str();
    let descends = !path.is_empty() && !path.starts_with('/') && path.split('/').all(|p| p != "..");
    match profile.kind.as_str() {
        "Unconfined" => Ok(Seccomp::Unconfined),
        "RuntimeDefault" => Ok(Seccomp::RuntimeDefault),
        "Localhost" if descends => Ok(Seccomp::Localhost(path.to_owned())),
        kind => Err(Error::Unsupported(format!(
            "seccompProfile \"{kind}\" \"{path}\""
        ))),
    }
}

/// Names and values, names with dots. As upstream, the first separator tells how a name is written:
/// after a slash, dots and slashes have changed places.
pub(super) fn sysctls(pod: &view::PodSecurity) -> Vec<(String, String)> {
    let dotted = |name: &str| match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => name
            .chars()
            .map(|c| match c {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect(),
        _ => name.to_owned(),
    };
    let settings = pod.sysctls.iter();
    settings
        .map(|s| (dotted(&s.name), s.value.clone()))
        .collect()
}
