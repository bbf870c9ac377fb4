//! Client of the agent's socket: one connection, one question, one answer.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use bramble_wire::local::{Ask, FRAME_MAX, PIECE_MAX, Progress, Reply, Request, VERSION};

use super::fill;

/// Unpacking a large image on a slow card takes minutes; a hung agent must still be noticed.
const SILENCE: Duration = Duration::from_secs(30 * 60);

/// A connection to the agent of this board.
pub(super) struct Agent {
    stream: UnixStream,
    path: PathBuf,
}

/// An answer to another question, or the agent's refusal in its own words.
pub(super) fn unexpected(reply: &Reply) -> anyhow::Error {
    match reply {
        Reply::Failed(why) => anyhow!("{}", crate::output::plain(why)),
        _ => anyhow!("the agent answered another question; do its version and this one fit?"),
    }
}

impl Agent {
    pub(super) fn connect(path: &Path) -> Result<Self> {
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
    pub(super) fn ask(mut self, request: Request) -> Result<Reply> {
        self.write_ask(request)
            .map_err(|error| self.broken(error.into()))?;
        self.reply()
    }

    /// Asks for something that takes a while and says how far it is.
    pub(super) fn ask_with_progress(
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

    /// Sends an archive.
    pub(super) fn send(mut self, mut archive: impl Read) -> Result<Reply> {
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
        self.write_piece(&bramble_wire::encode(&Ask {
            version: VERSION,
            request,
        }))
    }

    fn write_piece(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| ErrorKind::InvalidInput)?;
        self.stream.write_all(&length.to_le_bytes())?;
        self.stream.write_all(bytes)
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
