//! Takes a board's pods off it, in order: `bramble-agent drain`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use bramble_agent::clock;
use bramble_agent::config::Drain;
use bramble_agent::events::Events;
use bramble_agent::pods::{Board, Bridge};
use bramble_agent::reconcile::World;
use bramble_agent::runtime::cgroup::Cgroups;
use bramble_agent::runtime::{KernelRuntime, Options};
use bramble_agent_core::plan::{Action, StopInput};

use crate::agent::{open_board, open_images, prepare};

/// Ends every pod of a run directory.
///
/// # Errors
/// When something is left.
pub(crate) async fn run(drain: Drain) -> anyhow::Result<()> {
    let places = &drain.places;
    let _lock = prepare(places).await?;
    let images = Arc::new(open_images(places)?);
    let options =
        Options::beside_this_program(&places.run_dir, &places.data_dir, &places.cgroup_parent)?;
    // Nobody listens any more.
    let (events, _told) = Events::channel();
    let board = open_board(places, options, &images, events).await?;
    end_gently(&board, drain.grace).await;
    let mut failures = board.clear(clock::now()).await;
    if let Err(error) = board.network().remove().await {
        failures.push(format!("the bridge: {error}"));
    }
    if !failures.is_empty() {
        bail!("left behind: {}", failures.join("; "));
    }
    // An empty group is nobody's harm, and the next boot has none.
    for error in Cgroups::discover(&places.cgroup_parent)?.remove_parent() {
        tracing::warn!("{error}");
    }
    Ok(())
}

/// TERM, and a while to heed it.
async fn end_gently(board: &Board<KernelRuntime, Bridge>, grace_s: u32) {
    use bramble_agent_core::observed::Run;
    let mut changes = World::changes(board);
    let wait = async {
        loop {
            changes.mark_unchanged();
            let seen = board.observe(&Default::default(), clock::now()).await;
            let mut running = false;
            for (uid, pod) in &seen.pods {
                let containers: Vec<StopInput> = (pod.containers.iter())
                    .filter_map(|(name, container)| match container.run {
                        Run::Running { stopping, .. } => {
                            running = true;
                            stopping.is_none().then(|| StopInput {
                                container: name.clone(),
                                life: container.life,
                                grace_s,
                                ..StopInput::default()
                            })
                        }
                        Run::Exited(_) => None,
                    })
                    .collect();
                if !containers.is_empty() {
                    let uid = *uid;
                    let stop = Action::StopContainers { uid, containers };
                    if let Err(failed) = board.execute(stop).await {
                        tracing::warn!(pod = %uid, error = failed.message(), "could not be asked to end");
                    }
                }
            }
            if !running || changes.changed().await.is_err() {
                return;
            }
        }
    };
    let limit = Duration::from_secs(u64::from(grace_s) + 2);
    if tokio::time::timeout(limit, wait).await.is_err() {
        tracing::warn!("some containers did not end in time; they are killed");
    }
}
