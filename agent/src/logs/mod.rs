//! Reads containers' logs for `kubectl logs`: the files that shims write, across rotation, while
//! they grow.
//!
//! In come a log file and options, out comes the text in pieces over a bounded channel: a reader
//! who doesn't read holds up this stream and nothing else. Each stream is a blocking thread of the
//! runtime's pool; there are few of them ([`bramble_wire::limits::STREAMS_MAX`]).

mod tail;

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use bramble_agent_core::time::timestamp;
use bramble_wire::limits::STREAM_FRAME_MAX;
use tokio::sync::{mpsc, watch};

/// Pieces on their way to the reader of a stream.
const QUEUE: usize = 4;

/// How often a followed file is looked at. Only while somebody follows.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A line longer than this in a log file is none of ours; it is cut.
const LINE_MAX: u64 = 64 * 1024;

/// Options of a log stream, see [`bramble_wire::stream::Logs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Go on until the container ends.
    pub follow: bool,
    /// Put time stamps before lines.
    pub timestamps: bool,
    /// Last lines only.
    pub tail_lines: Option<u64>,
    /// Lines since, seconds of the Unix epoch.
    pub since_unix_s: Option<i64>,
    /// End after so many bytes.
    pub limit_bytes: Option<u64>,
}

impl From<&bramble_wire::stream::Logs> for Options {
    fn from(logs: &bramble_wire::stream::Logs) -> Self {
        Self {
            follow: logs.follow,
            timestamps: logs.timestamps,
            tail_lines: logs.tail_lines,
            since_unix_s: logs.since_unix_s,
            limit_bytes: logs.limit_bytes,
        }
    }
}

/// Log file of the current life of a container (or the one before), in a pod's log directory
/// (`KernelRuntime`'s `Options::log_dir`). `None`: there is none.
pub fn find(log_dir: &Path, container: &str, previous: bool) -> Option<PathBuf> {
    // The name comes from outside and must stay one name.
    if container.is_empty() || container.starts_with('.') || container.contains('/') {
        return None;
    }
    let dir = log_dir.join(container);
    let attempt = |name: String| name.strip_suffix(".log")?.parse::<u32>().ok();
    let entries = fs::read_dir(&dir).ok()?.flatten();
    let mut attempts: Vec<u32> = entries
        .filter_map(|e| attempt(e.file_name().into_string().ok()?))
        .collect();
    attempts.sort_unstable();
    let wanted = attempts.iter().rev().nth(usize::from(previous))?;
    Some(dir.join(format!("{wanted}.log")))
}

/// Starts a stream. `alive` says whether the container still runs: a followed stream ends when it
/// doesn't and everything has been read. The channel closes at the end; an error comes last.
/// Dropping the receiver ends the thread.
pub fn spawn(
    log: PathBuf,
    options: Options,
    alive: watch::Receiver<bool>,
) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (pieces, receiver) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || {
        let since = options.since_unix_s.map(timestamp);
        let left = options.limit_bytes.unwrap_or(u64::MAX);
        let out = Out {
            pieces,
            buffer: Vec::new(),
            left,
        };
        let mut stream = Stream {
            log,
            options,
            since,
            alive,
            out,
            at_line_start: true,
        };
        match stream.run() {
            Ok(()) | Err(Stop::Closed) => {}
            Err(Stop::Limit) => drop(stream.out.flush()),
            // Nobody may be there to hear it.
            Err(Stop::Io(error)) => drop(stream.out.pieces.blocking_send(Err(error))),
        }
    });
    receiver
}

