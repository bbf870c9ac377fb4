//! Words of the command line as values: times, tokens, names. In comes a word, out goes the value or one
//! line that says what is wrong with it.

use std::time::Duration;

use bramble_wire::join::Token;
use bramble_wire::name::NodeName;

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Ten years: what the controller allows.
const TTL_MAX: Duration = Duration::from_secs(3_650 * 86_400);

/// `90s`, `30m`, `24h`, `7d`, or several of them in a row.
pub(super) fn ttl(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time like 90s, 30m, 24h or 7d");
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            _ => return Err(wrong()),
        };
        seconds = number
            .checked_mul(unit)
            .and_then(|more| seconds.checked_add(more))
            .ok_or_else(wrong)?;
        rest = &rest[digits + 1..];
    }
    let time = Duration::from_secs(seconds);
    if text.is_empty() || time.is_zero() {
        return Err(wrong());
    }
    if time > TTL_MAX {
        return Err("at most 3650d".into());
    }
    Ok(time)
}

pub(super) fn token(text: &str) -> Result<String, String> {
    text.parse::<Token>()
        .map(|token| token.to_string())
        .map_err(|error| error.to_string())
}

pub(super) fn account(text: &str) -> Result<Account, String> {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    // They become part of a path; the controller knows better what a name is.
    let fine = |part: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        (1..=253).contains(&part.len()) && part.bytes().all(plain) && !part.starts_with('.')
    };
    if fine(namespace) && fine(name) {
        return Ok(Account {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        });
    }
    Err(format!(
        "{text:?} is not the name of a service account, like ci or builds/ci"
    ))
}

pub(super) fn token_id(text: &str) -> Result<String, String> {
    let fine = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if fine {
        return Ok(text.to_owned());
    }
    Err("not the id of a token: see the first column of `bramble token list`".into())
}

pub(super) fn node_name(text: &str) -> Result<String, String> {
    NodeName::new(text)
        .map(|name| name.to_string())
        .map_err(|error| error.to_string())
}
