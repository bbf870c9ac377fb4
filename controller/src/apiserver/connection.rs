//! One connection: TLS, the client's certificate or its first token, then HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::time_provider::TimeProvider as _;
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::authn::Certified;
use super::stall::{Handed, Stalling};
use super::standing::Standing;
use super::strangers::Place;
use super::{Context, respond, route};

/// Largest head of a request.
const HEAD: u32 = 64 * 1024;
/// Streams of one HTTP/2 connection: a client's watches all go over one.
const STREAMS: u32 = 250;
/// How long a client that asks for nothing more may take to read what it asked for.
const SLOW_ANSWERS: Duration = Duration::from_secs(300);
/// How long the answers may take that are under way when a connection is ended for its wrong tokens.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// A laptop that went to sleep never says goodbye, and a quiet watch writes nothing: the kernel asks
/// after a minute and gives up two minutes later. Failing to set it costs no more than that.
fn find_dead_peers(stream: &TcpStream) {
    use rustix::net::sockopt;
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, Duration::from_secs(60));
    let _ = sockopt::set_tcp_keepintvl(stream, Duration::from_secs(30));
    let _ = sockopt::set_tcp_keepcnt(stream, 4);
}

/// How many requests of a connection are under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(Arc<watch::Sender<usize>>);

impl Requests {
    pub(super) fn subscribe(&self) -> watch::Receiver<usize> {
        self.0.subscribe()
    }

    fn count(&self) -> usize {
        *self.0.borrow()
    }

    pub(super) fn begin(&self) -> Request {
        self.0.send_modify(|count| *count += 1);
        Request(self.clone())
    }

    /// Resolves when there was none for so long. A head that trickles in is none yet.
    async fn idle(&self, limit: impl Fn() -> Duration) {
        let mut count = self.subscribe();
        loop {
            // It can't fail: we hold the sender.
            let _ = count.wait_for(|count| *count == 0).await;
            if tokio::time::timeout(limit(), count.changed())
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

/// One request, until its answer has been handed over.
#[derive(Debug)]
pub(crate) struct Request(Requests);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

/// Serves a connection until it ends, loses its place or the server stops.
pub(super) async fn serve(
    ctx: Arc<Context>,
    tls: TlsAcceptor,
    stream: TcpStream,
    place: Place,
    requests: Requests,
) {
    let _ = stream.set_nodelay(true);
    find_dead_peers(&stream);
    let stream = Stalling::new(stream, ctx.limits.stall);
    let handshake = tokio::time::timeout(ctx.limits.handshake, tls.accept(stream));
    let handshake = tokio::select! {
        handshake = handshake => handshake,
        () = place.lost() => return,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let standing = match stream.get_ref().1.peer_certificates() {
        None => Standing::stranger(ctx, false, place, requests.clone()),
        Some(chain) => match certified(&ctx, chain) {
            None => Standing::stranger(ctx, true, place, requests.clone()),
            Some(certificate) => {
                let standing = Standing::certified(ctx, certificate, requests.clone());
                let Some(standing) = standing else {
                    return;
                };
                drop(place);
                standing
            }
        },
    };
    http(Arc::new(standing), stream, &requests).await;
}

/// TLS lets every certificate pass, so that a foreign one is told 401 rather than an alert that
/// clients can't explain; here it is decided.
fn certified(ctx: &Context, chain: &[CertificateDer<'_>]) -> Option<Certified> {
    let (leaf, rest) = chain.split_first()?;
    let now = ctx.clock.current_time()?;
    ctx.clients.verify_client_cert(leaf, rest, now).ok()?;
    Certified::from_certificate(leaf)
}

async fn http(
    standing: Arc<Standing>,
    stream: TlsStream<Stalling<TcpStream>>,
    requests: &Requests,
) {
    let ctx = &standing.ctx;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(ctx.limits.header)
        .max_buf_size(HEAD as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD)
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    let mut stopping = ctx.stopping.clone();
    let handed = Handed::default();
    let service = service_fn(|request| {
        let guard = requests.begin();
        let handed = handed.begin();
        let answer = route::answer(standing.clone(), requests.count(), request);
        async move {
            let answer = answer.await;
            Ok::<_, Infallible>(answer.map(|body| respond::until_sent(body, handed, guard)))
        }
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = standing.lost() => return,
        () = handed.stalled(ctx.limits.stall) => return,
        () = stopping.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = standing.unwelcome() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(LAST_ANSWERS, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
        () = requests.idle(|| standing.idle()) => {
            if standing.is_stranger() {
                return;
            }
            // It may still be reading a long answer.
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(SLOW_ANSWERS, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "connection ended");
    }
}
