//! Hooks and probes of what runs, tried when the core's machine says so.
//!
//! In: the plan's targets, the whole list each time. Out: each container's health, shown in the next
//! snapshot and kept in the run directory, so that it outlives the agent; and events. One task and one
//! timer for all of the board, which owns the machine; tries are tasks of their own, so many of a pod
//! at once as it has places.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use bramble_agent_core::observed::Health;
use bramble_agent_core::probe::machine::{Key, Outcome, Places, Probes, Role, Try};
use bramble_agent_core::probe::{Check, Target};
use bramble_wire::object::PodUid;
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinSet};

use super::observe::id_of;
use super::{Board, Network, files};
use crate::probes::{self, Tried};
use crate::runtime::{self, ExecConfig, Runtime};
use crate::{clock, error_chain};

/// For each pod. A command is a process of its container; a request is a socket.
const PLACES: Places = Places {
    commands: 2,
    requests: 4,
};
/// Of the output of a command so much is kept, as upstream.
const OUTPUT_MAX: usize = 10 * 1024;

/// Runs until the board or the sender of targets is gone.
pub(super) async fn attend<R: Runtime, N: Network>(
    board: Weak<Board<R, N>>,
    mut targets: watch::Receiver<Vec<Target>>,
) {
    let mut probes = Probes::new(PLACES);
    let mut tries: JoinSet<Tried> = JoinSet::new();
    let mut under: BTreeMap<(Key, Role), AbortHandle> = BTreeMap::new();
    let mut which: BTreeMap<Id, (Key, Role)> = BTreeMap::new();
    loop {
        let now_ms = clock::now().boot_ms;
        while let Some(next) = probes.poll(now_ms) {
            let of = (next.key.clone(), next.role);
            let task = tries.spawn(attempt(Weak::clone(&board), next));
            which.insert(task.id(), of.clone());
            under.insert(of, task);
        }
        let Some(at) = board.upgrade() else { return };
        for (key, health) in probes.take_changed() {
            at.note_health(&key, health);
        }
        drop(at);
        let wake = probes.next_wake();
        let pause = wake.map(|at| Duration::from_millis(at.saturating_sub(now_ms)));
        tokio::select! {
            changed = targets.changed() => {
                let (Ok(()), Some(board)) = (changed, board.upgrade()) else { return };
                let list = targets.borrow_and_update().clone();
                let remembered = |key: &Key| board.health_of(key.uid, &id_of(&key.container, key.life));
                probes.set(list, remembered, clock::now().boot_ms);
                // Nobody waits for what is tried of a life that has ended.
                under.retain(|(key, _), task| {
                    let watched = probes.watches(key);
                    if !watched {
                        task.abort();
                    }
                    watched
                });
            }
            Some(done) = tries.join_next_with_id() => {
                let (id, tried) = match done {
                    Ok((id, tried)) => (id, tried),
                    Err(gone) => (gone.id(), Tried::unknown("it was given up")),
                };
                let Some((key, role)) = which.remove(&id) else { continue };
                if under.get(&(key.clone(), role)).is_none_or(|task| task.id() != id) {
                    continue;
                }
                under.remove(&(key.clone(), role));
                let Some(board) = board.upgrade() else { return };
                board.tell_of(&key, role, &tried);
                probes.handle(&key, role, tried.outcome, clock::now().boot_ms);
            }
            () = sleep(pause) => {}
        }
    }
}

async fn attempt<R: Runtime, N: Network>(board: Weak<Board<R, N>>, next: Try) -> Tried {
    let Try {
        key,
        check,
        timeout_ms,
        ..
    } = next;
    let Some(board) = board.upgrade() else {
        return Tried::unknown("the agent ends");
    };
    let id = id_of(&key.container, key.life);
    let Some(timeout_ms) = timeout_ms else {
        return match board.run_hook(key.uid, &id, &check).await {
            Ok(()) => Tried::success(""),
            Err(why) => Tried::failure(why),
        };
    };
    let limit = Duration::from_millis(timeout_ms);
    match &check {
        Check::Exec(argv) => board.exec_probe(key.uid, &id, argv, limit).await,
        _ => probes::probe(&check, limit).await,
    }
}

