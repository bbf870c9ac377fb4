//! Exec and attach: a session of the runtime, carried within credit both ways.

use std::sync::Arc;
use std::time::Duration;

use bramble_wire::limits::STREAM_FRAME_MAX;
use bramble_wire::stream::{Out, Stdio, StreamError, channel};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use super::inbox::{Inbox, Turn};
use super::sender::{Gone, Sender};
use crate::runtime::{Error, Input, Output, Session, Terminal};

/// After the end, output is read until nothing comes for so long: something that the command left
/// behind may hold the other end for ever.
const QUIET: Duration = Duration::from_millis(300);

/// What comes from the controller.
pub(super) struct Ends {
    pub(super) input: Arc<Inbox>,
    pub(super) sizes: watch::Receiver<(u16, u16)>,
}

/// Why there is no session.
pub(super) enum Refused {
    /// There is nothing to execute in or attach to.
    NotRunning,
    /// The command could not be executed.
    Failed(String),
}

/// Carries a session to its end.
pub(super) async fn serve(
    session: Result<Session, Refused>,
    container: &str,
    stdio: Stdio,
    ends: Ends,
    sender: &Arc<Sender>,
) {
    let session = match session {
        Ok(session) => session,
        Err(Refused::NotRunning) => {
            let text = format!("container not found ({container:?})");
            return sender.end(Some(StreamError::NotFound(text))).await;
        }
        Err(Refused::Failed(why)) => {
            // The stream is there, and on it is said why the command is not (as upstream).
            if sender.tell(Out::Ready).await.is_ok() {
                sender.end(Some(StreamError::Failed(why))).await;
            }
            return;
        }
    };
    if sender.tell(Out::Ready).await.is_ok() {
        match carry(session, stdio, ends, sender).await {
            Ok(()) | Err(Gone) => {}
        }
    }
}

async fn carry(
    session: Session,
    stdio: Stdio,
    ends: Ends,
    sender: &Arc<Sender>,
) -> Result<(), Gone> {
    let Session {
        input,
        output,
        error,
        terminal,
        exit,
    } = session;
    // Of its own, as it may wait for the command while there is output. It ends with the stream.
    let _input = Aborted(tokio::spawn(feed(
        input.filter(|_| stdio.stdin),
        ends.input,
        Arc::clone(sender),
    )));
    let _sizes = Aborted(tokio::spawn(resize(terminal, ends.sizes)));
    let (ended, over) = watch::channel(false);
    let exited = async {
        let code = exit.await;
        ended.send_replace(true);
        code
    };
    let out = drain(output, channel::OUT, over.clone(), sender);
    let err = drain(error, channel::ERR, over, sender);
    let (code, out, err) = tokio::join!(exited, out, err);
    out.and(err)?;
    match code {
        Ok(code) => {
            sender.tell(Out::Exit { code }).await?;
            sender.end(None).await;
        }
        Err(Error::Detached) => sender.end(None).await,
        Err(error) => {
            let text = crate::error_chain(&error);
            sender.end(Some(StreamError::Failed(text))).await;
        }
    }
    Ok(())
}

/// A task that ends with its handle.
struct Aborted(tokio::task::JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Gives input to the command as it takes it. What it doesn't want any more is dropped, so that the
/// controller hears of the client's end.
async fn feed(mut to: Option<Input>, inbox: Arc<Inbox>, sender: Arc<Sender>) {
    loop {
        if let Some(credit) = inbox.credit()
            && sender.tell(credit).await.is_err()
        {
            return;
        }
        match inbox.turn().await {
            Ok(Turn::Credit(credit)) => {
                if sender.tell(credit).await.is_err() {
                    return;
                }
            }
            Ok(Turn::Bytes(bytes)) => {
                if let Some(input) = &mut to
                    && (input.write_all(&bytes).await.is_err() || input.flush().await.is_err())
                {
                    to = None;
                }
            }
            // Half-close: the command reads the end. The same when part was lost: going on would
            // be worse.
            Ok(Turn::End) | Err(_) => {
                if let Some(mut input) = to.take() {
                    let _ = input.shutdown().await;
                }
                return;
            }
        }
    }
}

async fn resize(terminal: Option<Box<dyn Terminal>>, mut sizes: watch::Receiver<(u16, u16)>) {
    let Some(terminal) = terminal else { return };
    loop {
        let (columns, rows) = *sizes.borrow_and_update();
        if columns > 0 && rows > 0 {
            terminal.resize(columns, rows);
        }
        if sizes.changed().await.is_err() {
            return;
        }
    }
}

/// Sends what comes out, until its end, or until nothing comes after the command's.
async fn drain(
    from: Option<Output>,
    number: u16,
    mut over: watch::Receiver<bool>,
    sender: &Sender,
) -> Result<(), Gone> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; STREAM_FRAME_MAX];
    loop {
        let quiet = async {
            // The sender is there for as long as we wait.
            let _ = over.wait_for(|over| *over).await;
            tokio::time::sleep(QUIET).await;
        };
        let n = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            () = quiet => 0,
        };
        if n == 0 {
            return Ok(());
        }
        sender.data(number, &buffer[..n]).await?;
    }
}
