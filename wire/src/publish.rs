//! What the protocol machines hand to the link.

use alloc::vec::Vec;

use crate::name::ClusterId;
use crate::topic::{Topic, TopicText};

/// A payload for a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Where to.
    pub topic: Topic,
    /// Signed bytes.
    pub payload: Vec<u8>,
    /// How the link treats it.
    pub delivery: Delivery,
}

impl Publish {
    /// The topic as text.
    pub fn topic_text(&self, cluster: &ClusterId) -> TopicText {
        self.topic.text(cluster)
    }
}

/// How the link treats a publish. Nothing in the protocol depends on any of them arriving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// Newer state of the topic replaces what waits; survives a reconnect.
    State,
    /// As `State`, and the broker keeps it for later subscribers.
    Retained,
    /// In order on the present connection, lost with it.
    Message,
}
