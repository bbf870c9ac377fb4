//! The pod's surroundings: namespaces held by bind mounts, so that they outlive a killed shim, and
//! the way out of the agent's session and cgroup.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use bramble_wire::shim::path;
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::args::Args;
use crate::pause;

/// `(name under ns/, flag)`; the file below `/proc/self/ns` has the same name.
const NAMESPACES: [(&str, libc::c_int); 3] = [
    ("net", libc::CLONE_NEWNET),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
];

/// Name of the shared process namespace, if there is one.
const PROCESSES: &str = "pid";

/// Makes the namespaces and pins each at `<pod dir>/ns/<name>`.
pub(crate) fn ensure_namespaces(args: &Args) -> Result<(), String> {
    let dir = args.pod_dir.join(path::NAMESPACES);
    fs::create_dir_all(&dir).map_err(|e| format!("make {}: {e}", dir.display()))?;
    let wanted: Vec<_> = NAMESPACES
        .into_iter()
        .filter(|(name, _)| !(args.host_network && *name == "net"))
        .filter(|(name, _)| !(args.host_ipc && *name == "ipc"))
        .collect();
    let flags = wanted.iter().fold(0, |all, (_, flag)| all | flag);
    // SAFETY: unshare takes no pointers; the process has one thread, so no other thread can be
    // left behind in the old namespaces.
    if unsafe { libc::unshare(flags) } != 0 {
        return Err(format!("make namespaces: {}", io::Error::last_os_error()));
    }
    if !args.hostname.is_empty() {
        rustix::system::sethostname(args.hostname.as_bytes())
            .map_err(|e| format!("set host name: {e}"))?;
    }
    set_sysctls(args)?;
    for (name, _) in wanted {
        let target = dir.join(name);
        // A dead shim of the same pod may have left its own; they are of no use to us.
        let _ = unmount(&target, UnmountFlags::DETACH);
        File::create(&target).map_err(|e| format!("make {}: {e}", target.display()))?;
        mount_bind(format!("/proc/self/ns/{name}"), &target)
            .map_err(|e| format!("pin namespace {}: {e}", target.display()))?;
    }
    if args.share_processes {
        let target = dir.join(PROCESSES);
        let _ = unmount(&target, UnmountFlags::DETACH);
        pause::start(&target)?;
    }
    Ok(())
}

/// Settings of the namespaces we are in: the kernel finds them by who writes. The agent has made sure
/// that they are the pod's own ones.
fn set_sysctls(args: &Args) -> Result<(), String> {
    let set = |name: &str, value: &str| {
        let file = Path::new("/proc/sys").join(name.replace('.', "/"));
        fs::write(file, value).map_err(|e| format!("set sysctl {name}={value}: {e}"))
    };
    for (name, value) in &args.default_sysctls {
        if let Err(error) = set(name, value) {
            eprintln!("bramble-shim: {error}");
        }
    }
    args.sysctls
        .iter()
        .try_for_each(|(name, value)| set(name, value))
}

/// Undoes [`ensure_namespaces`]; what is gone already is fine.
pub(crate) fn release_namespaces(pod_dir: &Path) {
    pause::stop();
    let dir = pod_dir.join(path::NAMESPACES);
    for name in NAMESPACES
        .map(|(name, _)| name)
        .into_iter()
        .chain([PROCESSES])
    {
        let target = dir.join(name);
        let _ = unmount(&target, UnmountFlags::DETACH);
        let _ = fs::remove_file(&target);
    }
    let _ = fs::remove_dir(dir.join(PROCESSES).with_extension("root"));
    let _ = fs::remove_dir(&dir);
}

/// Leaves the agent's session, cgroup and working directory, so that nothing done to the agent
/// reaches the pod.
pub(crate) fn detach(args: &Args) {
    // Fails only for a group leader; after the fork we are none.
    let _ = rustix::process::setsid();
    for procs in &args.cgroup_procs {
        if let Err(error) = fs::write(procs, "0") {
            eprintln!(
                "bramble-shim: stay in our cgroup: {}: {error}",
                procs.display()
            );
        }
    }
    // Children of containers whose parent is gone come to us, never to the board's init.
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        eprintln!("bramble-shim: become subreaper: {error}");
    }
    // Lower than any workload, where the kernel lets us (it needs CAP_SYS_RESOURCE).
    let _ = fs::write("/proc/self/oom_score_adj", "-999");
    if let Ok(name) = CString::new("bramble-shim") {
        // SAFETY: PR_SET_NAME reads a NUL-terminated string that lives until the call returns.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_bytes_with_nul().as_ptr()) };
    }
    let _ = rustix::process::chdir(std::ffi::OsStr::from_bytes(b"/"));
}
