//! What arrived and is not read yet: bounded, so that a slow reader costs messages, never memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::counters::{Live, count};
use crate::event::Event;
use crate::options::Delivery;

/// Connection changes kept for a reader that does not read; the oldest go first, since the newest
/// says how things stand.
const CHANGES_MAX: usize = 32;

#[derive(Debug)]
enum Unread {
    Change(Event),
    /// The newest message of this topic, whatever it is when its turn comes.
    Latest(Arc<str>),
    Message(Event, usize),
}

#[derive(Debug, Default)]
struct State {
    order: VecDeque<Unread>,
    latest: HashMap<Arc<str>, Bytes>,
    changes: usize,
    messages: usize,
    bytes: usize,
    closed: bool,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    wake: Notify,
    messages_max: usize,
    bytes_max: usize,
    counters: Arc<Live>,
}

impl Inbox {
    pub(crate) fn new(messages_max: usize, bytes_max: usize, counters: Arc<Live>) -> Arc<Inbox> {
        let state = Mutex::default();
        Arc::new(Inbox {
            state,
            wake: Notify::new(),
            messages_max,
            bytes_max,
            counters,
        })
    }

    pub(crate) fn change(&self, event: Event) {
        let mut state = self.lock();
        if state.changes >= CHANGES_MAX
            && let Some(oldest) = state
                .order
                .iter()
                .position(|unread| matches!(unread, Unread::Change(_)))
        {
            state.order.remove(oldest);
            state.changes -= 1;
        }
        state.changes += 1;
        state.order.push_back(Unread::Change(event));
        drop(state);
        self.wake.notify_one();
    }

    pub(crate) fn message(&self, topic: &str, payload: Bytes, delivery: Delivery) {
        count(&self.counters.received);
        let mut state = self.lock();
        let waiting = match delivery {
            Delivery::Latest => state.latest.get(topic).map(Bytes::len),
            Delivery::Queue => None,
        };
        let bytes = state.bytes - waiting.unwrap_or(0) + payload.len();
        if bytes > self.bytes_max || (waiting.is_none() && state.messages >= self.messages_max) {
            count(&self.counters.dropped_in);
            return;
        }
        state.bytes = bytes;
        match delivery {
            Delivery::Latest => {
                let topic: Arc<str> = topic.into();
                state.latest.insert(Arc::clone(&topic), payload);
                if waiting.is_some() {
                    count(&self.counters.conflated_in);
                    return;
                }
                state.order.push_back(Unread::Latest(topic));
            }
            Delivery::Queue => {
                let size = payload.len();
                let event = Event::Message {
                    topic: topic.to_owned(),
                    payload,
                };
                state.order.push_back(Unread::Message(event, size));
            }
        }
        state.messages += 1;
        drop(state);
        self.wake.notify_one();
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// The next event; `Err(true)` when there never will be one.
    fn take(&self) -> Result<Event, bool> {
        let mut state = self.lock();
        match state.order.pop_front() {
            None => Err(state.closed),
            Some(Unread::Change(event)) => {
                state.changes -= 1;
                Ok(event)
            }
            Some(Unread::Message(event, size)) => {
                state.messages -= 1;
                state.bytes -= size;
                Ok(event)
            }
            Some(Unread::Latest(topic)) => {
                let payload = state
                    .latest
                    .remove(&topic)
                    .expect("a topic in the order has its message");
                state.messages -= 1;
                state.bytes -= payload.len();
                Ok(Event::Message {
                    topic: topic.as_ref().to_owned(),
                    payload,
                })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The reading end of a link. One reader; dropping it does not stop the link.
#[derive(Debug)]
pub struct Events {
    inbox: Arc<Inbox>,
}

impl Events {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Events {
        Events { inbox }
    }

    /// The next event, or `None` once the link has shut down and everything is read.
    /// Cancel-safe: an event that was not returned is still there.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.inbox.take() {
                Ok(event) => return Some(event),
                Err(true) => return None,
                Err(false) => self.inbox.wake.notified().await,
            }
        }
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.inbox.take().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox() -> (Arc<Inbox>, Events, Arc<Live>) {
        let counters = Arc::new(Live::default());
        let inbox = Inbox::new(3, 100, Arc::clone(&counters));
        (Arc::clone(&inbox), Events::new(inbox), counters)
    }

    fn drain(events: &mut Events) -> Vec<String> {
        std::iter::from_fn(|| events.try_next())
            .map(|event| match event {
                Event::Message { topic, payload } => {
                    format!("{topic}={}", String::from_utf8_lossy(&payload))
                }
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn latest_conflates_per_topic_and_queue_keeps_all() {
        let (inbox, mut events, counters) = inbox();
        inbox.message("a", "1".into(), Delivery::Latest);
        inbox.message("q", "1".into(), Delivery::Queue);
        inbox.message("a", "2".into(), Delivery::Latest);
        inbox.change(Event::Subscribed);
        inbox.message("q", "2".into(), Delivery::Queue);
        assert_eq!(drain(&mut events), ["a=2", "q=1", "Subscribed", "q=2"]);
        assert_eq!(counters.read().conflated_in, 1);
    }

    #[test]
    fn a_slow_reader_costs_messages_not_memory() {
        let (inbox, mut events, counters) = inbox();
        for _ in 0..10 {
            inbox.message("q", "x".into(), Delivery::Queue);
        }
        assert_eq!(counters.read().dropped_in, 7);
        assert_eq!(drain(&mut events).len(), 3);
        inbox.message("q", vec![0; 101].into(), Delivery::Queue);
        assert!(events.try_next().is_none());
        inbox.message("q", vec![0; 100].into(), Delivery::Queue);
        assert!(events.try_next().is_some(), "the room is free again");
    }

    #[test]
    fn unread_connection_changes_are_bounded_and_the_newest_stays() {
        let (inbox, mut events, _) = inbox();
        for _ in 0..100 {
            inbox.change(Event::Connected {
                session_present: false,
            });
        }
        inbox.change(Event::Subscribed);
        let unread = drain(&mut events);
        assert_eq!(unread.len(), CHANGES_MAX);
        assert_eq!(unread.last().unwrap(), "Subscribed");
    }

    #[tokio::test]
    async fn close_ends_the_events_after_what_is_unread() {
        let (inbox, mut events, _) = inbox();
        inbox.change(Event::Subscribed);
        inbox.close();
        assert_eq!(events.next().await, Some(Event::Subscribed));
        assert_eq!(events.next().await, None);
    }
}
