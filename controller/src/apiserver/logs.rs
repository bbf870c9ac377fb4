//! `pods/log`: finds the container, then relays what the node sends.

use std::pin::Pin;
use std::sync::Arc;

use bramble_api::status::Status;
use bramble_api::time::Timestamp;
use bramble_wire::stream::What;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use http::Response;
use serde_json::Value;

use super::list::read;
use super::request::{Info, Query};
use super::respond::{self, Body, Broken};
use super::{Context, stream, watch};
use crate::nodelink::standing::Standing;
use crate::nodelink::streams::{Reader, Writer};
use crate::object::now;

/// Whose log is wanted, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRequest {
    /// Node that runs the pod.
    pub node: String,
    /// Namespace of the pod, for messages.
    pub namespace: String,
    /// Name of the pod, for messages.
    pub pod: String,
    /// Uid of the pod.
    pub uid: String,
    /// Container.
    pub container: String,
    /// Go on until the container ends.
    pub follow: bool,
    /// Of the life before the current one.
    pub previous: bool,
    /// With the time before each line.
    pub timestamps: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Only lines since then.
    pub since: Option<Timestamp>,
    /// No more than so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Log bytes as they come. An error ends the answer as broken, so that the client notices.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// Both ends of a stream to a node, which has said that it is ready.
pub type NodeStream = (Writer, Reader);

/// Where logs and other streams come from: the link to the nodes.
pub trait PodLogs: Send + Sync + 'static {
    /// Opens a log. Dropping the stream ends it on the node too.
    fn open(&self, request: LogRequest) -> BoxFuture<'static, Result<LogStream, Status>>;

    /// How the cluster stands after its store was set back.
    fn standing(&self) -> Arc<Standing> {
        Arc::default()
    }

    /// Opens a stream to a node. Dropping the reader ends it on the node too.
    fn stream(&self, node: &str, _what: What) -> BoxFuture<'static, Result<NodeStream, Status>> {
        let text = format!("node {node} can't be reached for streams");
        Box::pin(async move { Err(Status::unavailable(text)) })
    }
}

/// No nodes, no logs: for a server without a node link.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLogs;

impl PodLogs for NoLogs {
    fn open(&self, request: LogRequest) -> BoxFuture<'static, Result<LogStream, Status>> {
        Box::pin(async move {
            Err(Status::unavailable(format!(
                "node {} can't be reached for logs",
                request.node
            )))
        })
    }
}

pub(crate) async fn log(ctx: &Context, info: &Info) -> Result<Response<Body>, Status> {
    let permit = ctx.watches.take(&info.identity).ok_or_else(watch::busy)?;
    let entry = read(&*ctx.store, info).await?;
    let pod: Value = serde_json::from_slice(&entry.json).map_err(Status::internal)?;
    let request = request(info, &pod)?;
    let stream = ctx.logs.open(request).await?;
    let stopping = ctx.stopping.clone();
    let chunks = futures_util::stream::unfold(Some((stream, permit)), move |state| {
        let mut stopping = stopping.clone();
        async move {
            let (mut stream, permit) = state?;
            tokio::select! {
                chunk = futures_util::StreamExt::next(&mut stream) => match chunk? {
                    Ok(bytes) => Some((Ok(bytes), Some((stream, permit)))),
                    Err(status) => {
                        tracing::debug!(%status, "log stream ended early");
                        Some((Err(Broken), None))
                    }
                },
                () = stopping.wait() => None,
            }
        }
    });
    let text = http::header::HeaderValue::from_static("text/plain");
    Ok(respond::answer(200, text, respond::stream(chunks)))
}

fn request(info: &Info, pod: &Value) -> Result<LogRequest, Status> {
    let text = |pointer: &str| {
        pod.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let name = info.name();
    let query = &info.query;
    let container = stream::container(query.get("container"), pod, name)?;
    let node = text("/spec/nodeName");
    if node.is_empty() {
        return Err(Status::bad_request(format!(
            "pod {name} does not have a host assigned"
        )));
    }
    let previous = query.flag("previous");
    check_started(pod, name, &container, previous)?;
    Ok(LogRequest {
        node: node.to_owned(),
        namespace: info.namespace.clone().unwrap_or_default(),
        pod: name.to_owned(),
        uid: text("/metadata/uid").to_owned(),
        container,
        follow: query.flag("follow"),
        previous,
        timestamps: query.flag("timestamps"),
        tail_lines: positive(query, "tailLines", 0)?,
        since: since(query)?,
        limit_bytes: positive(query, "limitBytes", 1)?,
    })
}

/// A container that never ran has no log; upstream says what it waits for.
fn check_started(pod: &Value, name: &str, container: &str, previous: bool) -> Result<(), Status> {
    let statuses = [
        "/status/containerStatuses",
        "/status/initContainerStatuses",
        "/status/ephemeralContainerStatuses",
    ];
    let status = (statuses.iter())
        .filter_map(|list| pod.pointer(list).and_then(Value::as_array))
        .flatten()
        .find(|s| s["name"] == container);
    let ended = status.is_some_and(|s| s.pointer("/lastState/terminated").is_some());
    if previous && !ended {
        return Err(Status::bad_request(format!(
            "previous terminated container {container:?} in pod {name:?} not found"
        )));
    }
    let started = status.is_some_and(|s| {
        s.pointer("/state/running").is_some() || s.pointer("/state/terminated").is_some()
    });
    if started || ended {
        return Ok(());
    }
    let reason = status
        .and_then(|s| s.pointer("/state/waiting/reason")?.as_str())
        .unwrap_or("ContainerCreating");
    Err(Status::bad_request(format!(
        "container {container:?} in pod {name:?} is waiting to start: {reason}"
    )))
}

fn positive(query: &Query, name: &str, least: i64) -> Result<Option<u64>, Status> {
    use bramble_api::status::Cause;
    let Some(number) = query.number(name)? else {
        return Ok(None);
    };
    if number < least {
        let cause = Cause::invalid(
            name,
            &number.into(),
            &format!("must be greater than or equal to {least}"),
        );
        return Err(Status::invalid("", "PodLogOptions", "", vec![cause]));
    }
    Ok(Some(number.unsigned_abs()))
}

fn since(query: &Query) -> Result<Option<Timestamp>, Status> {
    if let Some(seconds) = positive(query, "sinceSeconds", 1)? {
        let mut at = now();
        at.seconds -= i64::try_from(seconds).unwrap_or(i64::MAX);
        return Ok(Some(at));
    }
    let Some(text) = query.get("sinceTime") else {
        return Ok(None);
    };
    Timestamp::parse(text).map(Some).ok_or_else(|| {
        Status::bad_request(format!(
            "unable to decode query parameter sinceTime: {text:?}"
        ))
    })
}
