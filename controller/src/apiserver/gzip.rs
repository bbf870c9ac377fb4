//! Compression of large answers, for clients that take it, and of bodies that clients compressed.

use std::io::{Read, Write};

use bramble_api::status::Status;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// Below it, compression costs more than it saves (upstream's threshold).
pub(crate) const THRESHOLD: usize = 128 * 1024;

/// Whether the client takes gzip.
pub(crate) fn accepted(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .any(|value| {
            value.split(',').any(|part| {
                let mut pieces = part.split(';').map(str::trim);
                let name = pieces.next().unwrap_or_default();
                let refused = pieces.any(|p| p == "q=0" || p == "q=0.0");
                matches!(name, "gzip" | "*") && !refused
            })
        })
}

/// The whole of it, compressed.
pub(crate) fn compressed(bytes: &[u8]) -> Bytes {
    let mut compressor = Compressor::new();
    let first = compressor.push(bytes);
    let rest = compressor.finish();
    [&first[..], &rest[..]].concat().into()
}

/// Unpacks a body, as long as it stays within `max`: a small one may unpack to anything.
pub(crate) fn unpacked(bytes: &[u8], max: usize) -> Result<Bytes, Status> {
    let mut out = Vec::new();
    // One more than may be, so that too much shows.
    let mut reader = MultiGzDecoder::new(bytes).take(max as u64 + 1);
    reader
        .read_to_end(&mut out)
        .map_err(|e| Status::bad_request(format!("unpacking the gzip body: {e}")))?;
    if out.len() > max {
        return Err(Status::too_large(format!("limit is {max}")));
    }
    Ok(out.into())
}

/// Turns chunks into compressed chunks; holds no more than the compressor's window.
pub(crate) struct Compressor(GzEncoder<Vec<u8>>);

impl Compressor {
    pub(crate) fn new() -> Self {
        // The fastest level: the network of a board is faster than its processor.
        Self(GzEncoder::new(Vec::new(), Compression::new(1)))
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) -> Bytes {
        // Writing into memory does not fail.
        let _ = self.0.write_all(chunk);
        std::mem::take(self.0.get_mut()).into()
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.finish().unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_body_that_unpacks_to_much_is_refused() {
        let bomb = compressed(&vec![b' '; 5 << 20]);
        assert!(bomb.len() < 100_000);
        assert_eq!(unpacked(&bomb, 1 << 20).unwrap_err().code(), 413);
        assert_eq!(unpacked(&bomb, 5 << 20).unwrap().len(), 5 << 20);
        let two = [&compressed(b"a")[..], &compressed(b"b")[..]].concat();
        assert_eq!(&unpacked(&two, 9).unwrap()[..], b"ab");
        assert_eq!(unpacked(b"nonsense", 100).unwrap_err().code(), 400);
        assert_eq!(unpacked(&bomb[..100], 1 << 20).unwrap_err().code(), 400);
    }

    #[test]
    fn only_clients_that_ask_get_gzip() {
        let accepts = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, value.parse().unwrap());
            accepted(&headers)
        };
        assert!(accepts("gzip") && accepts("br, gzip;q=0.5") && accepts("*"));
        assert!(!accepts("identity") && !accepts("gzip;q=0, br") && !accepts("xgzip"));
        assert!(!accepted(&HeaderMap::new()));
    }

    #[test]
    fn chunks_survive() {
        let mut compressor = Compressor::new();
        let mut whole = Vec::new();
        for chunk in [&b"first "[..], &[b'x'; 70_000], b" last"] {
            whole.extend_from_slice(&compressor.push(chunk));
        }
        whole.extend_from_slice(&compressor.finish());
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&whole[..])
            .read_to_end(&mut text)
            .unwrap();
        assert_eq!(text.len(), 70_011);
        assert!(text.starts_with(b"first x") && text.ends_with(b" last"));
    }
}
