//! What a stream of a log sends: lines gathered into pieces, within the reader's limit, and with them the
//! places that they lead to. In: text as it is read. Out: pieces over a bounded channel.

use std::io;

use bramble_wire::limits::STREAM_FRAME_MAX;
use bramble_wire::stream::Mark;
use tokio::sync::mpsc;

use super::{Options, Place, Stop};

/// What a reader gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Output, at most [`STREAM_FRAME_MAX`] bytes; none when only the place is told.
    pub bytes: Vec<u8>,
    /// Where a later stream may go on; only a follower gets it.
    pub mark: Option<Mark>,
}

/// Gathers lines into pieces of the size that one message carries.
pub(super) struct Out {
    pieces: mpsc::Sender<io::Result<Piece>>,
    buffer: Vec<u8>,
    /// Bytes that may still be written.
    left: u64,
    /// Bytes that the reader has, of those that come next.
    skip: u64,
    /// Bytes written, without those that the reader had.
    written: u64,
    /// A reader that follows is told places.
    follow: bool,
    /// The newest place that was passed and not told, and how much was written before it.
    place: Option<(u64, Place)>,
}

impl Out {
    pub(super) fn new(pieces: mpsc::Sender<io::Result<Piece>>, options: &Options) -> Self {
        Self {
            pieces,
            buffer: Vec::new(),
            left: options.limit_bytes.unwrap_or(u64::MAX),
            skip: 0,
            written: 0,
            follow: options.follow,
            place: None,
        }
    }

    /// Everything before this place is written.
    pub(super) fn pass(&mut self, place: Place) {
        if self.follow && self.skip == 0 {
            self.place = Some((self.written, place));
        }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        let known = self.skip.min(bytes.len() as u64);
        self.skip -= known;
        bytes = &bytes[known as usize..];
        let cut = bytes.len() as u64 > self.left;
        if cut {
            bytes = &bytes[..self.left as usize];
        }
        self.left -= bytes.len() as u64;
        self.written += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = STREAM_FRAME_MAX - self.buffer.len();
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == STREAM_FRAME_MAX {
                self.flush()?;
            }
        }
        if cut { Err(Stop::Limit) } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.send()
    }

    /// Tells a place alone, with what was gathered before it.
    pub(super) fn tell(&mut self, place: Place) -> Result<(), Stop> {
        self.place = Some((self.written, place));
        self.send()
    }

    /// Leaves out so many bytes of what comes next: the reader has them.
    pub(super) fn leave_out(&mut self, bytes: u64) {
        self.skip = bytes;
    }

    /// What comes next the reader has: its place is the one that it holds.
    pub(super) fn leaves_out(&self) -> bool {
        self.skip > 0
    }

    /// Nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.pieces.is_closed()
    }

    /// Ends with an error, which nobody may be there to hear.
    pub(super) fn fail(self, error: io::Error) {
        drop(self.pieces.blocking_send(Err(error)));
    }

    /// Waits for room: this is where back-pressure reaches the file.
    fn send(&mut self) -> Result<(), Stop> {
        let bytes = std::mem::take(&mut self.buffer);
        let mark = self.place.take().map(|(offset, place)| Mark {
            offset,
            cursor: place.cursor(),
        });
        self.pieces
            .blocking_send(Ok(Piece { bytes, mark }))
            .map_err(|_| Stop::Closed)
    }
}
