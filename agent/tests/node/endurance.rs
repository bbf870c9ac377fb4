//! What one pod does, or what happens to it, is no other pod's trouble: needs root.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bramble_agent::runtime::{
    ContainerFact, Error, ExecConfig, KernelRuntime, ObservedPod, Runtime, Shim,
};
use bramble_wire::object::{HostPathKind, Mount, PodUid, Stop, Volume, VolumeSource};
use bramble_wire::report::ContainerState;
use bramble_wire::shim::{ShimRecord, path};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::node::{self, Node, is_running, pod_object};
use crate::support::{Board, NodeNamespace, eventually, pod, uid};

fn shim_of(board: &Board, uid: PodUid) -> Pid {
    let file = board
        .options
        .run_dir
        .join(format!("pods/{uid}"))
        .join(path::SHIM);
    let record: ShimRecord = bramble_wire::decode(&fs::read(file).unwrap(), "shim").unwrap();
    Pid::from_raw(record.pid).unwrap()
}

async fn look(runtime: &KernelRuntime, uid: PodUid) -> ObservedPod {
    let pods = runtime.observe().await;
    pods.into_iter().find(|pod| pod.uid == uid).unwrap()
}

/// A runtime whose helper takes its time to execute something in containers that are called `slow…`.
fn slow_helper(board: &mut Board) {
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in exec*\"--id slow\"*) sleep 15;; esac\nexec {} \"$@\"\n",
        board.options.oci.display()
    );
    let path = board.dir.join("slow-oci");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    board.options.oci = path;
}

/// As containers that are throttled or frozen: to start something in one takes as long as it likes.
#[tokio::test]
async fn commands_that_start_slowly_fail_no_probe_of_another_pod() {
    let mut board = Board::new();
    slow_helper(&mut board);
    let runtime = board.runtime().await;
    let mut uids = Vec::new();
    for n in 0..6 {
        let uid = uid();
        runtime.ensure_pod(&pod(uid)).await.unwrap();
        let id = if n == 5 { "quick-0" } else { "slow-0" };
        let container = board.container(uid, id, "sleep 600");
        runtime.start_container(uid, &container).await.unwrap();
        uids.push(uid);
    }
    let runtime = std::sync::Arc::new(runtime);
    let probe = |limit_ms| ExecConfig {
        limit: Some(Duration::from_millis(limit_ms)),
        ..ExecConfig::captured(vec!["/bin/true".to_owned()])
    };
    let slow: Vec<_> = uids[..5]
        .iter()
        .flat_map(|uid| [*uid, *uid])
        .map(|uid| {
            let (runtime, config) = (std::sync::Arc::clone(&runtime), probe(1_000));
            tokio::spawn(async move { runtime.exec(uid, "slow-0", &config).await })
        })
        .collect();
    let asked = Instant::now();
    tokio::task::yield_now().await;
    // It may have to wait for its turn longer than it has from then on.
    let session = runtime
        .exec(uids[5], "quick-0", &probe(1_000))
        .await
        .unwrap();
    assert_eq!(session.collect(64).await.unwrap().0, 0);
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "{:?}",
        asked.elapsed()
    );
    // Those of a pod wait for each other, and each is given up in time.
    for task in slow {
        let result = task.await.unwrap();
        assert!(matches!(result, Err(Error::TooLate { .. })), "{result:?}");
    }
    for uid in uids {
        runtime.delete_pod(uid).await.unwrap();
    }
    assert_eq!(board.leaks(), Vec::<String>::new());
}

