//! Wall clock as the log format and the records want it, and `/proc` start times.

use std::fs;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use bramble_wire::clock::civil;

/// Now, milliseconds of the Unix epoch.
pub(crate) fn unix_ms() -> i64 {
    i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX)
}

fn since_epoch() -> std::time::Duration {
    // A board may wake before 1970-01-01 only with a broken clock; then it is 1970.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Appends now as RFC 3339 with nanoseconds, as CRI log lines start.
pub(crate) fn push_now(out: &mut Vec<u8>) {
    let now = since_epoch();
    push_timestamp(out, now.as_secs(), now.subsec_nanos());
}

fn push_timestamp(out: &mut Vec<u8>, secs: u64, nanos: u32) {
    let (days, rest) = (secs / 86_400, secs % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    // Writing to a Vec does not fail.
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z"
    );
}

/// Start time of a process in clock ticks since boot, or 0 when it is gone.
pub(crate) fn start_time(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the command in parentheses and may itself hold spaces and parentheses.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after
        .split_whitespace()
        .nth(19)
        .and_then(|f| f.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00.000000007Z"),
            (951_782_399, "2000-02-28T23:59:59.000000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000000007Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000007Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000000007Z"),
        ] {
            let mut out = Vec::new();
            push_timestamp(&mut out, secs, 7);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn own_start_time_is_known_and_a_dead_process_has_none() {
        assert!(start_time(std::process::id() as i32) > 0);
        assert_eq!(start_time(-1), 0);
    }
}
