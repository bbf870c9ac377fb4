//! Streams: logs, commands, attached clients and forwarded connections, for whoever asks the API.
//!
//! In: what the controller opens and says, from the link's task. Out: frames to the link, a few at a
//! time. Each stream is a task of its own that waits for credit, for its container or for its client's
//! input, so a slow one holds up neither the link nor the loop. There are at most
//! [`STREAMS_MAX`], and each holds its windows and what is in the hands of the kernel.
//!
//! Those of a person at the board are served apart ([`Local`]).
//!
//! A stream ends with its source, when the controller closes it or has said nothing for
//! [`SILENCE`], and with the connection to the broker.

mod command;
mod forward;
mod inbox;
mod local;
mod logs;
mod object;
mod sender;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bramble_agent_core::session::{Document, Observation};
use bramble_wire::limits::{STREAM_CREDIT_MAX, STREAMS_MAX};
use bramble_wire::object::PodUid;
use bramble_wire::report::ContainerReport;
use bramble_wire::stream::{In, Open, Out, Stdio, StreamError, What, channel};
use bramble_wire::topic::StreamId;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::runtime::{Error, ExecConfig, Session};
use forward::Connections;
use inbox::Inbox;
pub use local::Local;
use sender::Sender;

/// Frames of all streams on their way to the link.
const FRAMES: usize = 8;

/// The controller repeats its credit every 15 s; one that is silent for so long has gone, or has
/// forgotten the stream.
const SILENCE: Duration = Duration::from_secs(60);

/// What streams need of the board.
pub trait Pods: Send + Sync + 'static {
    /// Executes a command in a running container.
    fn exec(
        &self,
        pod: PodUid,
        id: String,
        config: ExecConfig,
    ) -> BoxFuture<'static, Result<Session, Error>>;

    /// Joins the streams of a running container.
    fn attach(
        &self,
        pod: PodUid,
        id: String,
        stdio: Stdio,
    ) -> BoxFuture<'static, Result<Session, Error>>;

    /// Log files of a pod are in this directory.
    fn log_dir(&self, pod: PodUid) -> PathBuf;

    /// File of a pod's network namespace; `None` for one on the board's network.
    fn network_namespace(&self, pod: PodUid) -> Option<PathBuf>;
}

/// Output of a stream.
pub(crate) struct Frame {
    pub(crate) id: StreamId,
    pub(crate) out: Out,
}

/// The open streams.
pub(crate) struct Streams {
    open: HashMap<StreamId, Stream>,
    pods: Arc<dyn Pods>,
    /// Never marked as seen.
    observations: watch::Receiver<Observation>,
    documents: watch::Receiver<Option<Arc<Document>>>,
    frames: mpsc::Sender<Frame>,
}

