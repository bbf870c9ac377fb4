//! A container's output as CRI log lines (`TIME STREAM TAG TEXT`) in a file that is rotated by size.
//!
//! In come bytes as they were read from the pipes, out go lines. A write that fails (disk full) costs
//! the lines, which are counted and named by a mark once writing works again. Who may wait for a
//! write is [`crate::sink`]'s affair.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::clock;

/// Longest text of one log line; a longer line of the container becomes several, tagged `P`.
pub(crate) const LINE_MAX: usize = 16 * 1024;

/// Which of a container's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Cuts a stream into lines; keeps the beginning of a line until the rest comes.
#[derive(Debug)]
pub(crate) struct Lines {
    stream: Stream,
    partial: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            partial: Vec::new(),
        }
    }

    /// Which stream it cuts.
    pub(crate) fn stream(&self) -> Stream {
        self.stream
    }

    /// Takes bytes, appends the lines that are complete to `out`. They were read together and have
    /// the same time.
    pub(crate) fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        let mut now = Vec::with_capacity(32);
        clock::push_now(&mut now);
        while !bytes.is_empty() {
            let room = LINE_MAX - self.partial.len();
            let window = &bytes[..bytes.len().min(room)];
            match window.iter().position(|b| *b == b'\n') {
                Some(end) => {
                    self.line(&now, b'F', &bytes[..end], out);
                    bytes = &bytes[end + 1..];
                }
                None if bytes.len() >= room => {
                    self.line(&now, b'P', &bytes[..room], out);
                    bytes = &bytes[room..];
                }
                None => {
                    self.partial.extend_from_slice(bytes);
                    bytes = &[];
                }
            }
        }
    }

    /// The stream has ended: what is left is a line without its end.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.partial.is_empty() {
            let mut now = Vec::with_capacity(32);
            clock::push_now(&mut now);
            self.line(&now, b'F', &[], out);
        }
    }

    fn line(&mut self, now: &[u8], tag: u8, rest: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(now);
        out.push(b' ');
        out.extend_from_slice(self.stream.name().as_bytes());
        out.extend_from_slice(&[b' ', tag, b' ']);
        out.extend_from_slice(&self.partial);
        out.extend_from_slice(rest);
        out.push(b'\n');
        // Free it: most containers write short lines at long intervals.
        self.partial = Vec::new();
    }
}

/// The file and its predecessors `<path>.1`, `<path>.2`, ….
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: Option<File>,
    written: u64,
    max_bytes: u64,
    keep: u32,
    dropped_lines: u64,
}

impl LogFile {
    /// Opens lazily: the first write tells whether it works.
    pub(crate) fn new(path: &Path, max_bytes: u64, keep: u32) -> Self {
        let (path, file) = (path.to_owned(), None);
        Self {
            path,
            file,
            written: 0,
            max_bytes,
            keep,
            dropped_lines: 0,
        }
    }

    /// Writes whole lines, or counts them as dropped.
    pub(crate) fn write(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        if self.dropped_lines > 0 && self.append(&drop_mark(self.dropped_lines)).is_ok() {
            self.dropped_lines = 0;
        }
        if self.dropped_lines > 0 || self.append(lines).is_err() {
            self.dropped_lines += count_lines(lines);
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.written > 0 && self.written + bytes.len() as u64 > self.max_bytes {
            self.rotate();
        }
        if self.file.is_none() {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.path)?;
            self.written = file.metadata()?.len();
            self.file = Some(file);
        }
        let Some(file) = self.file.as_mut() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let before = self.written;
        let mut rest = bytes;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => break,
                Ok(n) => {
                    self.written += n as u64;
                    rest = &rest[n..];
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    // Take half a line back, so that a reader never sees one.
                    if file.set_len(before).is_ok() {
                        self.written = before;
                    }
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    fn rotate(&mut self) {
        self.file = None;
        self.written = 0;
        let name = |n: u32| {
            let mut path = self.path.clone().into_os_string();
            path.push(format!(".{n}"));
            PathBuf::from(path)
        };
        if self.keep == 0 {
            let _ = fs::remove_file(&self.path);
            return;
        }
        for n in (1..self.keep).rev() {
            let _ = fs::rename(name(n), name(n + 1));
        }
        let _ = fs::rename(&self.path, name(1));
    }
}

/// The line that says how many are missing.
pub(crate) fn drop_mark(lines: u64) -> Vec<u8> {
    let mut mark = Vec::new();
    clock::push_now(&mut mark);
    // Writing to a Vec does not fail.
    let _ = writeln!(
        mark,
        " stderr F [bramble: {lines} log lines were dropped here]"
    );
    mark
}

/// How many whole lines there are.
pub(crate) fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().filter(|b| **b == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines without their time stamps.
    fn bare(out: &[u8]) -> Vec<String> {
        String::from_utf8_lossy(out)
            .lines()
            .map(|l| {
                l.split_once(' ')
                    .map_or(String::new(), |(_, rest)| rest.to_owned())
            })
            .collect()
    }

    #[test]
    fn lines_are_cut_wherever_the_reads_fall() {
        let text = b"one\n\nthree and more\nlast";
        for size in 1..text.len() {
            let (mut lines, mut out) = (Lines::new(Stream::Stdout), Vec::new());
            text.chunks(size).for_each(|c| lines.push(c, &mut out));
            lines.finish(&mut out);
            assert_eq!(
                bare(&out),
                [
                    "stdout F one",
                    "stdout F ",
                    "stdout F three and more",
                    "stdout F last"
                ]
            );
        }
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let (mut lines, mut out) = (Lines::new(Stream::Stderr), Vec::new());
        let text = vec![b'x'; LINE_MAX * 2 + 5];
        text.chunks(1000).for_each(|c| {
            lines.push(c, &mut out);
            assert!(lines.partial.len() <= LINE_MAX);
        });
        lines.push(b"\n", &mut out);
        let tags: Vec<_> = bare(&out)
            .iter()
            .map(|l| (l[..8].to_owned(), l.len() - 9))
            .collect();
        let want = [
            ("stderr P", LINE_MAX),
            ("stderr P", LINE_MAX),
            ("stderr F", 5),
        ];
        assert_eq!(tags, want.map(|(t, n)| (t.to_owned(), n)));
    }

    #[test]
    fn files_are_rotated_and_only_so_many_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = LogFile::new(&path, 30, 2);
        for n in 0..10 {
            log.write(format!("line {n} .........\n").as_bytes());
        }
        let read = |p: &str| fs::read_to_string(dir.path().join(p)).unwrap();
        assert!(read("0.log").contains("line 9"));
        assert!(read("0.log.1").contains("line 8"));
        assert!(read("0.log.2").contains("line 7"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_could_not_be_written_is_counted_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later/0.log");
        let mut log = LogFile::new(&path, 1 << 20, 1);
        log.write(b"a\nb\n");
        log.write(b"c\n");
        fs::create_dir(dir.path().join("later")).unwrap();
        log.write(b"d\n");
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[0].ends_with("[bramble: 3 log lines were dropped here]"),
            "{text}"
        );
        assert_eq!(lines[1..], ["d"]);
    }
}
