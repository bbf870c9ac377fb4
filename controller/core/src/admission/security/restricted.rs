//! The checks that the restricted level adds, sorted by upstream's ids.

use std::collections::BTreeSet;

use serde_json::Value;

use super::baseline::{is_seccomp, masked};
use super::{Check, Pod, Violation, named, plural, quoted, setters};
use crate::admission::{items, part, text};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "allowPrivilegeEscalation",
        since: 8,
        overrides: None,
        run: escalation,
    },
    Check {
        id: "capabilities_restricted",
        since: 22,
        overrides: Some("capabilities_baseline"),
        run: capabilities,
    },
    Check {
        id: "procMount_restricted",
        since: 35,
        overrides: Some("procMount"),
        run: masked,
    },
    Check {
        id: "restrictedVolumes",
        since: 0,
        overrides: Some("hostPathVolumes"),
        run: volumes,
    },
    Check {
        id: "runAsNonRoot",
        since: 0,
        overrides: None,
        run: non_root,
    },
    Check {
        id: "runAsUser",
        since: 23,
        overrides: None,
        run: root_user,
    },
    Check {
        id: "seccompProfile_restricted",
        since: 19,
        overrides: Some("seccompProfile_baseline"),
        run: seccomp,
    },
];

fn escalation(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let containers = pod.containers_that(|c| {
        part(c.security(), "allowPrivilegeEscalation").as_bool() != Some(false)
    });
    (!containers.is_empty()).then(|| {
        let detail = format!(
            "{} must set securityContext.allowPrivilegeEscalation=false",
            named(&containers)
        );
        Violation::new("allowPrivilegeEscalation != false", detail)
    })
}

fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let (mut keeping, mut adding) = (Vec::new(), Vec::new());
    let mut added = BTreeSet::new();
    for container in pod.containers() {
        let capabilities = part(container.security(), "capabilities");
        let list = |key: &str| items(capabilities, key).iter().filter_map(Value::as_str);
        if !list("drop").any(|c| c == "ALL") {
            keeping.push(container.name());
        }
        let bad: Vec<&str> = list("add").filter(|c| *c != "NET_BIND_SERVICE").collect();
        if !bad.is_empty() {
            adding.push(container.name());
            added.extend(bad.into_iter().map(str::to_owned));
        }
    }
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            named(&keeping)
        ));
    }
    if !adding.is_empty() {
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            named(&adding),
            quoted(added)
        ));
    }
    (!details.is_empty()).then(|| Violation::new("unrestricted capabilities", details.join("; ")))
}

const ALLOWED_VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

const OTHER_VOLUMES: [&str; 20] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
];

fn volumes(pod: &Pod<'_>) -> Option<Violation> {
    let mut names = Vec::new();
    let mut types = BTreeSet::new();
    for volume in items(pod.spec, "volumes") {
        let has = |key: &&str| !part(volume, key).is_null();
        // One without a source is an emptyDir, once it has its defaults.
        let sourceless = volume
            .as_object()
            .is_some_and(|map| map.keys().all(|key| key == "name"));
        if sourceless || ALLOWED_VOLUMES.iter().any(has) {
            continue;
        }
        names.push(text(volume, "name"));
        let kind = OTHER_VOLUMES.into_iter().chain(["storageos"]).find(has);
        types.insert(kind.unwrap_or("unknown"));
    }
    (!names.is_empty()).then(|| {
        let detail = format!(
            "{} {} {} {} {}",
            plural("volume", "volumes", names.len()),
            quoted(&names),
            plural("uses", "use", names.len()),
            plural(
                "restricted volume type",
                "restricted volume types",
                types.len()
            ),
            quoted(types)
        );
        Violation::new("restricted volume types", detail)
    })
}

fn non_root(pod: &Pod<'_>) -> Option<Violation> {
    if pod.has_user_namespace() {
        return None;
    }
    let said = |security: &Value| part(security, "runAsNonRoot").as_bool();
    let by_pod = said(pod.security());
    let (mut explicit, mut implicit) = (Vec::new(), Vec::new());
    for container in pod.containers() {
        match said(container.security()) {
            Some(true) => {}
            Some(false) => explicit.push(container.name()),
            None if by_pod == Some(true) => {}
            None => implicit.push(container.name()),
        }
    }
    let detail = match setters(by_pod == Some(false), &explicit) {
        Some(who) => format!("{who} must not set securityContext.runAsNonRoot=false"),
        None if implicit.is_empty() => return None,
        None => format!(
            "pod or {} must set securityContext.runAsNonRoot=true",
            named(&implicit)
        ),
    };
    Some(Violation::new("runAsNonRoot != true", detail))
}

fn root_user(pod: &Pod<'_>) -> Option<Violation> {
    if pod.has_user_namespace() {
        return None;
    }
    let who = pod.setters(|security| part(security, "runAsUser").as_i64() == Some(0))?;
    Some(Violation::new(
        "runAsUser=0",
        format!("{who} must not set runAsUser=0"),
    ))
}

fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if pod.is_windows() {
        return None;
    }
    let mut values = BTreeSet::new();
    let profile = part(pod.security(), "seccompProfile");
    let by_pod = !profile.is_null() && !is_seccomp(profile);
    if by_pod {
        values.insert(text(profile, "type"));
    }
    let covered = !profile.is_null() && !by_pod;
    let (mut explicit, mut implicit) = (Vec::new(), Vec::new());
    for container in pod.containers() {
        let profile = part(container.security(), "seccompProfile");
        if profile.is_null() {
            if !covered {
                implicit.push(container.name());
            }
        } else if !is_seccomp(profile) {
            explicit.push(container.name());
            values.insert(text(profile, "type"));
        }
    }
    let detail = match setters(by_pod, &explicit) {
        Some(who) => format!(
            "{who} must not set securityContext.seccompProfile.type to {}",
            quoted(values)
        ),
        None if implicit.is_empty() => return None,
        None => format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            named(&implicit)
        ),
    };
    Some(Violation::new("seccompProfile", detail))
}
