//! A token bucket on an argument's clock.

use bramble_wire::clock::Millis;

/// Fills with `rate` tokens a second up to one second's worth. May be overdrawn by one large taking,
/// which is paid back before the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    rate: u64,
    /// Thousandths of a token.
    level: i64,
    at: Millis,
}

impl Bucket {
    pub(super) fn new(rate: u32) -> Self {
        let rate = u64::from(rate.max(1));
        Self {
            rate,
            level: (rate * 1000) as i64,
            at: Millis(0),
        }
    }

    fn refill(&mut self, now: Millis) {
        let gained = now.since(self.at).min(3_600_000) * self.rate;
        self.level = (self.level + gained as i64).min((self.rate * 1000) as i64);
        self.at = self.at.max(now);
    }

    /// Whether something may be taken now.
    pub(super) fn is_open(&mut self, now: Millis) -> bool {
        self.refill(now);
        self.level >= 1000
    }

    pub(super) fn take(&mut self, tokens: u64) {
        self.level -= (tokens * 1000) as i64;
    }

    /// When it will be open.
    pub(super) fn opens(&self, now: Millis) -> Millis {
        let missing = (1000 - self.level).max(0) as u64;
        self.at.max(now) + missing.div_ceil(self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_through_its_rate_and_no_more() {
        let mut bucket = Bucket::new(20);
        let mut taken = 0;
        for ms in 0..10_000 {
            while bucket.is_open(Millis(ms)) {
                bucket.take(1);
                taken += 1;
            }
        }
        assert_eq!(
            taken,
            20 + 199,
            "a second's worth at once, then 20 a second"
        );
    }

    #[test]
    fn says_when_it_opens_again_after_being_overdrawn() {
        let mut bucket = Bucket::new(1000);
        assert!(bucket.is_open(Millis(5)));
        bucket.take(3000);
        let opens = bucket.opens(Millis(5));
        assert!(!bucket.is_open(Millis(opens.0 - 1)));
        assert!(bucket.is_open(opens));
    }
}
