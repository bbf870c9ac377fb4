//! A place in the log of a life, that a later agent finds again.
//!
//! Lines can't be told apart by their time: many have the same, and a board's clock jumps. So a place is a
//! file and an offset in it. The file is known by its inode, which stays when it is rotated, and by what
//! it begins with (the time of its first line), as inodes of removed files come again.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use bramble_wire::limits::CURSOR_MAX;
use serde::{Deserialize, Serialize};

/// A file is known by so many of its first bytes, which include a time to the nanosecond.
const HEAD: usize = 64;

/// Before a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Which life's log.
    pub life: u32,
    /// `None`: at the beginning, before there was a file.
    pub(super) file: Option<FileId>,
    pub(super) offset: u64,
    /// The line goes on with one of the container that is not whole.
    pub(super) line_open: bool,
}

/// What a place looks like outside. A new sort of place is a new variant: an agent may be older than the
/// one that a reader had before.
#[derive(Serialize, Deserialize)]
enum Cursor {
    V1(Place),
}

impl Place {
    /// For the wire.
    pub fn cursor(&self) -> Vec<u8> {
        let bytes = bramble_wire::encode(&Cursor::V1(*self));
        debug_assert!(bytes.len() <= CURSOR_MAX);
        bytes
    }

    /// From the wire; `None` when it is none that this agent knows.
    pub fn of_cursor(bytes: &[u8]) -> Option<Self> {
        match bramble_wire::decode(bytes, "cursor") {
            Ok(Cursor::V1(place)) => Some(place),
            Err(_) => None,
        }
    }

    /// Which of the files it is in; `None` when that one is there no more, or was emptied.
    pub(super) fn find(&self, id: FileId, files: &[File]) -> io::Result<Option<usize>> {
        for (index, file) in files.iter().enumerate() {
            if file.metadata()?.len() >= self.offset && id.is_of(file)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
}

/// Tells a file from others of the same life, also after a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileId {
    inode: u64,
    /// How many first bytes are counted in.
    length: u8,
    head: u64,
}

impl FileId {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let inode = file.metadata()?.ino();
        let mut bytes = [0; HEAD];
        let length = file.read_at(&mut bytes, 0)?;
        Ok(Self {
            inode,
            length: length as u8,
            head: fnv(&bytes[..length]),
        })
    }

    /// It names the file as well as it may: nothing that is appended changes it.
    pub(super) fn is_settled(self) -> bool {
        usize::from(self.length) == HEAD
    }

    fn is_of(self, file: &File) -> io::Result<bool> {
        if file.metadata()?.ino() != self.inode {
            return Ok(false);
        }
        let mut bytes = [0; HEAD];
        let head = &mut bytes[..usize::from(self.length).min(HEAD)];
        match file.read_exact_at(head, 0) {
            Ok(()) => Ok(fnv(head) == self.head),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// FNV-1a: another build must count the same, and nobody gains by a collision.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
