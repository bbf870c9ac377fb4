//! The accept loop: at most so many connections, and a clean stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{Context, connection};

/// How long connections may finish what they are at when the server stops.
const STOP: Duration = Duration::from_secs(5);

/// Accepts until `ctx.stopping`; then lets the open connections finish.
pub(super) async fn run(listener: TcpListener, tls: TlsAcceptor, ctx: Arc<Context>) {
    let slots = Arc::new(Semaphore::new(ctx.limits.connections));
    let mut stopping = ctx.stopping.clone();
    let mut connections = JoinSet::new();
    loop {
        // Ended ones are taken out as they come, so the set stays as large as what is open.
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.wait() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: give others time to close theirs.
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            tracing::warn!(
                limit = ctx.limits.connections,
                "too many connections, one was closed"
            );
            continue;
        };
        let (ctx, tls) = (ctx.clone(), tls.clone());
        connections.spawn(async move {
            connection::serve(ctx, tls, stream).await;
            drop(slot);
        });
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP, finish).await.is_err() {
        connections.shutdown().await;
    }
}
