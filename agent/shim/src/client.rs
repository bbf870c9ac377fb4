//! A reader of a running container's output: the pipe's other end is in another process, which may be
//! slow or stand still.
//!
//! Bound of a client: its pipe (64 KiB, the kernel's) and one piece that didn't fit. Then
//!
//! * a container with an input (`stdin: true`, made to be talked to) is held up, as upstream, so that
//!   nothing is lost; a client that takes nothing for [`STALL`] meanwhile is cut off;
//! * any other container goes on, and the client misses bytes, whose number it is told. Its log never
//!   waits for a client.

use std::fs::File;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use crate::log::Stream;

/// A container is held up no longer than this by a client that takes nothing.
pub(crate) const STALL: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: Stream,
    pub(crate) file: File,
    pending: Vec<u8>,
    skipped: u64,
    /// Since when nothing of what is pending was taken.
    stalled: Option<Instant>,
    gone: bool,
}

impl Client {
    pub(crate) fn new(stream: Stream, file: File) -> Self {
        Self {
            stream,
            file,
            pending: Vec::new(),
            skipped: 0,
            stalled: None,
            gone: false,
        }
    }

    /// Takes what the container wrote. `keep`: nothing may be lost; the caller sees to it that little
    /// comes while [`Client::waits`].
    pub(crate) fn push(&mut self, bytes: &[u8], keep: bool, now: Instant) {
        if self.gone {
            return;
        }
        if !self.waits() {
            self.pending = bytes.to_vec();
            self.stalled = Some(now);
            self.flush(now);
        } else if keep {
            self.pending.extend_from_slice(bytes);
        } else {
            self.skipped += bytes.len() as u64;
        }
    }

    /// Writes what the reader has room for.
    pub(crate) fn flush(&mut self, now: Instant) {
        while !self.pending.is_empty() {
            match self.file.write(&self.pending) {
                Ok(n) => {
                    self.pending.drain(..n);
                    self.stalled = Some(now);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // Nobody reads any more.
                Err(_) => {
                    self.gone = true;
                    self.pending = Vec::new();
                }
            }
            if self.pending.is_empty() && self.skipped > 0 {
                let mark = format!(
                    "\r\n[bramble: {} bytes were skipped here, the reader is too slow]\r\n",
                    self.skipped
                );
                self.pending = mark.into_bytes();
                self.skipped = 0;
            }
        }
        self.pending = Vec::new();
        self.stalled = None;
    }

    /// Something waits for the reader.
    pub(crate) fn waits(&self) -> bool {
        !self.pending.is_empty()
    }

    /// When the reader will have taken nothing for too long.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.stalled.map(|since| since + STALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn pair() -> (Client, File) {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        crate::fds::nonblocking(&write).unwrap();
        crate::fds::nonblocking(&read).unwrap();
        (
            Client::new(Stream::Stdout, File::from(write)),
            File::from(read),
        )
    }

    fn read_all(file: &mut File) -> Vec<u8> {
        let mut out = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = file.read(&mut buffer) {
            out.extend_from_slice(&buffer[..n]);
        }
        out
    }

    #[test]
    fn a_reader_that_lags_misses_bytes_and_is_told_how_many() {
        let (mut client, mut reader) = pair();
        let now = Instant::now();
        for _ in 0..100 {
            client.push(&[b'x'; 1024], false, now);
            assert!(client.pending.len() <= 1024);
        }
        let mut seen = read_all(&mut reader);
        client.flush(now);
        client.push(b"end", false, now);
        seen.extend(read_all(&mut reader));
        let text = String::from_utf8(seen).unwrap();
        let taken = text.bytes().filter(|b| *b == b'x').count();
        let mark = format!("[bramble: {} bytes were skipped", 100 * 1024 - taken);
        assert!(taken < 100 * 1024 && text.contains(&mark) && text.ends_with("end"));
    }

    #[test]
    fn a_reader_that_must_not_miss_anything_gets_everything_in_time() {
        let (mut client, mut reader) = pair();
        let start = Instant::now();
        let mut sent = 0;
        while !client.waits() {
            client.push(&[b'x'; 1000], true, start);
            sent += 1000;
        }
        assert_eq!(client.deadline(), Some(start + STALL));
        let later = start + Duration::from_secs(3);
        let mut seen = read_all(&mut reader).len();
        client.flush(later);
        assert_eq!(client.deadline(), None);
        seen += read_all(&mut reader).len();
        assert_eq!(seen, sent);
    }

    #[test]
    fn a_reader_that_left_costs_nothing() {
        let (mut client, reader) = pair();
        drop(reader);
        client.push(&[b'x'; 1000], true, Instant::now());
        client.push(&[b'x'; 1000], true, Instant::now());
        assert!(!client.waits() && client.deadline().is_none());
    }
}
