//! One connection: TLS, the client's certificate, then HTTP/1.1 or HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::authorize::Identity;
use super::{Context, route};

/// Largest head of a request.
const HEAD: u32 = 64 * 1024;
/// Streams of one HTTP/2 connection: a client's watches all go over one.
const STREAMS: u32 = 250;

/// A laptop that went to sleep never says goodbye, and a quiet watch writes nothing: the kernel asks
/// after a minute and gives up two minutes later. Failing to set it costs no more than that.
fn find_dead_peers(stream: &TcpStream) {
    use rustix::net::sockopt;
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, Duration::from_secs(60));
    let _ = sockopt::set_tcp_keepintvl(stream, Duration::from_secs(30));
    let _ = sockopt::set_tcp_keepcnt(stream, 4);
}

/// Serves a connection until it ends or the server stops.
pub(super) async fn serve(ctx: Arc<Context>, tls: TlsAcceptor, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    find_dead_peers(&stream);
    let handshake = tokio::time::timeout(ctx.limits.handshake, tls.accept(stream));
    let stream = match handshake.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let identity = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| Identity::from_certificate(chain.first()?))
        .map(Arc::new);

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
    let service = service_fn(move |request| {
        let answer = route::answer(ctx.clone(), identity.clone(), request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "connection ended");
    }
}
