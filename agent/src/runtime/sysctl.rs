//! Kernel settings of a pod's namespaces. Pure; the shim writes them when it has made the namespaces.
//!
//! Only those that a namespace of the pod holds: any other would be the board's. The API refuses what
//! upstream calls unsafe before it comes here; this is the second look.

use super::PodConfig;

/// A pod may have this many, each name and value at most this long.
const SYSCTLS_MAX: usize = 64;
const TEXT_MAX: usize = 256;

/// As containerd 2 sets them where the manifest doesn't: any port and `ping` without capabilities.
const DEFAULTS: [(&str, &str); 2] = [
    ("net.ipv4.ip_unprivileged_port_start", "0"),
    ("net.ipv4.ping_group_range", "0 2147483647"),
];

/// In the IPC namespace; the list of runc and youki.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Why a setting is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not held by a namespace of the pod.
    #[error("sysctl {0:?} is not of a namespace of the pod")]
    Board(String),
    /// Held by a namespace that the pod shares with the board.
    #[error("sysctl {0:?} is not allowed with the board's {1}")]
    Shared(String, &'static str),
    /// Too many or too long, or not a name.
    #[error("sysctl {0:?} is not acceptable")]
    Text(String),
}

/// Settings to make, in order, each with the shim's flag for it; those of the pod after the defaults.
///
/// # Errors
/// [`Error`] for the first that the pod may not set.
pub fn of(pod: &PodConfig) -> Result<Vec<(&'static str, String, String)>, Error> {
    if pod.sysctls.len() > SYSCTLS_MAX {
        return Err(Error::Text(format!("{} of them", pod.sysctls.len())));
    }
    let mut out = Vec::new();
    if !pod.host_network {
        let own = |name: &str| pod.sysctls.iter().any(|(n, _)| dotted(n) == name);
        let defaults = DEFAULTS.iter().filter(|(name, _)| !own(name));
        out.extend(defaults.map(|(n, v)| ("--default-sysctl", (*n).to_owned(), (*v).to_owned())));
    }
    for (name, value) in &pod.sysctls {
        check(name, value, pod)?;
        out.push(("--sysctl", dotted(name), value.clone()));
    }
    Ok(out)
}

fn check(name: &str, value: &str, pod: &PodConfig) -> Result<(), Error> {
    let name = dotted(name);
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let parts = name.split('.').all(|part| !part.is_empty());
    if !parts || !name.bytes().all(plain) || name.len() > TEXT_MAX {
        return Err(Error::Text(name));
    }
    if value.len() > TEXT_MAX || value.contains(['\0', '\n']) {
        return Err(Error::Text(name));
    }
    let ipc = IPC.contains(&name.as_str()) || name.starts_with("fs.mqueue.");
    match (ipc, name.starts_with("net.")) {
        (true, _) if pod.host_ipc => Err(Error::Shared(name, "IPC")),
        (_, true) if pod.host_network => Err(Error::Shared(name, "network")),
        (false, false) => Err(Error::Board(name)),
        _ => Ok(()),
    }
}

/// Kubernetes takes slashes too (`net/ipv4/conf/eth0.1/forwarding` means the dot in it; such names are
/// refused, having no form with dots alone).
fn dotted(name: &str) -> String {
    match name.split_once(['/', '.']) {
        Some((first, _)) if name[first.len()..].starts_with('/') && !name.contains('.') => {
            name.replace('/', ".")
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(sysctls: &[(&str, &str)]) -> PodConfig {
        let owned = |(n, v): &(&str, &str)| ((*n).to_owned(), (*v).to_owned());
        PodConfig {
            sysctls: sysctls.iter().map(owned).collect(),
            ..PodConfig::default()
        }
    }

    #[test]
    fn only_settings_of_the_pods_own_namespaces_are_made() {
        let names = |pod: &PodConfig| {
            of(pod).map(|all| all.into_iter().map(|(_, n, _)| n).collect::<Vec<_>>())
        };
        let shm = ("kernel.shm_rmid_forced", "1");
        let port = ("net/ipv4/ip_unprivileged_port_start", "1024");
        assert_eq!(
            names(&pod(&[shm, port])).unwrap(),
            [
                "net.ipv4.ping_group_range",
                shm.0,
                "net.ipv4.ip_unprivileged_port_start"
            ]
        );
        for bad in [
            "kernel.core_pattern",
            "kernel.sysrq",
            "vm.overcommit_memory",
            "fs.file-max",
            "kernel.hostname",
            "net../../kernel/core_pattern",
            "net.ipv4/../kernel",
            "net/../kernel/core_pattern",
            "",
            "net.",
        ] {
            assert!(of(&pod(&[(bad, "1")])).is_err(), "{bad:?}");
        }
        assert!(of(&pod(&[("net.core.somaxconn", "1\n2")])).is_err());
        let shared = PodConfig {
            host_network: true,
            host_ipc: true,
            ..pod(&[])
        };
        assert_eq!(of(&shared), Ok(Vec::new()));
        for (bad, with) in [(shm, "IPC"), (port, "network")] {
            let pod = PodConfig {
                sysctls: pod(&[bad]).sysctls,
                ..shared.clone()
            };
            assert!(of(&pod).unwrap_err().to_string().contains(with));
        }
    }
}