impl<R: Runtime, N: Network> Board<R, N> {
    /// Runs a hook to its end.
    pub(super) async fn run_hook(
        &self,
        uid: PodUid,
        id: &str,
        check: &Check,
    ) -> Result<(), String> {
        match check {
            Check::Exec(argv) => match self.execute_in(uid, id, argv, None).await {
                Ok((0, _)) => Ok(()),
                Ok((code, output)) => Err(format!(
                    "command '{}' exited with {code}: {}",
                    argv.join(" "),
                    String::from_utf8_lossy(&output)
                )),
                Err(error) => Err(error_chain(&error)),
            },
            Check::Sleep { seconds } => {
                tokio::time::sleep(Duration::from_secs((*seconds).into())).await;
                Ok(())
            }
            Check::Http(check) => probes::http_hook(check).await,
            Check::Impossible(why) => Err(why.clone()),
            Check::Tcp { .. } | Check::Grpc { .. } => Err("invalid handler".into()),
        }
    }

    /// The texts are upstream's.
    async fn exec_probe(&self, uid: PodUid, id: &str, argv: &[String], limit: Duration) -> Tried {
        // Its time begins when it is its turn; given up, the command is killed.
        match self.execute_in(uid, id, argv, Some(limit)).await {
            Err(runtime::Error::TooLate { limit }) => Tried::failure(format!(
                "command timed out: {:?} timed out after {limit:?}",
                argv.join(" ")
            )),
            Ok((0, _)) => Tried::success(""),
            Ok((_, output)) => Tried::failure(String::from_utf8_lossy(&output)),
            Err(error) => Tried::unknown(error_chain(&error)),
        }
    }

    async fn execute_in(
        &self,
        uid: PodUid,
        id: &str,
        argv: &[String],
        limit: Option<Duration>,
    ) -> Result<(i32, Vec<u8>), runtime::Error> {
        let config = ExecConfig {
            limit,
            ..ExecConfig::captured(argv.to_vec())
        };
        let session = self.runtime.exec(uid, id, &config).await?;
        session.collect(OUTPUT_MAX).await
    }

    fn tell_of(&self, key: &Key, role: Role, tried: &Tried) {
        let probe = match role {
            Role::PostStart if tried.outcome == Outcome::Success => return,
            Role::PostStart => {
                let why = &tried.message;
                tracing::info!(pod = %key.uid, container = %key.container, why, "postStart hook failed");
                let text = "PostStartHook failed";
                return self.tell(key.uid, &key.container, true, "FailedPostStartHook", text);
            }
            Role::Startup => "Startup",
            Role::Liveness => "Liveness",
            Role::Readiness => "Readiness",
        };
        let message = &tried.message;
        let (reason, text) = match tried.outcome {
            Outcome::Success if message.is_empty() => return,
            Outcome::Success => ("ProbeWarning", format!("{probe} probe warning: {message}")),
            Outcome::Failure => ("Unhealthy", format!("{probe} probe failed: {message}")),
            Outcome::Unknown => (
                "Unhealthy",
                format!("{probe} probe errored and resulted in unknown state: {message}"),
            ),
        };
        self.tell(key.uid, &key.container, true, reason, &text);
    }

    /// What is known of a container's health, by this agent or the one before it.
    pub(super) fn health_of(&self, uid: PodUid, id: &str) -> Option<Health> {
        let key = (uid, id.to_owned());
        *(self.healths().entry(key))
            .or_insert_with(|| files::read_record(&self.directories.health(uid, id)))
    }

    fn note_health(&self, key: &Key, health: Health) {
        let id = id_of(&key.container, key.life);
        let path = self.directories.health(key.uid, &id);
        // A small file in memory. Without it the next agent only begins anew.
        if let Err(error) = files::write_record(&path, &health) {
            tracing::debug!(pod = %key.uid, container = id, %error, "health is not remembered");
        }
        let old = self.healths().insert((key.uid, id), Some(health));
        if old != Some(Some(health)) {
            self.changed();
        }
    }
}

/// For ever without a pause.
async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}
