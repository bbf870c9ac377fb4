//! Delays between attempts: a container that keeps ending, as Kubernetes has it, and the node's own
//! work that keeps failing.

/// Delay after the first restart.
pub const RESTART_FIRST_MS: u32 = 10_000;
/// Longest delay between restarts.
pub const RESTART_MAX_MS: u32 = 300_000;
/// A container that ran for so long starts again as if it had never failed.
pub const RESTART_RESET_MS: u64 = 600_000;

const RETRY_FIRST_MS: u64 = 500;
const RETRY_MAX_MS: u64 = 60_000;

/// The delay that holds for the restart after the next one. 0 is "never restarted": the first
/// restart is immediate.
pub fn restart_after(delay_ms: u32) -> u32 {
    match delay_ms {
        0 => RESTART_FIRST_MS,
        delay => delay.saturating_mul(2).min(RESTART_MAX_MS),
    }
}

/// How long to wait before the node tries again what failed `count` times in a row.
pub fn retry_ms(count: u32) -> u64 {
    let doublings = count.saturating_sub(1).min(16);
    (RETRY_FIRST_MS << doublings).min(RETRY_MAX_MS)
}

/// A delay in the form that Kubernetes' messages use: `10s`, `1m20s`, `5m0s`.
pub fn text(delay_ms: u32) -> String {
    let seconds = delay_ms / 1000;
    match seconds / 60 {
        0 => format!("{seconds}s"),
        minutes => format!("{minutes}m{}s", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_double_from_ten_seconds_to_five_minutes() {
        let mut delay = 0;
        let mut seen = Vec::new();
        for _ in 0..8 {
            delay = restart_after(delay);
            seen.push(text(delay));
        }
        assert_eq!(
            seen,
            [
                "10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s", "5m0s"
            ]
        );
    }

    #[test]
    fn retries_double_to_a_minute() {
        let seen: Vec<u64> = [1, 2, 3, 7, 8, 9, u32::MAX].map(retry_ms).to_vec();
        assert_eq!(seen, [500, 1000, 2000, 32_000, 60_000, 60_000, 60_000]);
    }
}
