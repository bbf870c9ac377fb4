//! Frames on a shim's socket: a length, then that many bytes.

use alloc::vec::Vec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::FRAME_MAX;

/// Encodes one frame: length, then body.
///
/// # Panics
/// Never for the types of this protocol: see [`crate::encode`].
pub fn frame<T: Serialize>(value: &T) -> Vec<u8> {
    let body = crate::encode(value);
    let length = u32::try_from(body.len()).expect("frames are far smaller than 4 GiB");
    let mut out = Vec::with_capacity(body.len() + 4);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&body);
    out
}

/// What [`split_frame`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Split<T> {
    /// Not enough bytes yet.
    More,
    /// A value, and how many bytes it took.
    Frame(T, usize),
}

/// A frame that can't be read; the connection is of no further use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`FRAME_MAX`].
    #[error("frame of {0} bytes is over the limit")]
    TooLong(usize),
    /// Not a value of the expected type.
    #[error(transparent)]
    Decode(#[from] crate::DecodeError),
}

/// Takes the first frame off a buffer.
///
/// # Errors
/// [`FrameError`] when the frame is too long or not a value of the expected type.
pub fn split_frame<T: DeserializeOwned>(
    buffer: &[u8],
    what: &'static str,
) -> Result<Split<T>, FrameError> {
    let Some((head, rest)) = buffer.split_first_chunk::<4>() else {
        return Ok(Split::More);
    };
    let length = u32::from_le_bytes(*head) as usize;
    if length > FRAME_MAX {
        return Err(FrameError::TooLong(length));
    }
    match rest.get(..length) {
        None => Ok(Split::More),
        Some(body) => Ok(Split::Frame(crate::decode(body, what)?, 4 + length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::{Answer, Ask, Create, ExitRecord, Request};
    use alloc::string::ToString;
    use alloc::vec;
    use proptest::prelude::*;

    fn ask() -> Ask {
        Ask {
            number: 7,
            request: Request::Create(Create {
                id: "web-0".to_string(),
                log: "/l".to_string(),
                oom_score_adj: -1,
                oom_events: "/o".to_string(),
                start: true,
            }),
        }
    }

    #[test]
    fn frames_round_trip_and_report_what_is_missing() {
        let bytes = frame(&ask());
        for cut in 0..bytes.len() {
            assert_eq!(split_frame::<Ask>(&bytes[..cut], "ask"), Ok(Split::More));
        }
        assert_eq!(
            split_frame::<Ask>(&bytes, "ask"),
            Ok(Split::Frame(ask(), bytes.len()))
        );
    }

    /// Shims of this release run under the agents of later ones: these bytes must load for ever.
    #[test]
    fn version_1_bytes_are_stable() {
        assert_eq!(
            frame(&ask()),
            b"\x10\0\0\0\x07\x02\x05web-0\x02/l\x01\x02/o\x01"
        );
        let exit = ExitRecord {
            code: 137,
            signal: 9,
            oom_killed: true,
            created_unix_ms: 1,
            finished_unix_ms: 2,
        };
        assert_eq!(crate::encode(&exit), vec![0x92, 0x02, 18, 1, 2, 4]);
    }

    #[test]
    fn an_oversized_frame_is_refused_before_it_is_read() {
        let head = u32::to_le_bytes(FRAME_MAX as u32 + 1);
        assert_eq!(
            split_frame::<Ask>(&head, "ask"),
            Err(FrameError::TooLong(FRAME_MAX + 1))
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = split_frame::<Ask>(&bytes, "ask");
            let _ = split_frame::<Answer>(&bytes, "answer");
        }
    }
}
