//! What waits to be sent, and what was sent and is not acknowledged. Pure; the link holds it under
//! a lock.
//!
//! State lives in slots, one per topic: newer state replaces waiting state in place, so a link that
//! is down for a week holds as much as one that is down for a second. Frames are queued in order and
//! belong to one connection. Both share one order of sending.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::options::UNACKED_MAX;

/// Something to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Topic.
    pub topic: Arc<str>,
    /// Bytes.
    pub payload: Bytes,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// Whether it is state of the topic (survives the connection) or a frame (does not).
    pub state: bool,
}

impl Publish {
    fn size(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

/// The outbox has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Limits of an outbox.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Topics with waiting state.
    pub slots: usize,
    /// Waiting frames.
    pub frames: usize,
    /// Bytes, waiting and unacknowledged.
    pub bytes: usize,
}

#[derive(Debug)]
enum Waiting {
    /// The state of this topic, whatever it is when its turn comes.
    Slot(Arc<str>),
    Frame(Publish),
}

/// See the module's description.
#[derive(Debug)]
pub struct Outbox {
    limits: Limits,
    order: VecDeque<Waiting>,
    slots: HashMap<Arc<str>, Publish>,
    frames: usize,
    bytes: usize,
    /// Handed to the client, packet identifier not known yet. The client takes them in order.
    issued: VecDeque<(Publish, Instant)>,
    /// Written to the socket, waiting for the broker.
    unacked: HashMap<u16, (Publish, Instant)>,
}

impl Outbox {
    /// An empty outbox.
    pub fn new(limits: Limits) -> Outbox {
        Outbox {
            limits,
            order: VecDeque::new(),
            slots: HashMap::new(),
            frames: 0,
            bytes: 0,
            issued: VecDeque::new(),
            unacked: HashMap::new(),
        }
    }

    /// Sets the state of a topic. `Ok(true)` when it replaced state that was still waiting.
    pub fn put(&mut self, publish: Publish) -> Result<bool, Full> {
        debug_assert!(publish.state);
        let old = self.slots.get(&publish.topic).map(Publish::size);
        let bytes = self.bytes - old.unwrap_or(0) + publish.size();
        if bytes > self.limits.bytes || (old.is_none() && self.slots.len() >= self.limits.slots) {
            return Err(Full);
        }
        self.bytes = bytes;
        let topic = Arc::clone(&publish.topic);
        let replaced = self.slots.insert(Arc::clone(&topic), publish).is_some();
        if !replaced {
            self.order.push_back(Waiting::Slot(topic));
        }
        Ok(replaced)
    }

    /// Appends a frame.
    pub fn send(&mut self, publish: Publish) -> Result<(), Full> {
        debug_assert!(!publish.state);
        let bytes = self.bytes + publish.size();
        if self.frames >= self.limits.frames || bytes > self.limits.bytes {
            return Err(Full);
        }
        self.frames += 1;
        self.bytes = bytes;
        self.order.push_back(Waiting::Frame(publish));
        Ok(())
    }

    /// Whether half of the room for frames is free.
    pub fn has_room(&self) -> bool {
        self.frames <= self.limits.frames / 2 && self.bytes <= self.limits.bytes / 2
    }

    /// Forgets the waiting state of a topic. What is on its way stays on its way.
    pub fn forget(&mut self, topic: &str) {
        if let Some(publish) = self.slots.remove(topic) {
            self.bytes -= publish.size();
            self.order
                .retain(|waiting| !matches!(waiting, Waiting::Slot(slot) if &**slot == topic));
        }
    }

    /// The next publish to hand to the client, if the window allows one.
    pub fn issue(&mut self, now: Instant) -> Option<Publish> {
        if self.issued.len() + self.unacked.len() >= UNACKED_MAX {
            return None;
        }
        let publish = match self.order.pop_front()? {
            Waiting::Slot(topic) => self
                .slots
                .remove(&topic)
                .expect("a topic in the order has its slot"),
            Waiting::Frame(publish) => {
                self.frames -= 1;
                publish
            }
        };
        self.issued.push_back((publish.clone(), now));
        Some(publish)
    }

    /// The client wrote the oldest issued publish under this packet identifier.
    pub fn written(&mut self, packet: u16) {
        if let Some(issued) = self.issued.pop_front() {
            self.unacked.insert(packet, issued);
        }
    }

    /// The broker answered; the publish is ours no more.
    pub fn acknowledged(&mut self, packet: u16) -> Option<Publish> {
        let (publish, _) = self.unacked.remove(&packet)?;
        self.bytes -= publish.size();
        Some(publish)
    }

    /// When the oldest publish was issued that is not acknowledged.
    pub fn oldest_unacked(&self) -> Option<Instant> {
        let unacked = self.unacked.values().map(|(_, at)| *at);
        self.issued.iter().map(|(_, at)| *at).chain(unacked).min()
    }

    /// The connection is gone: state that was not acknowledged waits again unless newer state does,
    /// frames are lost. Returns how many frames.
    pub fn disconnected(&mut self) -> u64 {
        let mut back: Vec<(Publish, Instant)> =
            self.unacked.drain().map(|(_, sent)| sent).collect();
        back.extend(self.issued.drain(..));
        back.sort_by_key(|(_, at)| *at);
        let mut lost = 0;
        for (publish, _) in back.into_iter().rev() {
            if publish.state && !self.slots.contains_key(&publish.topic) {
                self.order
                    .push_front(Waiting::Slot(Arc::clone(&publish.topic)));
                self.slots.insert(Arc::clone(&publish.topic), publish);
                continue;
            }
            self.bytes -= publish.size();
            lost += u64::from(!publish.state);
        }
        let bytes = &mut self.bytes;
        self.order.retain(|waiting| match waiting {
            Waiting::Slot(_) => true,
            Waiting::Frame(publish) => {
                *bytes -= publish.size();
                lost += 1;
                false
            }
        });
        self.frames = 0;
        lost
    }

