//! Sends a stream's output within the reader's credit.

use bramble_wire::limits::STREAM_FRAME_MAX;
use bramble_wire::stream::{Mark, Out, StreamError, channel};
use bramble_wire::topic::StreamId;
use tokio::sync::{Mutex, mpsc, watch};

use super::Frame;

/// The link takes no more: the stream has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// The output of one stream. What it sends on all its channels counts against one credit.
pub(super) struct Sender {
    id: StreamId,
    frames: mpsc::Sender<Frame>,
    state: Mutex<State>,
}

struct State {
    allowed: watch::Receiver<u64>,
    sent: u64,
    /// Sent on [`channel::OUT`] and [`channel::ERR`].
    offsets: [u64; 2],
}

impl Sender {
    pub(super) fn new(
        id: StreamId,
        frames: mpsc::Sender<Frame>,
        allowed: watch::Receiver<u64>,
    ) -> Self {
        let state = Mutex::new(State {
            allowed,
            sent: 0,
            offsets: [0; 2],
        });
        Self { id, frames, state }
    }

    /// Sends something that costs no credit.
    pub(super) async fn tell(&self, out: Out) -> Result<(), Gone> {
        let frame = Frame { id: self.id, out };
        self.frames.send(frame).await.map_err(|_| Gone)
    }

    /// Sends output on [`channel::OUT`] or [`channel::ERR`]. Waits for credit as long as it takes: a
    /// reader who does not read holds up only himself.
    pub(super) async fn data(&self, number: u16, bytes: &[u8]) -> Result<(), Gone> {
        self.send(number, bytes, None).await
    }

    /// Sends output of a log in the same way; with the last of it goes the place that it leads to. A
    /// place alone costs nothing.
    pub(super) async fn log(&self, bytes: &[u8], mut mark: Option<Mark>) -> Result<(), Gone> {
        if let Some(mark) = mark.take_if(|_| bytes.is_empty()) {
            let offset = self.state.lock().await.offsets[0];
            let bytes = Vec::new();
            return self
                .tell(Out::Log {
                    offset,
                    bytes,
                    mark,
                })
                .await;
        }
        self.send(channel::OUT, bytes, mark).await
    }

    async fn send(
        &self,
        number: u16,
        mut bytes: &[u8],
        mut mark: Option<Mark>,
    ) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let mut state = self.state.lock().await;
            let sent = state.sent;
            let allowed = state.allowed.wait_for(|allowed| *allowed > sent).await;
            let credit = *allowed.map_err(|_| Gone)? - sent;
            let most = usize::try_from(credit).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(most).min(STREAM_FRAME_MAX));
            let offset = &mut state.offsets[usize::from(number == channel::ERR)];
            let out = match mark.take_if(|_| later.is_empty()) {
                Some(mark) => Out::Log {
                    offset: *offset,
                    bytes: now.to_vec(),
                    mark,
                },
                None => data(number, *offset, now.to_vec()),
            };
            *offset += now.len() as u64;
            state.sent += now.len() as u64;
            self.tell(out).await?;
            bytes = later;
        }
        Ok(())
    }

    pub(super) async fn end(&self, error: Option<StreamError>) {
        // Of all channels: whatever was lost on the way is missed then.
        let offset = self.state.lock().await.sent;
        // Nobody is left to hear it when the agent stops.
        let _ = self.tell(Out::End { offset, error }).await;
    }
}

fn data(channel: u16, offset: u64, bytes: Vec<u8>) -> Out {
    if channel == channel::OUT {
        return Out::Data { offset, bytes };
    }
    Out::ChannelData {
        channel,
        offset,
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_counts_what_was_sent_on_every_channel() {
        let (frames, mut sent) = mpsc::channel(4);
        let (_credit, allowed) = watch::channel(10);
        let sender = Sender::new(StreamId(1), frames, allowed);
        sender.data(channel::OUT, b"out").await.unwrap();
        sender.data(channel::ERR, b"errors").await.unwrap();
        sender.end(None).await;
        let (offset, error) = (9, None);
        while let Some(frame) = sent.recv().await {
            if matches!(frame.out, Out::End { .. }) {
                assert_eq!(frame.out, Out::End { offset, error });
                return;
            }
        }
    }
}
