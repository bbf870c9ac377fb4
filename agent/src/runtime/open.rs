//! Opens sessions with a pod's shim: makes the streams, sends their other ends, and binds the session's
//! life to its [`Exit`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bramble_wire::object::PodUid;
use bramble_wire::shim::{
    Attach, Attached, Exec, Failure, FailureKind, Reply, Request, SessionEnd, Streams,
    VERSION_SESSIONS,
};
use bramble_wire::stream::Stdio;
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;

use super::Error;
use super::client::ShimClient;
use super::session::{ExecConfig, Exit, Input, Output, Session, Terminal};
use super::stdio::{self, Console, Stream};

/// Executes a command.
pub(super) async fn exec(
    client: ShimClient,
    pod: PodUid,
    id: &str,
    config: &ExecConfig,
) -> Result<Session, Error> {
    check_version(&client, pod)?;
    let Stdio {
        stdin,
        stdout,
        stderr,
        tty,
    } = config.stdio;
    let mut request = Exec {
        id: id.to_owned(),
        argv: config.argv.clone(),
        streams: Streams {
            stdin,
            stdout,
            stderr,
        },
        terminal: tty,
        outlive: config.outlive,
    };
    if tty {
        request.streams = Streams {
            stdin: true,
            ..Streams::default()
        };
        let (console, theirs) = Console::new().map_err(own)?;
        let (opened, _) = open(client, pod, Request::Exec(request), vec![theirs]).await?;
        let terminal = console.receive().await.map_err(own)?;
        return Ok(Session {
            input: stdin.then(|| Box::new(terminal.clone()) as Input),
            output: stdout.then(|| Box::new(terminal.clone()) as Output),
            error: None,
            terminal: Some(Box::new(terminal)),
            exit: opened.exit(),
        });
    }
    let mut theirs = Vec::new();
    let input = end(stdin, &mut theirs, stdio::to_process)?;
    let output = end(stdout, &mut theirs, stdio::from_process)?;
    let error = end(stderr, &mut theirs, stdio::from_process)?;
    let (opened, _) = open(client, pod, Request::Exec(request), theirs).await?;
    Ok(Session {
        input: input.map(|s| Box::new(s) as Input),
        output: output.map(|s| Box::new(s) as Output),
        error: error.map(|s| Box::new(s) as Output),
        terminal: None,
        exit: opened.exit(),
    })
}

/// Joins a container's streams.
pub(super) async fn attach(
    client: ShimClient,
    pod: PodUid,
    id: &str,
    wanted: Stdio,
) -> Result<Session, Error> {
    check_version(&client, pod)?;
    let mut theirs = Vec::new();
    // A terminal's size can be told by whoever has its descriptor, and only those who may write get it.
    let console = end(wanted.stdin, &mut theirs, Console::new)?;
    let output = end(wanted.stdout, &mut theirs, stdio::from_process)?;
    let error = end(wanted.stderr, &mut theirs, stdio::from_process)?;
    let request = Request::Attach(Attach {
        id: id.to_owned(),
        streams: Streams {
            stdin: wanted.stdin,
            stdout: wanted.stdout,
            stderr: wanted.stderr,
        },
    });
    let (opened, attached) = open(client, pod, request, theirs).await?;
    let stream = match console.filter(|_| attached.stdin) {
        Some(console) => Some(console.receive().await.map_err(own)?),
        None => None,
    };
    let terminal = stream.clone().filter(|_| attached.terminal);
    let input = stream.map(|stream| {
        Box::new(AttachedInput {
            stream: Some(stream),
            client: opened.client.clone(),
            session: opened.session,
        }) as Input
    });
    Ok(Session {
        input,
        output: output.map(|s| Box::new(s) as Output),
        // With a terminal there is one output; the pipe for errors would end at once.
        error: error
            .filter(|_| !attached.terminal)
            .map(|s| Box::new(s) as Output),
        terminal: terminal.map(|s| Box::new(s) as Box<dyn Terminal>),
        exit: opened.exit(),
    })
}

/// One stream, if it is wanted: our end comes back, theirs is added.
fn end<T, U>(
    wanted: bool,
    theirs: &mut Vec<U>,
    make: fn() -> io::Result<(T, U)>,
) -> Result<Option<T>, Error> {
    if !wanted {
        return Ok(None);
    }
    let (ours, other) = make().map_err(own)?;
    theirs.push(other);
    Ok(Some(ours))
}

