//! Real containers from a busybox root: needs root, cgroups and overlayfs.
#![allow(missing_docs)]

mod support;

use std::time::Duration;

use bramble_agent::runtime::{ContainerFact, KernelRuntime, Runtime};
use bramble_wire::object::PodUid;
use bramble_wire::shim::ExitRecord;

use support::{Board, eventually, pod, uid};

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