/// Stopped, as by a debugger or on a board that swaps.
#[tokio::test]
async fn a_shim_that_does_not_answer_is_asked_again_and_never_doubled() {
    let board = Board::new();
    let before = board.runtime().await;
    let uid = uid();
    before.ensure_pod(&pod(uid)).await.unwrap();
    let container = board.container(uid, "a-0", "sleep 600");
    let record = before.start_container(uid, &container).await.unwrap();
    let shim = shim_of(&board, uid);
    kill_process(shim, Signal::STOP).unwrap();
    drop(before);
    // The greeting is waited for in vain, and so is the second one.
    let after = board.runtime().await;
    assert_eq!(look(&after, uid).await.shim, Shim::Silent);
    let error = after.ensure_pod(&pod(uid)).await.unwrap_err();
    assert!(matches!(error, Error::ShimGone { .. }), "{error}");
    let asked = Instant::now();
    let seen = look(&after, uid).await;
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "a look waits for nobody"
    );
    assert_eq!(seen.shim, Shim::Silent);
    assert_eq!(seen.containers[0].state, ContainerFact::Running(record));
    assert_eq!(shim_of(&board, uid), shim);
    kill_process(shim, Signal::CONT).unwrap();
    eventually(|| async {
        let seen = look(&after, uid).await;
        if seen.shim == Shim::Answers {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await;
    let seen = look(&after, uid).await;
    assert_eq!(seen.containers[0].state, ContainerFact::Running(record));
    after.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn a_pod_whose_shim_does_not_answer_can_be_deleted() {
    let board = Board::new();
    let before = board.runtime().await;
    let uid = uid();
    before.ensure_pod(&pod(uid)).await.unwrap();
    let container = board.container(uid, "a-0", "sleep 600");
    before.start_container(uid, &container).await.unwrap();
    kill_process(shim_of(&board, uid), Signal::STOP).unwrap();
    drop(before);
    let after = board.runtime().await;
    after.delete_pod(uid).await.unwrap();
    assert_eq!(after.observe().await, []);
    assert_eq!(board.leaks(), Vec::<String>::new());
}

/// A file system whose server never answers, as NFS of a machine that is off. Until this is dropped.
struct DeadMount {
    path: PathBuf,
    server: Option<OwnedFd>,
}

impl DeadMount {
    fn new(path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        let server = rustix::fs::open("/dev/fuse", flags, rustix::fs::Mode::empty()).unwrap();
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            server.as_raw_fd()
        );
        let options = std::ffi::CString::new(options).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("dead", path, "fuse", flags, Some(options.as_c_str())).unwrap();
        Self {
            path: path.to_owned(),
            server: Some(server),
        }
    }

    /// From here on it fails instead.
    fn end(&mut self) {
        self.server = None;
    }
}

impl Drop for DeadMount {
    fn drop(&mut self) {
        self.end();
        let detach = rustix::mount::UnmountFlags::DETACH;
        let _ = rustix::mount::unmount(&self.path, detach);
    }
}

#[test]
fn a_volume_that_does_not_answer_stops_no_other_pod() {
    NodeNamespace::run(|| async {
        let mut node = Node::new().await;
        let mut dead = DeadMount::new(&node.board.dir.join("dead"));
        let path = dead.path.join("folder").to_string_lossy().into_owned();
        // More than may start at once.
        let mut objects = Vec::new();
        let stuck: Vec<PodUid> = (0..5).map(|_| uid()).collect();
        for uid in &stuck {
            let mut pod = node::pod(*uid, "sleep 600");
            pod.volumes = vec![Volume {
                name: "v".into(),
                source: VolumeSource::HostPath {
                    path: path.clone(),
                    kind: HostPathKind::Directory,
                },
            }];
            pod.containers[0].mounts = vec![Mount {
                volume: "v".into(),
                path: "/v".into(),
                ..Mount::default()
            }];
            objects.push(pod_object(pod));
        }
        node.accept(objects.clone()).await;
        node.until("waiting", stuck[0], |report| {
            matches!(report.containers[0].state, ContainerState::Waiting { .. })
        })
        .await;
        let well = uid();
        objects.push(pod_object(node::pod(well, "while :; do sleep 0.2; done")));
        node.accept(objects.clone()).await;
        node.until("running", well, is_running).await;
        // Its own work goes on as well.
        objects.pop();
        let mut ending = node::pod(well, "");
        ending.stop = Some(Stop { grace_s: 0 });
        objects.push(pod_object(ending));
        node.accept(objects).await;
        node.until("gone", well, |report| report.gone).await;
        // What hangs is let go: each says why it can't start.
        dead.end();
        for uid in &stuck {
            node.until("failed", *uid, |report| {
                matches!(
                    &report.containers[0].state,
                    ContainerState::Waiting { message, .. } if message.contains("folder")
                )
            })
            .await;
        }
        node.accept(Vec::new()).await;
        for uid in &stuck {
            node.until("gone", *uid, |report| report.gone).await;
        }
        drop(dead);
        assert_eq!(node.board.leaks(), [""; 0]);
    });
}

/// Bytes below a directory, mounts included.
fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => size(&entry.path()),
        Ok(data) => std::os::unix::fs::MetadataExt::blocks(&data) * 512,
        Err(_) => 0,
    };
    entries.map(of).sum()
}

