//! Port-forward: connections to ports of a pod, made inside of its network so that what listens on
//! the pod's loopback address only is reached too, as upstream.
//!
//! Each connection is a task with its own credit in both directions; the table is shared between
//! the link's task, which knows channels, and the connections, which leave it when they end.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bramble_wire::limits::{CHANNEL_CREDIT_MAX, STREAM_CHANNELS_MAX, STREAM_FRAME_MAX};
use bramble_wire::stream::{Out, StreamError};
use bramble_wire::topic::StreamId;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::inbox::{Inbox, Turn};
use super::{Frame, raise};

/// A connection within the board is there at once or never.
const CONNECT: Duration = Duration::from_secs(10);

/// The connections of a stream. Dropping it ends them.
pub(super) struct Connections {
    id: StreamId,
    frames: mpsc::Sender<Frame>,
    /// Ports that may be connected to; all when empty.
    ports: Vec<u16>,
    credit: u32,
    namespace: Option<PathBuf>,
    open: Table,
}

type Table = Arc<Mutex<HashMap<u16, Connection>>>;

struct Connection {
    input: Arc<Inbox>,
    credit: watch::Sender<u64>,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        lock(&self.open).clear();
    }
}

fn lock(table: &Table) -> MutexGuard<'_, HashMap<u16, Connection>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connections {
    pub(super) fn new(
        id: StreamId,
        frames: mpsc::Sender<Frame>,
        (ports, credit): (Vec<u16>, u32),
        namespace: Option<PathBuf>,
    ) -> Self {
        Self {
            id,
            frames,
            ports,
            credit,
            namespace,
            open: Table::default(),
        }
    }

    pub(super) fn connect(&self, channel: u16, port: u16) {
        let mut open = lock(&self.open);
        if open.contains_key(&channel) {
            return;
        }
        let refused = if open.len() >= STREAM_CHANNELS_MAX {
            let text = format!("there are {STREAM_CHANNELS_MAX} connections already");
            Some(StreamError::Unavailable(text))
        } else if !self.ports.is_empty() && !self.ports.contains(&port) {
            Some(StreamError::Failed(format!(
                "port {port} was not asked for"
            )))
        } else {
            None
        };
        let input = Arc::new(Inbox::new(channel, CHANNEL_CREDIT_MAX));
        let (credit, allowed) = watch::channel(u64::from(self.credit));
        let teller = Teller {
            id: self.id,
            channel,
            frames: self.frames.clone(),
        };
        let namespace = self.namespace.clone();
        let (inbox, table) = (Arc::clone(&input), Arc::clone(&self.open));
        let task = tokio::spawn(async move {
            let (offset, error) = match refused {
                Some(error) => (0, Some(error)),
                None => run(namespace, port, inbox, allowed, &teller).await,
            };
            teller
                .tell(Out::ChannelEnd {
                    channel,
                    offset,
                    error,
                })
                .await;
            lock(&table).remove(&channel);
        });
        let task = task.abort_handle();
        let connection = Connection {
            input,
            credit,
            task,
        };
        open.insert(channel, connection);
    }

    pub(super) fn receive(&self, channel: u16, offset: u64, bytes: &[u8]) {
        if let Some(connection) = lock(&self.open).get(&channel) {
            connection.input.receive(offset, bytes);
        }
    }

    pub(super) fn end(&self, channel: u16, offset: u64) {
        if let Some(connection) = lock(&self.open).get(&channel) {
            connection.input.end(offset);
        }
    }

    pub(super) fn credit(&self, channel: u16, total: u64) {
        if let Some(connection) = lock(&self.open).get(&channel) {
            raise(&connection.credit, total);
        }
    }

    pub(super) fn close(&self, channel: u16) {
        lock(&self.open).remove(&channel);
    }
}

struct Teller {
    id: StreamId,
    channel: u16,
    frames: mpsc::Sender<Frame>,
}

impl Teller {
    async fn tell(&self, out: Out) {
        // Nobody is left to hear it when the agent stops.
        let _ = self.frames.send(Frame { id: self.id, out }).await;
    }
}

