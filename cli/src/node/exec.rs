//! `bramble node exec`: a command in a container, with this program's own streams.
//!
//! One thread reads the agent, one standard input (within the credit that the agent gives), one the size of the
//! terminal. The terminal is set back whatever happens.

use std::fmt;
use std::io::{IsTerminal as _, Read as _, Write};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bramble_wire::limits::STREAM_FRAME_MAX;
use bramble_wire::local::Request;
use bramble_wire::stream::{Exec, In, Out, Stdio, channel};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::select;
use crate::agent::{Agent, Input, Output};
use crate::args::NodeExec;

/// How often the size of the terminal is looked at: signals would need more than safe code.
const SIZE_LOOK: Duration = Duration::from_millis(250);

/// The command ended with another code than 0.
#[derive(Debug)]
pub(crate) struct Exited(i32);

impl Exited {
    /// The command's code as this program's own.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(u8::try_from(self.0).unwrap_or(1))
    }
}

impl fmt::Display for Exited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the command ended with exit code {}", self.0)
    }
}

impl std::error::Error for Exited {}

/// Executes the command.
pub(crate) fn run(args: &NodeExec) -> Result<()> {
    let socket = &args.socket.socket;
    let (pod, container) = select::chosen(socket, &args.pod, args.container.as_deref())?;
    let terminal = std::io::stdin().is_terminal();
    if args.tty && !terminal {
        eprintln!("standard input is no terminal: the command gets none either");
    }
    let tty = args.tty && terminal;
    let request = Exec {
        pod,
        container,
        command: args.command.clone(),
        stdio: Stdio {
            stdin: args.stdin,
            stdout: true,
            stderr: !tty,
            tty,
        },
    };
    let (input, output) = Agent::connect(socket)?.open(Request::Exec(request))?;
    carry(Arc::new(input), output, args.stdin, tty)
}

fn carry(input: Arc<Input>, mut output: Output, stdin: bool, tty: bool) -> Result<()> {
    let credit = Arc::new(Credit::default());
    let mut raw = None;
    let mut code = None;
    let (mut stdout, mut stderr) = (std::io::stdout(), std::io::stderr());
    loop {
        match output.next()? {
            Out::Ready => {
                if tty {
                    raw = Some(Raw::begin()?);
                    spawn_sizes(Arc::clone(&input))?;
                }
                if stdin {
                    spawn_input(Arc::clone(&input), Arc::clone(&credit))?;
                }
            }
            Out::Credit { credit: total, .. } => credit.raise(total),
            Out::Data { bytes, .. } => write(&mut stdout, &bytes)?,
            Out::ChannelData {
                channel: channel::ERR,
                bytes,
                ..
            } => write(&mut stderr, &bytes)?,
            Out::Exit { code: exit } => code = Some(exit),
            Out::End { error, .. } => {
                drop(raw);
                return match (error, code) {
                    (Some(error), _) => Err(super::ended(&error)),
                    (None, Some(0)) => Ok(()),
                    (None, Some(code)) => Err(Exited(code).into()),
                    (None, None) => bail!("the agent did not say how the command ended"),
                };
            }
            _ => {}
        }
    }
}

fn write(to: &mut impl Write, bytes: &[u8]) -> Result<()> {
    (to.write_all(bytes))
        .and_then(|()| to.flush())
        .context("writing the output")
}

/// Input that may be sent, in all.
#[derive(Default)]
struct Credit {
    total: Mutex<u64>,
    more: Condvar,
}

impl Credit {
    fn raise(&self, total: u64) {
        let mut now = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        *now = total.max(*now);
        self.more.notify_all();
    }

    /// Waits until more than `sent` may be sent; how much more.
    fn beyond(&self, sent: u64) -> u64 {
        let now = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.more.wait_while(now, |total| *total <= sent);
        *wait.unwrap_or_else(PoisonError::into_inner) - sent
    }
}

/// Sends standard input. The thread is left behind when the command ends: a read can't be called back.
fn spawn_input(input: Arc<Input>, credit: Arc<Credit>) -> Result<()> {
    let work = move || {
        let mut buffer = vec![0; STREAM_FRAME_MAX];
        let mut offset = 0;
        loop {
            let room = usize::try_from(credit.beyond(offset)).unwrap_or(usize::MAX);
            let most = buffer.len().min(room);
            let frame = match std::io::stdin().read(&mut buffer[..most]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => In::End {
                    channel: channel::IN,
                    offset,
                },
                Ok(read) => In::Data {
                    channel: channel::IN,
                    offset,
                    bytes: buffer[..read].to_vec(),
                },
            };
            let last = matches!(frame, In::End { .. });
            if let In::Data { bytes, .. } = &frame {
                offset += bytes.len() as u64;
            }
            // A command that takes no more has ended, or is about to; its end says so.
            if input.send(&frame).is_err() || last {
                return;
            }
        }
    };
    std::thread::Builder::new().spawn(work)?;
    Ok(())
}

/// Tells the size of the terminal as long as there is somebody to tell.
fn spawn_sizes(input: Arc<Input>) -> Result<()> {
    let work = move || {
        let mut told = (0, 0);
        loop {
            if let Ok(size) = tcgetwinsize(std::io::stdin()) {
                let (columns, rows) = (size.ws_col, size.ws_row);
                let changed = told != (columns, rows);
                told = (columns, rows);
                if changed && input.send(&In::Resize { columns, rows }).is_err() {
                    return;
                }
            }
            std::thread::sleep(SIZE_LOOK);
        }
    };
    std::thread::Builder::new().spawn(work)?;
    Ok(())
}

/// The terminal passes every key on, until this is dropped.
struct Raw(Termios);

impl Raw {
    fn begin() -> Result<Self> {
        let before = tcgetattr(std::io::stdin()).context("asking the terminal")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).context("setting the terminal")?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that has gone needs no setting back.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.0);
    }
}
