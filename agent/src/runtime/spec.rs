//! What a container shall be, as the OCI runtime wants it (`config.json`). Pure: values in, JSON
//! out; every path and number in it was chosen by somebody else.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::cgroup;

/// Docker's and containerd's default capabilities, without `CAP_`, less MKNOD: on cgroup v2 a device
/// filter needs an eBPF program that we don't load yet, and without one a made device node is a way
/// to the board's disk.
pub const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
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
const MASKED: [&str; 12] = [
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
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Search path of an image that sets none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything about one life of a container; nothing is left to choose.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ContainerConfig {
    /// Runtime's id of this life, unique in the pod: `<name>-<attempt>`.
    pub id: String,
    /// Unpacked layers of its image, lowest first.
    pub layers: Vec<PathBuf>,
    /// Command and arguments; never empty.
    pub args: Vec<String>,
    /// Environment in order; a later entry of the same name wins.
    pub env: Vec<(String, String)>,
    /// Working directory; made if missing.
    pub working_dir: String,
    /// Who runs it.
    pub user: User,
    /// Limits.
    pub limits: Limits,
    /// Rights.
    pub rights: Rights,
    /// Further bind mounts, in order.
    pub mounts: Vec<BindMount>,
    /// Log file; its directory is made.
    pub log: PathBuf,
    /// Which of the board's processes the kernel sacrifices first (-1000 to 1000).
    pub oom_score_adj: i32,
}

impl fmt::Debug for ContainerConfig {
    /// Leaves the environment out: it may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerConfig")
            .field("id", &self.id)
            .field("args", &self.args)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// User and groups of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

/// Limits; `None` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Processor weight, from the request, thousandths of a core.
    pub cpu_request_milli: Option<u64>,
    /// Processor limit, thousandths of a core.
    pub cpu_limit_milli: Option<u64>,
    /// Memory limit, bytes.
    pub memory_bytes: Option<u64>,
    /// Most processes and threads.
    pub pids: Option<u64>,
}

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
}

/// A directory or file of the board that appears in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindMount {
    /// Path on the board.
    pub source: PathBuf,
    /// Absolute path in the container.
    pub destination: String,
    /// Not writable.
    pub read_only: bool,
}

/// The pod around a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// Directory with the namespace files of the pod.
    pub namespaces: PathBuf,
    /// The pod shares the board's network.
    pub host_network: bool,
    /// cgroup of the container, absolute within each hierarchy.
    pub cgroup: String,
    /// The kernel mounts cgroup v2 only.
    pub cgroup_v2: bool,
    /// Root file system of the container.
    pub rootfs: PathBuf,
    /// Capabilities that we have ourselves and so can hand on, a bit each; what "all" means here.
    pub grantable: u64,
}

/// `config.json` of a container.
pub fn runtime_spec(config: &ContainerConfig, around: &Surroundings) -> Value {
    let rights = &config.rights;
    let mut linux = json!({
        "cgroupsPath": around.cgroup,
        "namespaces": namespaces(around),
        "resources": resources(config),
    });
    if !rights.privileged {
        linux["maskedPaths"] = json!(MASKED);
        linux["readonlyPaths"] = json!(READ_ONLY);
    }
    let capabilities = capabilities(rights, around.grantable);
    let user = &config.user;
    // Without ambient capabilities a user other than root keeps only what files grant, as upstream.
    let mut process = json!({
        "terminal": false,
        "args": config.args,
        "env": environment(&config.env),
        "cwd": if config.working_dir.is_empty() { "/" } else { &config.working_dir },
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups },
        "capabilities": {
            "bounding": capabilities,
            "effective": capabilities,
            "permitted": capabilities,
            "inheritable": [],
            "ambient": [],
        },
    });
    process["noNewPrivileges"] = json!(!rights.allow_privilege_escalation && !rights.privileged);
    json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": { "path": around.rootfs, "readonly": rights.read_only_root },
        "mounts": mounts(config, around),
        "linux": linux,
    })
}

