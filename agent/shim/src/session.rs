//! Sessions: commands executed in containers, and clients attached to their streams.
//!
//! A command's bytes never come here: its helper gets the descriptors that the agent sent. A session
//! belongs to its connection; when that ends, the command gets TERM and soon KILL, and a client is
//! forgotten. Both to the whole process group: libcontainer makes the command lead one.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use bramble_wire::shim::{
    Attach, Attached, ContainerState, Exec, Failure, FailureKind, Reply, SESSIONS_MAX, SessionEnd,
    path,
};

use crate::client::Client;
use crate::command::{self, Command};
use crate::container::{Container, Input, failure};
use crate::fds;
use crate::helper::{Helper, Step};
use crate::kill;
use crate::log::Stream;
use crate::pod::{Exit, Pod, answer};
use crate::server::Server;

/// Between TERM and KILL for a command whose client went away.
const GONE_GRACE: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    /// Connection and number of its ask; `None` when the connection is gone.
    pub(crate) owner: Option<(u64, u32)>,
    container: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Command(Command),
    Clients(Clients),
}

#[derive(Debug)]
struct Clients {
    list: Vec<Client>,
    /// It has the container's input.
    writes: bool,
    /// They must not miss anything.
    keep: bool,
    /// The container ended; what the clients have not taken yet is left.
    ended: Option<SessionEnd>,
}

impl Session {
    fn command(&mut self) -> Option<&mut Command> {
        match &mut self.kind {
            Kind::Command(command) => Some(command),
            Kind::Clients(_) => None,
        }
    }

    fn clients(&self) -> &[Client] {
        match &self.kind {
            Kind::Command(_) => &[],
            Kind::Clients(clients) => &clients.list,
        }
    }

    fn clients_mut(&mut self) -> &mut [Client] {
        match &mut self.kind {
            Kind::Command(_) => &mut [],
            Kind::Clients(clients) => &mut clients.list,
        }
    }

    fn waits(&self) -> bool {
        self.clients().iter().any(Client::waits)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.kind {
            Kind::Command(c) => {
                let helper = c.helper.as_ref().filter(|h| !h.killed).map(|h| h.deadline);
                let kill = c.kill_at.filter(|_| c.pid.is_some());
                helper.into_iter().chain(kill).min()
            }
            Kind::Clients(c) if c.keep || c.ended.is_some() => {
                c.list.iter().filter_map(Client::deadline).min()
            }
            Kind::Clients(_) => None,
        }
    }

    /// A command that is being started.
    pub(crate) fn starting(&self) -> bool {
        matches!(
            &self.kind,
            Kind::Command(Command {
                helper: Some(_),
                ..
            })
        )
    }

    /// A command, which will be reaped.
    pub(crate) fn is_command(&self) -> bool {
        matches!(self.kind, Kind::Command(_))
    }
}

/// Tells the clients of a container what it wrote; false when one of them must be waited for.
pub(crate) fn tell(sessions: &mut [Session], key: u32, stream: Stream, bytes: &[u8]) -> bool {
    let now = Instant::now();
    let mut go_on = true;
    for session in sessions.iter_mut().filter(|s| s.container == key) {
        let Kind::Clients(clients) = &mut session.kind else {
            continue;
        };
        for client in clients.list.iter_mut().filter(|c| c.stream == stream) {
            client.push(bytes, clients.keep || clients.ended.is_some(), now);
            go_on &= !(clients.keep && client.waits());
        }
    }
    go_on
}

/// Whether a container is held up by a client.
pub(crate) fn held(sessions: &[Session], key: u32) -> bool {
    let keeps = |s: &Session| matches!(&s.kind, Kind::Clients(c) if c.keep);
    (sessions.iter()).any(|s| s.container == key && keeps(s) && s.waits())
}

impl Pod {
    fn running(&self, id: &str) -> Result<&Container, Failure> {
        let Some(container) = self.containers.iter().find(|c| c.id == id) else {
            return Err(failure(FailureKind::NotFound, format!("no container {id}")));
        };
        let state = match container.state {
            ContainerState::Running(_) => return Ok(container),
            // As containerd calls them.
            ContainerState::Creating | ContainerState::Created(_) => "CONTAINER_CREATED",
            ContainerState::Exited(_) => "CONTAINER_EXITED",
        };
        Err(failure(
            FailureKind::NotFound,
            format!("container is in {state} state"),
        ))
    }

    fn room(&self) -> Result<(), Failure> {
        if self.sessions.len() >= SESSIONS_MAX || !self.shutdown.is_empty() {
            return Err(failure(
                FailureKind::Invalid,
                format!("the pod has {SESSIONS_MAX} sessions already"),
            ));
        }
        Ok(())
    }

