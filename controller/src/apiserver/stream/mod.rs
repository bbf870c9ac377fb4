//! `pods/exec`, `pods/attach` and `pods/portforward`: a connection is upgraded and becomes a stream to
//! the node that runs the pod.
//!
//! In: an upgrade request (WebSocket or SPDY/3.1, [`negotiate`]) for a container ([`target`]). Out: the
//! answer that switches, and a task that carries bytes between the client ([`carrier`], [`spdy`]) and
//! the node ([`crate::nodelink::streams`]) until either ends ([`command`], [`forward`]). The task keeps
//! the connection's seat and a place among the long requests; it ends with the server.
//!
//! What is held for a stream: the node's window (64 KiB, or 16 KiB for each forwarded connection),
//! and one message in each direction. A client that doesn't read holds up its own stream, and loses
//! its connection when the kernel takes nothing for [`super::Limits::stall`].

mod carrier;
mod command;
mod forward;
mod negotiate;
mod spdy;
mod status;
mod target;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bramble_api::status::Status;
use bramble_wire::stream::{Stdio, What};
use http::{HeaderMap, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use serde_json::Value;
use tokio::time::Instant;

use super::list::read;
use super::request::{Info, Verb};
use super::respond::{self, Body};
use super::shares::Share;
use super::standing::Standing;
use super::{Context, NodeStream, authorize, watch};
use command::{Client, SpdyClient, Teller};
use forward::Pod;
use negotiate::{Switch, Way};
pub(crate) use target::container;
use target::{Target, target};

/// A stream on which nothing moves for so long ends (the kubelet's `streamingConnectionIdleTimeout`).
const IDLE: Duration = Duration::from_secs(4 * 3600);
/// How long a client may take to switch, and to open its streams (upstream's
/// `DefaultStreamCreationTimeout`).
const CREATION: Duration = Duration::from_secs(30);

/// A connection that may be upgraded.
pub(crate) struct Connection {
    pub(crate) standing: Arc<Standing>,
    pub(crate) upgrade: OnUpgrade,
}

/// When something last moved.
struct Activity(Mutex<Instant>);

impl Activity {
    fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Resolves when nothing has moved for [`IDLE`].
    async fn idle(&self) {
        loop {
            let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() >= IDLE {
                return;
            }
            tokio::time::sleep_until(last + IDLE).await;
        }
    }
}

/// What the task of a stream works with.
struct Session {
    target: Target,
    subresource: String,
    way: Way,
    ctx: Arc<Context>,
    activity: Activity,
}

pub(crate) async fn connect(
    info: &Info,
    headers: &HeaderMap,
    connection: Connection,
) -> Result<Response<Body>, Status> {
    let Connection { standing, upgrade } = connection;
    let ctx = Arc::clone(&standing.ctx);
    if info.verb == Verb::Get {
        // A WebSocket begins with GET, and SPDY may; reading alone must not be enough for a shell.
        authorize::streaming(&ctx, info)?;
    }
    let permit = ctx.watches.take(&info.identity).ok_or_else(watch::busy)?;
    let entry = read(&*ctx.store, info).await?;
    let pod: Value = serde_json::from_slice(&entry.json).map_err(Status::internal)?;
    let subresource = info.subresource.map_or("", |sub| sub.name);
    let target = target(info, subresource, &pod)?;
    let forward = matches!(target.what, What::Forward(_));
    let Switch { way, answer } = match negotiate::negotiate(headers, forward) {
        Ok(switch) => switch,
        Err(refusal) => return Ok(*refusal),
    };
    // A client of the fifth version hears on its error channel what went wrong; others from the
    // answer to their request.
    let early = !matches!(way, Way::Channels(channels) if channels.close);
    let node = if early {
        match ctx.logs.stream(&target.node, target.what.clone()).await {
            Ok(node) => Some(node),
            Err(status) => return kubelet_refusal(status),
        }
    } else {
        None
    };
    let session = Session {
        target,
        subresource: subresource.to_owned(),
        way,
        ctx,
        activity: Activity::new(),
    };
    tokio::spawn(run(session, node, upgrade, standing, permit));
    Ok(answer)
}

/// What a kubelet would have said goes out as it says it: plain text, which clients show whole.
fn kubelet_refusal(status: Status) -> Result<Response<Body>, Status> {
    match status.message().strip_prefix("Internal error occurred: ") {
        Some(text) => Ok(respond::text(500, text.to_owned())),
        None => Err(status),
    }
}

async fn run(
    session: Session,
    node: Option<NodeStream>,
    upgrade: OnUpgrade,
    standing: Arc<Standing>,
    _permit: Share,
) {
    let _occupied = standing.occupy();
    let Ok(Ok(io)) = tokio::time::timeout(CREATION, upgrade).await else {
        return;
    };
    let mut stopping = session.ctx.stopping.clone();
    tokio::select! {
        () = session.carry(io, node) => {}
        () = session.activity.idle() => tracing::debug!("a stream without traffic was ended"),
        // A stranger's place is another's then.
        () = standing.lost() => {}
        () = stopping.wait() => {}
    }
}

impl Session {
    async fn carry(&self, io: Upgraded, node: Option<NodeStream>) {
        let target = &self.target;
        match &target.what {
            What::Exec(exec) => self.carry_command(io, node, exec.stdio).await,
            What::Attach(attach) => self.carry_command(io, node, attach.stdio).await,
            What::Forward(wanted) => {
                let pod = Pod {
                    name: target.pod.clone(),
                    uid: target.uid.clone(),
                };
                let Some(node) = node else { return };
                let (sink, source) = match self.way {
                    Way::Spdy { .. } => carrier::bare(io),
                    Way::Tunnel | Way::Channels(_) => carrier::tunnel(io).await,
                };
                if let Way::Channels(channels) = self.way {
                    let (both, ports) = ((sink, source), &wanted.ports);
                    let activity = &self.activity;
                    forward::relay_channels(node, both, channels, ports, &pod, activity).await;
                } else {
                    forward::relay_spdy(node, sink, source, &pod, &self.activity).await;
                }
            }
            What::Logs(_) | What::Object(_) => {}
        }
    }

    async fn carry_command(&self, io: Upgraded, node: Option<NodeStream>, stdio: Stdio) {
        let accepted = match self.way {
            Way::Spdy { status } => {
                let (sink, source) = carrier::bare(io);
                let accept = SpdyClient::accept(sink, source, stdio, status);
                let accepted = tokio::time::timeout(CREATION, accept).await;
                accepted
                    .ok()
                    .and_then(Result::ok)
                    .map(|(teller, client)| (Teller::Spdy(teller), Client::Spdy(client)))
            }
            Way::Tunnel => None,
            Way::Channels(channels) => {
                let (sink, source) = carrier::tunnel(io).await;
                let mut teller = Teller::Channels(sink, channels);
                let begun = teller.begin(stdio).await;
                begun
                    .ok()
                    .map(|()| (teller, Client::Channels(source, channels)))
            }
        };
        let Some((mut teller, mut client)) = accepted else {
            tracing::debug!("a client did not open its streams");
            return;
        };
        let node = match node {
            Some(node) => Ok(node),
            None => {
                let logs = &self.ctx.logs;
                logs.stream(&self.target.node, self.target.what.clone())
                    .await
            }
        };
        match node {
            Ok(node) => {
                let (what, activity) = (&self.subresource, &self.activity);
                command::relay(node, &mut client, &mut teller, what, activity).await;
            }
            Err(refusal) => {
                let text = refusal.message();
                let text = match text.strip_prefix("Internal error occurred: ") {
                    Some(kubelet) => format!("unable to upgrade connection: {kubelet}"),
                    None => text.to_owned(),
                };
                command::refuse(&mut client, &mut teller, &status::internal(&text)).await;
            }
        }
    }
}
