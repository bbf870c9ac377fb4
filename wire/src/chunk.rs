//! Objects larger than a packet: pulled piece by piece at the receiver's pace.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::limits::{BODY_MAX, CHUNK_SIZE};

/// Number of chunks of a body of `len` bytes.
pub fn count(len: usize) -> u32 {
    len.div_ceil(CHUNK_SIZE) as u32
}

/// The `index`th chunk of a body; `None` past its end.
pub fn chunk(body: &[u8], index: u32) -> Option<&[u8]> {
    let start = (index as usize).checked_mul(CHUNK_SIZE)?;
    if start >= body.len() {
        return None;
    }
    Some(&body[start..body.len().min(start + CHUNK_SIZE)])
}

/// A body being put together, in order; resumes after a lost link because the next index is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assembly {
    len: usize,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

/// Why a chunk was refused; the assembly stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The announced size is over [`BODY_MAX`].
    #[error("object of {0} bytes is over the limit")]
    TooLarge(usize),
    /// Not the next chunk, or not of its size.
    #[error("chunk {0} is not the expected one")]
    Unexpected(u32),
}

impl Assembly {
    /// Starts a body of `len` bytes; nothing is allocated yet.
    ///
    /// # Errors
    /// [`Error::TooLarge`] over [`BODY_MAX`].
    pub fn new(len: usize) -> Result<Self, Error> {
        if len > BODY_MAX {
            return Err(Error::TooLarge(len));
        }
        Ok(Self {
            len,
            bytes: Vec::new(),
        })
    }

    /// Index of the chunk that is missing next; `None` when complete.
    pub fn next(&self) -> Option<u32> {
        (self.bytes.len() < self.len).then_some((self.bytes.len() / CHUNK_SIZE) as u32)
    }

    /// Adds the next chunk. A chunk that is already there is ignored.
    ///
    /// # Errors
    /// [`Error::Unexpected`] for one out of order or of the wrong size.
    pub fn push(&mut self, index: u32, data: &[u8]) -> Result<(), Error> {
        match self.next() {
            Some(next) if index < next => Ok(()),
            Some(next) if index == next => {
                let expected = CHUNK_SIZE.min(self.len - self.bytes.len());
                if data.len() != expected {
                    return Err(Error::Unexpected(index));
                }
                self.bytes.extend_from_slice(data);
                Ok(())
            }
            None if index < count(self.len) => Ok(()),
            _ => Err(Error::Unexpected(index)),
        }
    }

    /// The body, when complete.
    pub fn finish(self) -> Option<Vec<u8>> {
        (self.bytes.len() == self.len).then_some(self.bytes)
    }
}
