//! The MQTT link: one connection to a broker that survives everything a broker and a network do.
//!
//! Both ends of the node protocol use it: the agent with its node certificate, the controller with
//! its own credentials. It knows topics and bytes, nothing of what they mean.
//!
//! In: payloads for topics. [`Handle::put`] is for state (the newest value of a topic wins and
//! survives reconnects), [`Handle::send`] is for frames of a conversation (kept in order, refused
//! when offline or full, gone with the connection). Out: [`Events::next`], a bounded queue of
//! connection changes and messages. Neither side ever waits for the network.
//!
//! One task owns the connection. It polls rumqttc and never awaits anything else; what rumqttc does
//! badly is worked around here and nowhere else:
//!
//! - Every connection gets a new `EventLoop`: no state of a dead connection (packet identifiers,
//!   collisions, topic aliases, half-written packets) reaches the next one. What was not acknowledged
//!   goes back to the [`outbox`], where newer state may already have replaced it.
//! - rumqttc reconnects at once and for ever; our [`backoff`] decides instead. Of several brokers
//!   each is tried once before a pause; names are resolved at every attempt.
//! - A connection that stays silent is dropped by our watchdog: the v5 client blocks without an
//!   error when the peer stops reading.
//! - `publish().await` resolving means nothing and can dead-lock; only `try_*` is used, with at most
//!   [`options::UNACKED_MAX`] publishes unacknowledged, and PUBACK and SUBACK codes are looked at.
//! - An oversize packet ends rumqttc's connection and would come again; the next connection starts
//!   a clean session, and the one after that asks for no retained messages.
//!
//! An acknowledged publish means that the broker has it. Whether the other end has it, only the
//! protocol above can tell.

pub mod backoff;
mod counters;
mod driver;
mod event;
mod inbox;
mod link;
pub mod mdns;
pub mod options;
pub mod outbox;
mod round;
mod setup;
pub mod tls;

pub use counters::Counters;
pub use event::{Event, Reason};
pub use inbox::Events;
pub use link::{Error, Handle, Link, Refused};
pub use options::{BrokerUrl, Delivery, Options, Subscription, Will, WillSource};
