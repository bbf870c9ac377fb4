//! Against a runtime that can't stop anything.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::events::Events;
use crate::image;
use crate::pods::Directories;
use crate::runtime::{
    ContainerConfig, Error, ExecConfig, ObservedPod, PodConfig, PodHandle, Session,
};
use bramble_agent_core::plan::PodNetwork;
use bramble_wire::shim::ContainerRecord;
use bramble_wire::stream::Stdio;
use std::path::Path;

#[derive(Default)]
struct Deaf {
    told: AtomicU32,
}

impl Runtime for Deaf {
    async fn ensure_pod(&self, pod: &PodConfig) -> std::result::Result<PodHandle, Error> {
        Err(Error::ShimGone { pod: pod.uid })
    }

    async fn start_container(
        &self,
        pod: PodUid,
        _: &ContainerConfig,
    ) -> std::result::Result<ContainerRecord, Error> {
        Err(Error::ShimGone { pod })
    }

    async fn stop_container(
        &self,
        pod: PodUid,
        _: &str,
        _: Duration,
    ) -> std::result::Result<(), Error> {
        self.told.fetch_add(1, Ordering::SeqCst);
        Err(Error::ShimGone { pod })
    }

    async fn exec(
        &self,
        pod: PodUid,
        _: &str,
        _: &ExecConfig,
    ) -> std::result::Result<Session, Error> {
        Err(Error::ShimGone { pod })
    }

    async fn attach(&self, pod: PodUid, _: &str, _: Stdio) -> std::result::Result<Session, Error> {
        Err(Error::ShimGone { pod })
    }

    async fn delete_container(&self, _: PodUid, _: &str) -> std::result::Result<(), Error> {
        Ok(())
    }

    async fn stop_pod(&self, _: PodUid) -> std::result::Result<(), Error> {
        Ok(())
    }

    async fn delete_pod(&self, _: PodUid) -> std::result::Result<(), Error> {
        Ok(())
    }

    async fn observe(&self) -> Vec<ObservedPod> {
        Vec::new()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}

struct Nowhere;

impl Network for Nowhere {
    async fn attach(&self, _: PodUid, _: &Path, _: PodNetwork) -> std::result::Result<(), String> {
        Ok(())
    }

    async fn detach(&self, _: PodUid) -> std::result::Result<(), String> {
        Ok(())
    }
}

/// Whoever could not be told is told again: the failure takes the note away that it was told, even
/// when it comes at once, on another thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_that_fails_at_once_is_not_taken_for_told() {
    let dir = tempfile::tempdir().unwrap();
    let directories = Directories {
        run: dir.path().join("run"),
        data: dir.path().join("data"),
    };
    let images = image::Store::open(&directories.data, Path::new("/nowhere")).unwrap();
    let board = Board::new(
        Deaf::default(),
        Nowhere,
        Arc::new(images),
        directories,
        Events::channel().0,
    );
    let uid = PodUid([1; 16]);
    for round in 1..=2_000 {
        let input = StopInput {
            container: "c".into(),
            life: round,
            hold: true,
            ..StopInput::default()
        };
        board.stop(uid, input).await.map_err(|_| "stop").unwrap();
    }
    let begin = Instant::now();
    while board.runtime.told.load(Ordering::SeqCst) < 2_000 || !board.stopping().is_empty() {
        let left = board.stopping().len();
        assert!(begin.elapsed() < Duration::from_secs(20), "{left} are left");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
