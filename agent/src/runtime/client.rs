//! One connection to one shim: a task that owns the socket, a handle for the rest.
//!
//! The task keeps the states of the shim's containers, first asked for and then kept up by answers
//! and events, so that observing a hundred pods costs no traffic.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bramble_wire::shim::{
    Answer, Ask, ContainerState, Event, Hello, Reply, Request, Split, VERSION, frame, split_frame,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

/// A shim answers its greeting at once or not at all.
const GREETING: Duration = Duration::from_secs(5);

/// A shim gives its helpers a minute; one that takes longer than this hangs itself, and who waits
/// for it holds up others that want to start.
const PATIENCE: Duration = Duration::from_secs(90);

/// Asks on their way to one shim.
const QUEUE: usize = 16;

type Waiting = (Request, oneshot::Sender<Reply>);

/// Handle of a connected shim. When the shim ends, the handle says so and never recovers.
#[derive(Debug, Clone)]
pub(crate) struct ShimClient {
    asks: mpsc::Sender<Waiting>,
    shared: Arc<Mutex<Shared>>,
    /// Who it is.
    pub(crate) hello: Hello,
}

#[derive(Debug, Default)]
struct Shared {
    containers: BTreeMap<String, ContainerState>,
    gone: bool,
}

/// The connection ended.
#[derive(Debug, thiserror::Error)]
#[error("the shim does not answer")]
pub(crate) struct Gone;

impl ShimClient {
    /// Connects, greets, learns the containers. `changes` ticks when any of them changes.
    pub(crate) async fn connect(
        socket: &Path,
        changes: watch::Sender<u64>,
    ) -> std::io::Result<Self> {
        let connecting = async {
            let mut wire = Wire {
                stream: UnixStream::connect(socket).await?,
                input: Vec::new(),
            };
            let hello = match wire
                .round_trip(1, Request::Hello { version: VERSION })
                .await?
            {
                Reply::Hello(hello) => hello,
                other => return Err(unexpected(&other)),
            };
            wire.round_trip(2, Request::WaitEvents).await?;
            let mut shared = Shared::default();
            match wire.round_trip(3, Request::State).await? {
                Reply::State(list) => {
                    shared.containers = list.into_iter().map(|c| (c.id, c.state)).collect();
                }
                other => return Err(unexpected(&other)),
            }
            Ok((wire, hello, shared))
        };
        let (wire, hello, shared) = tokio::time::timeout(GREETING, connecting).await??;
        let (asks, queue) = mpsc::channel(QUEUE);
        let shared = Arc::new(Mutex::new(shared));
        tokio::spawn(run(wire, queue, Arc::clone(&shared), changes));
        Ok(Self {
            asks,
            shared,
            hello,
        })
    }

    /// Sends one request and waits for its answer.
    pub(crate) async fn ask(&self, request: Request) -> Result<Reply, Gone> {
        let (answer, waiting) = oneshot::channel();
        let asking = async {
            self.asks.send((request, answer)).await.map_err(|_| Gone)?;
            waiting.await.map_err(|_| Gone)
        };
        tokio::time::timeout(PATIENCE, asking)
            .await
            .map_err(|_| Gone)?
    }

    /// Last known states.
    pub(crate) fn containers(&self) -> BTreeMap<String, ContainerState> {
        lock(&self.shared).containers.clone()
    }

    /// The shim has ended.
    pub(crate) fn gone(&self) -> bool {
        lock(&self.shared).gone
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    // Whoever panicked while holding it left whole values behind.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unexpected(reply: &Reply) -> std::io::Error {
    std::io::Error::other(format!("unexpected answer of a shim: {reply:?}"))
}

#[derive(Debug)]
struct Wire {
    stream: UnixStream,
    input: Vec<u8>,
}

impl Wire {
    async fn send(&mut self, number: u32, request: Request) -> std::io::Result<()> {
        self.stream
            .write_all(&frame(&Ask { number, request }))
            .await
    }

    /// Next answer. Safe to drop while waiting: what was read stays.
    async fn receive(&mut self) -> std::io::Result<Answer> {
        loop {
            match split_frame::<Answer>(&self.input, "answer") {
                Ok(Split::Frame(answer, used)) => {
                    self.input.drain(..used);
                    return Ok(answer);
                }
                Ok(Split::More) => {}
                Err(error) => return Err(std::io::Error::other(error)),
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Before the task runs: events that come in between are covered by the state asked for last.
    async fn round_trip(&mut self, number: u32, request: Request) -> std::io::Result<Reply> {
        self.send(number, request).await?;
        loop {
            let answer = self.receive().await?;
            if answer.number == number {
                return Ok(answer.reply);
            }
        }
    }
}

/// An ask whose answer is awaited; the request is kept to know what the answer changes.
struct Open {
    change: Change,
    answer: oneshot::Sender<Reply>,
}

enum Change {
    None,
    Created(String),
    Started(String),
    Deleted(String),
}

async fn run(
    mut wire: Wire,
    mut queue: mpsc::Receiver<Waiting>,
    shared: Arc<Mutex<Shared>>,
    changes: watch::Sender<u64>,
) {
    let mut open: BTreeMap<u32, Open> = BTreeMap::new();
    let mut next = 10;
    loop {
        tokio::select! {
            asked = queue.recv() => {
                // Every handle is gone: the pod is no longer ours to watch.
                let Some((request, answer)) = asked else { break };
                let change = match &request {
                    Request::Create(c) => Change::Created(c.id.clone()),
                    Request::Start { id } => Change::Started(id.clone()),
                    Request::Delete { id } => Change::Deleted(id.clone()),
                    _ => Change::None,
                };
                if let Change::Created(id) = &change {
                    lock(&shared).containers.entry(id.clone()).or_insert(ContainerState::Creating);
                }
                next += 1;
                open.insert(next, Open { change, answer });
                if wire.send(next, request).await.is_err() {
                    break;
                }
            }
            answer = wire.receive() => {
                let Ok(Answer { number, reply }) = answer else { break };
                if let Reply::Event(Event::Exited { id, exit }) = &reply {
                    lock(&shared).containers.insert(id.clone(), ContainerState::Exited(*exit));
                    changes.send_modify(|n| *n += 1);
                }
                if let Some(Open { change, answer }) = open.remove(&number) {
                    apply(&mut lock(&shared).containers, &change, &reply);
                    // The asker may have given up waiting.
                    let _ = answer.send(reply);
                    changes.send_modify(|n| *n += 1);
                }
            }
        }
    }
    lock(&shared).gone = true;
    changes.send_modify(|n| *n += 1);
}

fn apply(containers: &mut BTreeMap<String, ContainerState>, change: &Change, reply: &Reply) {
    match (change, reply) {
        (Change::Created(id), Reply::Created(record)) => {
            containers.insert(id.clone(), ContainerState::Created(*record));
        }
        (Change::Created(id), Reply::Running(record)) => {
            containers.insert(id.clone(), ContainerState::Running(*record));
        }
        // One that existed before keeps its state.
        (Change::Created(id), Reply::Failed(_))
            if containers.get(id) == Some(&ContainerState::Creating) =>
        {
            containers.remove(id);
        }
        (Change::Started(id), Reply::Done) => {
            if let Some(ContainerState::Created(record)) = containers.get(id).copied() {
                containers.insert(id.clone(), ContainerState::Running(record));
            }
        }
        (Change::Deleted(id), Reply::Done) => {
            containers.remove(id);
        }
        _ => {}
    }
}
