//! Ending containers: preStop hook, turn, signal, all within one grace.
//!
//! In: [`StopInput`]s, also again for the same life. Out: what the runtime is told, and which
//! containers have been told (shown in the next snapshot; lost with the agent, which then tells them
//! again). A hook or a wait for a turn is a task of its own, so that nothing waits for it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bramble_agent_core::observed::Stopping;
use bramble_agent_core::plan::StopInput;
use bramble_agent_core::probe::Check;
use bramble_wire::object::PodUid;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::execute::{Result, other};
use super::observe::id_of;
use super::{Board, Network};
use crate::runtime::Runtime;

/// What a container gets at least after its hook or its turn, as upstream
/// (`minimumGracePeriodInSeconds`).
const LEAST: Duration = Duration::from_secs(2);

/// A container that has been told to stop.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) told: Stopping,
    /// The task that has its hook or its turn to wait for; ended with this.
    task: Option<(watch::Sender<Order>, AbortHandle)>,
}

impl Drop for Stop {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.task {
            task.abort();
        }
    }
}

/// What a task goes by; may change while it waits.
#[derive(Debug, Clone, Copy)]
struct Order {
    until: Instant,
    held: bool,
}

impl<R: Runtime, N: Network> Board<R, N> {
    /// Tells a container to end. Does not wait for it.
    pub(super) async fn stop(&self, uid: PodUid, input: StopInput) -> Result {
        let id = id_of(&input.container, input.life);
        let key = (uid, id.clone());
        let grace = Duration::from_secs(input.grace_s.into());
        let order = Order {
            until: Instant::now() + grace,
            held: input.hold,
        };
        let told = Stopping {
            grace_s: input.grace_s,
            held: input.hold,
        };
        if !input.why.is_empty() {
            self.tell(uid, &input.container, false, "Killing", &input.why);
        }
        if self.follow(&key, order, told) {
            self.changed();
            return Ok(());
        }
        if input.pre_stop.is_some() || input.hold {
            let (orders, follows) = watch::channel(order);
            let Some(board) = self.me.upgrade() else {
                return Ok(());
            };
            // The task takes its entry away when it fails, which must not happen before it is there:
            // then nobody would ever tell the container again.
            let mut stopping = self.stopping();
            let ending = tokio::spawn(board.end(uid, id, input, follows));
            let task = Some((orders, ending.abort_handle()));
            stopping.insert(key, Stop { told, task });
        } else {
            let stopped = self.runtime.stop_container(uid, &id, grace).await;
            stopped.map_err(other)?;
            self.stopping().insert(key, Stop { told, task: None });
        }
        self.changed();
        Ok(())
    }

    /// Passes a new order on to the task that is at it, if there is one.
    fn follow(&self, key: &(PodUid, String), order: Order, told: Stopping) -> bool {
        let mut stopping = self.stopping();
        let Some(stop) = stopping.get_mut(key) else {
            return false;
        };
        let Some((orders, task)) = &stop.task else {
            return false;
        };
        if task.is_finished() {
            return false;
        }
        orders.send_modify(|known| {
            // The turn may leave more than was left: then what was promised first holds.
            known.until = match known.held && !order.held {
                true => known.until.max(order.until),
                false => known.until.min(order.until),
            };
            known.held &= order.held;
        });
        stop.told = Stopping {
            grace_s: told.grace_s.min(stop.told.grace_s),
            held: told.held && stop.told.held,
        };
        true
    }

    /// Hook, turn, signal.
    async fn end(
        self: Arc<Self>,
        uid: PodUid,
        id: String,
        input: StopInput,
        mut orders: watch::Receiver<Order>,
    ) {
        if let Some(check) = &input.pre_stop {
            self.hook(uid, &id, &input.container, check, orders.clone())
                .await;
        }
        loop {
            let order = *orders.borrow_and_update();
            if !order.held {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep_until(order.until) => break,
                changed = orders.changed() => if changed.is_err() { break },
            }
        }
        let left = orders
            .borrow()
            .until
            .saturating_duration_since(Instant::now());
        let stopped = self.runtime.stop_container(uid, &id, left.max(LEAST)).await;
        if let Err(error) = stopped {
            tracing::warn!(pod = %uid, container = id, %error, "could not be told to stop");
            // It is told again.
            let mut stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
            stopping.remove(&(uid, id));
        }
        self.changed();
    }

    /// Runs a preStop hook until the grace ends.
    async fn hook(
        &self,
        uid: PodUid,
        id: &str,
        container: &str,
        check: &Check,
        mut orders: watch::Receiver<Order>,
    ) {
        let hook = self.run_hook(uid, id, check);
        tokio::pin!(hook);
        let failed = loop {
            let until = orders.borrow_and_update().until;
            tokio::select! {
                done = &mut hook => break done.err(),
                () = tokio::time::sleep_until(until) => {
                    break Some("PreStop hook did not complete within the grace period".to_owned());
                }
                Ok(()) = orders.changed() => {}
            }
        };
        if let Some(why) = failed {
            tracing::info!(pod = %uid, container, why, "preStop hook failed");
            self.tell(
                uid,
                container,
                true,
                "FailedPreStopHook",
                "PreStopHook failed",
            );
        }
    }
}

#[cfg(test)]
mod tests;
