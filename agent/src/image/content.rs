//! The bytes of one layer: decompressed, counted, and hashed on both sides of the decompression.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use sha2::{Digest as _, Sha256};

use super::archive::{Error, FoundLayer, invalid};

/// How some bytes are compressed, by their first four.
pub(super) fn compression(start: &[u8]) -> Option<&'static str> {
    match start {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        _ => None,
    }
}

type Raw = BufReader<Hashed<io::Take<File>>>;

/// Uncompressed bytes of a layer.
pub struct LayerReader {
    inner: Hashed<Decoder>,
    left: u64,
}

impl LayerReader {
    /// Reads `member`, which unpacks to at most `bound` bytes.
    pub(super) fn new(member: io::Take<File>, bound: u64) -> io::Result<Self> {
        let raw = Hashed {
            inner: member,
            hash: Sha256::new(),
        };
        let mut raw = BufReader::with_capacity(64 * 1024, raw);
        let inner = match compression(raw.fill_buf()?) {
            Some("gzip") => Decoder::Gzip(Box::new(MultiGzDecoder::new(raw))),
            Some(_) => Decoder::Zstd(Box::new(Zstd {
                source: raw,
                decoder: FrameDecoder::new(),
                open: false,
            })),
            None => Decoder::Plain(raw),
        };
        let hash = Sha256::new();
        Ok(Self {
            inner: Hashed { inner, hash },
            left: bound,
        })
    }

    /// Reads what is left and compares both digests.
    ///
    /// # Errors
    /// When one of them is another than the manifest says.
    pub fn verify(mut self, layer: &FoundLayer) -> Result<(), Error> {
        let broken = |e: io::Error| invalid(format!("{}: {e}", layer.member));
        io::copy(&mut self, &mut io::sink()).map_err(broken)?;
        let diff_id = format!("sha256:{}", hex::encode(self.inner.hash.finalize()));
        if diff_id != layer.diff_id {
            return Err(invalid(format!(
                "{}: content is {diff_id}, not {}",
                layer.member, layer.diff_id
            )));
        }
        let mut raw = match self.inner.inner {
            Decoder::Plain(raw) => raw,
            Decoder::Gzip(gzip) => gzip.into_inner(),
            Decoder::Zstd(zstd) => zstd.source,
        };
        io::copy(&mut raw, &mut io::sink()).map_err(broken)?;
        let whole = format!("sha256:{}", hex::encode(raw.into_inner().hash.finalize()));
        match &layer.digest {
            Some(want) if *want != whole => {
                Err(invalid(format!("{}: blob is {whole}", layer.member)))
            }
            _ => Ok(()),
        }
    }
}

impl Read for LayerReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(n as u64)
            .ok_or_else(|| io::Error::other("the layer unpacks to more than is allowed"))?;
        Ok(n)
    }
}

struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}

enum Decoder {
    Plain(Raw),
    Gzip(Box<MultiGzDecoder<Raw>>),
    Zstd(Box<Zstd>),
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(raw) => raw.read(buffer),
            Self::Gzip(gzip) => gzip.read(buffer),
            Self::Zstd(zstd) => zstd.read(buffer),
        }
    }
}

/// All frames of a zstd stream, one after the other.
struct Zstd {
    source: Raw,
    decoder: FrameDecoder,
    open: bool,
}

impl Zstd {
    /// Begins the next frame; false at the end of the stream.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => {
                    self.open = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let skipped = (&mut self.source).take(u64::from(length));
                    io::copy(&mut { skipped }, &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
        Ok(false)
    }
}

impl Read for Zstd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.open && !self.next_frame()? {
                return Ok(0);
            }
            while self.decoder.can_collect() < buffer.len() && !self.decoder.is_finished() {
                let more = buffer.len() - self.decoder.can_collect();
                let strategy = BlockDecodingStrategy::UptoBytes(more);
                self.decoder
                    .decode_blocks(&mut self.source, strategy)
                    .map_err(|e| io::Error::other(e.to_string()))?;
            }
            match self.decoder.read(buffer)? {
                0 => self.open = false,
                n => return Ok(n),
            }
        }
    }
}
