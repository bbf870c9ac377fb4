//! The floor under the board's clock: boards wake in 1970, and certificates must still be judged.

use std::sync::Arc;

use bramble_agent_core::plan::Durability;
use bramble_link::tls::FloorClock;

use crate::state::Change;

const DAY_S: i64 = 86_400;
const YEAR_S: i64 = 365 * DAY_S;

/// Raises the clock's floor by what the controller says; on disk it is written at most once a day
/// by itself, and otherwise rides on other writes.
#[derive(Debug)]
pub(super) struct TimeFloor {
    clock: Arc<FloorClock>,
    stored: i64,
}

impl TimeFloor {
    pub(super) fn new(clock: Arc<FloorClock>, stored: i64) -> Self {
        Self { clock, stored }
    }

    /// What to store, if anything.
    pub(super) fn raise(&mut self, unix_s: i64) -> Option<(Change, Durability)> {
        let known = i64::try_from(self.clock.now()).unwrap_or(i64::MAX);
        // A controller whose clock is wrong must not move ours a year ahead for good.
        if unix_s > known.saturating_add(YEAR_S) || unix_s <= self.stored {
            return None;
        }
        self.clock.raise(u64::try_from(unix_s).ok()?);
        let durability = if unix_s - self.stored >= DAY_S {
            Durability::Soon
        } else {
            Durability::Ride
        };
        self.stored = unix_s;
        Some((Change::TimeFloor(unix_s), durability))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_rises_a_day_at_a_time_and_never_jumps() {
        let clock = FloorClock::new(0);
        let now = clock.now() as i64;
        let mut floor = TimeFloor::new(Arc::clone(&clock), 0);
        let durability = |raised: Option<(Change, Durability)>| raised.map(|(_, d)| d);
        assert_eq!(durability(floor.raise(now + 2 * YEAR_S)), None);
        assert_eq!(durability(floor.raise(now + 10)), Some(Durability::Soon));
        assert_eq!(durability(floor.raise(now + 20)), Some(Durability::Ride));
        assert_eq!(durability(floor.raise(now + 5)), None);
        assert!(clock.now() as i64 >= now + 20);
    }
}
