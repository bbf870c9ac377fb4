//! The accept loop: at most so many connections, and a clean stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_rustls::TlsAcceptor;

use super::connection::{self, Requests};
use super::refusals::Kind;
use super::strangers::Strangers;
use super::{Context, Limits};

/// How long connections may finish what they are at when the server stops.
const STOP: Duration = Duration::from_secs(5);
/// How often what was refused is told.
const REPORT: Duration = Duration::from_secs(60);

/// Accepts until `ctx.stopping`; then lets the open connections finish.
pub(super) async fn run(listener: TcpListener, tls: TlsAcceptor, ctx: Arc<Context>) {
    let limits: &Limits = &ctx.limits;
    let strangers = Arc::new(Strangers::new(limits));
    let mut stopping = ctx.stopping.clone();
    let mut report = tokio::time::interval_at(Instant::now() + REPORT, REPORT);
    report.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connections = JoinSet::new();
    loop {
        // Ended ones are taken out as they come, so the set stays as large as what is open.
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = report.tick() => {
                ctx.refusals.report();
                continue;
            }
            () = stopping.wait() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: give others time to close theirs.
                ctx.refusals.note(Kind::Accept, error);
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let requests = Requests::default();
        let (place, full) = strangers.admit(peer.ip(), requests.subscribe());
        if let Some(full) = full {
            ctx.refusals.note(full, peer.ip());
        }
        let (ctx, tls) = (ctx.clone(), tls.clone());
        connections.spawn(connection::serve(ctx, tls, stream, place, requests));
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP, finish).await.is_err() {
        connections.shutdown().await;
    }
}
