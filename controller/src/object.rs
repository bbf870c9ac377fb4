//! The edge's share of an object: the clock, fresh uids and random suffixes, which the pure
//! libraries are handed, and its way into the store.

use std::time::{SystemTime, UNIX_EPOCH};

use bramble_api::metadata;
use bramble_api::time::Timestamp;
use serde_json::Value;

use crate::pki::{self, random};
use crate::store::{Body, Durability, Expect, Key, Op};

/// The time, to the nanosecond.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos(),
    }
}

/// A random UUID (version 4).
///
/// # Errors
/// When the system has no randomness.
pub fn uid() -> Result<String, pki::Error> {
    let mut bytes = random::<16>()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    Ok([
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-"))
}

/// Five characters for `generateName`, out of upstream's alphabet without vowels.
///
/// # Errors
/// When the system has no randomness.
pub fn suffix() -> Result<String, pki::Error> {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let value = u32::from_le_bytes(random()?);
    let mut rest = value;
    let mut text = String::with_capacity(5);
    for _ in 0..5 {
        text.push(char::from(ALPHABET[(rest % 27) as usize]));
        rest /= 27;
    }
    Ok(text)
}

/// The put of an object as it is, its revision left to the store.
pub(crate) fn put(key: Key, object: &Value, expect: Expect, durability: Durability) -> Op {
    let canonical = metadata::canonical(object);
    let body = Body {
        json: canonical.bytes,
        revision_at: canonical.revision_at,
    };
    Op::Put {
        key,
        expect,
        body,
        durability,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn uids_are_version_4() {
        let uid = super::uid().unwrap();
        assert_eq!(uid.len(), 36);
        assert_eq!(&uid[14..15], "4");
        assert!("89ab".contains(&uid[19..20]), "{uid}");
        assert_ne!(uid, super::uid().unwrap());
    }
}
