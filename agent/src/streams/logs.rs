//! `kubectl logs`: reads the file no faster than its reader gives credit.

use std::path::{Path, PathBuf};

use bramble_agent_core::session::Observation;
use bramble_wire::report::{ContainerReport, ContainerState};
use bramble_wire::stream::{Logs, StreamError, channel};
use tokio::sync::watch;

use super::sender::Sender;
use crate::logs;

fn container<'a>(observation: &'a Observation, request: &Logs) -> Option<&'a ContainerReport> {
    super::container(observation, request.pod, &request.container)
}

/// The log file, or why there is none.
pub(super) fn find(
    directory: &Path,
    observation: &Observation,
    request: &Logs,
) -> Result<PathBuf, StreamError> {
    let name = &request.container;
    match logs::find(directory, name, request.previous) {
        Some(path) => Ok(path),
        None if request.previous => Err(StreamError::NotFound(format!(
            "previous terminated container {name:?} not found"
        ))),
        None => match container(observation, request).map(|container| &container.state) {
            Some(ContainerState::Waiting { reason, .. }) => Err(StreamError::Unavailable(format!(
                "container {name:?} is waiting to start: {reason}"
            ))),
            Some(_) => Err(StreamError::NotFound(format!(
                "the log of container {name:?} is not on the node any more"
            ))),
            None => Err(StreamError::NotFound(format!(
                "container {name:?} is not on this node"
            ))),
        },
    }
}

/// The life that runs now.
fn running_life(observation: &Observation, request: &Logs) -> Option<u32> {
    let container = container(observation, request)?;
    matches!(container.state, ContainerState::Running { .. }).then_some(container.restarts)
}

pub(super) async fn serve(
    path: PathBuf,
    request: Logs,
    mut observations: watch::Receiver<Observation>,
    sender: &Sender,
) {
    let life = running_life(&observations.borrow_and_update(), &request);
    let alive = watch::Sender::new(life.is_some() && !request.previous);
    let options = logs::Options::from(&request);
    let mut pieces = logs::spawn(path, options, alive.subscribe());
    loop {
        tokio::select! {
            piece = pieces.recv() => match piece {
                Some(Ok(bytes)) => {
                    if sender.data(channel::OUT, &bytes).await.is_err() {
                        return;
                    }
                }
                Some(Err(error)) => {
                    let text = format!("read the log: {error}");
                    return sender.end(Some(StreamError::Failed(text))).await;
                }
                None => return sender.end(None).await,
            },
            Ok(()) = observations.changed() => {
                let now = running_life(&observations.borrow_and_update(), &request);
                if now.is_none() || now != life {
                    alive.send_replace(false);
                }
            }
        }
    }
}
