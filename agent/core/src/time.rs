//! Time as the core sees it: always an argument.

use bramble_wire::clock::civil;
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

/// A second as RFC 3339 without fraction and zone, in UTC, as the lines of a log begin; they compare as text.
/// What was before 1970 is 1970.
#[must_use]
pub fn timestamp(unix_s: i64) -> String {
    let secs = unix_s.max(0).unsigned_abs();
    let (days, rest) = (secs / 86_400, secs % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn dates_are_of_the_gregorian_calendar() {
        for (second, text) in [
            (-5, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_795_270_697, "2026-11-21T14:18:17"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(timestamp(second), text);
        }
    }
}
