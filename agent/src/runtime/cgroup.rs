//! cgroups of pods, on a board with cgroup v2 only and on the hybrid v1 layout of development
//! machines. The runtime makes and fills the containers' own; here are the pod's directories, the
//! shim's place, and the removal of all of it.
//!
//! ```text
//! <hierarchy>/<parent>/pod<uid>                 what a pod may use in all
//! <hierarchy>/<parent>/pod<uid>/shim            the shim, away from the agent
//! <hierarchy>/<parent>/pod<uid>/<container id>  one per life of a container, made by bramble-oci
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::spec::Limits;

/// Processes and threads of one pod, unless somebody asks for another number: a fork bomb on a board of
/// 512 MB must not be felt by its neighbours. Upstream has no limit where the kubelet isn't told one.
pub const POD_PIDS: u64 = 1024;

/// What a pod may use beyond the limits of its containers: its shim, and the helper that makes containers
/// and enters them.
pub const OVERHEAD_BYTES: u64 = 16 << 20;

/// Period of the processor limit.
pub const CPU_PERIOD_US: u64 = 100_000;

/// v1 shares of a request, as upstream: 1024 for a core, at least 2.
pub fn shares(milli: u64) -> u64 {
    (milli * 1024 / 1000).clamp(2, 262_144)
}

/// Quota of a limit within [`CPU_PERIOD_US`]; the kernel takes no less than 1 ms.
pub fn cpu_quota_us(milli: u64) -> u64 {
    (milli * CPU_PERIOD_US / 1000).max(1000)
}

/// v2 weight of v1 shares, as runc and libcgroups count it.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// The mounted hierarchies and our place in them.
#[derive(Debug, Clone)]
pub struct Cgroups {
    /// Mount points, v2 first where it is mounted.
    roots: Vec<Root>,
    parent: String,
}

#[derive(Debug, Clone)]
struct Root {
    path: PathBuf,
    /// v1 controllers; empty for v2 and for named hierarchies.
    controllers: Vec<String>,
    v2: bool,
}

impl Cgroups {
    /// Reads the mount table.
    ///
    /// # Errors
    /// When the mount table can't be read or mounts no cgroups.
    pub fn discover(parent: &str) -> io::Result<Self> {
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        let roots = parse_mounts(&table);
        if roots.is_empty() {
            return Err(io::Error::other("no cgroup hierarchy is mounted"));
        }
        Ok(Self {
            roots,
            parent: parent.trim_matches('/').to_owned(),
        })
    }

    /// cgroup v2 carries the controllers (there is no v1 beside it).
    pub fn v2_only(&self) -> bool {
        self.roots.iter().all(|r| r.v2)
    }

    fn pod(&self, uid: &str) -> String {
        format!("{}/pod{uid}", self.parent)
    }

    /// `cgroupsPath` of a container.
    pub fn container_path(&self, uid: &str, id: &str) -> String {
        format!("/{}/{id}", self.pod(uid))
    }

    /// File with the count of OOM kills of a container; empty when memory is not controlled.
    pub fn oom_events(&self, uid: &str, id: &str) -> PathBuf {
        let own = |root: &Root, file: &str| root.path.join(self.pod(uid)).join(id).join(file);
        let v1 = self
            .roots
            .iter()
            .find(|r| r.controllers.iter().any(|c| c == "memory"));
        match (v1, self.roots.iter().find(|r| r.v2)) {
            (Some(root), _) => own(root, "memory.oom_control"),
            (None, Some(root)) => own(root, "memory.events"),
            (None, None) => PathBuf::new(),
        }
    }

    /// Directory of a container's cgroup in the hierarchy that has a controller: v1's, else v2's.
    pub fn of_container(&self, controller: &str, uid: &str, id: &str) -> Option<PathBuf> {
        let v1 = |root: &&Root| root.controllers.iter().any(|c| c == controller);
        let v1 = self.roots.iter().find(v1);
        let root = v1.or_else(|| self.roots.iter().find(|root| root.v2))?;
        Some(root.path.join(self.pod(uid)).join(id))
    }

