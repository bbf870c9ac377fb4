//! What a container may do: capabilities, the parts of `/proc` and `/sys` it doesn't see, and the
//! names of both. Pure.

use bramble_wire::object::{Seccomp, Security};

/// Rights of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rights {
    /// Everything allowed, all devices, nothing masked.
    pub privileged: bool,
    /// May gain privileges by set-user-id programs.
    pub allow_privilege_escalation: bool,
    /// Root file system is read-only.
    pub read_only_root: bool,
    /// Added to the default set, without `CAP_`.
    pub capabilities_add: Vec<String>,
    /// Removed from it; `ALL` empties it.
    pub capabilities_drop: Vec<String>,
    /// Which system calls it may make; all of them when privileged, as upstream.
    pub seccomp: Seccomp,
    /// `/proc` is neither masked nor read-only in parts.
    pub proc_unmasked: bool,
}

impl From<&Security> for Rights {
    fn from(security: &Security) -> Self {
        Self {
            privileged: security.privileged,
            allow_privilege_escalation: security.allow_privilege_escalation,
            read_only_root: security.read_only_root,
            capabilities_add: security.capabilities_add.clone(),
            capabilities_drop: security.capabilities_drop.clone(),
            seccomp: security.seccomp.clone(),
            proc_unmasked: security.proc_unmasked,
        }
    }
}

/// Docker's and containerd's default capabilities, without `CAP_`. Device nodes that MKNOD makes are
/// dead: root file systems are mounted without devices, and cgroups close those that are not listed.
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Every capability, in the kernel's order: its place is its number.
pub const ALL_CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// As Kubernetes and Docker mask them; a privileged container sees them.
pub(super) const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
pub(super) const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The default set with additions and removals; unknown names are left to the API to refuse.
pub(super) fn capabilities(rights: &Rights, grantable: u64) -> Vec<String> {
    let bare = |name: &String| {
        let upper = name.to_ascii_uppercase();
        upper
            .strip_prefix("CAP_")
            .map(str::to_owned)
            .unwrap_or(upper)
    };
    let all = || {
        let ours = |(number, _): &(usize, &&str)| grantable & (1 << number) != 0;
        ALL_CAPABILITIES
            .iter()
            .enumerate()
            .filter(ours)
            .map(|(_, name)| (*name).to_owned())
    };
    let mut set: Vec<String> = if rights.privileged {
        all().collect()
    } else {
        DEFAULT_CAPABILITIES
            .iter()
            .map(|c| (*c).to_owned())
            .collect()
    };
    let drop: Vec<_> = rights.capabilities_drop.iter().map(bare).collect();
    let add: Vec<_> = rights.capabilities_add.iter().map(bare).collect();
    if drop.iter().any(|c| c == "ALL") {
        set.clear();
    }
    if add.iter().any(|c| c == "ALL") {
        set = all().collect();
    }
    set.retain(|c| !drop.contains(c));
    set.extend(
        add.into_iter()
            .filter(|c| ALL_CAPABILITIES.contains(&c.as_str())),
    );
    set.sort();
    set.dedup();
    set.into_iter().map(|c| format!("CAP_{c}")).collect()
}
