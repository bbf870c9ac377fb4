//! The TLS listener: who is this, and a pipe to the broker behind.
//!
//! One task per connection owns it from accept to end. Everything a stranger can make us hold is
//! bounded: connections, handshakes at a time, their duration, connections per node, bytes in a
//! pipe, and the time that a reader may not read.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bramble_wire::name::NodeName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::access::{Peers, Refusals};
use super::{Config, Fingerprint, Member, Members};

/// TLS handshakes at a time: they are what costs processor time.
const HANDSHAKES_MAX: usize = 32;
/// Connections of one node at a time: a reconnect overlaps with the connection it replaces.
const NODE_CONNECTIONS_MAX: usize = 4;
/// Bytes of a pipe's buffer, each way.
const PIPE_BUFFER: usize = 4096;
/// Kernel buffer of the connection to the plain port. The default grows to megabytes for a client
/// that does not read.
const PLAIN_SOCKET_BUFFER: u32 = 32 * 1024;
/// How long one direction of a pipe may go on when the other has ended.
const DRAIN_WAIT: Duration = Duration::from_secs(2);
/// Pause after a failed accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A reading of the counters of the TLS listener. They only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections of members that reached the broker.
    pub accepted: u64,
    /// Connections closed because too many are open.
    pub over_limit: u64,
    /// Handshakes that failed or took too long: no certificate, of another CA, not TLS.
    pub handshake_failed: u64,
    /// Handshakes with a good certificate of nobody we know (any more).
    pub not_a_member: u64,
    /// Connections ended by a kick.
    pub kicked: u64,
    /// CONNECTs refused: wrong client id, foreign will, or from nobody that we noted.
    pub connects_refused: u64,
    /// Publishes refused: not a topic of that node.
    pub publishes_refused: u64,
    /// Subscriptions refused: not topics of that node.
    pub subscribes_refused: u64,
}

#[derive(Debug, Default)]
struct Live {
    accepted: AtomicU64,
    over_limit: AtomicU64,
    handshake_failed: AtomicU64,
    not_a_member: AtomicU64,
    kicked: AtomicU64,
}

struct Shared {
    acceptor: TlsAcceptor,
    plain: SocketAddr,
    members: Arc<dyn Members>,
    peers: Arc<Peers>,
    handshake_timeout: Duration,
    write_timeout: Duration,
    handshakes: Semaphore,
    connections: Mutex<Connections>,
    counters: Live,
    refusals: Arc<Refusals>,
}

/// Connections of members, by node.
#[derive(Default)]
struct Connections {
    next: u64,
    by_node: HashMap<NodeName, Vec<(u64, AbortHandle)>>,
}

pub(super) struct Front {
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Front {
    pub(super) fn spawn(
        listener: TcpListener,
        plain: SocketAddr,
        config: Config,
        members: Arc<dyn Members>,
        peers: Arc<Peers>,
        refusals: Arc<Refusals>,
    ) -> Front {
        let shared = Arc::new(Shared {
            acceptor: TlsAcceptor::from(config.tls),
            plain,
            members,
            peers,
            handshake_timeout: config.handshake_timeout,
            write_timeout: config.write_timeout,
            handshakes: Semaphore::new(HANDSHAKES_MAX),
            connections: Mutex::default(),
            counters: Live::default(),
            refusals,
        });
        let slots = Arc::new(Semaphore::new(config.clients_max));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), slots));
        Front { shared, accepting }
    }

    /// Returns when the address is free.
    pub(super) async fn stop_accepting(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }

    pub(super) fn kick(&self, node: &NodeName) {
        let kicked = self
            .shared
            .connections()
            .by_node
            .remove(node)
            .unwrap_or_default();
        for (_, connection) in kicked {
            connection.abort();
            count(&self.shared.counters.kicked);
        }
    }

    pub(super) fn counters(&self) -> Counters {
        let live = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            accepted: read(&live.accepted),
            over_limit: read(&live.over_limit),
            handshake_failed: read(&live.handshake_failed),
            not_a_member: read(&live.not_a_member),
            kicked: read(&live.kicked),
            connects_refused: read(&self.shared.refusals.connects),
            publishes_refused: read(&self.shared.refusals.publishes),
            subscribes_refused: read(&self.shared.refusals.subscribes),
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
        for (_, connection) in self
            .shared
            .connections()
            .by_node
            .drain()
            .flat_map(|(_, all)| all)
        {
            connection.abort();
        }
    }
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, slots: Arc<Semaphore>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept an MQTT connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            count(&shared.counters.over_limit);
            continue;
        };
        let shared = Arc::clone(&shared);
        // The task is told its own handle, so that a kick finds it before the pipe is open.
        let (tell, told) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            if let Ok(handle) = told.await {
                serve(stream, &shared, handle).await;
            }
            drop(slot);
        });
        let _ = tell.send(task.abort_handle());
    }
}

