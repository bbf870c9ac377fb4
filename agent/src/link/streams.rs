//! Log streams: each reads its file no faster than its reader gives credit.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bramble_agent_core::session::Observation;
use bramble_wire::limits::{STREAM_FRAME_MAX, STREAMS_MAX};
use bramble_wire::object::PodUid;
use bramble_wire::report::{ContainerReport, ContainerState};
use bramble_wire::stream::{In, Logs, Open, Out, StreamError, What};
use bramble_wire::topic::StreamId;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::logs;

/// Frames of all streams on their way to the link.
const FRAMES: usize = 8;

/// Where a pod's log files are.
#[derive(Clone)]
pub struct LogSource(Arc<dyn Fn(PodUid) -> PathBuf + Send + Sync>);

impl LogSource {
    /// Log files of a pod are in this directory.
    pub fn new(directory: impl Fn(PodUid) -> PathBuf + Send + Sync + 'static) -> Self {
        Self(Arc::new(directory))
    }
}

/// Output of a stream.
pub(super) struct Frame {
    pub(super) id: StreamId,
    pub(super) out: Out,
}

/// The open streams.
pub(super) struct Streams {
    open: HashMap<StreamId, Stream>,
    logs: LogSource,
    observations: watch::Receiver<Observation>,
    frames: mpsc::Sender<Frame>,
}

struct Stream {
    /// Bytes that may be sent in all.
    credit: watch::Sender<u64>,
    task: AbortHandle,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Streams {
    pub(super) fn new(
        logs: LogSource,
        observations: watch::Receiver<Observation>,
    ) -> (Self, mpsc::Receiver<Frame>) {
        let (frames, inbox) = mpsc::channel(FRAMES);
        let streams = Self {
            open: HashMap::new(),
            logs,
            observations,
            frames,
        };
        (streams, inbox)
    }

    pub(super) fn open(&mut self, id: StreamId, open: Open) {
        let What::Logs(request) = open.what else {
            return self.refuse(id);
        };
        let (credit, allowed) = watch::channel(u64::from(open.credit));
        let sender = Sender {
            id,
            frames: self.frames.clone(),
            allowed,
            offset: 0,
        };
        let source = if self.open.len() >= STREAMS_MAX {
            let text = format!("the node serves {STREAMS_MAX} streams already");
            Err(StreamError::Unavailable(text))
        } else {
            let directory = (self.logs.0)(request.pod);
            let observation = self.observations.borrow();
            find(&directory, &observation, &request)
        };
        let observations = self.observations.clone();
        let task = tokio::spawn(async move {
            match source {
                Ok(path) => serve(path, request, observations, sender).await,
                Err(error) => sender.end(Some(error)).await,
            }
        });
        let task = task.abort_handle();
        self.open.insert(id, Stream { credit, task });
    }

    pub(super) fn handle_in(&mut self, id: StreamId, input: &In) {
        match input {
            In::Credit(total) => {
                if let Some(stream) = self.open.get(&id) {
                    stream.credit.send_if_modified(|old| {
                        let more = *total > *old;
                        *old = (*old).max(*total);
                        more
                    });
                }
            }
            In::Close => self.close(id),
            In::Data { .. }
            | In::End { .. }
            | In::Resize { .. }
            | In::Connect { .. }
            | In::ChannelCredit { .. } => {}
        }
    }

    /// Answers what this agent can't serve.
    fn refuse(&mut self, id: StreamId) {
        let (_, allowed) = watch::channel(0);
        let sender = Sender {
            id,
            frames: self.frames.clone(),
            allowed,
            offset: 0,
        };
        tokio::spawn(async move {
            let error = StreamError::Unavailable("this agent serves logs only".to_owned());
            sender.end(Some(error)).await;
        });
    }

    pub(super) fn close(&mut self, id: StreamId) {
        self.open.remove(&id);
    }

    pub(super) fn close_all(&mut self) {
        self.open.clear();
    }
}

fn container<'a>(observation: &'a Observation, request: &Logs) -> Option<&'a ContainerReport> {
    let pod = observation.pods.get(&request.pod)?;
    (pod.containers.iter()).find(|container| container.name == request.container)
}

