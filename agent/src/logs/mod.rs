//! Reads containers' logs for `kubectl logs`: the files that shims write, across rotation, while
//! they grow.
//!
//! In come a log file and options, out comes the text in pieces over a bounded channel: a reader
//! who doesn't read holds up this stream and nothing else. Each stream is a blocking thread of the
//! runtime's pool; there are few of them ([`bramble_wire::limits::STREAMS_MAX`]).
//!
//! With what a follower gets come places ([`Place`]) that outlive the agent: a later stream reads on from
//! there, and leaves out what the follower has.

mod out;
mod place;
mod tail;

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use bramble_agent_core::time::timestamp;
use bramble_wire::limits::STREAM_FRAME_MAX;
use out::Out;
pub use out::Piece;
use place::FileId;
pub use place::Place;
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
    /// End after so many bytes; of a stream that goes on, after so many more.
    pub limit_bytes: Option<u64>,
    /// Go on where another stream broke off; `tail_lines` counts no more then.
    pub resume: Option<Resume>,
}

/// Where a stream goes on, see [`bramble_wire::stream::Resume`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// From here it reads.
    pub place: Place,
    /// So many bytes of output from there on the reader has.
    pub skip: u64,
    /// The reader's last line is not whole.
    pub line_open: bool,
}

impl Options {
    /// What is asked for; the cursor it may begin at was understood by the caller.
    pub fn new(logs: &bramble_wire::stream::Logs, place: Option<Place>) -> Self {
        let resume = logs.resume.as_ref().zip(place);
        Self {
            follow: logs.follow,
            timestamps: logs.timestamps,
            tail_lines: logs.tail_lines,
            since_unix_s: logs.since_unix_s,
            limit_bytes: logs.limit_bytes,
            resume: resume.map(|(resume, place)| Resume {
                place,
                skip: resume.skip,
                line_open: resume.line_open,
            }),
        }
    }
}

/// The log of one life of a container: a file, and its predecessors `.1`, `.2`, ….
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The newest file.
    pub path: PathBuf,
    /// Number of the life, from 1 on.
    pub life: u32,
}

/// Logs of a container in a pod's log directory (`KernelRuntime`'s `Options::log_dir`). `None`: the name,
/// which comes from outside, is not one.
fn directory(log_dir: &Path, container: &str) -> Option<PathBuf> {
    let name = !(container.is_empty() || container.starts_with('.') || container.contains('/'));
    name.then(|| log_dir.join(container))
}

/// The log of one life of a container, of which at least a predecessor must be there.
pub fn of_life(log_dir: &Path, container: &str, life: u32) -> Option<Log> {
    let path = directory(log_dir, container)?.join(format!("{life}.log"));
    let there = path.exists() || rotated(&path, 1).exists();
    there.then_some(Log { path, life })
}

/// The log of the current life of a container, or the one before. `None`: there is none.
pub fn find(log_dir: &Path, container: &str, previous: bool) -> Option<Log> {
    let dir = directory(log_dir, container)?;
    let attempt = |name: String| name.strip_suffix(".log")?.parse::<u32>().ok();
    let entries = fs::read_dir(&dir).ok()?.flatten();
    let mut attempts: Vec<u32> = entries
        .filter_map(|e| attempt(e.file_name().into_string().ok()?))
        .collect();
    attempts.sort_unstable();
    let life = *attempts.iter().rev().nth(usize::from(previous))?;
    let path = dir.join(format!("{life}.log"));
    Some(Log { path, life })
}