    /// Directories of a container's cgroup by which everything in it can be killed: v2's, else the
    /// freezer of v1.
    pub fn kill_directories(&self, uid: &str, id: &str) -> Vec<PathBuf> {
        let v2 = self.v2_only();
        let good = |r: &&Root| (v2 && r.v2) || r.controllers.iter().any(|c| c == "freezer");
        let own = |r: &Root| r.path.join(self.pod(uid)).join(id);
        self.roots.iter().filter(good).map(own).collect()
    }

    /// Makes the pod's cgroup everywhere, with what all its containers together may use: memory without
    /// swap, processor, processes. Says what is not in force, for want of a controller.
    pub fn ensure_pod(&self, uid: &str, limits: &Limits) -> Vec<String> {
        let mut errors = Vec::new();
        for root in &self.roots {
            let dir = root.path.join(self.pod(uid));
            if let Err(error) = fs::create_dir_all(&dir) {
                errors.push(format!("make {}: {error}", dir.display()));
                continue;
            }
            if root.v2 && self.v2_only() {
                self.hand_down(&root.path, uid);
            }
            for (file, value, needed) in self.limits_in(root, limits) {
                let done = fs::write(dir.join(file), &value);
                if let (Err(error), true) = (done, needed) {
                    errors.push(format!("{file} = {value} in {}: {error}", dir.display()));
                }
            }
        }
        errors
    }

    /// Lets the cgroups of a pod's containers have controllers: on v2 each level hands them down.
    fn hand_down(&self, root: &Path, uid: &str) {
        let mut dir = root.to_owned();
        let pod = self.pod(uid);
        for part in std::iter::once("").chain(pod.split('/')) {
            dir.push(part);
            for controller in ["cpuset", "cpu", "io", "memory", "pids"] {
                // One at a time: a controller that is missing must not keep the others.
                let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        }
    }

    /// Files of a pod's cgroup in one hierarchy with their values, and whether it matters.
    fn limits_in(&self, root: &Root, limits: &Limits) -> Vec<(&'static str, String, bool)> {
        let v2 = root.v2 && self.v2_only();
        let has = |name: &str| root.controllers.iter().any(|c| c == name);
        let shares = shares(limits.cpu_request_milli.unwrap_or(0));
        let pids = limits.pids.unwrap_or(POD_PIDS).to_string();
        let quota = limits.cpu_limit_milli.map(cpu_quota_us);
        let mut out = Vec::new();
        if v2 {
            out.push(("pids.max", pids, true));
            out.push(("cpu.weight", weight(shares).to_string(), false));
            // Missing where the kernel has no swap.
            out.push(("memory.swap.max", "0".to_owned(), false));
            let quota = quota.map(|us| ("cpu.max", format!("{us} {CPU_PERIOD_US}"), true));
            let memory = limits.memory_bytes;
            out.extend(memory.map(|bytes| ("memory.max", bytes.to_string(), true)));
            out.extend(quota);
            return out;
        }
        if has("pids") {
            out.push(("pids.max", pids, true));
        }
        if has("memory") {
            // Inherited by what is made below.
            out.push(("memory.swappiness", "0".to_owned(), false));
            let memory = limits.memory_bytes;
            out.extend(memory.map(|bytes| ("memory.limit_in_bytes", bytes.to_string(), true)));
        }
        if has("cpu") {
            out.push(("cpu.shares", shares.to_string(), false));
            let period = CPU_PERIOD_US.to_string();
            out.extend(quota.map(|_| ("cpu.cfs_period_us", period, true)));
            out.extend(quota.map(|us| ("cpu.cfs_quota_us", us.to_string(), true)));
        }
        out
    }

    /// Whether a controller is there.
    pub fn controls(&self, controller: &str) -> bool {
        self.roots.iter().any(|root| {
            let v2 =
                || fs::read_to_string(root.path.join("cgroup.controllers")).unwrap_or_default();
            root.controllers.iter().any(|c| c == controller)
                || (root.v2 && v2().split_whitespace().any(|c| c == controller))
        })
    }

    /// Makes the shim's cgroup everywhere; returns the files to join by. Best effort: a shim that
    /// can't leave our cgroup still works.
    pub fn ensure_shim(&self, uid: &str) -> Vec<PathBuf> {
        let mut procs = Vec::new();
        for root in &self.roots {
            // A new cpuset has no processors: nothing may join before they are copied down.
            if root.controllers.iter().any(|c| c == "cpuset") {
                continue;
            }
            let dir = root.path.join(self.pod(uid)).join("shim");
            if fs::create_dir_all(&dir).is_ok() {
                procs.push(dir.join("cgroup.procs"));
            }
        }
        procs
    }

    /// Kills what is left in a pod's cgroups and removes them; what is gone is fine. Blocks for a
    /// moment while processes die.
    pub fn remove_pod(&self, uid: &str) -> Vec<String> {
        let mut errors = Vec::new();
        for root in &self.roots {
            let dir = root.path.join(self.pod(uid));
            if let Err(error) = remove_tree(&dir) {
                errors.push(format!("remove cgroup {}: {error}", dir.display()));
            }
        }
        errors
    }

    /// Removes what all pods' cgroups are in, for leaving a machine: when it is empty.
    pub fn remove_parent(&self) -> Vec<String> {
        let dirs = self.roots.iter().map(|root| root.path.join(&self.parent));
        dirs.filter_map(|dir| match fs::remove_dir(&dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Some(format!("remove cgroup {}: {e}", dir.display()))
            }
            _ => None,
        })
        .collect()
    }