/// The log file, or why there is none.
fn find(
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

async fn serve(
    path: PathBuf,
    request: Logs,
    mut observations: watch::Receiver<Observation>,
    mut sender: Sender,
) {
    let life = running_life(&observations.borrow_and_update(), &request);
    let alive = watch::Sender::new(life.is_some() && !request.previous);
    let options = logs::Options::from(&request);
    let mut pieces = logs::spawn(path, options, alive.subscribe());
    loop {
        tokio::select! {
            piece = pieces.recv() => match piece {
                Some(Ok(bytes)) => {
                    if sender.data(&bytes).await.is_err() {
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

/// Sends within the credit.
struct Sender {
    id: StreamId,
    frames: mpsc::Sender<Frame>,
    allowed: watch::Receiver<u64>,
    offset: u64,
}

impl Sender {
    /// Waits for credit as long as it takes: a reader who does not read holds up only himself.
    async fn data(&mut self, mut bytes: &[u8]) -> Result<(), ()> {
        while !bytes.is_empty() {
            let offset = self.offset;
            let allowed = self.allowed.wait_for(|allowed| *allowed > offset).await;
            let credit = *allowed.map_err(drop)? - offset;
            let most = usize::try_from(credit).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(most).min(STREAM_FRAME_MAX));
            let out = Out::Data {
                offset,
                bytes: now.to_vec(),
            };
            let frame = Frame { id: self.id, out };
            self.frames.send(frame).await.map_err(drop)?;
            self.offset += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    async fn end(self, error: Option<StreamError>) {
        let out = Out::End {
            offset: self.offset,
            error,
        };
        // Nobody is left to hear it when the agent stops.
        let _ = self.frames.send(Frame { id: self.id, out }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(container: &str) -> Open {
        Open {
            boot: Default::default(),
            credit: 10,
            what: What::Logs(Logs {
                pod: PodUid([1; 16]),
                container: container.into(),
                follow: false,
                previous: false,
                timestamps: false,
                tail_lines: None,
                since_unix_s: None,
                limit_bytes: None,
            }),
        }
    }

    fn streams(directory: &Path) -> (Streams, mpsc::Receiver<Frame>, watch::Sender<Observation>) {
        let (sender, observations) = watch::channel(Observation::default());
        let directory = directory.to_owned();
        let source = LogSource::new(move |_| directory.clone());
        let (streams, frames) = Streams::new(source, observations);
        (streams, frames, sender)
    }

    #[tokio::test]
    async fn nothing_is_sent_beyond_the_credit() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("c");
        std::fs::create_dir(&folder).unwrap();
        let line = "2026-01-02T03:04:05.000000000Z stdout F 0123456789abcdef\n";
        std::fs::write(folder.join("1.log"), line.repeat(2)).unwrap();
        let (mut streams, mut frames, _keep) = streams(directory.path());
        let id = StreamId(7);
        streams.open(id, request("c"));
        let mut text = Vec::new();
        let mut credit = 10;
        loop {
            match frames.recv().await.expect("a frame").out {
                Out::Data { offset, bytes } => {
                    assert_eq!(offset, text.len() as u64);
                    text.extend(bytes);
                    assert!(text.len() as u64 <= credit);
                    if text.len() as u64 == credit {
                        credit += 7;
                        streams.handle_in(id, &In::Credit(credit));
                        // An older number takes nothing back.
                        streams.handle_in(id, &In::Credit(1));
                    }
                }
                Out::End { offset, error } => {
                    assert_eq!((offset, error), (34, None));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(text, b"0123456789abcdef\n0123456789abcdef\n");
    }

    #[tokio::test]
    async fn what_is_not_there_and_what_is_too_much_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let (mut streams, mut frames, _keep) = streams(directory.path());
        for n in 0..=STREAMS_MAX as u64 {
            streams.open(StreamId(n), request("../c"));
        }
        let mut unavailable = 0;
        for _ in 0..=STREAMS_MAX {
            match frames.recv().await.expect("a frame").out {
                Out::End {
                    error: Some(StreamError::NotFound(_)),
                    ..
                } => {}
                Out::End {
                    error: Some(StreamError::Unavailable(_)),
                    ..
                } => unavailable += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(unavailable, 1);
    }
}
