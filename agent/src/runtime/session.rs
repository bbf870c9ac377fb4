//! Sessions with a running container: a command executed in it, or its own streams.
//!
//! What comes in and goes out here flows through kernel pipes or a terminal between us and the
//! process; neither the shim nor this module keeps more of it than a pipe holds. A reader that stops
//! reading stops the command. Whoever holds a [`Session`] owns it: dropping [`Session::exit`] before it is
//! done ends the command (or detaches).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bramble_wire::stream::Stdio;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::Error;

/// Input of a session. Dropping it is the end of the input (half-close).
pub type Input = Box<dyn AsyncWrite + Send + Unpin>;
/// Output of a session.
pub type Output = Box<dyn AsyncRead + Send + Unpin>;
/// Exit code of a session (128 + signal for a signal); see [`Session::exit`].
pub type Exit = Pin<Box<dyn Future<Output = Result<i32, Error>> + Send>>;

/// A command to execute. User, groups, capabilities, environment, working directory, limits and
/// seccomp are the container's own, as upstream: they are read from its bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecConfig {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Which streams are wanted; those that are not are `/dev/null`. With a terminal there is one
    /// output.
    pub stdio: Stdio,
    /// Goes on when this agent ends (a hook), instead of being killed with its session. Only
    /// without streams.
    pub outlive: bool,
    /// So long after its start had its turn it is given up, with [`Error::TooLate`].
    pub limit: Option<Duration>,
}

impl ExecConfig {
    /// A probe or a hook: output, no input.
    pub fn captured(argv: Vec<String>) -> Self {
        let stdio = Stdio {
            stdin: false,
            stdout: true,
            stderr: true,
            tty: false,
        };
        Self {
            argv,
            stdio,
            ..Self::default()
        }
    }
}

/// A terminal whose size can be told.
pub trait Terminal: Send + Sync {
    /// Columns and rows; the kernel tells the processes in it (SIGWINCH).
    fn resize(&self, columns: u16, rows: u16);
}

/// See the module.
pub struct Session {
    /// Where input goes, if wanted.
    pub input: Option<Input>,
    /// Standard output, or what the terminal shows. It ends when nobody holds the other end any more,
    /// which can be later than the exit when the command left something running.
    pub output: Option<Output>,
    /// Standard error; never with a terminal.
    pub error: Option<Output>,
    /// The terminal, if there is one.
    pub terminal: Option<Box<dyn Terminal>>,
    /// Resolves when the command, or the container attached to, has ended. Dropped before that, it kills the
    /// command, or detaches.
    pub exit: Exit,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("input", &self.input.is_some())
            .field("output", &self.output.is_some())
            .field("error", &self.error.is_some())
            .field("terminal", &self.terminal.is_some())
            .finish_non_exhaustive()
    }
}

/// After the exit, output that is still on its way is waited for this long: something that the
/// command left behind may hold the other end for ever.
const REST: Duration = Duration::from_millis(200);

impl Session {
    /// Waits for the end; returns the exit code and the first `limit` bytes of both outputs, as they
    /// came. What is over the limit is read and dropped, so that the command isn't held up.
    ///
    /// # Errors
    /// As [`Session::exit`].
    pub async fn collect(self, limit: usize) -> Result<(i32, Vec<u8>), Error> {
        let Self {
            input,
            mut output,
            mut error,
            terminal: _terminal,
            mut exit,
        } = self;
        drop(input);
        let mut kept = Vec::new();
        let mut code = None;
        let (mut out, mut err) = ([0; 1024], [0; 1024]);
        let rest = tokio::time::sleep(Duration::MAX);
        tokio::pin!(rest);
        loop {
            if let Some(code) = code
                && output.is_none()
                && error.is_none()
            {
                return Ok((code, kept));
            }
            let mut keep = |bytes: &[u8]| {
                let room = limit.saturating_sub(kept.len());
                kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
            };
            tokio::select! {
                ended = &mut exit, if code.is_none() => {
                    code = Some(ended?);
                    rest.as_mut().reset(tokio::time::Instant::now() + REST);
                }
                read = read(&mut output, &mut out), if output.is_some() => match read {
                    0 => output = None,
                    n => keep(&out[..n]),
                },
                read = read(&mut error, &mut err), if error.is_some() => match read {
                    0 => error = None,
                    n => keep(&err[..n]),
                },
                () = &mut rest, if code.is_some() => {
                    output = None;
                    error = None;
                }
            }
        }
    }
}

/// Bytes read; 0 at the end and on an error.
async fn read(from: &mut Option<Output>, buffer: &mut [u8]) -> usize {
    match from {
        Some(from) => from.read(buffer).await.unwrap_or(0),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    fn session(output: Output, exit: Exit) -> Session {
        Session {
            input: None,
            output: Some(output),
            error: None,
            terminal: None,
            exit,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn output_is_collected_up_to_the_limit_and_left_behind_holders_are_not_waited_for() {
        let (mut ours, theirs) = tokio::io::duplex(16);
        let holder = tokio::spawn(async move {
            ours.write_all(&[b'x'; 100]).await.unwrap();
            std::future::pending::<()>().await;
        });
        let exit: Exit = Box::pin(async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(3)
        });
        let (code, kept) = session(Box::new(theirs), exit).collect(40).await.unwrap();
        assert_eq!((code, kept.len()), (3, 40));
        holder.abort();
    }
}
