//! The board's two clocks.

use bramble_agent_core::time::Moment;
use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the board started, asleep or not (`CLOCK_BOOTTIME`).
pub fn boot_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// Milliseconds of the Unix epoch by the board's clock, which may be wrong.
pub fn unix_ms() -> i64 {
    let time = clock_gettime(ClockId::Realtime);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// Now, by both.
pub fn now() -> Moment {
    Moment::new(boot_ms(), unix_ms())
}
