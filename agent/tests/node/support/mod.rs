//! A board for one test: directories, a busybox root, and a clean-up that says what leaked.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)] // each test file uses its part

pub mod archive;
pub mod node;
pub mod registry;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bramble_agent::runtime::{ContainerConfig, KernelRuntime, Options, PodConfig, Rights, User};
use bramble_wire::object::PodUid;

/// Programs of the workspace beside the test's own; built when missing.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().unwrap().parent().unwrap();
    let path = folder.join(name);
    if !path.exists() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "-q", "-p", name])
            .status()
            .unwrap();
        assert!(built.success(), "build {name}");
    }
    path
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Names that no other test and no other run of this one uses.
pub fn unique(what: &str) -> String {
    format!(
        "{what}{}x{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

pub fn uid() -> PodUid {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&std::process::id().to_be_bytes());
    bytes[12..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    PodUid(bytes)
}

/// Directories of one board; takes away on drop whatever a failed test left.
pub struct Board {
    pub dir: PathBuf,
    pub options: Options,
}

impl Board {
    pub fn new() -> Self {
        let dir = PathBuf::from("/tmp").join(unique("bra"));
        let options = Options {
            run_dir: dir.join("run"),
            data_dir: dir.join("data"),
            cgroup_parent: unique("bramble-test"),
            shim: program("bramble-shim"),
            oci: program("bramble-oci"),
            log_bytes: 1 << 20,
            log_files: 1,
        };
        fs::create_dir_all(&dir).unwrap();
        busybox_root(&dir.join("root"));
        Self { dir, options }
    }

    pub async fn runtime(&self) -> KernelRuntime {
        KernelRuntime::open(self.options.clone()).await.unwrap()
    }

    pub fn container(&self, pod: PodUid, id: &str, script: &str) -> ContainerConfig {
        ContainerConfig {
            id: id.to_owned(),
            layers: vec![self.dir.join("root")],
            args: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: vec![("PATH".to_owned(), "/bin".to_owned())],
            working_dir: "/".to_owned(),
            user: User::default(),
            rights: Rights::default(),
            log: self.options.log_path(pod, id, 0),
            ..ContainerConfig::default()
        }
    }

    pub fn log(&self, pod: PodUid, id: &str) -> String {
        fs::read_to_string(self.options.log_path(pod, id, 0)).unwrap_or_default()
    }

    /// Everything of this board that the kernel still knows.
    pub fn leaks(&self) -> Vec<String> {
        let mut out = Vec::new();
        let text = self.dir.to_str().unwrap();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        out.extend(
            table
                .lines()
                .filter(|l| l.contains(text))
                .map(|l| format!("mount {l}")),
        );
        for pid in self.processes() {
            out.push(format!("process {pid}"));
        }
        for dir in self.cgroups() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with("pod") {
                    out.push(format!("cgroup {}", entry.path().display()));
                }
            }
        }
        for sub in ["run/pods", "run/logs", "data/pods"] {
            for entry in fs::read_dir(self.dir.join(sub))
                .into_iter()
                .flatten()
                .flatten()
            {
                out.push(format!("file {}", entry.path().display()));
            }
        }
        out
    }

    fn processes(&self) -> Vec<i32> {
        let text = self.dir.to_str().unwrap();
        let mut out = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
                continue;
            };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let cgroup = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            // A dead shim is the board's init to reap, which may take its time.
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            if stat.contains(") Z ") {
                continue;
            }
            if String::from_utf8_lossy(&line).contains(text)
                || cgroup.contains(&self.options.cgroup_parent)
            {
                out.push(pid);
            }
        }
        out
    }

    pub fn cgroups(&self) -> Vec<PathBuf> {
        let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
        roots.extend(
            fs::read_dir("/sys/fs/cgroup")
                .into_iter()
                .flatten()
                .flatten()
                .map(|e| e.path()),
        );
        roots
            .into_iter()
            .map(|r| r.join(&self.options.cgroup_parent))
            .filter(|d| d.exists())
            .collect()
    }
}

impl Board {
    /// Every process, every mount and the run directory are gone, as after a power cut.
    pub fn switch_off(&self) {
        for pid in self.processes() {
            if pid != std::process::id() as i32 {
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            }
        }
        let text = self.dir.to_str().unwrap().to_owned();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut points: Vec<_> = table
            .lines()
            .filter_map(|l| l.split(' ').nth(4))
            .filter(|p| p.starts_with(&text))
            .collect();
        points.sort_unstable();
        for point in points.iter().rev() {
            let _ = Command::new("umount").args(["-l", point]).status();
        }
        for dir in self.cgroups() {
            remove_cgroups(&dir);
        }
        let _ = fs::remove_dir_all(&self.options.run_dir);
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.switch_off();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn remove_cgroups(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroups(&entry.path());
        }
    }
    let start = Instant::now();
    while fs::remove_dir(dir).is_err() && start.elapsed() < Duration::from_secs(2) && dir.exists() {
        std::thread::yield_now();
    }
}

/// A root with a static busybox and links for what the tests use.
pub fn busybox_root(root: &Path) {
    fs::create_dir_all(root.join("bin")).unwrap();
    for dir in ["etc", "tmp", "root", "data"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|p| Path::new(p).exists())
        .expect("Debian's busybox-static is installed");
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    fs::set_permissions(root.join("bin/busybox"), fs::Permissions::from_mode(0o755)).unwrap();
    let tools = "sh cat echo sleep true false hostname id ls grep head tail dd env kill mkdir mknod \
                 mount unshare ip nc wget readlink stat touch wc yes seq awk sed ps test pwd httpd";
    for tool in tools.split_whitespace() {
        symlink("busybox", root.join("bin").join(tool)).unwrap();
    }
}

pub fn pod(uid: PodUid) -> PodConfig {
    PodConfig {
        uid,
        hostname: "testpod".to_owned(),
        host_network: false,
        ..PodConfig::default()
    }
}

/// Waits for a condition with a deadline; the condition says what it last saw.
pub async fn eventually<T, F: Future<Output = Result<T, String>>>(
    mut check: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        match check().await {
            Ok(value) => return value,
            Err(seen) => assert!(start.elapsed() < Duration::from_secs(30), "gave up: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A network namespace of its own for a test, as a board has. The thread that entered it ends with
/// the test, and the namespace with the thread.
pub struct NodeNamespace;

impl NodeNamespace {
    pub fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
        let body = move || {
            // Deprecated for the sake of UnshareFlags::FILES, which is not used here.
            #[allow(deprecated)]
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(test());
        };
        let thread = std::thread::spawn(body);
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}