/// The default set with additions and removals; unknown names are left to the API to refuse.
fn capabilities(rights: &Rights, grantable: u64) -> Vec<String> {
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

fn environment(env: &[(String, String)]) -> Vec<String> {
    let mut out: Vec<(&str, &str)> = Vec::new();
    for (name, value) in env {
        match out.iter_mut().find(|(n, _)| n == name) {
            Some(entry) => entry.1 = value,
            None => out.push((name, value)),
        }
    }
    if !out.iter().any(|(n, _)| *n == "PATH") {
        out.insert(0, ("PATH", DEFAULT_PATH));
    }
    out.into_iter().map(|(n, v)| format!("{n}={v}")).collect()
}

fn namespaces(around: &Surroundings) -> Value {
    let join =
        |kind: &str, file: &str| json!({ "type": kind, "path": around.namespaces.join(file) });
    let mut out = vec![
        json!({ "type": "pid" }),
        json!({ "type": "mount" }),
        join("ipc", "ipc"),
        join("uts", "uts"),
    ];
    if !around.host_network {
        out.push(join("network", "net"));
    }
    if around.cgroup_v2 {
        out.push(json!({ "type": "cgroup" }));
    }
    json!(out)
}

fn resources(config: &ContainerConfig) -> Value {
    let Limits {
        cpu_request_milli,
        cpu_limit_milli,
        memory_bytes,
        pids,
    } = config.limits;
    let mut cpu = json!({ "shares": cgroup::shares(cpu_request_milli.unwrap_or(0)) });
    if let Some(milli) = cpu_limit_milli {
        cpu["period"] = json!(cgroup::CPU_PERIOD_US);
        cpu["quota"] = json!(cgroup::cpu_quota_us(milli));
    }
    let mut out = json!({ "cpu": cpu });
    if let Some(bytes) = memory_bytes {
        out["memory"] = json!({ "limit": bytes });
    }
    if let Some(count) = pids {
        out["pids"] = json!({ "limit": count });
    }
    out["devices"] = if config.rights.privileged {
        json!([{ "allow": true, "access": "rwm" }])
    } else {
        json!([{ "allow": false, "access": "rwm" }])
    };
    out
}

fn mounts(config: &ContainerConfig, around: &Surroundings) -> Vec<Value> {
    let fs = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    let sys = if config.rights.privileged { "rw" } else { "ro" };
    let hide = ["nosuid", "noexec", "nodev"];
    let mut out = vec![
        fs("/proc", "proc", "proc", &[]),
        fs(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        fs(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        fs(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        fs("/dev/mqueue", "mqueue", "mqueue", &hide),
    ];
    // sysfs can only be mounted anew by the owner of the network namespace.
    let (kind, bind): (&str, &[&str]) = match (around.host_network, config.rights.privileged) {
        (false, _) => ("sysfs", &[]),
        // What is mounted below stays behind: read-only would not reach it, and the board's own
        // cgroups are a way to rule the board.
        (true, false) => ("bind", &["bind"]),
        (true, true) => ("bind", &["rbind"]),
    };
    let source = if around.host_network { "/sys" } else { kind };
    out.push(fs("/sys", kind, source, &[bind, &hide, &[sys]].concat()));
    // libcontainer mounts those of v1 writable, and a container must not lift its own limits.
    if around.cgroup_v2 && !(around.host_network && config.rights.privileged) {
        out.push(fs(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", sys],
        ));
    }
    for mount in &config.mounts {
        let access = if mount.read_only { "ro" } else { "rw" };
        out.push(fs(
            &mount.destination,
            "bind",
            &text(&mount.source),
            &["rbind", "rprivate", access],
        ));
    }
    out
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Command of a container by Kubernetes' rules: `command` replaces the entrypoint and drops the
/// image's arguments, `args` replaces the image's arguments.
pub fn command_line(
    command: &[String],
    args: &[String],
    image_entrypoint: &[String],
    image_cmd: &[String],
) -> Vec<String> {
    let (head, tail) = match (command.is_empty(), args.is_empty()) {
        (false, _) => (command, args),
        (true, false) => (image_entrypoint, args),
        (true, true) => (image_entrypoint, image_cmd),
    };
    head.iter().chain(tail).cloned().collect()
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
