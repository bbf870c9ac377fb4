//! Header blocks of SPDY/3.1: names and values, compressed with a dictionary that both ends know.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::Broken;

/// Largest header block, decompressed. Ours have a handful of short headers.
const BLOCK_MAX: usize = 16 * 1024;

/// Words of the dictionary that come with their length (SPDY/3.1, 2.6.10.1).
const WORDS: [&str; 59] = [
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
];

/// The words after which plain text follows.
const LAST_WORDS: [&str; 5] = ["HTTP/1.1", "url", "public", "set-cookie", "keep-alive"];

const TEXT: &str = "\
origin100101201202205206300302303304305306307402405406407408409410411412413414415416417502\
504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request4\
01 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 S\
ervice UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed\
, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,a\
pplication/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchchar\
set=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// The dictionary.
pub(super) fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1423);
    for word in WORDS.iter().chain(&LAST_WORDS) {
        bytes.extend_from_slice(&(word.len() as u32).to_be_bytes());
        bytes.extend_from_slice(word.as_bytes());
    }
    // "origin" has its length too, and the text goes on without.
    bytes.extend_from_slice(&6u32.to_be_bytes());
    bytes.extend_from_slice(TEXT.as_bytes());
    bytes
}

/// Reads the header blocks of one connection, which are one zlib stream.
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// Names (lower case) and values of a block.
    pub(super) fn block(&mut self, compressed: &[u8]) -> Result<Vec<(String, String)>, Broken> {
        parse(&self.inflate(compressed)?).ok_or(Broken("a header block"))
    }

    fn inflate(&mut self, mut input: &[u8]) -> Result<Vec<u8>, Broken> {
        let wrong = Broken("a compressed header block");
        let mut out = Vec::with_capacity(1024);
        loop {
            if out.len() == out.capacity() {
                if out.len() >= BLOCK_MAX {
                    return Err(Broken("a header block that is too large"));
                }
                out.reserve(1024);
            }
            let (read, written) = (self.0.total_in(), self.0.total_out());
            let result = self
                .0
                .decompress_vec(input, &mut out, FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in() - read).unwrap_or(usize::MAX);
            input = input.get(taken..).ok_or(wrong)?;
            match result {
                Ok(Status::StreamEnd) => return Err(wrong),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary()).map_err(|_| wrong)?;
                    continue;
                }
                Err(_) => return Err(wrong),
            }
            let stuck = taken == 0 && self.0.total_out() == written;
            if input.is_empty() && out.len() < out.capacity() {
                return Ok(out);
            }
            if stuck && out.len() < out.capacity() {
                return Err(wrong);
            }
        }
    }
}

fn parse(mut block: &[u8]) -> Option<Vec<(String, String)>> {
    let number = |block: &mut &[u8]| -> Option<usize> {
        let (bytes, rest) = block.split_first_chunk::<4>()?;
        *block = rest;
        usize::try_from(u32::from_be_bytes(*bytes)).ok()
    };
    let text = |block: &mut &[u8]| -> Option<String> {
        let length = number(block)?;
        let (bytes, rest) = block.split_at_checked(length)?;
        *block = rest;
        Some(String::from_utf8_lossy(bytes).into_owned())
    };
    let count = number(&mut block)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = text(&mut block)?.to_ascii_lowercase();
        headers.push((name, text(&mut block)?));
    }
    block.is_empty().then_some(headers)
}

/// Writes header blocks.
pub(super) struct Deflater(Compress);

impl Deflater {
    pub(super) fn new() -> Self {
        let mut compress = Compress::new(Compression::fast(), true);
        // Without it the blocks are as good, and longer.
        let _ = compress.set_dictionary(&dictionary());
        Self(compress)
    }

    /// A block without headers.
    pub(super) fn empty(&mut self) -> Result<Vec<u8>, Broken> {
        let mut out = Vec::with_capacity(64);
        self.0
            .compress_vec(&0u32.to_be_bytes(), &mut out, FlushCompress::Sync)
            .map_err(|_| Broken("our own header block"))?;
        Ok(out)
    }

    /// A block, as a client sends it.
    #[cfg(test)]
    pub(super) fn block(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
            plain.extend_from_slice(text.as_bytes());
        }
        let mut out = Vec::with_capacity(plain.len() + 64);
        self.0
            .compress_vec(&plain, &mut out, FlushCompress::Sync)
            .unwrap();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_specifications() {
        let bytes = dictionary();
        assert_eq!(bytes.len(), 1423);
        let (mut a, mut b) = (1u32, 0u32);
        for byte in bytes {
            a = (a + u32::from(byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        // The dictionary id that zlib streams of SPDY/3 begin with.
        assert_eq!(b << 16 | a, 0xe3c6_a7c2);
    }

    #[test]
    fn blocks_are_one_stream() {
        let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
        for n in 0..3 {
            let value = n.to_string();
            let headers = [("streamtype", "data"), ("port", value.as_str())];
            let block = deflater.block(&headers);
            let got = inflater.block(&block).unwrap();
            let want = headers.map(|(k, v)| (k.to_owned(), v.to_owned()));
            assert_eq!(got, want);
        }
        assert!(inflater.block(b"nonsense").is_err());
    }

    #[test]
    fn a_block_that_grows_without_end_is_refused() {
        let mut deflater = Deflater::new();
        let long = "x".repeat(10 * BLOCK_MAX);
        let block = deflater.block(&[("a", long.as_str())]);
        assert!(block.len() < BLOCK_MAX);
        assert!(Inflater::new().block(&block).is_err());
    }
}
