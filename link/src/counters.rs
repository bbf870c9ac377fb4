//! Counters of one link. They only grow; read with [`Handle::counters`](crate::Handle::counters).

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A reading of the counters of a link.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[$doc])* pub $name: u64),* }

        /// The live counters.
        #[derive(Debug, Default)]
        pub(crate) struct Live { $(pub(crate) $name: AtomicU64),* }

        impl Live {
            pub(crate) fn read(&self) -> Counters {
                Counters { $($name: self.$name.load(Ordering::Relaxed)),* }
            }
        }
    };
}

counters! {
    /// Connections that the broker accepted.
    connected,
    /// Connections that ended, and attempts that failed.
    disconnected,
    /// Of these, ended by our watchdog.
    stalled,
    /// Of these, taken over by another client with our id.
    taken_over,
    /// Publishes handed to the client library.
    published,
    /// Publishes that the broker acknowledged.
    acknowledged,
    /// Publishes that the broker refused.
    refused,
    /// State replaced by newer state before it was sent.
    conflated_out,
    /// Frames lost with their connection.
    lost_out,
    /// Payloads refused because they are too large to send.
    oversize_out,
    /// Messages received.
    received,
    /// Messages replaced by a newer one of the same topic before they were read.
    conflated_in,
    /// Messages dropped because the reader is behind.
    dropped_in,
    /// Messages dropped because they are too large.
    oversize_in,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