/// Carries a connection; the offset at its end, and why it never was.
async fn run(
    namespace: Option<PathBuf>,
    port: u16,
    input: Arc<Inbox>,
    allowed: watch::Receiver<u64>,
    teller: &Teller,
) -> (u64, Option<StreamError>) {
    let stream = match connect(namespace, port).await {
        Ok(stream) => stream,
        Err(error) => {
            let text = format!("failed to connect to localhost:{port} inside namespace: {error}");
            return (0, Some(StreamError::Failed(text)));
        }
    };
    // Interactive protocols wait for small pieces.
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    let output = pump(read, allowed, teller);
    tokio::pin!(output);
    tokio::select! {
        offset = &mut output => (offset, None),
        // The client's half is done; the pod's may go on.
        () = feed(write, &input, teller) => (output.await, None),
    }
}

/// Gives the pod what the client sends.
async fn feed(mut to: OwnedWriteHalf, inbox: &Inbox, teller: &Teller) {
    loop {
        if let Some(credit) = inbox.credit() {
            teller.tell(credit).await;
        }
        match inbox.turn().await {
            Ok(Turn::Credit(credit)) => teller.tell(credit).await,
            Ok(Turn::Bytes(bytes)) if to.write_all(&bytes).await.is_ok() => {}
            _ => break,
        }
    }
    let _ = to.shutdown().await;
    // The pod's end says when it is over; dropping this half would say no more than that.
    to.forget();
}

/// Sends what the pod sends, as far as there is credit; how much it was.
async fn pump(from: OwnedReadHalf, mut allowed: watch::Receiver<u64>, teller: &Teller) -> u64 {
    let channel = teller.channel;
    let mut offset = 0;
    loop {
        let credit = match allowed.wait_for(|allowed| *allowed > offset).await {
            Ok(allowed) => usize::try_from(*allowed - offset).unwrap_or(usize::MAX),
            Err(_) => return offset,
        };
        if from.readable().await.is_err() {
            return offset;
        }
        // Only now: most connections wait most of the time.
        let mut bytes = vec![0; credit.min(STREAM_FRAME_MAX)];
        match from.try_read(&mut bytes) {
            Ok(0) => return offset,
            Ok(n) => {
                bytes.truncate(n);
                let out = Out::ChannelData {
                    channel,
                    offset,
                    bytes,
                };
                offset += n as u64;
                teller.tell(out).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // A reset is an end; upstream says no more either.
            Err(_) => return offset,
        }
    }
}

/// Connects to a port on the pod's loopback address, the newer kind when the older refuses.
async fn connect(namespace: Option<PathBuf>, port: u16) -> io::Result<TcpStream> {
    let four = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    match connect_to(namespace.clone(), four).await {
        Ok(stream) => Ok(stream),
        Err(first) => match connect_to(namespace, six).await {
            Ok(stream) => Ok(stream),
            Err(second) => Err(io::Error::other(format!(
                "IPv4: dial tcp4 {four}: {}; IPv6: dial tcp6 {six}: {}",
                words(&first),
                words(&second)
            ))),
        },
    }
}

/// As Go says it, which is what people search for.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

async fn connect_to(namespace: Option<PathBuf>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket_in(namespace, to.is_ipv4()).await?;
    let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
    let connected = tokio::time::timeout(CONNECT, socket.connect(to)).await;
    connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// A socket of the pod's network. It stays there wherever it is used; the thread that made it must
/// not go back to a pool, as it has left our network.
async fn socket_in(namespace: Option<PathBuf>, four: bool) -> io::Result<OwnedFd> {
    let family = if four {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let make = move || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(family, SocketType::STREAM, flags, None).map_err(io::Error::from)
    };
    let Some(namespace) = namespace else {
        return make();
    };
    let (done, waiting) = oneshot::channel();
    let work = move || {
        let made = File::open(namespace).and_then(|namespace| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            make()
        });
        // Nobody waits any more when the receiver is gone.
        let _ = done.send(made);
    };
    std::thread::Builder::new()
        .name("pod-socket".to_owned())
        .stack_size(64 * 1024)
        .spawn(work)?;
    let ended = |_| io::Error::other("the thread ended early");
    waiting.await.map_err(ended)?
}
