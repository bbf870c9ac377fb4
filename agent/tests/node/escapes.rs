//! Ways out of containers that are publicly known, each tried by a container that has what an ordinary one has
//! (unless it says otherwise) and each shown to be closed. Needs root, cgroups and overlayfs.
#![allow(missing_docs, clippy::unwrap_used)] // tests and their helpers

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bramble_agent::runtime::{
    BindMount, Console, ContainerConfig, ContainerFact, KernelRuntime, Processes, Runtime,
};
use bramble_wire::object::{PodUid, Seccomp};

use crate::support::{Board, eventually, pod, program, uid};

/// One board with one pod.
struct Cage {
    board: Board,
    runtime: KernelRuntime,
    uid: PodUid,
}

impl Cage {
    async fn new() -> Self {
        let board = Board::new();
        let runtime = board.runtime().await;
        let uid = uid();
        runtime.ensure_pod(&pod(uid)).await.unwrap();
        Self {
            board,
            runtime,
            uid,
        }
    }

    fn container(&self, id: &str, script: &str) -> ContainerConfig {
        let mut config = self.board.container(self.uid, id, script);
        // The default upstream: programs that gain privileges may be there, and no filter helps.
        config.rights.allow_privilege_escalation = true;
        config
    }

    /// A layer over the usual one.
    fn layer(&self, name: &str) -> PathBuf {
        let dir = self.board.dir.join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// What it wrote, or why it did not start.
    async fn run(&self, config: &ContainerConfig) -> Result<String, String> {
        if let Err(error) = self.runtime.start_container(self.uid, config).await {
            return Err(format!("{error}: {error:?}"));
        }
        eventually(|| async {
            let pods = self.runtime.observe().await;
            let found = pods
                .into_iter()
                .flat_map(|p| p.containers)
                .find(|c| c.id == config.id);
            match found.map(|c| c.state) {
                Some(ContainerFact::Exited(_)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        Ok(self.board.log(self.uid, &config.id))
    }

    async fn end(self) {
        self.runtime.delete_pod(self.uid).await.unwrap();
        assert_eq!(self.board.leaks(), Vec::<String>::new());
    }
}

fn contains_none(log: &str, unwanted: &[&str]) {
    for not in unwanted {
        assert!(!log.contains(not), "{not:?} in\n{log}");
    }
}

/// CVE-2019-5736: the program that becomes the container's can't be written through `/proc/PID/exe`, not
/// even by root of the board: it runs from a read-only mount of itself.
#[test]
fn the_runtimes_own_program_cannot_be_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    // It stops where it reads its bundle: a pipe that nobody writes.
    let pipe = dir.path().join("config.json");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    // Of its own, so that no other test runs it: what runs can't be written anyway.
    let own = dir.path().join("bramble-oci");
    fs::copy(program("bramble-oci"), &own).unwrap();
    let mut child = Command::new(&own)
        .args(["create", "--id", "x", "--bundle"])
        .arg(dir.path())
        .arg("--root")
        .arg(dir.path().join("state"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    let started = std::time::Instant::now();
    while !fs::read(proc.join("cmdline"))
        .unwrap()
        .starts_with(b"bramble-oci: sealed")
    {
        assert!(started.elapsed().as_secs() < 10, "it never sealed itself");
        std::thread::yield_now();
    }
    let kept = rustix::fs::open(
        proc.join("exe"),
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = kept.unwrap();
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&kept));
    let opened = fs::OpenOptions::new().write(true).open(link);
    let error = opened.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(30), "EROFS, not {error}");
    fs::OpenOptions::new().write(true).open(&own).unwrap();
}

/// The same from inside: an image whose program is `/proc/self/exe` runs the runtime in the container; it
/// finds nothing there that it could open.
#[tokio::test]
async fn an_image_that_runs_the_runtime_again_gets_nowhere() {
    let cage = Cage::new().await;
    let layer = cage.layer("again");
    fs::create_dir_all(layer.join("bin")).unwrap();
    symlink("/proc/self/exe", layer.join("bin/again")).unwrap();
    let mut config = cage.container("again-0", "");
    config.layers.push(layer);
    config.args = vec!["/bin/again".to_owned(), "delete".to_owned()];
    let said = cage.run(&config).await;
    let text = said.unwrap_or_else(|e| e);
    contains_none(&text, &["\"pid\""]);
    cage.end().await;
}

/// CVE-2021-30465 and its kin: mount destinations that are or lie behind symbolic links of the image stay in
/// the container.
#[tokio::test]
async fn mount_destinations_behind_links_stay_inside() {
    let cage = Cage::new().await;
    let outside = cage.layer("outside");
    let layer = cage.layer("links");
    let up = "../../../../../../../../../..";
    symlink(&outside, layer.join("absolute")).unwrap();
    symlink(format!("{up}{}", outside.display()), layer.join("relative")).unwrap();
    symlink("/proc/self/cwd", layer.join("magic")).unwrap();
    let volume = cage.layer("volume");
    fs::write(volume.join("mark"), "volume").unwrap();
    for (id, destination) in [
        ("absolute-0", "/absolute"),
        ("absolute-in-0", "/absolute/in/deep"),
        ("relative-0", "/relative/in"),
        ("magic-0", "/magic/in"),
        ("dots-0", "/tmp/../../../in"),
    ] {
        let mut config = cage.container(id, &format!("cat {destination}/mark"));
        config.layers.push(layer.clone());
        config.mounts = vec![BindMount {
            source: volume.clone(),
            destination: destination.to_owned(),
            ..BindMount::default()
        }];
        let said = cage.run(&config).await;
        assert!(
            said.as_ref().is_err() || said.as_ref().is_ok_and(|log| log.contains("volume")),
            "{destination}: {said:?}"
        );
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{destination}");
    }
    cage.end().await;
}

/// CVE-2019-19921, CVE-2025-52881: `/proc` and `/sys` are real ones, and no volume stands in their place.
#[tokio::test]
async fn proc_and_sys_cannot_be_replaced() {
    let cage = Cage::new().await;
    let (fake, links) = (cage.layer("fake"), cage.layer("proc-links"));
    symlink("/proc", links.join("link")).unwrap();
    for name in ["proc", "sys"] {
        let layer = cage.layer(&format!("no-{name}"));
        symlink("/tmp", layer.join(name)).unwrap();
        let mut config = cage.container(&format!("{name}-0"), "mount");
        config.layers.push(layer);
        let error = cage.run(&config).await.unwrap_err();
        assert!(error.contains("failed to prepare rootfs"), "{error}");
    }
    for (id, destination) in [
        ("self-0", "/proc/self"),
        ("attr-0", "/proc/self/attr"),
        ("proc-1", "/proc"),
        ("link-0", "/link/self"),
    ] {
        let mut config = cage.container(id, "cat /proc/self/attr/current /proc/self/status");
        config.layers.push(links.clone());
        config.mounts = vec![BindMount {
            source: fake.clone(),
            destination: destination.to_owned(),
            ..BindMount::default()
        }];
        let said = cage.run(&config).await;
        assert!(said.is_err(), "{destination}: {said:?}");
    }
    cage.end().await;
}

/// CVE-2025-31133 and CVE-2025-52565: `/dev/null` and `/dev/console` of the image are never used to mask or
/// as a terminal; `/dev` is the container's own.
#[tokio::test]
async fn devices_of_the_image_are_not_trusted() {
    let cage = Cage::new().await;
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let layer = cage.layer("devices");
    fs::create_dir_all(layer.join("dev/pts")).unwrap();
    for name in ["null", "console", "ptmx", "pts/0", "tty"] {
        symlink(
            "/proc/sys/kernel/core_pattern",
            layer.join("dev").join(name),
        )
        .unwrap();
    }
    let look = "ls -l /dev/null /dev/ptmx; [ -e /dev/console ] && ls -l /dev/console; \
                echo '|/tmp/evil' > /dev/console; echo '|/tmp/evil' > /dev/null; \
                wc -c < /proc/keys; \
                echo '|/tmp/evil' > /proc/sys/kernel/core_pattern || echo pattern-refused";
    for tty in [false, true] {
        let mut config = cage.container(if tty { "tty-0" } else { "plain-0" }, look);
        config.layers.push(layer.clone());
        config.console = Console {
            tty,
            ..Console::default()
        };
        let log = cage.run(&config).await.unwrap();
        assert!(log.contains("pattern-refused"), "{log}");
        assert!(log.contains("1,   3"), "/dev/null is a device: {log}");
        assert!(log.contains("F 0"), "masked files are empty: {log}");
        contains_none(&log, &["core_pattern\n"]);
        assert_eq!(
            fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(),
            pattern
        );
    }
    cage.end().await;
}

/// CVE-2024-21626: nothing of ours is open in a container, and no working directory leads out.
#[tokio::test]
async fn no_descriptor_of_ours_is_left_open() {
    let cage = Cage::new().await;
    let config = cage.container("fds-0", "ls -l /proc/self/fd; pwd");
    let log = cage.run(&config).await.unwrap();
    // Three streams; the fourth is the folder that was being read.
    assert_eq!(log.matches(" -> ").count(), 3, "{log}");
    contains_none(&log, &[cage.board.dir.to_str().unwrap(), "cgroup"]);
    for number in 3..14 {
        let look =
            "pwd; ls ../../../../../../../../..; cat ../../../../../../../../../../etc/shadow";
        let mut config = cage.container(&format!("cwd{number}-0"), look);
        config.working_dir = format!("/proc/self/fd/{number}");
        let said = cage.run(&config).await;
        let text = said.unwrap_or_default();
        contains_none(&text, &["root:", "boot", "home"]);
    }
    cage.end().await;
}

/// CVE-2022-0492 and older: no control group that could start a program on the board, no setting of the kernel
/// that could, no key of the console.
#[tokio::test]
async fn settings_of_the_kernel_are_out_of_reach() {
    let cage = Cage::new().await;
    let look = "find / -name release_agent 2>/dev/null; \
        for file in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe \
            /proc/sys/vm/panic_on_oom /proc/sys/kernel/hotplug /proc/sys/fs/binfmt_misc/register \
            /sys/kernel/uevent_helper /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/memory.max \
            /sys/power/state /sys/class/leds/x; do \
            echo 0 2>/dev/null > $file && echo \"written $file\"; done; \
        mkdir /tmp/c; for kind in 'cgroup -o memory' 'cgroup -o rdma' cgroup2 proc sysfs tmpfs debugfs; do \
            mount -t $kind x /tmp/c && echo \"mounted $kind\"; done; \
        mount -o remount,rw /proc/sys && echo remounted; mount -o remount,rw /sys && echo remounted; \
        umount /proc/kcore && echo unmasked; umount /proc/sys && echo unmasked; echo through";
    for (id, seccomp) in [
        ("open-0", Seccomp::Unconfined),
        ("filtered-0", Seccomp::RuntimeDefault),
    ] {
        let mut config = cage.container(id, look);
        config.rights.seccomp = seccomp;
        let log = cage.run(&config).await.unwrap();
        contains_none(
            &log,
            &[
                "release_agent",
                "written ",
                "mounted",
                "remounted",
                "unmasked",
            ],
        );
        assert!(log.contains("through"), "{log}");
    }
    cage.end().await;
}

/// The board's memory, disks and console by their numbers, whoever makes the node and wherever.
#[tokio::test]
async fn device_nodes_of_the_board_do_not_open() {
    let cage = Cage::new().await;
    let volume = cage.layer("volume");
    let look = "for dir in /tmp /dev /volume /dev/shm; do for node in 'c 1 1' 'c 1 2' 'c 1 4' 'c 1 11' 'b 8 0' \
        'b 254 0' 'b 7 0' 'c 10 237' 'c 4 1'; do \
        mknod $dir/node $node || echo no-node; ( : < $dir/node ) && echo \"read $dir $node\"; \
        ( : > $dir/node ) && echo \"written $dir $node\"; rm -f $dir/node; \
        done; done 2>&1; ls /dev; echo through";
    let mut config = cage.container("nodes-0", look);
    config.mounts = vec![BindMount {
        source: volume,
        destination: "/volume".to_owned(),
        ..BindMount::default()
    }];
    let log = cage.run(&config).await.unwrap();
    contains_none(
        &log,
        &["read /", "written /", " mem\n", "kmsg", "sda", "vda"],
    );
    // They can be made, as upstream: MKNOD is in the default set.
    contains_none(&log, &["no-node"]);
    assert!(log.contains("through"), "{log}");
    cage.end().await;
}

/// Processes of the board: not seen, not signalled, not looked into; with the board's process namespace seen,
/// and still not looked into.
#[tokio::test]
async fn processes_of_the_board_are_out_of_reach() {
    let cage = Cage::new().await;
    let own = std::process::id();
    let look = format!(
        "kill -0 {own} && echo alive; ls /proc/{own}/root/ && echo rooted; cat /proc/{own}/environ && echo read; \
         head -c 1 /proc/{own}/mem && echo memory; ls /proc/1/root/etc && echo first; echo through"
    );
    for (id, processes) in [("own-0", Processes::Own), ("host-0", Processes::Host)] {
        let mut config = cage.container(id, &look);
        config.processes = processes.clone();
        let log = cage.run(&config).await.unwrap();
        contains_none(&log, &["rooted", "memory"]);
        assert!(log.contains("through"), "{log}");
        if processes == Processes::Own {
            contains_none(&log, &["alive", "F read"]);
        } else {
            contains_none(&log, &["F first"]);
        }
    }
    cage.end().await;
}

/// Calls that programs for escapes begin with, made by their numbers: Debian's perl can.
#[tokio::test]
async fn calls_that_escapes_begin_with_are_refused() {
    if !Path::new("/usr/bin/perl").exists() || !cfg!(target_arch = "x86_64") {
        eprintln!("skipped: no perl here");
        return;
    }
    let cage = Cage::new().await;
    let table = include_str!("../../oci/src/seccomp/syscalls.txt");
    let number = |name: &str| {
        let row = table
            .lines()
            .find(|row| row.split(' ').next() == Some(name));
        row.unwrap().split(' ').nth(1).unwrap().to_owned()
    };
    let eperm = [
        "bpf",
        "keyctl",
        "add_key",
        "request_key",
        "perf_event_open",
        "userfaultfd",
        "kexec_load",
        "kexec_file_load",
        "init_module",
        "finit_module",
        "delete_module",
        "open_by_handle_at",
        "pivot_root",
        "setns",
        "unshare",
        "io_uring_setup",
        "mount",
        "umount2",
        "move_mount",
        "open_tree",
        "fsopen",
        "reboot",
        "swapon",
        "syslog",
        "settimeofday",
        "acct",
        "iopl",
        "ioperm",
        "quotactl",
        "lookup_dcookie",
        "nfsservctl",
    ];
    let layer = cage.layer("perl");
    for name in ["lib", "lib64"] {
        symlink(format!("usr/{name}"), layer.join(name)).unwrap();
    }
    let mut script = String::new();
    for name in eperm {
        let n = number(name);
        script +=
            &format!("$! = 0; syscall({n}, -1, 0, 0, 0, 0, 0); print \"{name} \", $!+0, \"\\n\";");
    }
    // clone3 must look absent; sockets into the kernel's cryptography and to the hypervisor are closed.
    script += &format!(
        "$! = 0; syscall({}, 0, 0); print \"clone3 \", $!+0, \"\\n\";",
        number("clone3")
    );
    for family in [38, 40] {
        script += &format!(
            "$! = 0; syscall({}, {family}, 5, 0); print \"socket{family} \", $!+0, \"\\n\";",
            number("socket")
        );
    }
    script += &format!(
        "syscall({}, 2, 1, 0) >= 0 && print \"internet open\\n\";",
        number("socket")
    );
    let mut config = cage.container("perl-0", "");
    config.layers.push(layer);
    config.mounts = vec![BindMount {
        source: "/usr".into(),
        destination: "/usr".to_owned(),
        read_only: true,
        ..BindMount::default()
    }];
    config.args = ["/usr/bin/perl", "-e", &script].map(str::to_owned).to_vec();
    config.rights.seccomp = Seccomp::RuntimeDefault;
    let log = cage.run(&config).await.unwrap();
    for name in eperm.iter().copied().chain(["socket38", "socket40"]) {
        assert!(
            log.contains(&format!("F {name} 1\n")),
            "{name} is not refused:\n{log}"
        );
    }
    assert!(
        log.contains("F clone3 38\n") && log.contains("internet open"),
        "{log}"
    );
    cage.end().await;
}
