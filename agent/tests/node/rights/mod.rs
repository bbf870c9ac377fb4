//! What containers may do, and what they can't reach: seccomp, namespaces, sysctls, limits, devices. Needs
//! root, cgroups (whichever version is mounted) and overlayfs.
#![allow(missing_docs, clippy::unwrap_used)] // tests and their helpers

mod seccomp;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bramble_agent::runtime::{
    ContainerConfig, ContainerFact, Error, ExecConfig, KernelRuntime, PodConfig, Processes, Runtime,
};
use bramble_wire::object::{PodUid, Seccomp};
use bramble_wire::shim::ExitRecord;
use tokio::io::AsyncReadExt as _;

use crate::support::{Board, eventually, pod, uid};

async fn exit(runtime: &KernelRuntime, pod: PodUid, id: &str) -> ExitRecord {
    eventually(|| async {
        let pods = runtime.observe().await;
        let found = pods.into_iter().find(|p| p.uid == pod);
        let found = found.and_then(|p| p.containers.into_iter().find(|c| c.id == id));
        match found.map(|c| c.state) {
            Some(ContainerFact::Exited(exit)) => Ok(exit),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// Runs one container to its end; what it wrote, and its code.
async fn run(
    board: &Board,
    runtime: &KernelRuntime,
    pod: PodUid,
    config: &ContainerConfig,
) -> (i32, String) {
    runtime.start_container(pod, config).await.unwrap();
    let end = exit(runtime, pod, &config.id).await;
    (end.code, board.log(pod, &config.id))
}

/// Executes a command in a running container; what it wrote.
async fn exec(runtime: &KernelRuntime, pod: PodUid, id: &str, argv: &[&str]) -> String {
    let argv = argv.iter().map(|a| (*a).to_owned()).collect();
    let config = ExecConfig::captured(argv);
    let mut session = runtime.exec(pod, id, &config).await.unwrap();
    let mut text = String::new();
    let output = session.output.as_mut().unwrap();
    output.read_to_string(&mut text).await.unwrap();
    let mut errors = String::new();
    let output = session.error.as_mut().unwrap();
    output.read_to_string(&mut errors).await.unwrap();
    session.exit.await.unwrap();
    text + &errors
}

async fn wait_for_log(board: &Board, pod: PodUid, id: &str, text: &str) {
    eventually(|| async {
        let log = board.log(pod, id);
        if log.contains(text) { Ok(()) } else { Err(log) }
    })
    .await;
}

fn contains_all(log: &str, wanted: &[&str]) {
    for want in wanted {
        assert!(log.contains(want), "{want:?} in\n{log}");
    }
}

fn contains_none(log: &str, unwanted: &[&str]) {
    for not in unwanted {
        assert!(!log.contains(not), "{not:?} in\n{log}");
    }
}

/// One board with one pod; gone without a trace when the test is through.
struct Pod {
    board: Board,
    runtime: KernelRuntime,
    uid: PodUid,
}

impl Pod {
    async fn new(with: impl FnOnce(&mut PodConfig)) -> Self {
        let board = Board::new();
        let runtime = board.runtime().await;
        let uid = uid();
        let mut config = pod(uid);
        with(&mut config);
        runtime.ensure_pod(&config).await.unwrap();
        Self {
            board,
            runtime,
            uid,
        }
    }

    fn container(&self, id: &str, script: &str) -> ContainerConfig {
        self.board.container(self.uid, id, script)
    }

    async fn run(&self, config: &ContainerConfig) -> (i32, String) {
        run(&self.board, &self.runtime, self.uid, config).await
    }

    async fn start(&self, config: &ContainerConfig, until: &str) {
        self.runtime
            .start_container(self.uid, config)
            .await
            .unwrap();
        wait_for_log(&self.board, self.uid, &config.id, until).await;
    }

    async fn exec(&self, id: &str, argv: &[&str]) -> String {
        exec(&self.runtime, self.uid, id, argv).await
    }

    async fn end(self) {
        self.runtime.delete_pod(self.uid).await.unwrap();
        assert_eq!(self.board.leaks(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn processes_are_shared_in_the_pod_when_it_says_so() {
    let pod = Pod::new(|config| config.share_processes = true).await;
    let mut server = pod.container("server-0", "echo up; sleep 77");
    server.processes = Processes::Pod;
    pod.start(&server, "up").await;
    let look = "ps -o pid,args; cat /proc/1/comm; grep -E 'Cap(Prm|Bnd)|NoNewPrivs' /proc/1/status; \
                ls /proc/1/root/ 2>&1; readlink /proc/1/exe 2>&1; (sleep 0.1 &) ; kill -9 1; echo end";
    let mut looker = pod.container("looker-0", look);
    looker.processes = Processes::Pod;
    let (_, log) = pod.run(&looker).await;
    contains_all(
        &log,
        &[
            "sleep 77",
            "pause",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "end",
        ],
    );
    contains_all(&log, &["Permission denied"]);
    contains_none(&log, &["bramble-shim"]);
    // With the right to look at others' processes there is still nothing of the board to see.
    let mut tracer = pod.container(
        "tracer-0",
        "ls -a /proc/1/root/ | wc -l; ls /proc/1/fd | wc -l; echo end",
    );
    tracer.processes = Processes::Pod;
    tracer.rights.capabilities_add = vec!["SYS_PTRACE".to_owned()];
    let (_, log) = pod.run(&tracer).await;
    contains_all(&log, &["F 2\n", "F 0\n", "end"]);
    // The first process of a container is not the first of the namespace; what it leaves behind goes too.
    let mut leaver = pod.container("leaver-0", "sleep 7777 & echo left");
    leaver.processes = Processes::Pod;
    let (_, log) = pod.run(&leaver).await;
    contains_all(&log, &["left"]);
    eventually(|| async {
        let seen = pod.exec("server-0", &["/bin/ps", "-o", "args"]).await;
        if seen.contains("sleep 7777") {
            Err(seen)
        } else {
            Ok(())
        }
    })
    .await;
    let own = pod.container("own-0", "ps -o pid,args");
    let (_, log) = pod.run(&own).await;
    contains_none(&log, &["sleep 77"]);
    pod.end().await;
}

#[tokio::test]
async fn a_debugger_sees_the_processes_of_its_target() {
    let pod = Pod::new(|_| {}).await;
    pod.start(&pod.container("app-0", "echo up; sleep 78"), "up")
        .await;
    let mut debugger = pod.container("debugger-0", "ps -o pid,args; echo $$");
    debugger.processes = Processes::Of("app-0".to_owned());
    let (_, log) = pod.run(&debugger).await;
    contains_all(&log, &["1 sleep 78"]);
    let mut lost = pod.container("lost-0", "true");
    lost.processes = Processes::Of("gone-0".to_owned());
    assert!(pod.runtime.start_container(pod.uid, &lost).await.is_err());
    pod.end().await;
}

#[tokio::test]
async fn the_boards_processes_and_ipc_are_seen_only_on_demand() {
    let pod = Pod::new(|config| config.host_ipc = true).await;
    let look = "readlink /proc/self/ns/ipc; readlink /proc/self/ns/pid; echo pid $$";
    let mut host = pod.container("host-0", look);
    host.processes = Processes::Host;
    let (_, log) = pod.run(&host).await;
    let of_board = |name: &str| fs::read_link(Path::new("/proc/self/ns").join(name)).unwrap();
    for name in ["ipc", "pid"] {
        contains_all(&log, &[of_board(name).to_str().unwrap()]);
    }
    let (_, log) = pod.run(&pod.container("own-0", look)).await;
    contains_all(&log, &[of_board("ipc").to_str().unwrap(), "pid 1\n"]);
    contains_none(&log, &[of_board("pid").to_str().unwrap()]);
    // Without a namespace of its own, all of a container is killed by its cgroup.
    let mut forks = pod.container(
        "forks-0",
        "sleep 7979 & sleep 7979 & echo up; trap '' TERM; wait",
    );
    forks.processes = Processes::Host;
    pod.start(&forks, "up").await;
    pod.runtime
        .stop_container(pod.uid, "forks-0", Duration::ZERO)
        .await
        .unwrap();
    exit(&pod.runtime, pod.uid, "forks-0").await;
    pod.runtime
        .delete_container(pod.uid, "forks-0")
        .await
        .unwrap();
    pod.end().await;
    eventually(|| async {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let lines = all.filter_map(|e| fs::read(e.path().join("cmdline")).ok());
        match lines.filter(|l| l.starts_with(b"sleep\x007979")).count() {
            0 => Ok(()),
            left => Err(format!("{left} are left")),
        }
    })
    .await;
}

#[tokio::test]
async fn sysctls_are_the_pods_own_and_others_are_refused() {
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let pod = Pod::new(|config| {
        config.sysctls = vec![
            own("net.ipv4.ip_local_port_range", "20000 20100"),
            own("kernel.shm_rmid_forced", "1"),
        ];
    })
    .await;
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let look = "cd /proc/sys; cat net/ipv4/ip_local_port_range kernel/shm_rmid_forced \
                net/ipv4/ip_unprivileged_port_start; \
                echo 1 > net/ipv4/ip_forward || echo write-refused";
    let (_, log) = pod.run(&pod.container("look-0", look)).await;
    contains_all(&log, &["20000\t20100", "F 1\n", "F 0\n", "write-refused"]);
    assert_eq!(
        before,
        fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap()
    );
    pod.end().await;
    let board = Board::new();
    let runtime = board.runtime().await;
    for name in ["kernel.core_pattern", "vm.swappiness", "kernel.sysrq"] {
        let mut config = crate::support::pod(uid());
        config.sysctls = vec![own(name, "1")];
        let error = runtime.ensure_pod(&config).await.unwrap_err().to_string();
        assert!(error.contains("not of a namespace of the pod"), "{error}");
        runtime.delete_pod(config.uid).await.unwrap();
    }
}

/// A fork bomb fills its pod and nothing else; the pod next to it goes on, and it can be killed.
#[tokio::test]
async fn a_fork_bomb_stays_in_its_pod() {
    let pod = Pod::new(|config| config.limits.pids = Some(64)).await;
    let bomb = "echo up; f() { f & f & sleep 1; }; while true; do f 2>/dev/null; done";
    pod.start(&pod.container("bomb-0", bomb), "up").await;
    let procs = pod.board.cgroups();
    let pids = procs
        .iter()
        .map(|dir| dir.join(format!("pod{}/pids.current", pod.uid)));
    let file = pids.into_iter().find(|file| file.exists()).unwrap();
    eventually(|| async {
        let count: u64 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        assert!(count <= 64, "{count}");
        if count > 60 {
            Ok(())
        } else {
            Err(format!("{count}"))
        }
    })
    .await;
    let neighbour = uid();
    pod.runtime
        .ensure_pod(&crate::support::pod(neighbour))
        .await
        .unwrap();
    let calm = pod
        .board
        .container(neighbour, "calm-0", "true && echo fine");
    let (code, log) = run(&pod.board, &pod.runtime, neighbour, &calm).await;
    assert_eq!(code, 0, "{log}");
    pod.runtime.delete_pod(neighbour).await.unwrap();
    pod.runtime
        .stop_container(pod.uid, "bomb-0", Duration::ZERO)
        .await
        .unwrap();
    exit(&pod.runtime, pod.uid, "bomb-0").await;
    pod.end().await;
}

/// The limits of pod and container are files of whichever version of cgroups is there.
#[tokio::test]
async fn limits_are_in_force_in_pod_and_container() {
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let pod = Pod::new(|config| {
        config.limits.memory_bytes = Some(96 << 20);
        config.limits.cpu_limit_milli = Some(1500);
    })
    .await;
    let mut config = pod.container("limited-0", "echo up; sleep 60");
    config.limits.memory_bytes = Some(64 << 20);
    config.limits.cpu_limit_milli = Some(500);
    config.limits.cpu_request_milli = Some(250);
    config.limits.pids = Some(50);
    pod.start(&config, "up").await;
    let read = |file: &str, own: bool| {
        let below = format!(
            "pod{}{}/{file}",
            pod.uid,
            if own { "/limited-0" } else { "" }
        );
        let files = pod.board.cgroups().into_iter().map(|dir| dir.join(&below));
        let found = files
            .into_iter()
            .find_map(|file| fs::read_to_string(file).ok());
        found
            .unwrap_or_else(|| panic!("{file} is missing"))
            .trim()
            .to_owned()
    };
    let bytes = |mib: u64| (mib << 20).to_string();
    if v2 {
        assert_eq!(read("memory.max", false), bytes(96));
        assert_eq!(read("memory.max", true), bytes(64));
        assert_eq!(read("memory.oom.group", true), "1");
        assert_eq!(read("cpu.max", false), "150000 100000");
        assert_eq!(read("cpu.max", true), "50000 100000");
        if Path::new("/proc/swaps").exists() {
            assert_eq!(read("memory.swap.max", false), "0");
        }
    } else {
        assert_eq!(read("memory.limit_in_bytes", false), bytes(96));
        assert_eq!(read("memory.limit_in_bytes", true), bytes(64));
        assert_eq!(read("memory.swappiness", true), "0");
        assert_eq!(read("cpu.cfs_quota_us", false), "150000");
        assert_eq!(read("cpu.cfs_quota_us", true), "50000");
    }
    assert_eq!(read("pids.max", false), "1024");
    assert_eq!(read("pids.max", true), "50");
    pod.end().await;
}

/// A child that takes too much memory: on v2 the whole container goes, on v1 only the child. Either way it
/// is known, and the neighbour lives.
#[tokio::test]
async fn too_much_memory_ends_a_container_and_says_so() {
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let pod = Pod::new(|_| {}).await;
    pod.start(&pod.container("calm-0", "echo up; sleep 60"), "up")
        .await;
    let script = "(x=a; while true; do x=$x$x; done); echo child ended; exit 0";
    let mut hog = pod.container("hog-0", script);
    hog.limits.memory_bytes = Some(24 << 20);
    pod.runtime.start_container(pod.uid, &hog).await.unwrap();
    let end = exit(&pod.runtime, pod.uid, "hog-0").await;
    assert!(end.oom_killed, "{end:?}");
    assert_eq!((end.code, end.signal), if v2 { (137, 9) } else { (0, 0) });
    let alive = pod.exec("calm-0", &["/bin/echo", "alive"]).await;
    assert_eq!(alive, "alive\n");
    pod.end().await;
}

#[tokio::test]
async fn the_privileged_have_the_boards_devices_and_proc_as_it_is() {
    let pod = Pod::new(|_| {}).await;
    let look = "ls -l /dev/kmsg; head -c 1 /dev/kmsg >/dev/null && echo kmsg-open; \
                touch /sys/kernel/nothing 2>&1; mount | grep -c ' /proc/sys '; \
                grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status; mount | grep ' /sys '";
    let mut strong = pod.container("strong-0", look);
    strong.rights.privileged = true;
    let (_, log) = pod.run(&strong).await;
    contains_all(&log, &["kmsg-open", "F 0\n", "NoNewPrivs:\t0", "sysfs (rw"]);
    let (_, log) = pod.run(&pod.container("weak-0", look)).await;
    contains_all(&log, &["/dev/kmsg: No such file", "sysfs (ro", "F 1\n"]);
    contains_none(&log, &["kmsg-open"]);
    pod.end().await;
}
