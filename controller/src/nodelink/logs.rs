//! Serves `kubectl logs`, exec, attach and port-forward from the node that runs the pod.
//!
//! A log that is followed outlives its stream: [`Follow`] says what becomes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble_api::status::Status;
use bramble_wire::name::NodeName;
use bramble_wire::object::PodUid;
use bramble_wire::stream::{Logs, StreamError, What};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::NodeLink;
use super::follow::{Follow, Next};
use super::standing::Standing;
use super::streams::{Error, Event, Reader};
use super::task::Command;
use crate::apiserver::{LogRequest, LogStream, NodeStream, PodLogs};

/// How long a node may take to begin. A log that is followed may have nothing to say yet.
const FIRST_WAIT: Duration = Duration::from_secs(10);
const FIRST_WAIT_FOLLOWED: Duration = Duration::from_secs(1);

impl PodLogs for NodeLink {
    fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing.borrow())
    }

    fn open(&self, request: LogRequest) -> BoxFuture<'static, Result<LogStream, Status>> {
        let link = self.clone();
        Box::pin(async move {
            let (node, logs) = wanted(&request)?;
            let opened = link
                .open_stream(node.clone(), What::Logs(logs.clone()))
                .await?;
            let (_, mut reader) = opened.map_err(|error| status(&request, error))?;
            begin(&request, &mut reader).await?;
            let relay = Relay {
                link,
                node,
                request,
                follow: Follow::new(logs),
                reader,
            };
            let stream = futures_util::stream::unfold(relay, |mut relay| async {
                let next = relay.next().await?;
                Some((next, relay))
            });
            Ok::<LogStream, _>(Box::pin(stream))
        })
    }

    fn stream(&self, node: &str, what: What) -> BoxFuture<'static, Result<NodeStream, Status>> {
        let (link, name) = (self.clone(), node.to_owned());
        Box::pin(async move {
            let node = NodeName::new(&name)
                .map_err(|error| Status::bad_request(format!("node {name:?}: {error}")))?;
            let opened = link.open_stream(node, what).await?;
            let (writer, mut reader) = opened.map_err(|error| unreachable_node(&error))?;
            let ready = tokio::time::timeout(FIRST_WAIT, reader.ready()).await;
            if ready.is_err() {
                let text = format!("error dialing backend: node {name} does not answer");
                return Err(Status::unavailable(text));
            }
            match reader.refusal() {
                Some(error) => Err(unreachable_node(&error)),
                None => Ok((writer, reader)),
            }
        })
    }
}

impl NodeLink {
    async fn open_stream(
        &self,
        node: NodeName,
        what: What,
    ) -> Result<Result<NodeStream, Error>, Status> {
        let gone = || Status::unavailable("the link to the nodes has ended");
        let (reply, answer) = oneshot::channel();
        let what = Box::new(what);
        let command = Command::Open { node, what, reply };
        self.commands.send(command).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

/// A stream that did not begin, in upstream's words where it has some.
fn unreachable_node(error: &Error) -> Status {
    match error {
        Error::Busy(_) => Status::too_many_requests(error.to_string(), 1),
        Error::Node(StreamError::NotFound(text)) => Status::internal(text),
        Error::Node(StreamError::Unavailable(text)) => Status::unavailable(text),
        Error::Node(_) | Error::Offline(_) | Error::Gap => {
            Status::unavailable(format!("error dialing backend: {error}"))
        }
    }
}

fn wanted(request: &LogRequest) -> Result<(NodeName, Logs), Status> {
    let node = NodeName::new(&request.node)
        .map_err(|error| Status::bad_request(format!("node {:?}: {error}", request.node)))?;
    let pod = PodUid::parse(&request.uid)
        .ok_or_else(|| Status::bad_request(format!("{:?} is not a uid", request.uid)))?;
    let logs = Logs {
        pod,
        container: request.container.clone(),
        follow: request.follow,
        previous: request.previous,
        timestamps: request.timestamps,
        tail_lines: request.tail_lines,
        since_unix_s: request.since.map(|since| since.seconds),
        limit_bytes: request.limit_bytes,
        resume: None,
    };
    Ok((node, logs))
}

/// Waits for the first bytes, so that a refusal becomes a status and not a broken answer.
async fn begin(request: &LogRequest, reader: &mut Reader) -> Result<(), Status> {
    let patience = if request.follow {
        FIRST_WAIT_FOLLOWED
    } else {
        FIRST_WAIT
    };
    let ready = tokio::time::timeout(patience, reader.ready()).await.is_ok();
    if !ready && !request.follow {
        let text = format!("node {} does not answer", request.node);
        return Err(Status::unavailable(text));
    }
    match reader.refusal() {
        Some(error) => Err(status(request, error)),
        None => Ok(()),
    }
}

/// A client's log, from one stream after another. It holds no more than they do.
struct Relay {
    link: NodeLink,
    node: NodeName,
    request: LogRequest,
    follow: Follow,
    reader: Reader,
}

impl Relay {
    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            match self.reader.next().await? {
                Ok(Event::Data { bytes, .. }) => {
                    self.follow.handle_bytes(&bytes);
                    return Some(Ok(bytes));
                }
                Ok(Event::Ready) => self.follow.handle_ready(),
                Ok(_) => {}
                Err(error) => match self.go_on(error).await {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(status) => return Some(Err(status)),
                },
            }
        }
    }

    /// Opens another stream in place of one that has broken off; `false` when the client has all.
    async fn go_on(&mut self, error: Error) -> Result<bool, Status> {
        let arrivals = std::sync::Arc::clone(&self.link.arrivals);
        let mut arrived = std::pin::pin!(arrivals.notified());
        let mark = self.reader.mark();
        let mut next = self.follow.handle_break(error, mark, Instant::now());
        loop {
            let pause = match next {
                Next::Again(pause) => pause,
                Next::Done => return Ok(false),
                Next::Fail(error) => return Err(status(&self.request, error)),
            };
            // Who comes from here on is noticed.
            let _ = tokio::time::timeout(pause, arrived.as_mut()).await;
            arrived.set(arrivals.notified());
            arrived.as_mut().enable();
            let what = What::Logs(self.follow.request());
            match self.link.open_stream(self.node.clone(), what).await? {
                Ok((_, reader)) => {
                    tracing::debug!(node = %self.node, "a followed log goes on");
                    self.reader = reader;
                    return Ok(true);
                }
                Err(error) => next = self.follow.handle_break(error, None, Instant::now()),
            }
        }
    }
}

fn status(request: &LogRequest, error: Error) -> Status {
    let LogRequest {
        node,
        namespace,
        pod,
        container,
        ..
    } = request;
    match error {
        Error::Node(StreamError::NotFound(text)) => Status::bad_request(format!(
            "container {container:?} in pod \"{namespace}/{pod}\" has no log on node {node}: {text}"
        )),
        Error::Busy(_) => Status::too_many_requests(error.to_string(), 1),
        Error::Node(_) | Error::Offline(_) | Error::Gap => Status::unavailable(error.to_string()),
    }
}