async fn serve(stream: TcpStream, shared: &Shared, handle: AbortHandle) {
    let from = stream.peer_addr();
    let Some((tls, fingerprint)) = handshake(stream, shared).await else {
        count(&shared.counters.handshake_failed);
        return;
    };
    let Some(member) = shared.members.member(&fingerprint) else {
        count(&shared.counters.not_a_member);
        let shown = tls.get_ref().1.peer_certificates();
        if let (Some(certificate), Ok(from)) = (shown.and_then(<[_]>::first), from) {
            shared.members.note_stranger(certificate, from.ip());
        }
        return;
    };
    let node = member.node.clone();
    let Some(_registered) = Registered::new(shared, node.clone(), handle) else {
        count(&shared.counters.over_limit);
        return;
    };
    // Asked again now that a kick would find us: a revocation in between must not slip through.
    if shared.members.member(&fingerprint).is_none() {
        count(&shared.counters.not_a_member);
        return;
    }
    let (plain, address) = match connect_plain(shared.plain).await {
        Ok(connected) => connected,
        Err(error) => {
            tracing::warn!(%error, %node, "connect to the MQTT broker");
            return;
        }
    };
    let noted = Noted::new(&shared.peers, address, member);
    count(&shared.counters.accepted);
    pipe(tls, plain, noted, shared.write_timeout).await;
}

/// TLS, and the fingerprint of the certificate that rustls verified against the cluster's CA.
async fn handshake(
    stream: TcpStream,
    shared: &Shared,
) -> Option<(TlsStream<TcpStream>, Fingerprint)> {
    let handshake = async {
        let _permit = shared.handshakes.acquire().await.ok()?;
        stream.set_nodelay(true).ok()?;
        shared.acceptor.accept(stream).await.ok()
    };
    let tls = timeout(shared.handshake_timeout, handshake).await.ok()??;
    let fingerprint = Fingerprint::of(tls.get_ref().1.peer_certificates()?.first()?);
    Some((tls, fingerprint))
}

/// A connection to the plain port, and the address that the broker sees it from.
async fn connect_plain(plain: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    socket.set_recv_buffer_size(PLAIN_SOCKET_BUFFER)?;
    socket.set_send_buffer_size(PLAIN_SOCKET_BUFFER)?;
    let stream = socket.connect(plain).await?;
    let address = stream.local_addr()?;
    Ok((stream, address))
}

/// A connection's place in the table, for as long as it lives.
struct Registered<'a> {
    shared: &'a Shared,
    node: NodeName,
    id: u64,
}

impl<'a> Registered<'a> {
    /// `None` when the node has too many connections.
    fn new(shared: &'a Shared, node: NodeName, handle: AbortHandle) -> Option<Registered<'a>> {
        let mut connections = shared.connections();
        let id = connections.next;
        connections.next += 1;
        let of_node = connections.by_node.entry(node.clone()).or_default();
        if of_node.len() >= NODE_CONNECTIONS_MAX {
            return None;
        }
        of_node.push((id, handle));
        drop(connections);
        Some(Registered { shared, node, id })
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let mut connections = self.shared.connections();
        if let Some(of_node) = connections.by_node.get_mut(&self.node) {
            of_node.retain(|(id, _)| *id != self.id);
            if of_node.is_empty() {
                connections.by_node.remove(&self.node);
            }
        }
    }
}

/// The note of who is behind an address, for as long as the address is ours.
struct Noted<'a> {
    peers: &'a Peers,
    address: SocketAddr,
}

impl<'a> Noted<'a> {
    fn new(peers: &'a Peers, address: SocketAddr, member: Member) -> Noted<'a> {
        peers.note(address, member);
        Noted { peers, address }
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.peers.forget(&self.address);
    }
}

/// Copies both ways until one side ends, and a moment longer for what is under way.
async fn pipe(
    tls: TlsStream<TcpStream>,
    plain: TcpStream,
    noted: Noted<'_>,
    write_timeout: Duration,
) {
    let (tls_read, tls_write) = tokio::io::split(tls);
    let (plain_read, plain_write) = plain.into_split();
    let mut up = std::pin::pin!(copy(tls_read, plain_write, write_timeout));
    let mut down = std::pin::pin!(copy(plain_read, tls_write, write_timeout));
    // Last in, so first out, also when the task is aborted: the note must be gone before the address
    // is free for somebody else.
    let _noted = noted;
    tokio::select! {
        _ = &mut up => { let _ = timeout(DRAIN_WAIT, down).await; }
        _ = &mut down => { let _ = timeout(DRAIN_WAIT, up).await; }
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    write_timeout: Duration,
) -> io::Result<()> {
    let mut buffer = vec![0; PIPE_BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        let write = async {
            if read == 0 {
                return to.shutdown().await;
            }
            to.write_all(&buffer[..read]).await?;
            // rustls may hold back the end of a record until it is flushed.
            to.flush().await
        };
        timeout(write_timeout, write)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if read == 0 {
            return Ok(());
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
