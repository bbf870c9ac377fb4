//! Client of the agent's socket: one connection, one question, one answer, or one stream.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use bramble_wire::local::{Ask, FRAME_MAX, PIECE_MAX, Pod, Progress, Reply, Request};
use bramble_wire::stream::{In, Out};

/// Unpacking a large image on a slow card takes minutes; a hung agent must still be noticed.
const SILENCE: Duration = Duration::from_secs(30 * 60);

/// A connection to the agent of this board.
pub(crate) struct Agent {
    stream: UnixStream,
    path: PathBuf,
}

/// An answer to another question, or the agent's refusal in its own words.
pub(crate) fn unexpected(reply: &Reply) -> anyhow::Error {
    match reply {
        Reply::Failed(why) => anyhow!("{}", crate::output::plain(why)),
        _ => anyhow!("the agent answered another question; do its version and this one fit?"),
    }
}

impl Agent {
    pub(crate) fn connect(path: &Path) -> Result<Self> {
        let shown = path.display();
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => anyhow!(
                "no agent at {shown}; is bramble-agent running on this board? (--socket names \
                 another place)"
            ),
            ErrorKind::PermissionDenied => anyhow!("{shown} is for root only; use sudo"),
            _ => anyhow::Error::new(error).context(format!("connecting to {shown}")),
        })?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(Self {
            stream,
            path: path.to_owned(),
        })
    }

    /// Asks; a refusal is an error.
    pub(crate) fn ask(mut self, request: Request) -> Result<Reply> {
        self.write_ask(request)
            .map_err(|error| self.broken(error.into()))?;
        self.reply()
    }

    /// Asks for something that takes a while and says how far it is.
    pub(crate) fn ask_with_progress(
        mut self,
        request: Request,
        mut progress: impl FnMut(Progress),
    ) -> Result<Reply> {
        self.write_ask(request)
            .map_err(|error| self.broken(error.into()))?;
        loop {
            match self.next_reply()? {
                Reply::Progress(now) => progress(now),
                reply => return Ok(reply),
            }
        }
    }

    /// Asks for something that comes with the pods of the board.
    pub(crate) fn ask_with_pods(mut self, request: Request) -> Result<(Vec<Pod>, Reply)> {
        self.write_ask(request)
            .map_err(|error| self.broken(error.into()))?;
        let mut pods = Vec::new();
        loop {
            match self.next_reply()? {
                Reply::Pod(pod) => pods.push(pod),
                reply => return Ok((pods, reply)),
            }
        }
    }

    /// Opens a stream, which may be silent for as long as it likes.
    pub(crate) fn open(mut self, request: Request) -> Result<(Input, Output)> {
        self.write_ask(request)
            .map_err(|error| self.broken(error.into()))?;
        self.stream.set_read_timeout(None)?;
        self.stream.set_write_timeout(None)?;
        let input = Input(Mutex::new(self.stream.try_clone()?));
        Ok((input, Output(self)))
    }

    /// Sends an archive.
    pub(crate) fn send(mut self, mut archive: impl Read) -> Result<Reply> {
        self.write_ask(Request::ImageLoadStream)
            .map_err(|error| self.broken(error.into()))?;
        let mut buffer = vec![0; PIECE_MAX];
        loop {
            let length = fill(&mut archive, &mut buffer).context("reading the archive")?;
            let sent = self.write_piece(&buffer[..length]);
            match sent {
                // An agent that has given up has said why before it closed.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                    ) =>
                {
                    return self.reply();
                }
                Err(error) => return Err(self.broken(error.into())),
                Ok(()) if length == 0 => return self.reply(),
                Ok(()) => {}
            }
        }
    }

    fn write_ask(&mut self, request: Request) -> std::io::Result<()> {
        self.write_piece(&bramble_wire::encode(&Ask::new(request)))
    }

    fn write_piece(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        write_piece(&mut self.stream, bytes)
    }

    fn reply(mut self) -> Result<Reply> {
        self.next_reply()
    }

    fn next_reply(&mut self) -> Result<Reply> {
        let frame = self.read_frame().map_err(|error| self.broken(error))?;
        let reply = bramble_wire::decode(&frame, "answer of the agent")
            .context("do the versions of the agent and this program fit?")?;
        match reply {
            Reply::Failed(_) => Err(unexpected(&reply)),
            reply => Ok(reply),
        }
    }

    fn read_frame(&mut self) -> Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_le_bytes(length))?;
        ensure!(
            length <= FRAME_MAX,
            "an answer of {length} bytes is too large"
        );
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame)?;
        Ok(frame)
    }

    fn broken(&self, error: anyhow::Error) -> anyhow::Error {
        let kind = error
            .downcast_ref::<std::io::Error>()
            .map(std::io::Error::kind);
        let what = match kind {
            Some(ErrorKind::WouldBlock | ErrorKind::TimedOut) => "does not answer",
            _ => "broke off; its log says why",
        };
        error.context(format!("the agent at {} {what}", self.path.display()))
    }
}

/// What goes into a stream; several threads may send.
pub(crate) struct Input(Mutex<UnixStream>);

impl Input {
    pub(crate) fn send(&self, frame: &In) -> std::io::Result<()> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        write_piece(&mut stream, &bramble_wire::encode(frame))
    }
}

/// What comes out of a stream.
pub(crate) struct Output(Agent);

impl Output {
    pub(crate) fn next(&mut self) -> Result<Out> {
        match self.0.next_reply()? {
            Reply::Out(out) => Ok(out),
            other => Err(unexpected(&other)),
        }
    }
}

fn write_piece(stream: &mut UnixStream, bytes: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| ErrorKind::InvalidInput)?;
    stream.write_all(&length.to_le_bytes())?;
    stream.write_all(bytes)
}

/// Reads into the whole buffer, or less at the end.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