    /// Whether nothing waits and nothing is unacknowledged.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty() && self.issued.is_empty() && self.unacked.is_empty()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(Limits {
            slots: 4,
            frames: 4,
            bytes: 1000,
        })
    }

    fn state(topic: &str, payload: &'static str) -> Publish {
        Publish {
            topic: topic.into(),
            payload: payload.into(),
            retain: false,
            state: true,
        }
    }

    fn frame(topic: &str, payload: &'static str) -> Publish {
        Publish {
            state: false,
            ..state(topic, payload)
        }
    }

    /// Issues all it can, as if written at once, and returns `topic=payload` of each.
    fn issue_all(outbox: &mut Outbox, first_packet: u16) -> Vec<String> {
        let mut sent = Vec::new();
        while let Some(publish) = outbox.issue(Instant::now()) {
            outbox.written(first_packet + sent.len() as u16);
            sent.push(format!(
                "{}={}",
                publish.topic,
                String::from_utf8_lossy(&publish.payload)
            ));
        }
        sent
    }

    #[test]
    fn newest_state_wins_and_keeps_its_place() {
        let mut outbox = outbox();
        assert_eq!(outbox.put(state("a", "1")), Ok(false));
        assert_eq!(outbox.send(frame("f", "x")), Ok(()));
        assert_eq!(outbox.put(state("b", "1")), Ok(false));
        assert_eq!(outbox.put(state("a", "2")), Ok(true));
        assert_eq!(issue_all(&mut outbox, 1), ["a=2", "f=x", "b=1"]);
    }

    #[test]
    fn refuses_beyond_its_limits_but_always_replaces() {
        let mut outbox = outbox();
        for topic in ["a", "b", "c", "d"] {
            outbox.put(state(topic, "1")).unwrap();
            outbox.send(frame(topic, "1")).unwrap();
        }
        assert_eq!(outbox.put(state("e", "1")), Err(Full));
        assert_eq!(outbox.send(frame("e", "1")), Err(Full));
        assert_eq!(outbox.put(state("a", "2")), Ok(true));
    }

    #[test]
    fn bytes_are_bounded_and_return_to_zero() {
        let mut outbox = outbox();
        let big: &'static str = "x".repeat(600).leak();
        outbox.put(state("a", big)).unwrap();
        assert_eq!(outbox.send(frame("b", big)), Err(Full));
        assert_eq!(outbox.put(state("b", big)), Err(Full));
        assert_eq!(
            outbox.put(state("a", big)),
            Ok(true),
            "replacing frees the old"
        );
        outbox.issue(Instant::now()).unwrap();
        assert_eq!(
            outbox.put(state("a", big)),
            Err(Full),
            "unacknowledged counts"
        );
        outbox.written(1);
        outbox.acknowledged(1).unwrap();
        assert_eq!(outbox.bytes(), 0);
        assert!(outbox.is_empty());
    }

    #[test]
    fn window_is_bounded() {
        let mut outbox = Outbox::new(Limits {
            slots: 4,
            frames: 100,
            bytes: 10_000,
        });
        for _ in 0..20 {
            outbox.send(frame("f", "x")).unwrap();
        }
        assert_eq!(issue_all(&mut outbox, 1).len(), UNACKED_MAX);
        assert!(outbox.acknowledged(3).is_some());
        assert!(
            outbox.acknowledged(3).is_none(),
            "an acknowledgement counts once"
        );
        assert_eq!(issue_all(&mut outbox, 20).len(), 1);
    }

    #[test]
    fn unacknowledged_state_comes_again_unless_newer_waits() {
        let mut outbox = outbox();
        outbox.put(state("a", "1")).unwrap();
        outbox.put(state("b", "1")).unwrap();
        outbox.put(state("c", "1")).unwrap();
        assert_eq!(issue_all(&mut outbox, 1).len(), 3);
        outbox.acknowledged(2).unwrap();
        outbox.put(state("c", "2")).unwrap();
        assert_eq!(outbox.disconnected(), 0);
        assert_eq!(issue_all(&mut outbox, 1), ["a=1", "c=2"]);
    }

    #[test]
    fn frames_die_with_their_connection() {
        let mut outbox = outbox();
        outbox.send(frame("f", "sent")).unwrap();
        assert_eq!(issue_all(&mut outbox, 1).len(), 1);
        outbox.send(frame("f", "waiting")).unwrap();
        outbox.put(state("a", "1")).unwrap();
        assert_eq!(outbox.disconnected(), 2);
        assert_eq!(issue_all(&mut outbox, 1), ["a=1"]);
        outbox.acknowledged(1).unwrap();
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn forgotten_state_is_not_sent() {
        let mut outbox = outbox();
        outbox.put(state("a", "1")).unwrap();
        outbox.put(state("b", "1")).unwrap();
        outbox.forget("a");
        outbox.forget("unknown");
        assert_eq!(issue_all(&mut outbox, 1), ["b=1"]);
    }
}
