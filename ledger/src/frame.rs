//! Frames: a batch of records under one checksum, so that a batch survives whole or not at all.
//!
//! ```text
//! length u32 │ records u32 │ body crc u32 │ head crc u32 │ body: (length u32 │ bytes)* │ pad to 8
//! ```
//! Both checksums start from the file's salt and generation and the frame's offset. The head has
//! its own, so that looking for frames among arbitrary bytes reads a body only when there is one.

use std::io;

use crate::{
    layout::{HEADER, Header},
    media::File,
};

/// Bytes before a frame's body.
pub(crate) const HEAD: usize = 16;

/// Frames start at multiples of this.
const ALIGN: u64 = 8;

/// What one bad cell takes with it when the kernel reads.
const PAGE: u64 = 4096;

/// How much a search reads at a time.
const WINDOW: usize = 64 << 10;

/// A frame under construction.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    records: u32,
}

impl Batch {
    pub(crate) fn push(&mut self, record: &[u8]) {
        if self.bytes.is_empty() {
            self.bytes.resize(HEAD, 0);
        }
        // The length was checked against a limit far below 4 GiB.
        self.bytes
            .extend_from_slice(&(record.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(record);
        self.records += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Size on disk.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len().next_multiple_of(ALIGN as usize)
    }

    /// Size on disk after one more record.
    pub(crate) fn size_with(&self, record: usize) -> usize {
        (self.bytes.len().max(HEAD) + 4 + record).next_multiple_of(ALIGN as usize)
    }

    /// The frame as it goes to `offset` of a file.
    pub(crate) fn seal(&mut self, header: &Header, offset: u64) -> &[u8] {
        let body = (self.bytes.len() - HEAD) as u32;
        let crc = checksum(header, offset, &self.bytes[HEAD..]);
        self.bytes[..4].copy_from_slice(&body.to_le_bytes());
        self.bytes[4..8].copy_from_slice(&self.records.to_le_bytes());
        self.bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        let head = checksum(header, offset, &self.bytes[..12]);
        self.bytes[12..HEAD].copy_from_slice(&head.to_le_bytes());
        self.bytes.resize(self.size(), 0);
        &self.bytes
    }

    /// Empties it, keeping a little memory for the next one.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(WINDOW);
        self.records = 0;
    }
}

fn checksum(header: &Header, offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header.salt.to_le_bytes());
    hasher.update(&header.generation.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// A frame that was read.
#[derive(Debug)]
pub(crate) struct Frame {
    body: Vec<u8>,
    /// Where the next one starts.
    pub(crate) end: u64,
}

impl Frame {
    /// The records; an error when they do not fill the body, which no writer of ours does.
    pub(crate) fn records(&self) -> Records<'_> {
        Records(&self.body)
    }
}

/// Walks through a body.
pub(crate) struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<&'a [u8], Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self
            .0
            .split_first_chunk::<4>()
            .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
        match record {
            Some((record, rest)) => {
                self.0 = rest;
                Some(Ok(record))
            }
            None => {
                self.0 = &[];
                Some(Err(Malformed))
            }
        }
    }
}

/// A body whose checksum holds but whose records do not fit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads frames of one file.
pub(crate) struct Reader<'a, F> {
    pub(crate) file: &'a F,
    pub(crate) header: Header,
    pub(crate) size: u64,
}

impl<F: File> Reader<'_, F> {
    /// The intact frame at `offset`; `None` when there is none.
    pub(crate) fn frame(&self, offset: u64) -> io::Result<Option<Frame>> {
        let mut head = [0; HEAD];
        if self.file.read_at(&mut head, offset)? < HEAD {
            return Ok(None);
        }
        self.body(offset, &head)
    }

    fn body(&self, offset: u64, head: &[u8; HEAD]) -> io::Result<Option<Frame>> {
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (length, crc) = (u64::from(word(0)), word(8));
        let start = offset + HEAD as u64;
        // The size is checked before anything is believed or allocated.
        if length == 0 || length > self.size.saturating_sub(start) {
            return Ok(None);
        }
        if word(12) != checksum(&self.header, offset, &head[..12]) {
            return Ok(None);
        }
        let mut body = vec![0; length as usize];
        let read = self.file.read_at(&mut body, start)?;
        if read < body.len() || crc != checksum(&self.header, offset, &body) {
            return Ok(None);
        }
        Ok(Some(Frame {
            body,
            end: (start + length).next_multiple_of(ALIGN),
        }))
    }

    /// The next intact frame behind `offset`, around what can't be read.
    pub(crate) fn salvageable_behind(&self, offset: u64) -> Option<u64> {
        let mut page = vec![0; PAGE as usize + HEAD];
        let mut start = offset + ALIGN;
        while start + (HEAD as u64) < self.size {
            let end = (start + 1).next_multiple_of(PAGE);
            let length = (end - start) as usize;
            // With the beginning of the next page, as a head may stand across; that one may be the bad one.
            let read = (self.file.read_at(&mut page[..length + HEAD], start))
                .or_else(|_| self.file.read_at(&mut page[..length], start))
                .unwrap_or(0);
            for at in (0..read.min(length)).step_by(ALIGN as usize) {
                let Some(head) = page[at..read].first_chunk::<HEAD>() else {
                    break;
                };
                let at = start + at as u64;
                if head[..4] != [0; 4] && matches!(self.body(at, head), Ok(Some(_))) {
                    return Some(at);
                }
            }
            start = end;
        }
        None
    }

    /// Whether an intact frame starts anywhere behind `offset`.
    pub(crate) fn any_behind(&self, offset: u64) -> io::Result<Option<u64>> {
        let mut window = vec![0; WINDOW + HEAD];
        let mut start = offset + ALIGN;
        while start + (HEAD as u64) < self.size {
            let read = self.file.read_at(&mut window, start)?;
            for at in (0..read.saturating_sub(HEAD).min(WINDOW)).step_by(ALIGN as usize) {
                let Some(head) = window[at..].first_chunk::<HEAD>() else {
                    break;
                };
                if head[..4] != [0; 4] && self.body(start + at as u64, head)?.is_some() {
                    return Ok(Some(start + at as u64));
                }
            }
            start += WINDOW as u64;
        }
        Ok(None)
    }
}

/// Where the first frame of a file stands.
pub(crate) const FIRST: u64 = HEADER;
