//! Streams of a person at the board, over a connection of the local socket instead of the broker.
//!
//! In: what is wanted, and frames of [`In`]. Out: [`Reply::Out`], no faster than the client reads. A stream
//! ends with its source, or when the client closes or says something that it may not.

use std::io;
use std::sync::Arc;

use bramble_agent_core::session::Observation;
use bramble_wire::limits::{STREAM_CREDIT_MAX, STREAM_FRAME_MAX, STREAMS_MAX};
use bramble_wire::local::Reply;
use bramble_wire::stream::{In, Out, StreamError, What, channel};
use bramble_wire::topic::StreamId;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc, watch};

use super::inbox::Inbox;
use super::sender::Sender;
use super::{Frame, Pods, command};

/// Frames on their way to the client; the kernel holds more.
const FRAMES: usize = 2;

/// Longest frame of a client: its data and what is around it.
const IN_MAX: usize = STREAM_FRAME_MAX + 64;

/// Serves streams to clients on the board; at most [`STREAMS_MAX`] at once, beside those of the controller.
#[derive(Clone)]
pub struct Local {
    pods: Arc<dyn Pods>,
    /// Never marked as seen.
    observations: watch::Receiver<Observation>,
    slots: Arc<Semaphore>,
}

impl Local {
    /// Of which nothing is served yet.
    pub fn new(pods: Arc<dyn Pods>, observations: watch::Receiver<Observation>) -> Self {
        Self {
            pods,
            observations,
            slots: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }

    /// Serves one stream over a connection, to its end.
    ///
    /// # Errors
    /// When the client can't be written to.
    pub async fn serve(
        &self,
        what: What,
        reader: impl AsyncRead + Unpin,
        writer: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let (frames, outbox) = mpsc::channel(FRAMES);
        let (_all, allowed) = watch::channel(u64::MAX);
        let (size, sizes) = watch::channel((0, 0));
        let input = Arc::new(Inbox::new(channel::IN, STREAM_CREDIT_MAX));
        let ends = command::Ends {
            input: Arc::clone(&input),
            sizes,
        };
        let work = async {
            let sender = Arc::new(Sender::new(StreamId(0), frames, allowed));
            let Ok(_slot) = self.slots.try_acquire() else {
                let text = format!("the agent serves {STREAMS_MAX} streams on this board already");
                return sender.end(Some(StreamError::Unavailable(text))).await;
            };
            let (pods, observations) = (Arc::clone(&self.pods), self.observations.clone());
            super::serve(what, pods, observations, &sender, ends).await;
        };
        tokio::select! {
            ((), told) = async { tokio::join!(work, tell(writer, outbox)) } => told,
            () = listen(reader, &input, &size) => Ok(()),
        }
    }
}

/// Writes what comes out, up to the end.
async fn tell(
    mut writer: impl AsyncWrite + Unpin,
    mut outbox: mpsc::Receiver<Frame>,
) -> io::Result<()> {
    while let Some(Frame { out, .. }) = outbox.recv().await {
        let end = matches!(out, Out::End { .. });
        let body = bramble_wire::encode(&Reply::Out(out));
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        writer.write_all(&length.to_le_bytes()).await?;
        writer.write_all(&body).await?;
        if end {
            return writer.shutdown().await;
        }
    }
    Ok(())
}

/// Hears the client until it goes away, or is not to be understood.
async fn listen(
    mut reader: impl AsyncRead + Unpin,
    input: &Inbox,
    size: &watch::Sender<(u16, u16)>,
) {
    let mut frame = vec![0; IN_MAX];
    while let Ok(length) = reader.read_u32_le().await {
        let Some(body) = frame.get_mut(..length as usize) else {
            return;
        };
        if reader.read_exact(body).await.is_err() {
            return;
        }
        match bramble_wire::decode::<In>(body, "frame of a stream") {
            Ok(In::Data { offset, bytes, .. }) => input.receive(offset, &bytes),
            Ok(In::End { offset, .. }) => input.end(offset),
            Ok(In::Resize { columns, rows }) => {
                size.send_replace((columns, rows));
            }
            // The connection is the credit.
            Ok(In::Credit(_)) => {}
            Ok(
                In::Close | In::Connect { .. } | In::ChannelCredit { .. } | In::Disconnect { .. },
            )
            | Err(_) => return,
        }
    }
}
