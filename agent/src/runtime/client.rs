//! One connection to one shim: a task that owns the socket, a handle for the rest.
//!
//! The task keeps the states of the shim's containers, first asked for and then kept up by answers
//! and events, so that observing a hundred pods costs no traffic.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bramble_wire::shim::{
    Answer, Ask, ContainerState, Event, FRAME_MAX, Failure, FailureKind, Hello, Reply, Request,
    SessionEnd, Split, VERSION, frame, split_frame,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

use super::stdio;

/// A shim answers its greeting at once or not at all.
const GREETING: Duration = Duration::from_secs(5);

/// A shim gives its helpers a minute; one that takes longer than this hangs itself, and who waits
/// for it holds up others that want to start.
const PATIENCE: Duration = Duration::from_secs(90);

/// Asks on their way to one shim.
const QUEUE: usize = 16;

/// A request on its way to the task.
struct Waiting {
    request: Request,
    fds: Vec<OwnedFd>,
    /// Gets the number of the ask as well.
    answer: oneshot::Sender<(u32, Reply)>,
    /// For a session: told when it ends.
    ended: Option<oneshot::Sender<SessionEnd>>,
}

/// Handle of a connected shim. When the shim ends, the handle says so and never recovers.
#[derive(Debug, Clone)]
pub(crate) struct ShimClient {
    asks: mpsc::Sender<Waiting>,
    /// What ends sessions, for which nobody can wait: at most two for each of the few sessions.
    orders: mpsc::UnboundedSender<Request>,
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
        let (orders, ordered) = mpsc::unbounded_channel();
        let shared = Arc::new(Mutex::new(shared));
        tokio::spawn(run(wire, (queue, ordered), Arc::clone(&shared), changes));
        Ok(Self {
            asks,
            orders,
            shared,
            hello,
        })
    }

    /// Sends one request and waits for its answer.
    pub(crate) async fn ask(&self, request: Request) -> Result<Reply, Gone> {
        let (_, reply) = self.send(request, Vec::new(), None).await?;
        Ok(reply)
    }

    /// Opens a session: its number, the answer, and what will tell its end.
    pub(crate) async fn open(
        &self,
        request: Request,
        fds: Vec<OwnedFd>,
    ) -> Result<(u32, Reply, oneshot::Receiver<SessionEnd>), Gone> {
        let (ended, end) = oneshot::channel();
        let (number, reply) = self.send(request, fds, Some(ended)).await?;
        Ok((number, reply, end))
    }

    /// Sends what needs no answer. A shim that is gone has nothing to end.
    pub(crate) fn order(&self, request: Request) {
        let _ = self.orders.send(request);
    }

    async fn send(
        &self,
        request: Request,
        fds: Vec<OwnedFd>,
        ended: Option<oneshot::Sender<SessionEnd>>,
    ) -> Result<(u32, Reply), Gone> {
        let (answer, waiting) = oneshot::channel();
        let ask = Waiting {
            request,
            fds,
            answer,
            ended,
        };
        let asking = async {
            self.asks.send(ask).await.map_err(|_| Gone)?;
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
    async fn send(
        &mut self,
        number: u32,
        request: Request,
        fds: &[OwnedFd],
    ) -> std::io::Result<()> {
        stdio::send(&self.stream, &frame(&Ask { number, request }), fds).await
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
        self.send(number, request, &[]).await?;
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
    answer: oneshot::Sender<(u32, Reply)>,
    ended: Option<oneshot::Sender<SessionEnd>>,
}

enum Change {
    None,
    Created(String),
    Started(String),
    Deleted(String),
}

/// What the task knows besides the containers.
#[derive(Default)]
struct Asked {
    open: BTreeMap<u32, Open>,
    sessions: BTreeMap<u32, oneshot::Sender<SessionEnd>>,
    last: u32,
}

async fn run(
    mut wire: Wire,
    (mut queue, mut orders): (mpsc::Receiver<Waiting>, mpsc::UnboundedReceiver<Request>),
    shared: Arc<Mutex<Shared>>,
    changes: watch::Sender<u64>,
) {
    // Above the numbers of the greeting.
    let mut asked = Asked {
        last: 10,
        ..Asked::default()
    };
    loop {
        tokio::select! {
            waiting = queue.recv() => {
                // Every handle is gone: the pod is no longer ours to watch.
                let Some(waiting) = waiting else { break };
                if asked.ask(&mut wire, waiting, &shared).await.is_err() {
                    break;
                }
            }
            Some(request) = orders.recv() => {
                asked.last += 1;
                if wire.send(asked.last, request, &[]).await.is_err() {
                    break;
                }
            }
            answer = wire.receive() => {
                let Ok(Answer { number, reply }) = answer else { break };
                let forgotten = asked.handle_answer(number, reply, &shared, &changes);
                if let Some(request) = forgotten {
                    asked.last += 1;
                    if wire.send(asked.last, request, &[]).await.is_err() {
                        break;
                    }
                }
            }
        }
    }
    lock(&shared).gone = true;
    changes.send_modify(|n| *n += 1);
}

impl Asked {
    async fn ask(
        &mut self,
        wire: &mut Wire,
        waiting: Waiting,
        shared: &Mutex<Shared>,
    ) -> std::io::Result<()> {
        let Waiting {
            request,
            fds,
            answer,
            ended,
        } = waiting;
        self.last += 1;
        let number = self.last;
        let change = match &request {
            Request::Create(c) => Change::Created(c.id.clone()),
            Request::CreateWith(c) => Change::Created(c.create.id.clone()),
            Request::Start { id } => Change::Started(id.clone()),
            Request::Delete { id } => Change::Deleted(id.clone()),
            _ => Change::None,
        };
        let bytes = frame(&Ask { number, request });
        if bytes.len() > FRAME_MAX {
            let failure = Failure {
                kind: FailureKind::Invalid,
                message: "argument list too long".to_owned(),
            };
            let _ = answer.send((number, Reply::Failed(failure)));
            return Ok(());
        }
        if let Change::Created(id) = &change {
            let mut shared = lock(shared);
            let state = shared.containers.entry(id.clone());
            state.or_insert(ContainerState::Creating);
        }
        let open = Open {
            change,
            answer,
            ended,
        };
        self.open.insert(number, open);
        stdio::send(&wire.stream, &bytes, &fds).await
    }

    /// Returns what ends a session whose asker has given up waiting.
    fn handle_answer(
        &mut self,
        number: u32,
        reply: Reply,
        shared: &Mutex<Shared>,
        changes: &watch::Sender<u64>,
    ) -> Option<Request> {
        match &reply {
            Reply::Event(Event::Exited { id, exit }) => {
                let state = ContainerState::Exited(*exit);
                lock(shared).containers.insert(id.clone(), state);
                changes.send_modify(|n| *n += 1);
            }
            Reply::Ended(end) => {
                if let Some(ended) = self.sessions.remove(&number) {
                    // Whoever had the session may have dropped it.
                    let _ = ended.send(*end);
                }
                return None;
            }
            _ => {}
        }
        let open = self.open.remove(&number)?;
        let session = matches!(reply, Reply::Attached(_));
        if let (Reply::Attached(_), Some(ended)) = (&reply, open.ended) {
            self.sessions.insert(number, ended);
        }
        let changed = !matches!(open.change, Change::None);
        apply(&mut lock(shared).containers, &open.change, &reply);
        // The asker may have given up waiting.
        let heard = open.answer.send((number, reply)).is_ok();
        if changed {
            changes.send_modify(|n| *n += 1);
        }
        (session && !heard).then_some(Request::EndSession {
            session: number,
            grace_ms: 0,
        })
    }
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
