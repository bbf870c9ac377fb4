//! When to try again. Pure: the caller brings the clock and the dice.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Takeovers within [`TAKEOVER_WINDOW`] that mean that somebody else uses our client id.
const TAKEOVERS_MAX: usize = 3;
/// The window in which takeovers are counted.
const TAKEOVER_WINDOW: Duration = Duration::from_secs(60);

/// Exponential back-off with full jitter: a fleet that lost its broker must not come back at once.
#[derive(Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    stable_after: Duration,
    attempt: u32,
    takeovers: VecDeque<Instant>,
}

impl Backoff {
    /// Back-off between `min` and `max`; a connection that lived `stable_after` resets it.
    pub fn new(min: Duration, max: Duration, stable_after: Duration) -> Backoff {
        Backoff {
            min,
            max,
            stable_after,
            attempt: 0,
            takeovers: VecDeque::new(),
        }
    }

    /// How long to wait after a connection that `lived` so long (`None`: never came up).
    /// `random` is a fresh random number.
    pub fn after(
        &mut self,
        lived: Option<Duration>,
        taken_over: bool,
        now: Instant,
        random: u32,
    ) -> Duration {
        if taken_over {
            self.takeovers.push_back(now);
            while self
                .takeovers
                .front()
                .is_some_and(|&at| now.duration_since(at) > TAKEOVER_WINDOW)
            {
                self.takeovers.pop_front();
            }
            if self.takeovers.len() >= TAKEOVERS_MAX {
                // Two clients with one id take over from each other for ever; jitter doesn't help.
                self.takeovers.clear();
                return self.max;
            }
        }
        if lived.is_some_and(|lived| lived >= self.stable_after) {
            self.attempt = 0;
        }
        let ceiling = self
            .min
            .saturating_mul(1u32 << self.attempt.min(20))
            .min(self.max);
        self.attempt = self.attempt.saturating_add(1);
        ceiling.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(300);
    const STABLE: Duration = Duration::from_secs(60);

    fn backoff() -> Backoff {
        Backoff::new(MIN, MAX, STABLE)
    }

    #[test]
    fn ceiling_doubles_up_to_the_maximum() {
        let mut backoff = backoff();
        let now = Instant::now();
        let seconds: Vec<u64> = (0..12)
            .map(|_| backoff.after(None, false, now, u32::MAX).as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }

    #[test]
    fn jitter_reaches_down_to_nothing() {
        let mut backoff = backoff();
        assert_eq!(
            backoff.after(None, false, Instant::now(), 0),
            Duration::ZERO
        );
    }

    #[test]
    fn only_a_stable_connection_resets() {
        let mut backoff = backoff();
        let now = Instant::now();
        for _ in 0..5 {
            backoff.after(Some(Duration::from_secs(3)), false, now, u32::MAX);
        }
        assert_eq!(
            backoff
                .after(Some(Duration::from_secs(3)), false, now, u32::MAX)
                .as_secs(),
            32
        );
        assert_eq!(backoff.after(Some(STABLE), false, now, u32::MAX), MIN);
    }

    #[test]
    fn third_takeover_in_a_minute_waits_the_maximum() {
        let mut backoff = backoff();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(backoff.after(None, true, at(0), u32::MAX) < MAX);
        assert!(
            backoff.after(None, true, at(70), u32::MAX) < MAX,
            "the first is out of the window"
        );
        assert!(backoff.after(None, true, at(80), u32::MAX) < MAX);
        assert_eq!(backoff.after(None, true, at(90), 0), MAX);
    }
}
