//! Turns for starting commands in containers.
//!
//! In: a pod, and what starts a command in it. Out: when its turn came, and what became of it. A turn
//! is for the start alone, which costs a helper of some megabytes for a moment; what was started runs
//! without one. A pod starts one command at a time, however long that takes: a container that is
//! throttled or frozen delays the commands of its own pod. A start that takes long gives the board's
//! turn back and goes on without it, so that it delays no other pod's.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bramble_wire::object::PodUid;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

/// Commands that are being started at once; more wait for their turn.
const AT_ONCE: usize = 4;
/// A start that takes longer than this holds no other pod up any more.
const HOLD: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Turns {
    board: Arc<Semaphore>,
    pods: Mutex<BTreeMap<PodUid, Weak<Semaphore>>>,
}

/// A start whose turn has come.
#[derive(Debug)]
pub(super) struct Begun<T> {
    /// When.
    pub(super) since: Instant,
    /// What becomes of it; nothing when the start panicked.
    pub(super) result: oneshot::Receiver<T>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            board: Arc::new(Semaphore::new(AT_ONCE)),
            pods: Mutex::default(),
        }
    }

    /// Waits for a turn and begins the start; `None` when the pod's own turn is still another's after
    /// [`HOLD`] and the limit: what asked for it has failed then. Whoever gives up waiting for its result leaves it to
    /// itself: it keeps its pod's turn until it is done.
    pub(super) async fn begin<T: Send + 'static>(
        &self,
        pod: PodUid,
        limit: Option<Duration>,
        start: impl Future<Output = T> + Send + 'static,
    ) -> Option<Begun<T>> {
        // Neither is ever closed.
        let own = self.of_pod(pod).acquire_owned();
        let own = match limit {
            Some(limit) => tokio::time::timeout(HOLD + limit, own).await.ok()?,
            None => own.await,
        };
        let board = Arc::clone(&self.board).acquire_owned().await;
        let (done, result) = oneshot::channel();
        tokio::spawn(async move {
            let _own = own;
            tokio::pin!(start);
            let in_time = tokio::time::timeout(HOLD, &mut start).await;
            drop(board);
            let result = match in_time {
                Ok(result) => result,
                Err(_) => start.await,
            };
            // Nobody may wait for it any more.
            let _ = done.send(result);
        });
        Some(Begun {
            since: Instant::now(),
            result,
        })
    }

    fn of_pod(&self, pod: PodUid) -> Arc<Semaphore> {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = pods.get(&pod).and_then(Weak::upgrade) {
            return own;
        }
        pods.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(1));
        pods.insert(pod, Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    fn pod(n: u8) -> PodUid {
        PodUid([n; 16])
    }

    #[tokio::test(start_paused = true)]
    async fn starts_that_hang_hold_up_no_other_pod() {
        let turns = Turns::new();
        for n in 0..8 {
            // Nobody waits for their results, as a probe that is out of time.
            turns.begin(pod(n), None, pending::<()>()).await;
        }
        let asked = Instant::now();
        let begun = turns.begin(pod(100), None, async { 7 }).await.unwrap();
        assert!(asked.elapsed() <= HOLD);
        assert_eq!(begun.result.await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_starts_one_command_at_a_time() {
        let turns = Turns::new();
        let (end, ended) = oneshot::channel::<()>();
        let first = turns.begin(pod(1), None, ended).await;
        // Given up: it is being started all the same.
        drop(first);
        let hour = Duration::from_secs(3600);
        // What has a limit fails by it, and not when the first is done.
        let (asked, limit) = (Instant::now(), Duration::from_secs(1));
        let late = turns.begin(pod(1), Some(limit), async { 7 }).await;
        assert!(late.is_none() && asked.elapsed() == HOLD + limit);
        let second = turns.begin(pod(1), None, async { 7 });
        tokio::pin!(second);
        assert!(tokio::time::timeout(hour, &mut second).await.is_err());
        end.send(()).unwrap();
        let second = second.await.unwrap();
        assert_eq!(
            second.since,
            Instant::now(),
            "its time begins with its turn"
        );
        assert_eq!(second.result.await, Ok(7));
        assert_eq!(turns.pods.lock().unwrap().len(), 1);
    }
}
