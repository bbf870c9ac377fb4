//! Work that may block for ever, each on a thread of its own.
//!
//! A file system that does not answer (a dead NFS server under a hostPath) holds whoever asks it for
//! as long as it likes. Such work must take no place of the runtime's few blocking threads, which
//! everybody shares. Who calls bounds how many there are: a pod has one action at a time, and an
//! action waits for its work.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

/// Enough for walks through directories; only what is touched is memory.
const STACK: usize = 512 * 1024;

/// Runs work and waits for it. Dropped, the work goes on and nobody hears of it.
///
/// # Errors
/// When there is no thread to be had, or the work panicked.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, waiting) = oneshot::channel();
    std::thread::Builder::new()
        .name("board".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            if let Ok(result) = catch_unwind(AssertUnwindSafe(work)) {
                // Who asked may be gone.
                let _ = done.send(result);
            }
        })?;
    waiting
        .await
        .map_err(|_| io::Error::other("work on the board's files panicked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_hangs_takes_no_place_of_other_work() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Arc::new(std::sync::Mutex::new(held));
        runtime.block_on(async {
            for _ in 0..20 {
                let held = std::sync::Arc::clone(&held);
                tokio::spawn(run(move || {
                    let _ = held.lock().map(|held| held.recv());
                }));
            }
            tokio::task::yield_now().await;
            assert_eq!(run(|| 7).await.unwrap(), 7);
            assert_eq!(tokio::task::spawn_blocking(|| 8).await.unwrap(), 8);
            assert!(run(|| panic!("on purpose")).await.is_err());
        });
        drop(hold);
    }
}