/// Why a stream ends before its source does.
enum Stop {
    /// Nobody reads any more.
    Closed,
    /// The limit of bytes is reached.
    Limit,
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

struct Stream {
    log: PathBuf,
    options: Options,
    since: Option<String>,
    alive: watch::Receiver<bool>,
    out: Out,
    /// The last line written was a whole one.
    at_line_start: bool,
}

impl Stream {
    fn run(&mut self) -> Result<(), Stop> {
        // All files are opened before any is read: a rotation in between loses nothing.
        let mut files = open_all(&self.log)?;
        if let Some(lines) = self.options.tail_lines {
            tail::seek(&mut files, lines)?;
        }
        let mut current = None;
        for file in files {
            let mut reader = BufReader::with_capacity(STREAM_FRAME_MAX, file);
            self.read(&mut reader)?;
            current = Some(reader);
        }
        while self.options.follow {
            self.out.flush()?;
            // Asked before reading: what was written before the end is read in this round.
            let alive = *self.alive.borrow();
            match current.as_mut() {
                Some(reader) => self.read(reader)?,
                None => current = open(&self.log)?.map(BufReader::new),
            }
            if let Some(reader) = current.as_ref() {
                for file in newer(&self.log, reader.get_ref())? {
                    let mut reader = BufReader::with_capacity(STREAM_FRAME_MAX, file);
                    self.read(&mut reader)?;
                    current = Some(reader);
                }
            }
            self.out.flush()?;
            if !alive {
                break;
            }
            if self.out.pieces.is_closed() {
                return Err(Stop::Closed);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        self.out.flush()
    }

    /// Reads whole lines to the end of a file; half a line stays for the next time.
    fn read(&mut self, reader: &mut BufReader<File>) -> Result<(), Stop> {
        // A log that took too much of the memory was emptied: what comes now begins at its start.
        if reader.get_ref().metadata()?.len() < reader.stream_position()? {
            reader.seek(SeekFrom::Start(0))?;
        }
        let mut line = Vec::new();
        loop {
            line.clear();
            let n = io::Read::take(&mut *reader, LINE_MAX).read_until(b'\n', &mut line)? as u64;
            if n == 0 {
                return Ok(());
            }
            if line.last() != Some(&b'\n') && n < LINE_MAX {
                reader.seek(SeekFrom::Current(-(n as i64)))?;
                return Ok(());
            }
            self.line(&line)?;
        }
    }

    /// `TIME STREAM TAG TEXT` to what `kubectl logs` prints.
    fn line(&mut self, line: &[u8]) -> Result<(), Stop> {
        let mut fields = line.splitn(4, |b| *b == b' ');
        let (Some(time), Some(_), Some(tag), Some(text)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Ok(());
        };
        if self
            .since
            .as_ref()
            .is_some_and(|since| time < since.as_bytes())
        {
            return Ok(());
        }
        if self.options.timestamps && self.at_line_start {
            self.out.write(time)?;
            self.out.write(b" ")?;
        }
        // `P`: the container's line goes on in the next one of the file.
        self.at_line_start = tag != b"P";
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        self.out.write(text)?;
        if self.at_line_start {
            self.out.write(b"\n")?;
        }
        Ok(())
    }
}

/// Gathers lines into pieces of the size that one message carries.
struct Out {
    pieces: mpsc::Sender<io::Result<Vec<u8>>>,
    buffer: Vec<u8>,
    left: u64,
}

impl Out {
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        let cut = bytes.len() as u64 > self.left;
        if cut {
            bytes = &bytes[..self.left as usize];
        }
        self.left -= bytes.len() as u64;
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

    /// Waits for room: this is where back-pressure reaches the file.
    fn flush(&mut self) -> Result<(), Stop> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.buffer);
        self.pieces
            .blocking_send(Ok(piece))
            .map_err(|_| Stop::Closed)
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The log and its predecessors `.1`, `.2`, …, oldest first. A rotation while we look may show one
/// file under two names; each counts once.
fn open_all(log: &Path) -> io::Result<Vec<File>> {
    let mut files: Vec<File> = Vec::new();
    let mut seen = Vec::new();
    for n in 0..=100 {
        let mut path = log.as_os_str().to_owned();
        if n > 0 {
            path.push(format!(".{n}"));
        }
        match open(Path::new(&path))? {
            Some(file) => {
                let inode = file.metadata()?.ino();
                if !seen.contains(&inode) {
                    seen.push(inode);
                    files.push(file);
                }
            }
            None if n > 0 => break,
            None => {}
        }
    }
    files.reverse();
    Ok(files)
}

/// Files that came after `current`, oldest first; all of them when it is no longer there.
fn newer(log: &Path, current: &File) -> io::Result<Vec<File>> {
    let inode = current.metadata()?.ino();
    match open(log)? {
        Some(file) if file.metadata()?.ino() != inode => {}
        _ => return Ok(Vec::new()),
    }
    let mut files = open_all(log)?;
    let mut at = None;
    for (i, file) in files.iter().enumerate() {
        if file.metadata()?.ino() == inode {
            at = Some(i);
        }
    }
    match at {
        Some(i) => Ok(files.split_off(i + 1)),
        None => Ok(files),
    }
}

#[cfg(test)]
mod tests;
