//! What the link tells its user.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

/// Something happened on the link. Read them with [`Events::next`](crate::Events::next).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The broker accepted the connection; nothing is subscribed yet, nothing is sent yet.
    Connected {
        /// Whether the broker kept the session. Information only: the link subscribes again anyway.
        session_present: bool,
    },
    /// Every required subscription is granted on this connection. From here on publishes flow:
    /// the moment to announce oneself and to ask for what was missed.
    Subscribed,
    /// The broker refused a subscription that is not required; the link goes on without it.
    SubscriptionRefused {
        /// The topic filter.
        filter: String,
        /// The broker's reason code.
        reason: String,
    },
    /// A message.
    Message {
        /// The topic it was published to.
        topic: String,
        /// Its bytes, at most [`bramble_wire::limits::PACKET_MAX`].
        payload: Bytes,
    },
    /// The broker took a publish and refused it; it is not sent again.
    PublishRefused {
        /// The topic.
        topic: String,
        /// The broker's reason code.
        reason: String,
    },
    /// A packet above the limit arrived and was dropped.
    Oversize,
    /// The connection ended, or could not be made.
    Disconnected {
        /// Why.
        reason: Reason,
        /// When the link tries again.
        retry_in: Duration,
    },
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Name resolution, TCP, TLS or an end of stream.
    Network(String),
    /// The broker refused the CONNECT: wrong credentials, wrong client id, busy.
    Refused(String),
    /// The broker ended the session with a reason code.
    Ended(String),
    /// Another client with our client id connected.
    TakenOver,
    /// Nothing happened for the watchdog's time, or an acknowledgement stayed out.
    Stalled,
    /// A packet above the limit arrived.
    Oversize,
    /// A required subscription was refused.
    SubscriptionRefused {
        /// The topic filter.
        filter: String,
        /// The broker's reason code.
        reason: String,
    },
    /// The broker broke the protocol, or rumqttc lost track of it.
    Protocol(String),
    /// [`Handle::try_next`](crate::Handle::try_next) was called.
    Left,
    /// [`Handle::shutdown`](crate::Handle::shutdown) was called.
    Shutdown,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Network(detail) => write!(f, "network: {detail}"),
            Reason::Refused(code) => write!(f, "refused by the broker: {code}"),
            Reason::Ended(code) => write!(f, "ended by the broker: {code}"),
            Reason::TakenOver => f.write_str("another client with this client id connected"),
            Reason::Stalled => f.write_str("the broker stopped answering"),
            Reason::Oversize => f.write_str("a packet above the size limit arrived"),
            Reason::SubscriptionRefused { filter, reason } => {
                write!(f, "subscription to {filter} refused: {reason}")
            }
            Reason::Protocol(detail) => write!(f, "protocol error: {detail}"),
            Reason::Left => f.write_str("left for another broker"),
            Reason::Shutdown => f.write_str("shut down"),
        }
    }
}
