//! Real containers from a busybox root: needs root, cgroups and overlayfs.
#![allow(missing_docs, clippy::unwrap_used)] // tests and their helpers

use std::time::Duration;

use bramble_agent::runtime::{
    ContainerConfig, ContainerFact, Error, KernelRuntime, Limits, PodConfig, Rights, Runtime, Shim,
    User,
};
use bramble_wire::object::PodUid;
use bramble_wire::shim::{ExitRecord, FailureKind};

use crate::support::{Board, eventually, pod, uid};

async fn fact(runtime: &KernelRuntime, pod: PodUid, id: &str) -> Option<ContainerFact> {
    let pods = runtime.observe().await;
    let pod = pods.into_iter().find(|p| p.uid == pod)?;
    pod.containers
        .into_iter()
        .find(|c| c.id == id)
        .map(|c| c.state)
}

async fn exit(runtime: &KernelRuntime, pod: PodUid, id: &str) -> ExitRecord {
    eventually(|| async {
        match fact(runtime, pod, id).await {
            Some(ContainerFact::Exited(exit)) => Ok(exit),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

#[tokio::test]
async fn a_container_runs_in_its_pods_namespaces_and_its_end_is_known() {
    let board = Board::new();
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    let script = "hostname; echo $$; echo err >&2; id -u; readlink /proc/self/ns/net; exit 7";
    runtime
        .start_container(uid, &board.container(uid, "a-0", script))
        .await
        .unwrap();
    let end = exit(&runtime, uid, "a-0").await;
    assert_eq!((end.code, end.signal, end.oom_killed), (7, 0, false));
    let log = board.log(uid, "a-0");
    assert!(log.contains("stdout F testpod\n"), "{log}");
    assert!(log.contains("stdout F 1\n"), "{log}");
    assert!(log.contains("stderr F err\n"), "{log}");
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert!(!log.contains(own.to_str().unwrap()), "{log}");
    runtime.delete_container(uid, "a-0").await.unwrap();
    assert_eq!(fact(&runtime, uid, "a-0").await, None);
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn stop_gives_its_grace_and_then_kills() {
    let board = Board::new();
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    let polite = "trap 'exit 3' TERM; echo ready; while true; do sleep 0.01; done";
    let deaf = "trap '' TERM; echo ready; while true; do sleep 0.01; done";
    for (id, script) in [("polite-0", polite), ("deaf-0", deaf)] {
        runtime
            .start_container(uid, &board.container(uid, id, script))
            .await
            .unwrap();
        eventually(|| async {
            let log = board.log(uid, id);
            if log.contains("ready") {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await;
    }
    runtime
        .stop_container(uid, "polite-0", Duration::from_secs(30))
        .await
        .unwrap();
    runtime
        .stop_container(uid, "deaf-0", Duration::from_millis(100))
        .await
        .unwrap();
    assert_eq!(exit(&runtime, uid, "polite-0").await.code, 3);
    let end = exit(&runtime, uid, "deaf-0").await;
    assert_eq!((end.code, end.signal), (137, 9));
    // Again is fine, and so is what never was.
    runtime
        .stop_container(uid, "deaf-0", Duration::ZERO)
        .await
        .unwrap();
    runtime
        .stop_container(uid, "never-0", Duration::ZERO)
        .await
        .unwrap();
    runtime.delete_container(uid, "never-0").await.unwrap();
    runtime.delete_pod(uid).await.unwrap();
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}

/// Runs one container to its end and returns how it ended and what it wrote.
async fn run(
    board: &Board,
    runtime: &KernelRuntime,
    pod: PodUid,
    config: &ContainerConfig,
) -> (ExitRecord, String) {
    runtime.start_container(pod, config).await.unwrap();
    let end = exit(runtime, pod, &config.id).await;
    (end, board.log(pod, &config.id))
}

async fn wait_for_log(board: &Board, pod: PodUid, id: &str, text: &str) {
    eventually(|| async {
        let log = board.log(pod, id);
        if log.contains(text) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_comes_back_finds_everything_and_nothing_notices() {
    let board = Board::new();
    let uid = uid();
    let before = {
        let runtime = board.runtime().await;
        runtime.ensure_pod(&pod(uid)).await.unwrap();
        let stays = "echo up; while [ ! -e /tmp/end ]; do sleep 0.02; done; exit 4";
        runtime
            .start_container(uid, &board.container(uid, "stays-0", stays))
            .await
            .unwrap();
        let ends = "sleep 0.3; exit 5";
        runtime
            .start_container(uid, &board.container(uid, "ends-0", ends))
            .await
            .unwrap();
        wait_for_log(&board, uid, "stays-0", "up").await;
        fact(&runtime, uid, "stays-0").await
    };
    // Nobody is there while `ends` ends.
    let record = board
        .options
        .run_dir
        .join(format!("pods/{uid}/c/ends-0/exit"));
    eventually(|| async {
        if record.exists() {
            Ok(())
        } else {
            Err("no record".to_owned())
        }
    })
    .await;
    let runtime = board.runtime().await;
    assert_eq!(fact(&runtime, uid, "stays-0").await, before);
    assert_eq!(exit(&runtime, uid, "ends-0").await.code, 5);
    // Asking again for what is there is no second start.
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    let again = board.container(uid, "stays-0", "exit 1");
    let Some(ContainerFact::Running(record)) = before else {
        panic!("{before:?}")
    };
    assert_eq!(runtime.start_container(uid, &again).await.unwrap(), record);
    let mut changes = runtime.changes();
    changes.mark_unchanged();
    let root = board
        .options
        .run_dir
        .join(format!("pods/{uid}/c/stays-0/rootfs/tmp/end"));
    std::fs::write(root, "").unwrap();
    tokio::time::timeout(Duration::from_secs(20), changes.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(exit(&runtime, uid, "stays-0").await.code, 4);
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn a_killed_shim_leaves_its_containers_running_and_nothing_behind_in_the_end() {
    let board = Board::new();
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    let deaf = "trap '' TERM; echo up; while true; do sleep 0.05; done";
    let started = runtime
        .start_container(uid, &board.container(uid, "a-0", deaf))
        .await
        .unwrap();
    wait_for_log(&board, uid, "a-0", "up").await;
    let shim = std::fs::read(board.options.run_dir.join(format!("pods/{uid}/shim"))).unwrap();
    let shim: bramble_wire::shim::ShimRecord = bramble_wire::decode(&shim, "shim").unwrap();
    kill(shim.pid);
    eventually(|| async {
        let seen = runtime.observe().await;
        if seen[0].shim != Shim::Gone {
            Err("shim still there".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    assert_eq!(
        fact(&runtime, uid, "a-0").await,
        Some(ContainerFact::Running(started))
    );
    // A new agent sees the same, and a pod in that state is not continued.
    let runtime = board.runtime().await;
    assert_eq!(
        fact(&runtime, uid, "a-0").await,
        Some(ContainerFact::Running(started))
    );
    assert!(matches!(
        runtime.ensure_pod(&pod(uid)).await,
        Err(Error::ShimGone { .. })
    ));
    runtime
        .stop_container(uid, "a-0", Duration::from_millis(50))
        .await
        .unwrap();
    eventually(|| async {
        match fact(&runtime, uid, "a-0").await {
            Some(ContainerFact::Unknown) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    runtime.delete_container(uid, "a-0").await.unwrap();
    // Without containers the pod can have a new shim at once.
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    let (end, _) = run(
        &board,
        &runtime,
        uid,
        &board.container(uid, "a-1", "exit 9"),
    )
    .await;
    assert_eq!(end.code, 9);
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn a_pod_whose_shim_was_killed_is_deleted_whole_while_it_runs() {
    let board = Board::new();
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    let busy = "while true; do sleep 100 & sleep 0.05; done";
    runtime
        .start_container(uid, &board.container(uid, "a-0", busy))
        .await
        .unwrap();
    let shim = std::fs::read(board.options.run_dir.join(format!("pods/{uid}/shim"))).unwrap();
    let shim: bramble_wire::shim::ShimRecord = bramble_wire::decode(&shim, "shim").unwrap();
    kill(shim.pid);
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn commands_that_cannot_start_say_so_in_upstreams_words() {
    let board = Board::new();
    std::fs::write(board.dir.join("root/plain"), "text").unwrap();
    std::fs::write(board.dir.join("root/bin/odd"), "no header").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(board.dir.join("root/bin/odd"), executable).unwrap();
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    for (command, kind, text) in [
        (
            "nope",
            FailureKind::CommandNotFound,
            "exec: \"nope\": executable file not found in $PATH",
        ),
        (
            "/no/such",
            FailureKind::CommandNotFound,
            "no such file or directory",
        ),
        (
            "/plain",
            FailureKind::CommandNotExecutable,
            "exec: \"/plain\": permission denied",
        ),
        (
            "/bin",
            FailureKind::CommandNotExecutable,
            "permission denied",
        ),
    ] {
        let mut config = board.container(uid, "bad-0", "");
        config.args = vec![command.to_owned()];
        let error = runtime.start_container(uid, &config).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert!(
            matches!(&error, Error::Start { kind: k, .. } if *k == kind),
            "{error:?}"
        );
        assert_eq!(error.waiting_reason(), "RunContainerError");
        assert_eq!(error.terminated(), Some((128, "StartError")));
        assert_eq!(fact(&runtime, uid, "bad-0").await, None);
    }
    // Only the kernel can tell this one, after the start.
    let mut config = board.container(uid, "odd-0", "");
    config.args = vec!["odd".to_owned()];
    let (end, log) = run(&board, &runtime, uid, &config).await;
    assert_eq!(end.code, 255);
    assert!(
        log.contains("stderr F exec /bin/odd: exec format error"),
        "{log}"
    );
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn limits_hold_and_a_kill_for_memory_is_named() {
    let board = Board::new();
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    let mut hog = board.container(uid, "hog-0", "echo start; tail /dev/zero");
    hog.limits = Limits {
        memory_bytes: Some(16 << 20),
        ..Limits::default()
    };
    let (end, log) = run(&board, &runtime, uid, &hog).await;
    assert!(log.contains("start"), "{log}");
    assert!(end.oom_killed, "{end:?}");
    assert_eq!(end.code, 137);
    let mut bomb = board.container(
        uid,
        "bomb-0",
        "f() { f | f & }; for n in 1 2 3 4 5 6 7 8 9; do f; done; sleep 5",
    );
    bomb.limits = Limits {
        pids: Some(20),
        ..Limits::default()
    };
    runtime.start_container(uid, &bomb).await.unwrap();
    wait_for_log(&board, uid, "bomb-0", "can't fork").await;
    runtime
        .stop_container(uid, "bomb-0", Duration::ZERO)
        .await
        .unwrap();
    assert!(!exit(&runtime, uid, "bomb-0").await.oom_killed);
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn a_container_has_the_rights_it_was_given_and_no_more() {
    let board = Board::new();
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    let look = "grep -E '^(Cap|NoNewPrivs|SigIgn|SigBlk)' /proc/self/status; \
                cat /proc/sys/kernel/core_pattern >/dev/null && echo readable; \
                (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null || echo proc-sys-protected; \
                echo interrupts $(wc -c < /proc/interrupts); \
                (echo 1 > /sys/kernel/mm/ksm/run) 2>/dev/null || echo sys-protected; \
                (echo x > /file) 2>/dev/null && echo root-writable; \
                mknod /tmp/sda b 8 0 2>/dev/null; (head -c 1 /tmp/sda >/dev/null) 2>/dev/null || echo no-device; \
                mount -t tmpfs x /tmp 2>/dev/null || echo no-mount; \
                id -u; id -g; id -G; pwd; env";
    let mut plain = board.container(uid, "plain-0", look);
    plain.working_dir = "/made/for/me".to_owned();
    let (end, log) = run(&board, &runtime, uid, &plain).await;
    assert_eq!(end.code, 0, "{log}");
    for want in [
        "CapEff:\t00000000a80425fb",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "SigBlk:\t0000000000000000",
        "readable",
        "proc-sys-protected",
        "interrupts 0\n",
        "sys-protected",
        "root-writable",
        "no-device",
        "no-mount",
        "F /made/for/me\n",
        "HOME=/",
    ] {
        assert!(log.contains(want), "{want}: {log}");
    }
    // Those below the real-time ones; the C library keeps two of those to itself.
    let ignored = log
        .lines()
        .find_map(|l| l.split_once("SigIgn:\t"))
        .unwrap()
        .1;
    assert_eq!(
        u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff,
        0,
        "{log}"
    );
    let mut least = board.container(uid, "least-0", look);
    least.user = User {
        uid: 33,
        gid: 34,
        groups: vec![50],
    };
    least.rights = Rights {
        read_only_root: true,
        allow_privilege_escalation: true,
        capabilities_drop: vec!["ALL".to_owned()],
        capabilities_add: vec!["NET_ADMIN".to_owned()],
        ..Rights::default()
    };
    let (_, log) = run(&board, &runtime, uid, &least).await;
    for want in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000001000",
        "NoNewPrivs:\t0",
        "F 33\n",
        "F 34\n",
        "F 34 50\n",
    ] {
        assert!(log.contains(want), "{want}: {log}");
    }
    assert!(!log.contains("root-writable"), "{log}");
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn devices_are_closed_to_all_but_the_privileged() {
    let board = Board::new();
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    // /dev/mem's number in other clothes; in a root file system and in /dev.
    let look = "mknod /tmp/node c 1 1 && mknod /dev/node c 1 1; \
                head -c 1 /tmp/node >/dev/null && echo root-open; \
                head -c 1 /dev/node >/dev/null && echo dev-open; \
                mount -t tmpfs x /tmp && echo mounted; head -c 2 /dev/zero | wc -c";
    let mut maker = board.container(uid, "maker-0", look);
    maker.rights.capabilities_add = vec!["MKNOD".to_owned()];
    let (_, log) = run(&board, &runtime, uid, &maker).await;
    assert!(
        !log.contains("root-open") && !log.contains("mounted"),
        "{log}"
    );
    if !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        assert!(!log.contains("dev-open"), "{log}");
    }
    assert!(log.contains("F 2\n"), "{log}");
    let mut strong = board.container(uid, "strong-0", look);
    strong.rights.privileged = true;
    let (_, log) = run(&board, &runtime, uid, &strong).await;
    assert!(log.contains("mounted"), "{log}");
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn containers_of_a_pod_share_their_network_and_mounts_appear_where_asked() {
    let board = Board::new();
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    let shared = board.dir.join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("config"), "value").unwrap();
    let look = "readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; readlink /proc/self/ns/pid; \
                cat /etc/app/config; (echo x > /etc/app/new) 2>/dev/null || echo read-only";
    let mut seen = Vec::new();
    for id in ["a-0", "b-0"] {
        let mut config = board.container(uid, id, look);
        config.mounts.push(bramble_agent::runtime::BindMount {
            source: shared.clone(),
            destination: "/etc/app".to_owned(),
            read_only: true,
            ..bramble_agent::runtime::BindMount::default()
        });
        let (_, log) = run(&board, &runtime, uid, &config).await;
        assert!(
            log.contains("F value") && log.contains("read-only"),
            "{log}"
        );
        let part = |kind: &str| log.lines().find(|l| l.contains(kind)).unwrap()[36..].to_owned();
        seen.push((part("net:"), part("ipc:"), part("pid:")));
    }
    assert_eq!((&seen[0].0, &seen[0].1), (&seen[1].0, &seen[1].1));
    runtime.delete_pod(uid).await.unwrap();
    assert!(
        shared.join("config").exists(),
        "tear-down must not follow mounts"
    );
    assert_eq!(board.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn nobody_but_root_looks_into_a_pods_files() {
    let board = Board::new();
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    runtime
        .start_container(uid, &board.container(uid, "a-0", "sleep 600"))
        .await
        .unwrap();
    let mode = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    let (run, data) = (&board.options.run_dir, &board.options.data_dir);
    for folder in [run.join("pods"), run.join("logs"), data.join("pods")] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
    let spec = run.join(format!("pods/{uid}/c/a-0/config.json"));
    assert_eq!(mode(&spec), 0o600, "the environment may hold secrets");
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn a_pod_on_the_boards_network_sees_it() {
    let board = Board::new();
    let runtime = board.runtime().await;
    let uid = uid();
    let config = PodConfig {
        host_network: true,
        ..pod(uid)
    };
    assert_eq!(runtime.ensure_pod(&config).await.unwrap().netns, None);
    let look = "readlink /proc/self/ns/net; ls /sys/class/net; \
                for d in /sys/fs/cgroup /sys/fs/cgroup/*; do \
                (mkdir $d/bramble-x && rmdir $d/bramble-x) 2>/dev/null && echo writable $d; done";
    let (_, log) = run(&board, &runtime, uid, &board.container(uid, "a-0", look)).await;
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert!(log.contains(own.to_str().unwrap()), "{log}");
    assert!(!log.contains("writable"), "the board's own cgroups: {log}");
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn a_flood_of_output_stays_within_its_bounds_and_holds_nobody_up() {
    let mut board = Board::new();
    board.options.log_bytes = 64 << 10;
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    let flood = "yes 0123456789012345678901234567890123456789 | head -n 100000; echo the end";
    let (end, log) = run(&board, &runtime, uid, &board.container(uid, "a-0", flood)).await;
    assert_eq!(end.code, 0);
    assert!(
        log.contains("F the end"),
        "the last line is in the log when the end is known"
    );
    let dir = board.options.log_path(uid, "a-0", 0);
    let sizes: Vec<u64> = std::fs::read_dir(dir.parent().unwrap())
        .unwrap()
        .map(|e| e.unwrap().metadata().unwrap().len())
        .collect();
    assert!(
        sizes.len() <= 2 && sizes.iter().all(|s| *s <= 80 << 10),
        "{sizes:?}"
    );
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn twenty_pods_at_once_come_and_go() {
    let board = std::sync::Arc::new(Board::new());
    let runtime = std::sync::Arc::new(board.runtime().await);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20 {
        let (board, runtime, uid) = (board.clone(), runtime.clone(), uid());
        tasks.spawn(async move {
            runtime.ensure_pod(&pod(uid)).await.unwrap();
            for attempt in 0..2 {
                let id = format!("c-{attempt}");
                let config = board.container(uid, &id, &format!("echo pod {n}; exit {n}"));
                let (end, log) = run(&board, &runtime, uid, &config).await;
                assert_eq!(end.code, n);
                assert!(log.contains(&format!("pod {n}\n")), "{log}");
                runtime.delete_container(uid, &id).await.unwrap();
            }
            runtime.delete_pod(uid).await.unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(runtime.observe().await, []);
    assert_eq!(board.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn nonsense_on_its_socket_does_not_move_a_shim() {
    use bramble_wire::shim::{Answer, Ask, Reply, Request, Split, VERSION, frame, split_frame};
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    let board = Board::new();
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    let stays = board.container(uid, "a-0", "sleep 1000");
    let record = runtime.start_container(uid, &stays).await.unwrap();
    let socket = board.options.run_dir.join(format!("pods/{uid}/shim.sock"));
    let connect = || {
        let stream = UnixStream::connect(&socket).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    };
    // A huge frame, an unknown request, a cut one, and more connections than there is room for.
    for bytes in [
        &u32::MAX.to_le_bytes()[..],
        &[2, 0, 0, 0, 1, 200],
        &[9, 0, 0, 0, 1],
    ] {
        let mut stream = connect();
        stream.write_all(bytes).unwrap();
    }
    let idle: Vec<_> = (0..20).map(|_| connect()).collect();
    drop(idle);
    let ask = |request: Request| {
        eventually(move || {
            let (mut stream, bytes) = (
                connect(),
                frame(&Ask {
                    number: 7,
                    request: request.clone(),
                }),
            );
            async move {
                stream.write_all(&bytes).map_err(|e| e.to_string())?;
                let (mut input, mut buffer) = (Vec::new(), [0; 1024]);
                loop {
                    let n = stream.read(&mut buffer).map_err(|e| e.to_string())?;
                    input.extend_from_slice(&buffer[..n]);
                    match split_frame::<Answer>(&input, "answer").map_err(|e| e.to_string())? {
                        Split::Frame(answer, _) => return Ok(answer.reply),
                        Split::More if n == 0 => return Err("closed".to_owned()),
                        Split::More => {}
                    }
                }
            }
        })
    };
    // An agent from the future is answered with what this shim speaks.
    match ask(Request::Hello { version: 99 }).await {
        Reply::Hello(hello) => assert_eq!((hello.version, hello.pod), (VERSION, uid.to_string())),
        other => panic!("{other:?}"),
    }
    for id in ["../../x", "a/b", ""] {
        let create = bramble_wire::shim::Create {
            id: id.to_owned(),
            log: "/tmp/l".to_owned(),
            ..Default::default()
        };
        assert!(
            matches!(ask(Request::Create(create)).await, Reply::Failed(_)),
            "{id}"
        );
    }
    assert_eq!(
        fact(&runtime, uid, "a-0").await,
        Some(ContainerFact::Running(record))
    );
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn a_runtime_that_dies_half_way_leaves_nothing() {
    let mut board = Board::new();
    // Creates the container, then dies before it can say so.
    let dying = board.dir.join("dying-oci");
    let real = board.options.oci.display().to_string();
    let script = format!("#!/bin/sh\n{real} \"$@\" > /dev/null\n[ \"$1\" != create ]\n");
    std::fs::write(&dying, script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&dying, executable).unwrap();
    board.options.oci = dying;
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    let config = board.container(uid, "a-0", "sleep 1000");
    let error = runtime.start_container(uid, &config).await.unwrap_err();
    assert!(error.to_string().contains("without a report"), "{error}");
    assert_eq!(fact(&runtime, uid, "a-0").await, None);
    let own = |dir: &std::path::PathBuf| dir.join(format!("pod{uid}/a-0")).exists();
    assert!(!board.cgroups().is_empty());
    assert_eq!(
        board.cgroups().iter().filter(|d| own(d)).count(),
        0,
        "its process is still there"
    );
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}