    /// Starts a command; the helper's end answers.
    pub(crate) fn exec(
        &mut self,
        exec: Exec,
        descriptors: Vec<OwnedFd>,
        asker: (u64, u32),
    ) -> Result<(), Failure> {
        let container = self.running(&exec.id)?.key;
        self.room()?;
        let invalid = |text: &str| failure(FailureKind::Invalid, text.to_owned());
        if descriptors.len() != exec.streams.count() || exec.argv.is_empty() {
            return Err(invalid("descriptors or command are missing"));
        }
        if exec.terminal && !exec.streams.stdin {
            return Err(invalid("a terminal needs a socket"));
        }
        let broken =
            |e: std::io::Error| failure(FailureKind::Runtime, format!("start bramble-oci: {e}"));
        let streams = command::streams(&exec, descriptors).map_err(broken)?;
        let root = self.args.pod_dir.join(path::OCI);
        let mut args: Vec<OsString> = ["exec", "--postcard", "--id", exec.id.as_str(), "--root"]
            .map(OsString::from)
            .to_vec();
        args.push(root.into_os_string());
        let argv = command::argv(&exec.argv).map_err(broken)?;
        let streams: Vec<_> = streams.into_iter().chain([("--argv-fd", argv)]).collect();
        for (name, fd) in &streams {
            args.extend([OsString::from(name), OsString::from(fds::number(fd))]);
        }
        let args: Vec<&OsStr> = args.iter().map(OsString::as_os_str).collect();
        let pass: Vec<_> = streams.iter().map(|(_, fd)| fd).collect();
        let helper =
            Helper::spawn(&self.args.oci, Step::Exec, &args, &pass, Some(asker)).map_err(broken)?;
        self.sessions.push(Session {
            owner: Some(asker),
            container,
            kind: Kind::Command(Command {
                helper: Some(helper),
                pid: None,
                outlive: exec.outlive,
                term_sent: false,
                kill_at: None,
            }),
        });
        Ok(())
    }

    /// Joins a container's streams.
    pub(crate) fn attach(
        &mut self,
        attach: &Attach,
        descriptors: Vec<OwnedFd>,
        asker: (u64, u32),
    ) -> Result<Attached, Failure> {
        let container = self.running(&attach.id)?;
        self.room()?;
        let broken = |e: std::io::Error| failure(FailureKind::Runtime, format!("attach: {e}"));
        if descriptors.len() != attach.streams.count() {
            return Err(failure(
                FailureKind::Invalid,
                "descriptors are missing".to_owned(),
            ));
        }
        let mut descriptors = descriptors.into_iter();
        let console = attach.streams.stdin.then(|| descriptors.next()).flatten();
        let mut list = Vec::new();
        let wanted = [
            (attach.streams.stdout, Stream::Stdout),
            (attach.streams.stderr, Stream::Stderr),
        ];
        for (_, stream) in wanted.into_iter().filter(|(wanted, _)| *wanted) {
            if let Some(fd) = descriptors.next() {
                fds::nonblocking(&fd).map_err(broken)?;
                list.push(Client::new(stream, File::from(fd)));
            }
        }
        let input = match &container.input {
            Input::Closed => None,
            Input::Pipe { end, .. } => Some(end.as_fd()),
            Input::Terminal => container.pipes.first().map(|p| p.file.as_fd()),
        };
        let mut writes = false;
        if let (Some(console), Some(input)) = (console, input) {
            fds::send(&console, input).map_err(broken)?;
            writes = true;
        }
        let attached = Attached {
            pid: container.pid().unwrap_or(0),
            terminal: container.terminal,
            stdin: writes,
        };
        self.sessions.push(Session {
            owner: Some(asker),
            container: container.key,
            kind: Kind::Clients(Clients {
                list,
                writes,
                keep: container.interactive,
                ended: None,
            }),
        });
        Ok(attached)
    }

    /// A session's input has ended.
    pub(crate) fn end_input(&mut self, server: &mut Server, session: (u64, u32)) {
        let of = |s: &Session| s.owner == Some(session);
        let Some(index) = self.sessions.iter().position(of) else {
            return;
        };
        let Kind::Clients(Clients { writes: true, .. }) = self.sessions[index].kind else {
            return;
        };
        let key = self.sessions[index].container;
        if !self.end_input_once(key) {
            let session = self.sessions.remove(index);
            answer(server, session.owner, Reply::Ended(SessionEnd::Detached));
        }
    }

    /// Closes an input that is open once; false when there is none.
    fn end_input_once(&mut self, key: u32) -> bool {
        let container = self.containers.iter_mut().find(|c| c.key == key);
        let Some(container) = container else {
            return false;
        };
        let once = matches!(container.input, Input::Pipe { once: true, .. });
        if once {
            container.input = Input::Closed;
        }
        once
    }

    /// Ends a session that its owner wants to end.
    pub(crate) fn end_session(&mut self, session: (u64, u32), grace_ms: u32) {
        let of = |s: &Session| s.owner == Some(session);
        if let Some(index) = self.sessions.iter().position(of) {
            self.end_at(index, Duration::from_millis(grace_ms.into()));
        }
    }

