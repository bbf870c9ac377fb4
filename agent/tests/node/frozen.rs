//! A container whose processes are frozen, by a person or by what debugs it: it stands still and nothing
//! else does, it goes on where it was, and it can be ended all the same. Needs root and cgroups, whichever
//! version is mounted.
#![allow(missing_docs, clippy::unwrap_used)] // tests and their helpers

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bramble_agent::runtime::{ContainerFact, KernelRuntime, Runtime};
use bramble_wire::object::PodUid;

use crate::support::{Board, eventually, pod, uid};

/// Counts on; deaf to TERM, and with a child that a kill of the first process alone would leave.
const BEATS: &str =
    "trap '' TERM; sleep 1000 & n=0; while true; do n=$((n+1)); echo beat $n; sleep 0.02; done";

/// The switch of a container's freezer and what is written into it.
struct Freezer {
    switch: PathBuf,
    v2: bool,
}

impl Freezer {
    fn of(board: &Board, id: &str) -> Self {
        let mut places: Vec<PathBuf> = board.cgroups();
        let mut found = Vec::new();
        while let Some(dir) = places.pop() {
            if dir.ends_with(id) {
                found.push(dir.clone());
            }
            let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
            places.extend(entries.map(|e| e.path()).filter(|p| p.is_dir()));
        }
        let switch = |file: &str| found.iter().map(|d| d.join(file)).find(|f| f.exists());
        // A hybrid layout has both; the containers are in v1's then.
        if let Some(switch) = switch("freezer.state") {
            return Self { switch, v2: false };
        }
        let switch = switch("cgroup.freeze").expect("a freezer of either version");
        Self { switch, v2: true }
    }

    async fn freeze(&self) {
        let value = if self.v2 { "1" } else { "FROZEN" };
        fs::write(&self.switch, value).unwrap();
        eventually(|| async {
            let text = if self.v2 {
                fs::read_to_string(self.switch.with_file_name("cgroup.events")).unwrap()
            } else {
                fs::read_to_string(&self.switch).unwrap()
            };
            let frozen = text.contains("frozen 1") || text.starts_with("FROZEN");
            if frozen { Ok(()) } else { Err(text) }
        })
        .await;
    }

    fn thaw(&self) {
        let value = if self.v2 { "0" } else { "THAWED" };
        fs::write(&self.switch, value).unwrap();
    }
}

fn beats(board: &Board, pod: PodUid, id: &str) -> usize {
    board.log(pod, id).matches("beat").count()
}

/// Waits until a container has counted on by some.
async fn goes_on(board: &Board, pod: PodUid, id: &str) {
    let before = beats(board, pod, id);
    eventually(|| async {
        let now = beats(board, pod, id);
        if now > before + 10 {
            Ok(())
        } else {
            Err(format!("{now} beats"))
        }
    })
    .await;
}

async fn start(board: &Board, runtime: &KernelRuntime, pod: PodUid, ids: &[&str]) {
    for id in ids {
        let config = board.container(pod, id, BEATS);
        runtime.start_container(pod, &config).await.unwrap();
        goes_on(board, pod, id).await;
    }
}

async fn state(runtime: &KernelRuntime, uid: PodUid, id: &str) -> ContainerFact {
    let pods = runtime.observe().await;
    let pod = pods.into_iter().find(|p| p.uid == uid).unwrap();
    let container = pod.containers.into_iter().find(|c| c.id == id);
    container.unwrap().state
}

#[tokio::test]
async fn a_frozen_container_stands_still_and_goes_on_where_it_was() {
    let board = Board::new();
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    start(&board, &runtime, uid, &["ice-0", "free-0"]).await;

    let freezer = Freezer::of(&board, "ice-0");
    freezer.freeze().await;
    // What it wrote last may still be on its way while the other goes on once.
    goes_on(&board, uid, "free-0").await;
    let still = beats(&board, uid, "ice-0");
    goes_on(&board, uid, "free-0").await;
    assert_eq!(beats(&board, uid, "ice-0"), still);
    let frozen = state(&runtime, uid, "ice-0").await;
    assert!(matches!(frozen, ContainerFact::Running(_)), "{frozen:?}");

    freezer.thaw();
    goes_on(&board, uid, "ice-0").await;
    let thawed = state(&runtime, uid, "ice-0").await;
    assert_eq!(
        format!("{frozen:?}"),
        format!("{thawed:?}"),
        "the same life"
    );
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn a_frozen_container_is_ended_whole() {
    let board = Board::new();
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    start(&board, &runtime, uid, &["stopped-0", "deleted-0"]).await;
    for id in ["stopped-0", "deleted-0"] {
        Freezer::of(&board, id).freeze().await;
    }

    let grace = Duration::from_millis(100);
    (runtime.stop_container(uid, "stopped-0", grace).await).unwrap();
    eventually(|| async {
        match state(&runtime, uid, "stopped-0").await {
            ContainerFact::Exited(end) if (end.code, end.signal) == (137, 9) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    eventually(|| async {
        let left = processes(&Freezer::of(&board, "stopped-0").switch);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    // The other one is still frozen: its pod goes with it.
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}

fn processes(switch: &Path) -> String {
    fs::read_to_string(switch.with_file_name("cgroup.procs")).unwrap_or_default()
}
