//! `kubectl logs`: reads the file no faster than its reader gives credit.
//!
//! A follower is told places in the log with what it gets. When its stream broke off (the agent went, or
//! the connection), the controller opens another that goes on there: in the log of the same life, also
//! when that has ended meanwhile and another runs.

use std::path::Path;

use bramble_agent_core::session::Observation;
use bramble_wire::report::{ContainerReport, ContainerState};
use bramble_wire::stream::{Logs, Out, StreamError};
use tokio::sync::watch;

use super::sender::Sender;
use crate::logs::{self, Log, Options, Place};

fn container<'a>(observation: &'a Observation, request: &Logs) -> Option<&'a ContainerReport> {
    super::container(observation, request.pod, &request.container)
}

/// The log that is wanted and what of it, or why there is none.
pub(super) fn find(
    directory: &Path,
    observation: &Observation,
    request: &Logs,
) -> Result<(Log, Options), StreamError> {
    let name = &request.container;
    let gone = || {
        let text = format!("the log of container {name:?} is not on the node any more");
        StreamError::NotFound(text)
    };
    if let Some(resume) = &request.resume {
        let place = Place::of_cursor(&resume.cursor).ok_or_else(|| {
            let text = "the agent does not know where the log broke off".to_owned();
            StreamError::Failed(text)
        })?;
        let log = logs::of_life(directory, name, place.life).ok_or_else(gone)?;
        return Ok((log, Options::new(request, Some(place))));
    }
    match logs::find(directory, name, request.previous) {
        Some(log) => Ok((log, Options::new(request, None))),
        None if request.previous => Err(StreamError::NotFound(format!(
            "previous terminated container {name:?} not found"
        ))),
        None => match container(observation, request).map(|container| &container.state) {
            Some(ContainerState::Waiting { reason, .. }) => Err(StreamError::Unavailable(format!(
                "container {name:?} is waiting to start: {reason}"
            ))),
            Some(_) => Err(gone()),
            None => Err(StreamError::NotFound(format!(
                "container {name:?} is not on this node"
            ))),
        },
    }
}

/// Whether a life of a container goes on. One that was begun does, though the board may not have seen it
/// yet; only an end that is known is one.
pub(super) fn goes_on(observation: &Observation, request: &Logs, life: u32) -> bool {
    let Some(container) = container(observation, request) else {
        return false;
    };
    let ended = (container.last.as_ref())
        .and_then(|last| last.container_id.rsplit_once('-')?.1.parse().ok())
        .is_some_and(|ended: u32| ended >= life);
    let newest = container.restarts.saturating_add(1);
    newest <= life && !ended && !matches!(container.state, ContainerState::Terminated(_))
}

pub(super) async fn serve(
    (log, options): (Log, Options),
    request: Logs,
    mut observations: watch::Receiver<Observation>,
    sender: &Sender,
) {
    if request.follow && sender.tell(Out::Ready).await.is_err() {
        return;
    }
    let life = log.life;
    let alive = goes_on(&observations.borrow_and_update(), &request, life);
    let alive = watch::Sender::new(alive);
    let mut pieces = logs::spawn(log, options, alive.subscribe());
    loop {
        tokio::select! {
            piece = pieces.recv() => match piece {
                Some(Ok(piece)) => {
                    if sender.log(&piece.bytes, piece.mark).await.is_err() {
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
                if !goes_on(&observations.borrow_and_update(), &request, life) {
                    alive.send_replace(false);
                }
            }
        }
    }
}