/// Starts a stream. `alive` says whether the container still runs: a followed stream ends when it
/// doesn't and everything has been read. The channel closes at the end; an error comes last.
/// Dropping the receiver ends the thread.
pub fn spawn(
    log: Log,
    options: Options,
    alive: watch::Receiver<bool>,
) -> mpsc::Receiver<io::Result<Piece>> {
    let (pieces, receiver) = mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || {
        let since = options.since_unix_s.map(timestamp);
        let mut stream = Stream {
            log,
            options,
            since,
            alive,
            out: Out::new(pieces, &options),
            at_line_start: true,
        };
        match stream.run() {
            Ok(()) | Err(Stop::Closed) => {}
            Err(Stop::Limit) => drop(stream.out.flush()),
            Err(Stop::Io(error)) => stream.out.fail(error),
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
    log: Log,
    options: Options,
    since: Option<String>,
    alive: watch::Receiver<bool>,
    out: Out,
    /// The last line written was a whole one.
    at_line_start: bool,
}

/// A file that is read.
struct Source {
    reader: BufReader<File>,
    id: FileId,
    /// Of the next line.
    position: u64,
}

impl Source {
    /// Goes on where the file stands.
    fn new(mut file: File) -> io::Result<Self> {
        Ok(Self {
            id: FileId::of(&file)?,
            position: file.stream_position()?,
            reader: BufReader::with_capacity(STREAM_FRAME_MAX, file),
        })
    }
}

impl Stream {
    fn run(&mut self) -> Result<(), Stop> {
        // All files are opened before any is read: a rotation in between loses nothing.
        let mut files = open_all(&self.log.path)?;
        self.begin(&mut files)?;
        let mut current = None;
        for file in files {
            let mut source = Source::new(file)?;
            if current.is_some() {
                self.enter(&source)?;
            }
            self.read(&mut source)?;
            current = Some(source);
        }
        while self.options.follow {
            self.out.flush()?;
            // Asked before reading: what was written before the end is read in this round.
            let alive = *self.alive.borrow();
            match current.as_mut() {
                Some(source) => self.read(source)?,
                None => current = open(&self.log.path)?.map(Source::new).transpose()?,
            }
            if let Some(source) = current.as_mut() {
                let files = newer(&self.log.path, source.reader.get_ref())?;
                if !files.is_empty() {
                    // What was written between the last look and the rotation.
                    self.read(source)?;
                }
                for file in files {
                    let mut source = Source::new(file)?;
                    self.enter(&source)?;
                    self.read(&mut source)?;
                    current = Some(source);
                }
            }
            self.out.flush()?;
            if !alive {
                break;
            }
            if self.out.is_closed() {
                return Err(Stop::Closed);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        self.out.flush()
    }

    /// Drops files and seeks in the first that stays, and tells where that is.
    fn begin(&mut self, files: &mut Vec<File>) -> Result<(), Stop> {
        if let Some(resume) = self.options.resume {
            self.resume(resume, files)?;
        } else if let Some(lines) = self.options.tail_lines {
            tail::seek(files, lines)?;
        }
        if !self.options.follow || self.out.leaves_out() {
            // What the reader has holds the place.
            return Ok(());
        }
        let place = match files.first_mut() {
            Some(file) => (Some(FileId::of(file)?), file.stream_position()?),
            None => (None, 0),
        };
        self.tell(place)
    }

    /// Goes over to the next file, and tells so: what a reader has behind a place is of one file, which is
    /// there or is not.
    fn enter(&mut self, source: &Source) -> Result<(), Stop> {
        if !self.options.follow || self.out.leaves_out() {
            return Ok(());
        }
        self.out.flush()?;
        self.tell((Some(source.id), source.position))
    }

    /// Tells a place alone.
    fn tell(&mut self, (file, offset): (Option<FileId>, u64)) -> Result<(), Stop> {
        let place = Place {
            life: self.log.life,
            file,
            offset,
            line_open: !self.at_line_start,
        };
        self.out.tell(place)
    }

    /// Goes back to where the reader was; when that was rotated away, to the oldest line that is there.
    fn resume(&mut self, resume: Resume, files: &mut Vec<File>) -> Result<(), Stop> {
        let place = resume.place;
        let index = match place.file {
            Some(id) => place.find(id, files)?,
            None => Some(0),
        };
        let Some(index) = index else {
            if resume.line_open {
                self.out.write(b"\n")?;
            }
            return Ok(());
        };
        self.out.leave_out(resume.skip);
        files.drain(..index);
        if let Some(file) = files.first_mut() {
            file.seek(SeekFrom::Start(place.offset))?;
        }
        self.at_line_start = !place.line_open;
        Ok(())
    }

    /// Reads whole lines to the end of a file; half a line stays for the next time.
    fn read(&mut self, source: &mut Source) -> Result<(), Stop> {
        // A log that took too much of the memory was emptied: what comes now begins at its start.
        let reader = &mut source.reader;
        if reader.get_ref().metadata()?.len() < source.position {
            reader.seek(SeekFrom::Start(0))?;
            source.position = 0;
            source.id = FileId::of(reader.get_ref())?;
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
            source.position += n;
            if !source.id.is_settled() {
                source.id = FileId::of(reader.get_ref())?;
            }
            let place = Place {
                life: self.log.life,
                file: Some(source.id),
                offset: source.position,
                line_open: !self.at_line_start,
            };
            self.out.pass(place);
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

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The `n`th predecessor of a log file; 0 is itself.
fn rotated(log: &Path, n: u32) -> PathBuf {
    let mut path = log.as_os_str().to_owned();
    if n > 0 {
        path.push(format!(".{n}"));
    }
    PathBuf::from(path)
}

/// The log and its predecessors `.1`, `.2`, …, oldest first. A rotation while we look may show one
/// file under two names; each counts once.
fn open_all(log: &Path) -> io::Result<Vec<File>> {
    let mut files: Vec<File> = Vec::new();
    let mut seen = Vec::new();
    for n in 0..=100 {
        match open(&rotated(log, n))? {
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
