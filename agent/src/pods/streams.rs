//! What streams need of the board.

use std::path::PathBuf;
use std::sync::Weak;

use bramble_wire::object::PodUid;
use bramble_wire::shim::path;
use bramble_wire::stream::Stdio;
use futures_util::future::BoxFuture;

use super::{Board, Network};
use crate::runtime::{Error, ExecConfig, Runtime, Session};
use crate::streams::Pods;

impl<R: Runtime, N: Network> Pods for Board<R, N> {
    fn exec(
        &self,
        pod: PodUid,
        id: String,
        config: ExecConfig,
    ) -> BoxFuture<'static, Result<Session, Error>> {
        let board = Weak::clone(&self.me);
        Box::pin(async move {
            let board = board.upgrade().ok_or(Error::ShimGone { pod })?;
            board.runtime.exec(pod, &id, &config).await
        })
    }

    fn attach(
        &self,
        pod: PodUid,
        id: String,
        stdio: Stdio,
    ) -> BoxFuture<'static, Result<Session, Error>> {
        let board = Weak::clone(&self.me);
        Box::pin(async move {
            let board = board.upgrade().ok_or(Error::ShimGone { pod })?;
            board.runtime.attach(pod, &id, stdio).await
        })
    }

    fn log_dir(&self, pod: PodUid) -> PathBuf {
        self.directories.logs(pod)
    }

    fn network_namespace(&self, pod: PodUid) -> Option<PathBuf> {
        let file = self.directories.pod(pod).join(path::NAMESPACES).join("net");
        // A pod on the board's network has none of its own.
        file.exists().then_some(file)
    }
}
