//! Time as the core sees it: always an argument.

use bramble_wire::report::UnixMs;
use serde::{Deserialize, Serialize};

/// A moment by two clocks. Delays are counted on the first, which never jumps; the second is for
/// people, may be wrong (boards wake in 1970) and orders nothing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Moment {
    /// Milliseconds since the board started (`CLOCK_BOOTTIME`).
    pub boot_ms: u64,
    /// The board's idea of the date.
    pub unix: UnixMs,
}

impl Moment {
    /// A moment from both clocks.
    pub fn new(boot_ms: u64, unix_ms: i64) -> Self {
        Self {
            boot_ms,
            unix: UnixMs(unix_ms),
        }
    }

    /// So much later by both clocks.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self {
            boot_ms: self.boot_ms.saturating_add(ms),
            unix: UnixMs(self.unix.0.saturating_add(ms as i64)),
        }
    }
}