/// A session that the shim has begun; dropped, it ends.
struct Opened {
    client: ShimClient,
    pod: PodUid,
    session: u32,
    over: bool,
    end: oneshot::Receiver<SessionEnd>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !self.over {
            self.client.order(Request::EndSession {
                session: self.session,
                grace_ms: 0,
            });
        }
    }
}

impl Opened {
    fn exit(mut self) -> Exit {
        Box::pin(async move {
            let end = (&mut self.end).await;
            self.over = true;
            match end {
                Ok(SessionEnd::Exited { code }) => Ok(code),
                Ok(SessionEnd::Detached) => Err(Error::Detached),
                Ok(SessionEnd::TooSlow) => Err(Error::Cut {
                    message: "the reader was too slow".to_owned(),
                }),
                Err(_) => Err(Error::ShimGone { pod: self.pod }),
            }
        })
    }
}

async fn open(
    client: ShimClient,
    pod: PodUid,
    request: Request,
    theirs: Vec<std::os::fd::OwnedFd>,
) -> Result<(Opened, Attached), Error> {
    let asked = client.open(request, theirs).await;
    let (session, reply, end) = asked.map_err(|_| Error::ShimGone { pod })?;
    match reply {
        Reply::Attached(attached) => Ok((
            Opened {
                client,
                pod,
                session,
                over: false,
                end,
            },
            attached,
        )),
        Reply::Failed(failure) => Err(refused(pod, session, failure)),
        _ => Err(Error::ShimGone { pod }),
    }
}

/// As containerd and runc say it, which is what people search for.
fn refused(pod: PodUid, session: u32, failure: Failure) -> Error {
    let Failure { kind, message } = failure;
    let code = match kind {
        FailureKind::CommandNotFound => Some(127),
        FailureKind::CommandNotExecutable => Some(126),
        FailureKind::NotFound => {
            let message = format!("failed to exec in container: {message}");
            return Error::NotRunning { message };
        }
        FailureKind::Invalid | FailureKind::Exists => return Error::Refused { pod, message },
        _ => None,
    };
    let message = format!(
        "failed to exec in container: failed to start exec \"{session}\": OCI runtime exec failed: \
         exec failed: unable to start container process: {message}: unknown"
    );
    Error::Exec { code, message }
}

fn check_version(client: &ShimClient, pod: PodUid) -> Result<(), Error> {
    if client.hello.version >= VERSION_SESSIONS {
        return Ok(());
    }
    let message = "the pod was started by an older agent, whose shim can't execute commands or attach; \
                   recreate the pod";
    Err(Error::Refused {
        pod,
        message: message.to_owned(),
    })
}

fn own(error: io::Error) -> Error {
    Error::Cut {
        message: format!("streams of the session: {error}"),
    }
}

/// Input of a container that somebody else may write to as well: its end is told to the shim.
struct AttachedInput {
    stream: Option<Stream>,
    client: ShimClient,
    session: u32,
}

impl AttachedInput {
    fn stream(&mut self) -> io::Result<Pin<&mut Stream>> {
        let stream = self.stream.as_mut().map(Pin::new);
        stream.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for AttachedInput {
    fn drop(&mut self) {
        // Ours first: the container sees the end only when nobody holds it any more.
        self.stream = None;
        let session = self.session;
        self.client.order(Request::EndInput { session });
    }
}

impl AsyncWrite for AttachedInput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(kind: FailureKind, message: &str) -> Error {
        let message = message.to_owned();
        refused(PodUid([0; 16]), 7, Failure { kind, message })
    }

    #[test]
    fn refusals_are_worded_as_upstream() {
        let missing = "exec: \"sh\": executable file not found in $PATH";
        let error = refuse(FailureKind::CommandNotFound, missing);
        assert!(matches!(
            error,
            Error::Exec {
                code: Some(127),
                ..
            }
        ));
        assert_eq!(
            error.to_string(),
            "failed to exec in container: failed to start exec \"7\": OCI runtime exec failed: exec \
             failed: unable to start container process: exec: \"sh\": executable file not found in \
             $PATH: unknown"
        );
        let error = refuse(
            FailureKind::NotFound,
            "container is in CONTAINER_EXITED state",
        );
        assert!(matches!(error, Error::NotRunning { .. }));
    }
}
