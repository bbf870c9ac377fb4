//! The checks of the baseline level, sorted by upstream's ids.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Check, Pod, Violation, named, plural, quoted};
use crate::admission::{items, part, text};

const fn check(id: &'static str, run: fn(&Pod<'_>) -> Option<Violation>) -> Check {
    Check {
        id,
        since: 0,
        overrides: None,
        run,
    }
}

pub(super) const CHECKS: &[Check] = &[
    check("appArmorProfile", app_armor),
    check("capabilities_baseline", capabilities),
    check("hostNamespaces", host_namespaces),
    check("hostPathVolumes", host_paths),
    check("hostPorts", host_ports),
    Check {
        id: "hostProbesAndHostLifecycle",
        since: 34,
        overrides: None,
        run: probe_hosts,
    },
    check("privileged", privileged),
    check("procMount", proc_mount),
    check("seLinuxOptions", se_linux),
    check("seccompProfile_baseline", seccomp),
    check("sysctls", sysctls),
    check("windowsHostProcess", host_process),
];

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let setters = pod.setters(|security| {
        let profile = part(security, "appArmorProfile");
        let kind = text(profile, "type");
        let bad = !profile.is_null() && !matches!(kind, "RuntimeDefault" | "Localhost");
        if bad {
            values.insert(kind.to_owned());
        }
        bad
    });
    let mut annotations: Vec<String> = pod
        .annotations()
        .filter(|(key, value)| {
            let fine =
                value.is_empty() || *value == "runtime/default" || value.starts_with("localhost/");
            key.starts_with(APP_ARMOR) && !fine
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    annotations.sort();
    let mut who = Vec::from_iter(setters);
    if !annotations.is_empty() {
        let word = plural("annotation", "annotations", annotations.len());
        who.push(word.to_owned());
    }
    if who.is_empty() {
        return None;
    }
    let values: Vec<String> = values.into_iter().chain(annotations).collect();
    let reason = plural(
        "forbidden AppArmor profile",
        "forbidden AppArmor profiles",
        values.len(),
    );
    Some(Violation::new(
        reason,
        format!(
            "{} must not set AppArmor profile type to {}",
            who.join(" and "),
            quoted(values)
        ),
    ))
}

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let mut added = BTreeSet::new();
    let mut containers = Vec::new();
    for container in pod.containers() {
        let list = items(part(container.security(), "capabilities"), "add");
        let bad: Vec<&str> = list
            .iter()
            .filter_map(Value::as_str)
            .filter(|c| !CAPABILITIES.contains(c))
            .collect();
        if !bad.is_empty() {
            containers.push(container.name());
            added.extend(bad);
        }
    }
    (!containers.is_empty()).then(|| {
        let detail = format!(
            "{} must not include {} in securityContext.capabilities.add",
            named(&containers),
            quoted(added)
        );
        Violation::new("non-default capabilities", detail)
    })
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|key| part(pod.spec, key).as_bool() == Some(true))
        .map(|key| format!("{key}=true"))
        .collect();
    (!set.is_empty()).then(|| Violation::new("host namespaces", set.join(", ")))
}

fn host_paths(pod: &Pod<'_>) -> Option<Violation> {
    let volumes: Vec<&str> = items(pod.spec, "volumes")
        .iter()
        .filter(|volume| !part(volume, "hostPath").is_null())
        .map(|volume| text(volume, "name"))
        .collect();
    (!volumes.is_empty()).then(|| {
        let word = plural("volume", "volumes", volumes.len());
        Violation::new("hostPath volumes", format!("{word} {}", quoted(&volumes)))
    })
}

fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let mut ports = BTreeSet::new();
    let mut containers = Vec::new();
    for container in pod.containers() {
        let own: Vec<i64> = items(container.value, "ports")
            .iter()
            .filter_map(|port| part(port, "hostPort").as_i64())
            .filter(|port| *port != 0)
            .collect();
        if !own.is_empty() {
            containers.push(container.name());
            ports.extend(own.iter().map(i64::to_string));
        }
    }
    (!containers.is_empty()).then(|| {
        let word = plural("hostPort", "hostPorts", ports.len());
        let ports: Vec<String> = ports.into_iter().collect();
        let detail = format!(
            "{} {} {word} {}",
            named(&containers),
            plural("uses", "use", containers.len()),
            ports.join(", ")
        );
        Violation::new("hostPort", detail)
    })
}

fn probe_hosts(pod: &Pod<'_>) -> Option<Violation> {
    let handlers = [
        "/livenessProbe",
        "/readinessProbe",
        "/startupProbe",
        "/lifecycle/postStart",
        "/lifecycle/preStop",
    ];
    let mut hosts = BTreeSet::new();
    let mut containers = BTreeSet::new();
    for container in pod.containers() {
        for pointer in handlers {
            let handler = container.value.pointer(pointer).unwrap_or(&Value::Null);
            for action in ["httpGet", "tcpSocket"] {
                let host = text(part(handler, action), "host");
                if !host.is_empty() {
                    hosts.insert(host);
                    containers.insert(container.name());
                }
            }
        }
    }
    (!hosts.is_empty()).then(|| {
        let containers: Vec<&str> = containers.into_iter().collect();
        let detail = format!(
            "{} {} {} {}",
            named(&containers),
            plural("uses", "use", containers.len()),
            plural(
                "probe or lifecycle host",
                "probe or lifecycle hosts",
                hosts.len()
            ),
            quoted(hosts)
        );
        Violation::new("probe or lifecycle host", detail)
    })
}

fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let containers =
        pod.containers_that(|c| part(c.security(), "privileged").as_bool() == Some(true));
    (!containers.is_empty()).then(|| {
        let detail = format!(
            "{} must not set securityContext.privileged=true",
            named(&containers)
        );
        Violation::new("privileged", detail)
    })
}

fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    if pod.has_user_namespace() {
        return None;
    }
    masked(pod)
}

/// `/proc` is masked as it is by default.
pub(super) fn masked(pod: &Pod<'_>) -> Option<Violation> {
    let mut kinds = BTreeSet::new();
    let mut containers = Vec::new();
    for container in pod.containers() {
        let kind = text(container.security(), "procMount");
        if !matches!(kind, "" | "Default") {
            kinds.insert(kind);
            containers.push(container.name());
        }
    }
    (!containers.is_empty()).then(|| {
        let detail = format!(
            "{} must not set securityContext.procMount to {}",
            named(&containers),
            quoted(kinds)
        );
        Violation::new("procMount", detail)
    })
}

fn se_linux(pod: &Pod<'_>) -> Option<Violation> {
    let mut types = BTreeSet::new();
    let (mut user, mut role) = (false, false);
    let newer = pod.minor >= 31;
    let who = pod.setters(|security| {
        let options = part(security, "seLinuxOptions");
        let kind = text(options, "type");
        let fine = matches!(
            kind,
            "" | "container_t" | "container_init_t" | "container_kvm_t"
        ) || newer && kind == "container_engine_t";
        if !fine {
            types.insert(kind);
        }
        let (has_user, has_role) = (
            !text(options, "user").is_empty(),
            !text(options, "role").is_empty(),
        );
        user |= has_user;
        role |= has_role;
        !fine || has_user || has_role
    })?;
    let mut what = Vec::new();
    if !types.is_empty() {
        let word = plural("type", "types", types.len());
        what.push(format!("{word} {}", quoted(types)));
    }
    if user {
        what.push("user may not be set".to_owned());
    }
    if role {
        what.push("role may not be set".to_owned());
    }
    let detail = format!(
        "{who} set forbidden securityContext.seLinuxOptions: {}",
        what.join("; ")
    );
    Some(Violation::new("seLinuxOptions", detail))
}

pub(super) const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub(super) const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if pod.minor < 19 {
        return seccomp_annotations(pod);
    }
    let mut values = BTreeSet::new();
    let who = pod.setters(|security| {
        let profile = part(security, "seccompProfile");
        let bad = !profile.is_null() && !is_seccomp(profile);
        if bad {
            values.insert(text(profile, "type"));
        }
        bad
    })?;
    let detail = format!(
        "{who} must not set securityContext.seccompProfile.type to {}",
        quoted(values)
    );
    Some(Violation::new("seccompProfile", detail))
}

pub(super) fn is_seccomp(profile: &Value) -> bool {
    matches!(text(profile, "type"), "RuntimeDefault" | "Localhost")
}

fn seccomp_annotations(pod: &Pod<'_>) -> Option<Violation> {
    let of_container: Vec<String> = pod
        .containers()
        .map(|c| format!("{SECCOMP_CONTAINER}{}", c.name()))
        .collect();
    let bad: BTreeSet<String> = pod
        .annotations()
        .filter(|(key, _)| *key == SECCOMP_POD || of_container.iter().any(|own| own == key))
        .filter(|(_, value)| {
            !matches!(*value, "runtime/default" | "docker/default")
                && !value.starts_with("localhost/")
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    (!bad.is_empty()).then(|| {
        let word = plural("annotation", "annotations", bad.len());
        let bad: Vec<String> = bad.into_iter().collect();
        Violation::new(
            "seccompProfile",
            format!("forbidden {word} {}", bad.join(", ")),
        )
    })
}

/// Safe ones, and since when they count as safe.
const SYSCTLS: [(&str, u32); 14] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
    ("net.ipv4.tcp_slow_start_after_idle", 37),
    ("net.ipv4.tcp_notsent_lowat", 37),
];

fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    let safe = |name: &str| {
        SYSCTLS
            .iter()
            .any(|(safe, since)| *safe == name && *since <= pod.minor)
    };
    let bad: Vec<&str> = items(pod.security(), "sysctls")
        .iter()
        .map(|sysctl| text(sysctl, "name"))
        .filter(|name| !safe(name))
        .collect();
    (!bad.is_empty()).then(|| Violation::new("forbidden sysctls", bad.join(", ")))
}

fn host_process(pod: &Pod<'_>) -> Option<Violation> {
    let who = pod.setters(|security| {
        part(part(security, "windowsOptions"), "hostProcess").as_bool() == Some(true)
    })?;
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    Some(Violation::new("hostProcess", detail))
}
