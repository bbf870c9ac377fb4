//! What a container shall be, as the OCI runtime wants it (`config.json`). Pure: values in, JSON
//! out; every path and number in it was chosen by somebody else.

use std::fmt;
use std::path::{Path, PathBuf};

use bramble_wire::object::Propagation;
use serde_json::{Value, json};

use super::cgroup;
use super::rights::{MASKED, READ_ONLY, Rights, capabilities};
use super::seccomp;

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
    /// Whose processes it sees.
    pub processes: Processes,
    /// Further bind mounts, in order.
    pub mounts: Vec<BindMount>,
    /// Log file; its directory is made.
    pub log: PathBuf,
    /// Which of the board's processes the kernel sacrifices first (-1000 to 1000).
    pub oom_score_adj: i32,
    /// Its streams besides the log.
    pub console: Console,
    /// Signal that a stop begins with; 0 is TERM ([`super::signal_number`]).
    pub stop_signal: i32,
}

/// What can be attached to, besides output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Console {
    /// Has a terminal.
    pub tty: bool,
    /// Its input is held open.
    pub stdin: bool,
    /// Until the first client that wrote to it is gone.
    pub stdin_once: bool,
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

/// Which process namespace a container is in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Processes {
    /// One of its own.
    #[default]
    Own,
    /// The pod's, see [`super::PodConfig::share_processes`].
    Pod,
    /// The board's.
    Host,
    /// That of another container of the pod, by the runtime's id of its life.
    Of(String),
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

/// A directory or file of the board that appears in the container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BindMount {
    /// Path on the board.
    pub source: PathBuf,
    /// Absolute path in the container.
    pub destination: String,
    /// Not writable.
    pub read_only: bool,
    /// Mounts below it are not writable either.
    pub recursive_read_only: bool,
    /// Whether mounts made later are seen on the other side. A source that hands its own on is a
    /// shared mount.
    pub propagation: Propagation,
}

/// The pod and the board around a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// Directory with the namespace files of the pod.
    pub namespaces: PathBuf,
    /// The pod shares the board's network.
    pub host_network: bool,
    /// The pod shares the board's IPC.
    pub host_ipc: bool,
    /// Process namespace to join; `None`: one of its own, or the board's
    /// ([`ContainerConfig::processes`]).
    pub processes: Option<PathBuf>,
    /// cgroup of the container, absolute within each hierarchy.
    pub cgroup: String,
    /// The kernel mounts cgroup v2 only.
    pub cgroup_v2: bool,
    /// Memory is controlled there.
    pub memory_controlled: bool,
    /// Root file system of the container.
    pub rootfs: PathBuf,
    /// Capabilities that we have ourselves and so can hand on, a bit each; what "all" means here.
    pub grantable: u64,
    /// Devices of the board, for a privileged container.
    pub devices: Vec<Device>,
    /// The `linux.seccomp` of a profile on the board, if the container wants one.
    pub seccomp: Option<Value>,
}

/// A device node of the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Path below `/dev`.
    pub path: String,
    /// `c` or `b`.
    pub kind: char,
    /// Number of its driver.
    pub major: u32,
    /// Number within the driver.
    pub minor: u32,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// `config.json` of a container.
pub fn runtime_spec(config: &ContainerConfig, around: &Surroundings) -> Value {
    let rights = &config.rights;
    let mut linux = json!({
        "cgroupsPath": around.cgroup,
        "namespaces": namespaces(config, around),
        "resources": resources(config, around),
    });
    if !rights.privileged && !rights.proc_unmasked {
        linux["maskedPaths"] = json!(MASKED);
        linux["readonlyPaths"] = json!(READ_ONLY);
    }
    let both_ways = |mount: &BindMount| mount.propagation == Propagation::Bidirectional;
    if config.mounts.iter().any(both_ways) {
        // Else the runtime makes everything a slave of the board first.
        linux["rootfsPropagation"] = json!("shared");
    }
    if rights.privileged {
        linux["devices"] = around.devices.iter().map(device).collect();
    }
    let mut annotations = json!({});
    match (seccomp::wanted(rights), &around.seccomp) {
        (seccomp::Wanted::Nothing, _) => {}
        (seccomp::Wanted::Default, _) => annotations[seccomp::ANNOTATION] = json!(seccomp::DEFAULT),
        (seccomp::Wanted::File(_), profile) => linux["seccomp"] = json!(profile),
    }
    let capabilities = capabilities(rights, around.grantable);
    let user = &config.user;
    // The primary group is one of the further ones too: dropping it must not open what is closed to it
    // (CVE-2022-36109), as in containerd.
    let mut groups = user.groups.clone();
    if !groups.contains(&user.gid) {
        groups.insert(0, user.gid);
    }
    // Without ambient capabilities a user other than root keeps only what files grant, as upstream.
    let mut process = json!({
        "terminal": config.console.tty,
        "args": config.args,
        "env": environment(&config.env, config.console.tty),
        "cwd": if config.working_dir.is_empty() { "/" } else { &config.working_dir },
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": groups },
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
        "annotations": annotations,
        "linux": linux,
    })
}

fn device(device: &Device) -> Value {
    json!({
        "path": device.path,
        "type": device.kind.to_string(),
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    })
}

fn environment(env: &[(String, String)], tty: bool) -> Vec<String> {
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
    // As containerd does for a terminal.
    if tty && !out.iter().any(|(n, _)| *n == "TERM") {
        out.push(("TERM", "xterm"));
    }
    out.into_iter().map(|(n, v)| format!("{n}={v}")).collect()
}

fn namespaces(config: &ContainerConfig, around: &Surroundings) -> Value {
    let join =
        |kind: &str, file: &str| json!({ "type": kind, "path": around.namespaces.join(file) });
    let mut out = vec![json!({ "type": "mount" }), join("uts", "uts")];
    match (&around.processes, &config.processes) {
        (Some(path), _) => out.push(json!({ "type": "pid", "path": path })),
        (None, Processes::Host) => {}
        (None, _) => out.push(json!({ "type": "pid" })),
    }
    if !around.host_ipc {
        out.push(join("ipc", "ipc"));
    }
    if !around.host_network {
        out.push(join("network", "net"));
    }
    if around.cgroup_v2 && !config.rights.privileged {
        out.push(json!({ "type": "cgroup" }));
    }
    json!(out)
}

fn resources(config: &ContainerConfig, around: &Surroundings) -> Value {
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
    if around.cgroup_v2 && around.memory_controlled {
        // What is left of a container when the kernel has killed a part of it is of no use: all of it
        // goes, as upstream since 1.28.
        out["unified"] = json!({ "memory.oom.group": "1" });
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
        fs("/proc", "proc", "proc", &hide),
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
        let access = match (mount.read_only, mount.recursive_read_only) {
            (true, true) => "rro",
            (true, false) => "ro",
            (false, _) => "rw",
        };
        let propagation = match mount.propagation {
            Propagation::None => "rprivate",
            Propagation::HostToContainer => "rslave",
            Propagation::Bidirectional => "rshared",
        };
        out.push(fs(
            &mount.destination,
            "bind",
            &text(&mount.source),
            &["rbind", propagation, access],
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
