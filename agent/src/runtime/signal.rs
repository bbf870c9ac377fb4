//! Signals by name or number, as images (`StopSignal`) and pods (`lifecycle.stopSignal`) give them.

/// Names of Linux' signals, without `SIG`; the same numbers on every architecture we run on.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// First and last real-time signal, as the C library has them.
const REAL_TIME: (i32, i32) = (34, 64);

/// Number of `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, `RTMAX-1`; `None` for what is no signal.
pub fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=REAL_TIME.1).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = NAMES.iter().position(|n| *n == name) {
        return i32::try_from(at + 1).ok();
    }
    match name {
        "IOT" => return Some(6),
        "CLD" => return Some(17),
        "POLL" => return Some(29),
        _ => {}
    }
    let (base, rest) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => (REAL_TIME.0, rest),
        (_, Some(rest)) => (REAL_TIME.1, rest),
        _ => return None,
    };
    let offset = match rest {
        "" => 0,
        _ => rest.parse::<i32>().ok()?,
    };
    let number = base.checked_add(offset)?;
    (REAL_TIME.0..=REAL_TIME.1)
        .contains(&number)
        .then_some(number)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn names_and_numbers() {
        for (text, want) in [
            ("SIGTERM", Some(15)),
            ("quit", Some(3)),
            ("SIGUSR1", Some(10)),
            ("9", Some(9)),
            ("SIGWINCH", Some(28)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGRTMAX", Some(64)),
            ("RTMAX-14", Some(50)),
            ("SIGRTMIN+31", None),
            ("0", None),
            ("65", None),
            ("SIGFOO", None),
            ("", None),
        ] {
            assert_eq!(number(text), want, "{text:?}");
        }
    }
}
