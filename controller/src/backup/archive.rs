//! The file: a tar of a few plain entries, written piece by piece, read strictly.
//!
//! Only what [`Writer`] writes is read: headers are compared byte by byte with what they must be, so
//! that no byte of a file may change unnoticed. The sums guard the contents and the order.

use std::io::Read;

use sha2::{Digest, Sha256};

use super::{Error, SUMS};

const BLOCK: usize = 512;
/// More than any entry that is written.
pub(super) const ENTRY_MAX: u64 = 8 << 20;
/// Of a backup of a store that is far larger than any memory it could run in.
const ENTRIES_MAX: usize = 100_000;

/// Writes the entries, for somebody who sends them on.
pub(super) struct Writer {
    modified: u64,
    sums: String,
}

impl Writer {
    /// All entries are of that moment, in seconds since 1970.
    pub(super) fn new(modified: u64) -> Self {
        let sums = String::new();
        Self { modified, sums }
    }

    /// An entry as it stands in the file.
    pub(super) fn entry(&mut self, name: &str, content: &[u8]) -> Vec<u8> {
        self.sums.push_str(&sum(name, content));
        framed(name, content, self.modified)
    }

    /// The sums and the end.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut end = framed(SUMS, self.sums.as_bytes(), self.modified);
        end.extend([0; 2 * BLOCK]);
        end
    }
}

/// A line of the sums.
fn sum(name: &str, content: &[u8]) -> String {
    format!("{}  {name}\n", hex::encode(Sha256::digest(content)))
}

fn framed(name: &str, content: &[u8], modified: u64) -> Vec<u8> {
    let mut bytes = header(name, content.len() as u64, modified).to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// A header in ustar's form: a plain file that only its owner may read.
fn header(name: &str, size: u64, modified: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, format!("{modified:011o}\0").as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Name, size and time of a header, if it is one of ours to the last byte.
fn parse(block: &[u8; BLOCK]) -> Option<(String, u64, u64)> {
    let text = |range: std::ops::Range<usize>| {
        let field = &block[range];
        let end = field.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&field[..end]).ok()
    };
    let number = |range| u64::from_str_radix(text(range)?, 8).ok();
    let (name, size, modified) = (text(0..100)?, number(124..136)?, number(136..148)?);
    let own = header(name, size, modified) == *block;
    (own && !name.is_empty()).then(|| (name.to_owned(), size, modified))
}

/// An entry that was read.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
    /// Where its header is.
    pub(super) at: u64,
}

/// Reads the entries. That all of it is as it was written is certain only after the last one.
pub(super) struct Reader<R> {
    input: R,
    at: u64,
    modified: Option<u64>,
    sums: String,
    entries: usize,
    done: bool,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            at: 0,
            modified: None,
            sums: String::new(),
            entries: 0,
            done: false,
        }
    }

    /// The next entry; `None` after the last, once the sums are found right and nothing follows.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Error> {
        if self.done {
            return Ok(None);
        }
        let at = self.at;
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        let Some((name, size, modified)) = parse(&block) else {
            return Err(match at {
                0 => Error::Foreign,
                _ => damaged(at, "a header is not as it was written"),
            });
        };
        if size > ENTRY_MAX || self.entries == ENTRIES_MAX {
            return Err(damaged(at, "it is larger than any backup"));
        }
        if *self.modified.get_or_insert(modified) != modified {
            return Err(damaged(at, "a header is not as it was written"));
        }
        self.entries += 1;
        let mut content = Vec::new();
        let length = size as usize;
        // Grows with what comes: a length that is wrong reserves nothing.
        let read = (&mut self.input).take(size).read_to_end(&mut content);
        let read = read.map_err(reading)?;
        self.at += read as u64;
        if read < length {
            return Err(self.short());
        }
        let mut padding = vec![0; length.next_multiple_of(BLOCK) - length];
        self.fill(&mut padding)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(damaged(at, "there is something between two entries"));
        }
        if name == SUMS {
            self.end(&content, at)?;
            return Ok(None);
        }
        self.sums.push_str(&sum(&name, &content));
        Ok(Some(Entry { name, content, at }))
    }

    fn end(&mut self, sums: &[u8], at: u64) -> Result<(), Error> {
        if sums != self.sums.as_bytes() {
            return Err(damaged(at, "the contents are not what was written"));
        }
        let mut end = [0; 2 * BLOCK];
        self.fill(&mut end)?;
        let more = self.input.read(&mut [0]).map_err(reading)?;
        if more > 0 || end.iter().any(|byte| *byte != 0) {
            return Err(damaged(at, "something follows its end"));
        }
        self.done = true;
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) if self.at == 0 => return Err(Error::Foreign),
                Ok(0) => return Err(self.short()),
                Ok(read) => {
                    filled += read;
                    self.at += read as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(reading(error)),
            }
        }
        Ok(())
    }

    fn short(&self) -> Error {
        match self.at {
            0..512 => Error::Foreign,
            at => damaged(at, "it ends too early"),
        }
    }
}

pub(super) fn damaged(at: u64, what: &str) -> Error {
    let what = what.to_owned();
    Error::Damaged { at, what }
}

fn reading(source: std::io::Error) -> Error {
    Error::Io {
        operation: "reading",
        path: "the backup".into(),
        source,
    }
}