#[test]
fn files_of_ours_that_a_container_writes_are_bounded() {
    NodeNamespace::run(|| async {
        let mut node = Node::new().await;
        let (flood, well) = (uid(), uid());
        let script = "echo start >/dev/termination-log; \
            for f in /dev/termination-log /etc/hosts /etc/hostname /etc/resolv.conf; do \
            dd if=/dev/zero of=$f bs=64k count=64 conv=notrunc 2>&1; \
            dd if=/dev/zero of=$f bs=64k count=64 seek=1000 conv=notrunc 2>&1; done; \
            echo filled; sleep 600";
        node.accept(vec![pod_object(node::pod(flood, script))])
            .await;
        let log = node.until_logged(flood, 1, "filled").await;
        assert!(log.contains("No space left on device"), "{log}");
        let run = node.board.options.run_dir.clone();
        let lent = size(&run.join(format!("pods/{flood}/lent")));
        assert!(lent <= 1 << 20, "{lent}");
        // Another pod has room of its own.
        let mut other = node::pod(well, "echo -n well >/dev/termination-log; exit 1");
        other.restart_policy = bramble_wire::object::RestartPolicy::Never;
        node.accept(vec![
            pod_object(node::pod(flood, script)),
            pod_object(other),
        ])
        .await;
        let report = node
            .until("ended", well, |report| {
                matches!(report.containers[0].state, ContainerState::Terminated(_))
            })
            .await;
        let ContainerState::Terminated(end) = &report.containers[0].state else {
            panic!("{report:?}");
        };
        assert_eq!(end.message, "well");
        node.accept(Vec::new()).await;
        for uid in [flood, well] {
            node.until("gone", uid, |report| report.gone).await;
        }
        assert_eq!(node.board.leaks(), [""; 0]);
    });
}

fn resident_kib(pid: Pid) -> u64 {
    let file = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = fs::read_to_string(file).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap().trim_end_matches("kB").trim().parse().unwrap()
}

/// The run directory is memory, as on a board.
#[tokio::test]
async fn a_container_that_writes_as_fast_as_it_can_harms_nobody() {
    let mut board = Board::new();
    board.options.log_bytes = 256 << 10;
    let run = board.options.run_dir.clone();
    fs::create_dir_all(&run).unwrap();
    let flags = rustix::mount::MountFlags::NODEV;
    rustix::mount::mount("tmpfs", &run, "tmpfs", flags, Some(c"size=16m")).unwrap();
    let runtime = board.runtime().await;
    let (flood, well) = (uid(), uid());
    for uid in [flood, well] {
        runtime.ensure_pod(&pod(uid)).await.unwrap();
    }
    let script = "yes 0123456789012345678901234567890123456789 & yes x >&2 & wait";
    let container = board.container(flood, "a-0", script);
    runtime.start_container(flood, &container).await.unwrap();
    let logs = board.options.log_path(flood, "a-0", 0);
    let rotated = logs.with_file_name("0.log.1");
    eventually(|| async {
        rotated
            .exists()
            .then_some(())
            .ok_or_else(|| "no rotation yet".to_owned())
    })
    .await;
    let before = resident_kib(shim_of(&board, flood));
    // Meanwhile another pod starts, is asked and writes as ever.
    let ticks = "for i in $(seq 1 20); do echo tick $i; sleep 0.1; done; sleep 600";
    let container = board.container(well, "b-0", ticks);
    let asked = Instant::now();
    runtime.start_container(well, &container).await.unwrap();
    let mut most = 0;
    while !board.log(well, "b-0").contains("tick 20") {
        assert!(
            asked.elapsed() < Duration::from_secs(30),
            "{}",
            board.log(well, "b-0")
        );
        let probe = ExecConfig {
            limit: Some(Duration::from_secs(5)),
            ..ExecConfig::captured(vec!["/bin/true".to_owned()])
        };
        let session = runtime.exec(well, "b-0", &probe).await.unwrap();
        assert_eq!(session.collect(64).await.unwrap().0, 0);
        most = most.max(size(logs.parent().unwrap()));
    }
    assert_eq!(board.log(well, "b-0").lines().count(), 20);
    // Two files, each of a line more than it should be at most.
    assert!(most <= 2 * ((256 << 10) + (128 << 10)), "{most}");
    let after = resident_kib(shim_of(&board, flood));
    assert!(after < before + 1024, "from {before} KiB to {after} KiB");
    for uid in [flood, well] {
        runtime.delete_pod(uid).await.unwrap();
    }
    drop(runtime);
    rustix::mount::unmount(&run, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}