struct Stream {
    /// Bytes that may be sent in all.
    credit: watch::Sender<u64>,
    /// The controller said something.
    heard: watch::Sender<()>,
    input: Arc<Inbox>,
    /// Columns and rows of the terminal.
    size: watch::Sender<(u16, u16)>,
    connections: Option<Connections>,
    task: AbortHandle,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Streams {
    pub(crate) fn new(
        pods: Arc<dyn Pods>,
        observations: watch::Receiver<Observation>,
        documents: watch::Receiver<Option<Arc<Document>>>,
    ) -> (Self, mpsc::Receiver<Frame>) {
        let (frames, inbox) = mpsc::channel(FRAMES);
        let streams = Self {
            open: HashMap::new(),
            pods,
            observations,
            documents,
            frames,
        };
        (streams, inbox)
    }

    pub(crate) fn open(&mut self, id: StreamId, open: Open) {
        let (credit, allowed) = watch::channel(u64::from(open.credit));
        let sender = Arc::new(Sender::new(id, self.frames.clone(), allowed));
        let (heard, silence) = watch::channel(());
        let (size, sizes) = watch::channel((0, 0));
        let input = Arc::new(Inbox::new(channel::IN, STREAM_CREDIT_MAX));
        let connections = match &open.what {
            What::Forward(forward) => Some(Connections::new(
                id,
                self.frames.clone(),
                (forward.ports.clone(), open.credit),
                self.pods.network_namespace(forward.pod),
            )),
            _ => None,
        };
        let busy = self.open.len() >= STREAMS_MAX;
        let ends = command::Ends {
            input: Arc::clone(&input),
            sizes,
        };
        let (pods, observations) = (Arc::clone(&self.pods), self.observations.clone());
        let documents = self.documents.clone();
        let task = tokio::spawn(async move {
            let served = async {
                if busy {
                    let text = format!("the node serves {STREAMS_MAX} streams already");
                    return sender.end(Some(StreamError::Unavailable(text))).await;
                }
                if let What::Object(id) = &open.what {
                    let document = documents.borrow().clone();
                    return object::serve(id, document, &sender).await;
                }
                serve(open.what, pods, observations, &sender, ends).await;
            };
            tokio::select! {
                () = served => {}
                () = silent(silence) => {
                    let text = "the controller does not ask for more".to_owned();
                    sender.end(Some(StreamError::Lost(text))).await;
                }
            }
        });
        let task = task.abort_handle();
        let stream = Stream {
            credit,
            heard,
            input,
            size,
            connections,
            task,
        };
        self.open.insert(id, stream);
    }

    pub(crate) fn handle_in(&mut self, id: StreamId, input: In) {
        if matches!(input, In::Close) {
            return self.close(id);
        }
        let Some(stream) = self.open.get(&id) else {
            return self.refuse(id);
        };
        stream.heard.send_replace(());
        match input {
            In::Credit(total) => raise(&stream.credit, total),
            In::Resize { columns, rows } => {
                stream.size.send_replace((columns, rows));
            }
            In::Data {
                channel,
                offset,
                bytes,
            } => match &stream.connections {
                Some(connections) => connections.receive(channel, offset, &bytes),
                None => stream.input.receive(offset, &bytes),
            },
            In::End { channel, offset } => match &stream.connections {
                Some(connections) => connections.end(channel, offset),
                None => stream.input.end(offset),
            },
            In::Connect { channel, port } => {
                if let Some(connections) = &stream.connections {
                    connections.connect(channel, port);
                }
            }
            In::ChannelCredit { channel, credit } => {
                if let Some(connections) = &stream.connections {
                    connections.credit(channel, credit);
                }
            }
            In::Disconnect { channel } => {
                if let Some(connections) = &stream.connections {
                    connections.close(channel);
                }
            }
            In::Close => {}
        }
    }

    /// The controller speaks of a stream that was another agent process's: it should know. When the
    /// link is busy it is told the next time.
    fn refuse(&mut self, id: StreamId) {
        let error = Some(StreamError::Lost("the stream has ended".to_owned()));
        let out = Out::End { offset: 0, error };
        let _ = self.frames.try_send(Frame { id, out });
    }

    pub(crate) fn close(&mut self, id: StreamId) {
        self.open.remove(&id);
    }

    pub(crate) fn close_all(&mut self) {
        self.open.clear();
    }
}

async fn serve(
    what: What,
    pods: Arc<dyn Pods>,
    mut observations: watch::Receiver<Observation>,
    sender: &Arc<Sender>,
    ends: command::Ends,
) {
    // The first value is from before the loop has looked: it would say "no pods". Nobody marks later
    // ones as seen, so this waits only for that look.
    if observations.changed().await.is_err() {
        return;
    }
    match what {
        What::Logs(request) => {
            let source = {
                let observation = observations.borrow();
                logs::find(&pods.log_dir(request.pod), &observation, &request)
            };
            match source {
                Ok(log) => logs::serve(log, request, observations, sender).await,
                Err(error) => sender.end(Some(error)).await,
            }
        }
        What::Exec(exec) => {
            let id = running(&observations, exec.pod, &exec.container);
            let config = ExecConfig {
                argv: exec.command,
                stdio: exec.stdio,
                outlive: false,
                limit: None,
            };
            let session = async { pods.exec(exec.pod, id?, config).await.map_err(refused) };
            let session = session.await;
            command::serve(session, &exec.container, exec.stdio, ends, sender).await;
        }
        What::Attach(attach) => {
            let id = running(&observations, attach.pod, &attach.container);
            let session = async {
                let session = pods.attach(attach.pod, id?, attach.stdio).await;
                session.map_err(refused)
            };
            let session = session.await;
            command::serve(session, &attach.container, attach.stdio, ends, sender).await;
        }
        What::Object(id) => {
            let error = StreamError::NotFound(format!("{id} is told to controllers only"));
            sender.end(Some(error)).await;
        }
        What::Forward(forward) => {
            if !observations.borrow().pods.contains_key(&forward.pod) {
                let error = StreamError::NotFound("pod does not exist".to_owned());
                return sender.end(Some(error)).await;
            }
            if sender.tell(Out::Ready).await.is_ok() {
                // Connections come and go by themselves.
                std::future::pending().await
            }
        }
    }
}

fn refused(error: Error) -> command::Refused {
    match error {
        Error::NotRunning { .. } => command::Refused::NotRunning,
        other => command::Refused::Failed(crate::error_chain(&other)),
    }
}

/// The runtime's id of a container that runs.
fn running(
    observations: &watch::Receiver<Observation>,
    pod: PodUid,
    name: &str,
) -> Result<String, command::Refused> {
    use bramble_wire::report::ContainerState;
    let observation = observations.borrow();
    let container = container(&observation, pod, name);
    let running = container.filter(|c| matches!(c.state, ContainerState::Running { .. }));
    let running = running.ok_or(command::Refused::NotRunning)?;
    // Outside it is unique on the board; the runtime's is unique in its pod.
    let id = running.container_id.strip_prefix(&format!("{pod}-"));
    Ok(id.unwrap_or(&running.container_id).to_owned())
}

/// What is known of a container of any sort.
fn container<'a>(
    observation: &'a Observation,
    pod: PodUid,
    name: &str,
) -> Option<&'a ContainerReport> {
    let pod = observation.pods.get(&pod)?;
    (pod.containers.iter())
        .chain(&pod.init_containers)
        .chain(&pod.ephemeral_containers)
        .find(|container| container.name == name)
}

/// Absolute numbers only grow.
fn raise(credit: &watch::Sender<u64>, total: u64) {
    credit.send_if_modified(|old| {
        let more = total > *old;
        *old = (*old).max(total);
        more
    });
}

/// Resolves when the controller has been silent for too long.
async fn silent(mut heard: watch::Receiver<()>) {
    while let Ok(Ok(())) = tokio::time::timeout(SILENCE, heard.changed()).await {}
}
