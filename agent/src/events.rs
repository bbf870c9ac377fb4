//! What happened to pods, told to the controller: `Pulling`, `Unhealthy`, `FailedMount`, …
//!
//! In: [`Events::tell`], from any task, as often as it likes. Out: the inbox, which the link's task
//! reads and gives to the session; that keeps the newest [`REPORT_EVENTS_MAX`] for the next reports.
//!
//! Telling never waits and never fails: what does not fit is lost, because nobody's work may depend
//! on an event. The kubelet's words for reasons and messages are the caller's to know.

use bramble_wire::limits::{REPORT_EVENTS_MAX, TEXT_MAX};
use bramble_wire::object::PodUid;
use bramble_wire::report::{PodEvent, UnixMs};
use tokio::sync::mpsc;

use crate::clock;

/// Longest reason, as upstream's.
const REASON_MAX: usize = 128;

/// A handle to tell events by.
#[derive(Debug, Clone)]
pub struct Events {
    sender: mpsc::Sender<PodEvent>,
}

impl Events {
    /// A handle and where its events come out.
    pub fn channel() -> (Self, mpsc::Receiver<PodEvent>) {
        let (sender, inbox) = mpsc::channel(REPORT_EVENTS_MAX);
        (Self { sender }, inbox)
    }

    /// Something happened to a pod. `container` is the name of one of its containers (init and
    /// ephemeral ones too), or empty for the pod as a whole. Telling the same again while it waits
    /// counts it.
    pub fn tell(&self, uid: PodUid, container: &str, warning: bool, reason: &str, message: &str) {
        let event = PodEvent {
            uid,
            container: container.to_owned(),
            warning,
            reason: cut(reason, REASON_MAX),
            message: cut(message, TEXT_MAX),
            at: UnixMs(clock::unix_ms()),
            count: 1,
        };
        // Full only while the link's task is held up: then the newest is lost.
        let _ = self.sender.try_send(event);
    }
}

/// At most `max` bytes, ending at a character.
fn cut(text: &str, max: usize) -> String {
    text[..text.floor_char_boundary(max)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telling_is_bounded_and_never_waits() {
        let (events, mut inbox) = Events::channel();
        for n in 0..3 * REPORT_EVENTS_MAX {
            events.tell(
                PodUid([n as u8; 16]),
                "c",
                true,
                "Unhealthy",
                "é".repeat(TEXT_MAX).as_str(),
            );
        }
        let told: Vec<_> = std::iter::from_fn(|| inbox.try_recv().ok()).collect();
        assert_eq!(told.len(), REPORT_EVENTS_MAX);
        assert!(
            told.iter()
                .all(|event| event.message.len() == TEXT_MAX && event.count == 1)
        );
        drop(inbox);
        events.tell(PodUid([0; 16]), "", false, "Pulling", "nobody listens");
    }
}