    /// Pods that have a cgroup.
    pub fn pods(&self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for root in &self.roots {
            for entry in fs::read_dir(root.path.join(&self.parent))
                .into_iter()
                .flatten()
                .flatten()
            {
                if let Some(uid) = entry
                    .file_name()
                    .to_str()
                    .and_then(|n| n.strip_prefix("pod"))
                {
                    out.push(uid.to_owned());
                }
            }
        }
        out.sort();
        out.dedup();
        out
    }
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    // Processes that were just killed may take a moment to leave; ours are killed outright.
    for _ in 0..50 {
        match fs::remove_dir(dir) {
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                kill_all(dir);
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => return Ok(()),
        }
    }
    Err(io::Error::from(io::ErrorKind::ResourceBusy))
}

fn kill_all(dir: &Path) {
    if fs::write(dir.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in procs
        .lines()
        .filter_map(|l| l.parse().ok())
        .filter_map(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Hierarchies of a `mountinfo` table. Of several mounts of one hierarchy the first counts; one
/// that shows only a part of its hierarchy does not.
fn parse_mounts(table: &str) -> Vec<Root> {
    let mut out: Vec<Root> = Vec::new();
    for line in table.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let left: Vec<_> = left.split(' ').collect();
        let right: Vec<_> = right.split(' ').collect();
        let (Some(root), Some(mount), Some(kind)) = (left.get(3), left.get(4), right.first())
        else {
            continue;
        };
        let v2 = *kind == "cgroup2";
        if (*kind != "cgroup" && !v2) || *root != "/" {
            continue;
        }
        let options = right.get(2).copied().unwrap_or_default();
        let known = [
            "cpu",
            "cpuacct",
            "cpuset",
            "memory",
            "devices",
            "freezer",
            "blkio",
            "pids",
            "net_cls",
            "net_prio",
            "perf_event",
            "hugetlb",
            "rdma",
            "misc",
        ];
        let controllers: Vec<String> = if v2 {
            Vec::new()
        } else {
            options
                .split(',')
                .filter(|o| known.contains(o))
                .map(str::to_owned)
                .collect()
        };
        let new = Root {
            path: PathBuf::from(mount),
            controllers,
            v2,
        };
        let same = |r: &Root| {
            r.v2 == new.v2 && r.controllers == new.controllers && (v2 || !r.controllers.is_empty())
        };
        if !out.iter().any(same) {
            out.push(new);
        }
    }
    out.sort_by_key(|r| !r.v2);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 1 0:21 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
25 24 0:22 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
26 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct
27 24 0:24 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
28 24 0:25 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
29 1 0:22 /docker/x /mnt/part rw,relatime - cgroup cgroup rw,memory
30 1 0:22 / /mnt/again rw,relatime - cgroup cgroup rw,memory
";
    const UNIFIED: &str =
        "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    fn cgroups(table: &str) -> Cgroups {
        Cgroups {
            roots: parse_mounts(table),
            parent: "bramble".to_owned(),
        }
    }

    #[test]
    fn the_parent_of_all_goes_only_when_it_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().display();
        let found = cgroups(&format!("29 23 0:26 / {here} rw - cgroup2 cgroup2 rw\n"));
        let pod = dir.path().join("bramble/pod-1");
        fs::create_dir_all(&pod).unwrap();
        let errors = found.remove_parent();
        assert!(errors.len() == 1 && pod.exists(), "{errors:?}");
        fs::remove_dir(&pod).unwrap();
        assert_eq!(found.remove_parent(), Vec::<String>::new());
        assert!(!dir.path().join("bramble").exists());
        assert_eq!(found.remove_parent(), Vec::<String>::new());
    }

    #[test]
    fn the_hybrid_layout_keeps_memory_in_v1() {
        let found = cgroups(HYBRID);
        let paths: Vec<_> = found
            .roots
            .iter()
            .map(|r| r.path.to_str().unwrap())
            .collect();
        assert_eq!(
            paths,
            [
                "/sys/fs/cgroup/unified",
                "/sys/fs/cgroup/memory",
                "/sys/fs/cgroup/cpu,cpuacct",
                "/sys/fs/cgroup/systemd"
            ]
        );
        assert!(!found.v2_only());
        assert_eq!(
            found.oom_events("u", "c").to_str().unwrap(),
            "/sys/fs/cgroup/memory/bramble/podu/c/memory.oom_control"
        );
    }

    #[test]
    fn the_unified_layout_has_one_root() {
        let found = cgroups(UNIFIED);
        assert!(found.v2_only());
        assert_eq!(
            found.oom_events("u", "c").to_str().unwrap(),
            "/sys/fs/cgroup/bramble/podu/c/memory.events"
        );
        assert_eq!(found.container_path("u", "c"), "/bramble/podu/c");
    }

    #[test]
    fn a_pod_is_limited_in_all_hierarchies_that_can() {
        let limits = Limits {
            cpu_request_milli: Some(500),
            cpu_limit_milli: Some(1500),
            memory_bytes: Some(1 << 20),
            pids: None,
        };
        let files = |table: &str| {
            let found = cgroups(table);
            let all = found
                .roots
                .iter()
                .flat_map(|root| found.limits_in(root, &limits));
            all.map(|(file, value, _)| format!("{file}={value}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            files(UNIFIED),
            [
                "pids.max=1024",
                "cpu.weight=20",
                "memory.swap.max=0",
                "memory.max=1048576",
                "cpu.max=150000 100000"
            ]
        );
        assert_eq!(
            files(HYBRID),
            [
                "memory.swappiness=0",
                "memory.limit_in_bytes=1048576",
                "cpu.shares=512",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=150000"
            ]
        );
        assert_eq!([2, 1024, 262_144].map(weight), [1, 39, 10_000]);
    }

    #[test]
    fn requests_and_limits_become_upstreams_numbers() {
        assert_eq!([0, 1, 250, 1000, 4000].map(shares), [2, 2, 256, 1024, 4096]);
        assert_eq!(
            [1, 10, 500, 2500].map(cpu_quota_us),
            [1000, 1000, 50_000, 250_000]
        );
    }
}
