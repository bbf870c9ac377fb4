//! Input of a channel: what the controller sent and nobody has taken yet, within the credit that was
//! given for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bramble_wire::stream::Out;
use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

/// How often credit is said again while nothing comes: one that was lost would hold the input up for ever.
const REPEAT: Duration = Duration::from_secs(15);

/// What comes next of a channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Input.
    Bytes(Bytes),
    /// To be said again.
    Credit(Out),
    /// There is no more.
    End,
}

/// See the module.
pub(super) struct Inbox {
    channel: u16,
    window: u64,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    bytes: BytesMut,
    received: u64,
    granted: u64,
    taken: u64,
    end: bool,
    /// Part of the input was lost, or it is more than there was credit for.
    broken: bool,
}

/// Input was lost on the way, or the controller sends more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("part of the input was lost")]
pub(super) struct Broken;

impl Inbox {
    pub(super) fn new(channel: u16, window: u32) -> Self {
        Self {
            channel,
            window: window.into(),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes from the controller; what repeats is dropped.
    pub(super) fn receive(&self, offset: u64, bytes: &[u8]) {
        let mut state = self.lock();
        let known = state.received.checked_sub(offset);
        let fresh = known.and_then(|known| {
            let known = usize::try_from(known).ok()?;
            Some(bytes.get(known..).unwrap_or_default())
        });
        match fresh {
            Some(fresh) if state.received + fresh.len() as u64 <= state.granted => {
                state.received += fresh.len() as u64;
                state.bytes.extend_from_slice(fresh);
            }
            _ => state.broken = true,
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The controller has no more.
    pub(super) fn end(&self, offset: u64) {
        let mut state = self.lock();
        state.end = true;
        state.broken |= offset > state.received;
        drop(state);
        self.changed.notify_one();
    }

    /// Credit to be given, if any is due: at first, and when half of it has been used.
    pub(super) fn credit(&self) -> Option<Out> {
        let mut state = self.lock();
        let credit = state.taken + self.window;
        if state.granted > 0 && credit - state.granted < self.window / 2 {
            return None;
        }
        state.granted = credit;
        let channel = self.channel;
        Some(Out::Credit { channel, credit })
    }

    /// The next bytes, or after a while without any the credit that was given.
    pub(super) async fn turn(&self) -> Result<Turn, Broken> {
        tokio::select! {
            biased;
            next = self.next() => Ok(next?.map_or(Turn::End, Turn::Bytes)),
            () = tokio::time::sleep(REPEAT) => {
                let (channel, credit) = (self.channel, self.lock().granted);
                Ok(Turn::Credit(Out::Credit { channel, credit }))
            }
        }
    }

    /// The next bytes; `None` at the end.
    async fn next(&self) -> Result<Option<Bytes>, Broken> {
        loop {
            {
                let mut state = self.lock();
                if !state.bytes.is_empty() {
                    let bytes = state.bytes.split().freeze();
                    state.taken += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                if state.broken {
                    return Err(Broken);
                }
                if state.end {
                    return Ok(None);
                }
            }
            self.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn input_stays_within_its_credit() {
        let inbox = Inbox::new(3, 8);
        let credit = |credit| Some(Out::Credit { channel: 3, credit });
        assert_eq!(inbox.credit(), credit(8));
        inbox.receive(0, b"abc");
        inbox.receive(0, b"abc");
        inbox.receive(2, b"cd");
        assert_eq!(inbox.credit(), None);
        assert_eq!(inbox.next().await.unwrap().unwrap(), "abcd");
        assert_eq!(inbox.credit(), credit(12));
        inbox.receive(4, b"e");
        inbox.end(5);
        assert_eq!(inbox.next().await.unwrap().unwrap(), "e");
        assert_eq!(inbox.next().await, Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn credit_is_said_again_while_nothing_comes() {
        let inbox = Inbox::new(3, 8);
        let credit = |credit| Out::Credit { channel: 3, credit };
        assert_eq!(inbox.credit(), Some(credit(8)));
        for _ in 0..2 {
            let begun = tokio::time::Instant::now();
            assert_eq!(inbox.turn().await, Ok(Turn::Credit(credit(8))));
            assert_eq!(begun.elapsed(), REPEAT);
        }
        inbox.receive(0, b"a");
        inbox.end(1);
        assert_eq!(inbox.turn().await, Ok(Turn::Bytes("a".into())));
        assert_eq!(inbox.turn().await, Ok(Turn::End));
    }

    #[tokio::test]
    async fn gaps_and_excess_are_errors() {
        for (offset, bytes) in [(1, &b"x"[..]), (0, b"123456789")] {
            let inbox = Inbox::new(0, 8);
            inbox.credit();
            inbox.receive(offset, bytes);
            assert_eq!(inbox.next().await, Err(Broken));
        }
        let inbox = Inbox::new(0, 8);
        inbox.end(1);
        assert_eq!(inbox.next().await, Err(Broken));
    }
}
