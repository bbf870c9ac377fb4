//! The lock of a run directory: two agents on one would fight. In: its path. Out: the open file that holds
//! it, for as long as the agent lives.
//!
//! An agent that is killed while it starts a program leaves the child between fork and exec with a copy of
//! the file, and with it the lock, until the child closes it in exec(2). On a busy board that takes a while,
//! and whoever starts the next agent at once must not find its place taken.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tokio::time::{Instant, sleep};

/// How long somebody may hold it who is about to let go; then it is another agent.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(10);

/// Takes the lock.
///
/// # Errors
/// When another process keeps it, or the file can't be made.
pub(crate) async fn take(path: &Path) -> io::Result<File> {
    let file = File::create(path)?;
    let begun = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => sleep(PAUSE).await,
            result => return result.map(|()| file).map_err(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_child_that_is_about_to_let_go_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = take(&path).await.unwrap();
        let letting_go = async {
            sleep(Duration::from_secs(1)).await;
            drop(held);
        };
        let (taken, ()) = tokio::join!(take(&path), letting_go);
        let _taken = taken.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn another_agent_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _held = take(&path).await.unwrap();
        let begun = Instant::now();
        let error = take(&path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(begun.elapsed() >= PATIENCE);
    }
}