    /// The agent is gone, or hung up: its sessions end with it.
    pub(crate) fn connection_closed(&mut self, connection: u64) {
        for index in (0..self.sessions.len()).rev() {
            let session = &mut self.sessions[index];
            if session.owner.is_none_or(|(owner, _)| owner != connection) {
                continue;
            }
            session.owner = None;
            if !session.command().is_some_and(|c| c.outlive) {
                self.end_at(index, GONE_GRACE);
            }
        }
    }

    fn end_at(&mut self, index: usize, grace: Duration) {
        match &mut self.sessions[index].kind {
            Kind::Command(command) => command.stop(grace, Instant::now()),
            Kind::Clients(clients) => {
                let writes = clients.writes;
                let key = self.sessions.remove(index).container;
                if writes {
                    self.end_input_once(key);
                }
            }
        }
    }

    /// Every session of the pod ends.
    pub(crate) fn end_commands(&mut self) {
        let now = Instant::now();
        let commands = self.sessions.iter_mut().filter_map(Session::command);
        commands.for_each(|c| c.stop(Duration::ZERO, now));
    }

    /// A child has ended; whether it was a command or the helper of one.
    pub(crate) fn session_exit(&mut self, server: &mut Server, exit: Exit) -> bool {
        for index in 0..self.sessions.len() {
            let Some(command) = self.sessions[index].command() else {
                continue;
            };
            if command.helper.as_ref().is_some_and(|h| h.pid == exit.pid) {
                self.command_started(server, index, exit);
                return true;
            }
            if command.pid == Some(exit.pid) {
                self.command_ended(server, index, exit);
                return true;
            }
        }
        false
    }

    fn command_started(&mut self, server: &mut Server, index: usize, exit: Exit) {
        let owner = self.sessions[index].owner;
        let Some(command) = self.sessions[index].command() else {
            return;
        };
        let Some(helper) = command.helper.take() else {
            return;
        };
        match helper.finish(&format!("exit {}, signal {}", exit.code, exit.signal)) {
            Ok((pid, _)) => {
                command.pid = Some(pid);
                let attached = Attached {
                    pid,
                    terminal: false,
                    stdin: false,
                };
                if command.kill_at.is_some() {
                    // Nobody waits for it any more.
                    kill::group(pid, libc::SIGKILL);
                }
                answer(server, owner, Reply::Attached(attached));
                if let Some(at) = self.strays.iter().position(|s| s.pid == pid) {
                    let stray = self.strays.remove(at);
                    self.command_ended(server, index, stray);
                }
            }
            Err(failure) => {
                self.sessions.remove(index);
                answer(server, owner, Reply::Failed(failure));
            }
        }
    }

    fn command_ended(&mut self, server: &mut Server, index: usize, exit: Exit) {
        let mut session = self.sessions.remove(index);
        // What it left running is killed only when it was to be killed itself.
        if session.command().is_some_and(|c| c.kill_at.is_some()) {
            kill::group(exit.pid, libc::SIGKILL);
        }
        let end = SessionEnd::Exited { code: exit.code };
        answer(server, session.owner, Reply::Ended(end));
    }

    /// A container has ended: so have its clients, once they have taken the rest.
    pub(crate) fn end_clients(&mut self, server: &mut Server, key: u32, code: i32) {
        for session in self.sessions.iter_mut().filter(|s| s.container == key) {
            if let Kind::Clients(clients) = &mut session.kind {
                clients.ended = Some(SessionEnd::Exited { code });
            }
        }
        self.sweep(server, Instant::now());
    }

    /// Descriptors of clients for which something waits.
    pub(crate) fn waiting_clients(&self) -> impl Iterator<Item = &File> {
        let clients = self.sessions.iter().flat_map(Session::clients);
        clients.filter(|c| c.waits()).map(|c| &c.file)
    }

    /// Clients have room again.
    pub(crate) fn flush_clients(&mut self) {
        let now = Instant::now();
        for session in &mut self.sessions {
            session.clients_mut().iter_mut().for_each(|c| c.flush(now));
        }
    }

    /// Ends what is over, kills what outstayed its grace, cuts off who holds a container up.
    pub(crate) fn sweep(&mut self, server: &mut Server, now: Instant) {
        for index in (0..self.sessions.len()).rev() {
            let waits = self.sessions[index].waits();
            let end = match &mut self.sessions[index].kind {
                Kind::Command(command) => {
                    command.handle_time(now);
                    None
                }
                Kind::Clients(clients) => {
                    let late = |c: &Client| c.deadline().is_some_and(|at| at <= now);
                    let ended = clients.ended;
                    let cut = clients.list.iter().any(late) && (clients.keep || ended.is_some());
                    ended
                        .filter(|_| !waits || cut)
                        .or(cut.then_some(SessionEnd::TooSlow))
                }
            };
            if let Some(end) = end {
                let session = self.sessions.remove(index);
                answer(server, session.owner, Reply::Ended(end));
            }
        }
    }
}
