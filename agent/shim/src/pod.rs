//! The containers of the pod: one owner of their states, their pipes and the helpers at work.
//!
//! In come asks, exits of children, readable pipes and the passing of time; out go answers, events
//! and records on disk. An exit is on disk before anybody is told. Making containers is in
//! [`crate::create`], commands and clients are in [`crate::session`].

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use bramble_wire::shim::{
    Ask, ContainerInfo, ContainerRecord, ContainerState, CreateWith, Event, ExitRecord, Failure,
    FailureKind, Hello, Reply, Request, ShimRecord, VERSION, path,
};

use crate::args::Args;
use crate::clock;
use crate::container::{Container, Pipe, READ_TURN, failure, oom_killed, write_record};
use crate::fds;
use crate::helper::{Helper, Step};
use crate::kill;
use crate::log::{Lines, Stream};
use crate::server::{Asked, Server};
use crate::session::{self, Session};
use crate::sink::Queue;

/// Exits of children that nobody knew yet; a child may end before the helper has told its number.
const STRAYS_MAX: usize = 64;

/// How a child ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exit {
    pub(crate) pid: i32,
    pub(crate) code: i32,
    pub(crate) signal: i32,
}

/// Everything the shim knows of its pod.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) args: Args,
    this: ShimRecord,
    pub(crate) containers: Vec<Container>,
    /// Key of the next container.
    pub(crate) next_key: u32,
    pub(crate) sessions: Vec<Session>,
    pub(crate) strays: Vec<Exit>,
    /// Writes logs that lie on a disk; started with the first of them.
    pub(crate) log_queue: Option<Arc<Queue>>,
    pub(crate) shutdown: Vec<(u64, u32)>,
    buffer: Vec<u8>,
}

impl Pod {
    pub(crate) fn new(args: Args, this: ShimRecord) -> Self {
        let (containers, strays, shutdown) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            args,
            log_queue: None,
            this,
            containers,
            next_key: 1,
            sessions: Vec::new(),
            strays,
            shutdown,
            buffer: vec![0; 8192],
        }
    }

    /// Answers an ask now, or notes who waits.
    pub(crate) fn handle_ask(&mut self, server: &mut Server, from: u64, asked: Asked) {
        let Asked {
            ask: Ask { number, request },
            fds,
        } = asked;
        let asker = (from, number);
        let reply = match request {
            Request::Hello { version } => Some(Reply::Hello(Hello {
                version: version.min(VERSION),
                pod: self.args.pod.clone(),
                shim: self.this,
            })),
            Request::State => Some(Reply::State(
                self.containers
                    .iter()
                    .map(|c| ContainerInfo {
                        id: c.id.clone(),
                        state: c.state,
                    })
                    .collect(),
            )),
            Request::WaitEvents => {
                if let Some(c) = server.connections.iter_mut().find(|c| c.id == from) {
                    c.events = true;
                }
                Some(Reply::Done)
            }
            Request::Create(create) => {
                let with = CreateWith {
                    create,
                    ..CreateWith::default()
                };
                self.create(with, asker).err().map(Reply::Failed)
            }
            Request::CreateWith(with) => self.create(with, asker).err().map(Reply::Failed),
            Request::Exec(exec) => self.exec(exec, fds, asker).err().map(Reply::Failed),
            Request::Attach(attach) => Some(match self.attach(&attach, fds, asker) {
                Ok(attached) => Reply::Attached(attached),
                Err(failure) => Reply::Failed(failure),
            }),
            Request::EndInput { session } => {
                self.end_input(server, (from, session));
                Some(Reply::Done)
            }
            Request::EndSession { session, grace_ms } => {
                self.end_session((from, session), grace_ms);
                Some(Reply::Done)
            }
            Request::Start { id } => match self.start(&id, asker) {
                Ok(true) => Some(Reply::Done),
                Ok(false) => None,
                Err(failure) => Some(Reply::Failed(failure)),
            },
            Request::Signal { id, signal } => Some(self.signal(&id, signal)),
            Request::Stop { id, grace_ms } => {
                self.stop(&id, grace_ms);
                Some(Reply::Done)
            }
            Request::Delete { id } => match self.delete(&id, asker) {
                Ok(true) => Some(Reply::Done),
                Ok(false) => None,
                Err(failure) => Some(Reply::Failed(failure)),
            },
            Request::Shutdown => {
                self.shutdown.push(asker);
                self.stop_all(0);
                self.end_commands();
                None
            }
        };
        if let Some(reply) = reply {
            server.answer(from, number, reply);
        }
    }

    /// `Ok(true)`: nothing to do; `Ok(false)`: a helper is at work.
    fn start(&mut self, id: &str, asker: (u64, u32)) -> Result<bool, Failure> {
        let root = self.args.pod_dir.join(path::OCI);
        let container = find(&mut self.containers, id)
            .ok_or_else(|| failure(FailureKind::NotFound, format!("no container {id}")))?;
        match container.state {
            ContainerState::Running(_) | ContainerState::Exited(_) => return Ok(true),
            ContainerState::Created(_) if container.helper.is_none() => {}
            _ => {
                return Err(failure(
                    FailureKind::Invalid,
                    format!("container {id} is busy"),
                ));
            }
        }
        container.spawn(&self.args.oci, &root, Step::Start, Some(asker))?;
        Ok(false)
    }

    fn signal(&mut self, id: &str, signal: i32) -> Reply {
        match find(&mut self.containers, id) {
            Some(c) => match c.send(signal) {
                Ok(()) => Reply::Done,
                Err(e) => Reply::Failed(failure(FailureKind::Invalid, format!("signal: {e}"))),
            },
            None => Reply::Failed(failure(FailureKind::NotFound, format!("no container {id}"))),
        }
    }

    fn stop(&mut self, id: &str, grace_ms: u32) {
        if let Some(container) = find(&mut self.containers, id) {
            container.stop(grace_ms);
        }
    }

    /// Stops every container.
    pub(crate) fn stop_all(&mut self, grace_ms: u32) {
        self.containers.iter_mut().for_each(|c| c.stop(grace_ms));
    }

    fn delete(&mut self, id: &str, asker: (u64, u32)) -> Result<bool, Failure> {
        let root = self.args.pod_dir.join(path::OCI);
        let Some(container) = find(&mut self.containers, id) else {
            return Ok(true);
        };
        if container.delete.is_some()
            || matches!(
                container.helper,
                Some(Helper {
                    step: Step::Delete,
                    ..
                })
            )
        {
            return Err(failure(
                FailureKind::Invalid,
                format!("container {id} is being deleted"),
            ));
        }
        match container.state {
            ContainerState::Exited(_) => {
                container.spawn(&self.args.oci, &root, Step::Delete, Some(asker))?;
            }
            _ => {
                container.delete = Some(asker);
                container.stop(0);
            }
        }
        Ok(false)
    }

    /// A child has ended: a helper, a container's first process, a command, or somebody's orphan.
    pub(crate) fn handle_exit(&mut self, server: &mut Server, exit: Exit) {
        let helper = |c: &Container| c.helper.as_ref().is_some_and(|h| h.pid == exit.pid);
        let first = |c: &Container| c.pid() == Some(exit.pid);
        if let Some(index) = self.containers.iter().position(helper) {
            self.helper_ended(server, index, exit);
        } else if let Some(index) = self.containers.iter().position(first) {
            self.container_ended(server, index, exit);
        } else if !self.session_exit(server, exit) && self.starting() {
            if self.strays.len() >= STRAYS_MAX {
                self.strays.remove(0);
            }
            self.strays.push(exit);
        }
        if !self.starting() {
            self.strays.clear();
        }
    }

    /// A child may end before we know whose it is.
    fn starting(&self) -> bool {
        let creating = |c: &Container| matches!(c.state, ContainerState::Creating);
        self.containers.iter().any(creating) || self.sessions.iter().any(Session::starting)
    }

    fn helper_ended(&mut self, server: &mut Server, index: usize, exit: Exit) {
        let container = &mut self.containers[index];
        let Some(helper) = container.helper.take() else {
            return;
        };
        let (step, asker) = (helper.step, helper.asker);
        let result = helper.finish(&format!("exit {}, signal {}", exit.code, exit.signal));
        let reply = match (step, result) {
            (Step::Create { start }, Ok((pid, warnings))) => {
                for warning in warnings {
                    eprintln!("bramble-shim: {}: {warning}", container.id);
                }
                if let Some(master) = container.console.take().and_then(|c| fds::from_console(&c)) {
                    container.pipes.push(Pipe {
                        file: File::from(master),
                        lines: Lines::new(Stream::Stdout),
                    });
                }
                let created_unix_ms = container.created_unix_ms;
                let record = ContainerRecord {
                    pid,
                    start_time: clock::start_time(pid),
                    created_unix_ms,
                };
                write_record(&container.dir, path::CONTAINER, &record);
                if start {
                    container.state = ContainerState::Running(record);
                    Reply::Running(record)
                } else {
                    container.state = ContainerState::Created(record);
                    Reply::Created(record)
                }
            }
            (Step::Create { .. }, Err(failure)) => {
                let waiting = container.delete;
                self.containers.remove(index);
                if let Some((to, number)) = waiting {
                    server.answer(to, number, Reply::Done);
                }
                answer(server, asker, Reply::Failed(failure));
                return;
            }
            (Step::Start, Ok(_)) => {
                if let ContainerState::Created(record) = container.state {
                    container.state = ContainerState::Running(record);
                }
                Reply::Done
            }
            (Step::Delete | Step::Exec, Ok(_)) => {
                self.containers.remove(index);
                answer(server, asker, Reply::Done);
                return;
            }
            (_, Err(failure)) => Reply::Failed(failure),
        };
        answer(server, asker, reply);
        // Asked to stop while it was being made.
        if container.kill_at.is_some_and(|at| at <= Instant::now()) {
            container.kill();
        } else if container.kill_at.is_some() && !container.term_sent {
            container.term_sent = true;
            let _ = container.send(container.stop_signal);
        }
        let pid = container.pid();
        if let Some(at) = self.strays.iter().position(|s| Some(s.pid) == pid) {
            let stray = self.strays.remove(at);
            self.container_ended(server, index, stray);
        }
    }

    fn container_ended(&mut self, server: &mut Server, index: usize, exit: Exit) {
        let container = &mut self.containers[index];
        // What it left in its cgroup (a shared pid namespace) goes with it.
        kill::cgroup(&container.kill);
        let (key, sessions) = (container.key, &mut self.sessions);
        let mut tell = |stream: Stream, bytes: &[u8]| {
            session::tell(sessions, key, stream, bytes);
            true
        };
        container.drain_to_end(&mut self.buffer, &mut tell);
        let record = ExitRecord {
            code: exit.code,
            signal: exit.signal,
            oom_killed: oom_killed(&container.oom_events),
            created_unix_ms: container.created_unix_ms,
            finished_unix_ms: clock::unix_ms(),
        };
        container.state = ContainerState::Exited(record);
        container.kill_at = None;
        write_record(&container.dir, path::EXIT, &record);
        server.publish(&Event::Exited {
            id: container.id.clone(),
            exit: record,
        });
        if let Some(asker) = container.delete.take() {
            let root = self.args.pod_dir.join(path::OCI);
            if let Err(failure) = container.spawn(&self.args.oci, &root, Step::Delete, Some(asker))
            {
                answer(server, Some(asker), Reply::Failed(failure));
            }
        }
        self.end_clients(server, key, exit.code);
    }

    /// Every pipe that may have something to read and nobody to wait for: key of the container,
    /// number of the pipe.
    pub(crate) fn pipes(&self) -> impl Iterator<Item = (u32, usize, &File)> {
        (self.containers.iter())
            .filter(|c| !session::held(&self.sessions, c.key))
            .flat_map(|c| {
                let pipes = c.pipes.iter().enumerate();
                pipes.map(move |(p, pipe)| (c.key, p, &pipe.file))
            })
    }

    /// Reads a pipe of [`Pod::pipes`] that is ready. An ended one stays, emptied, until
    /// [`Pod::forget_pipe`], so that the numbers of the others hold for this turn.
    pub(crate) fn read_pipe(&mut self, key: u32, pipe: usize) -> bool {
        let sessions = &mut self.sessions;
        // A client that must be waited for may have come with the other pipe.
        if session::held(sessions, key) {
            return false;
        }
        let mut tell = |stream: Stream, bytes: &[u8]| session::tell(sessions, key, stream, bytes);
        match self.containers.iter_mut().find(|c| c.key == key) {
            Some(c) if pipe < c.pipes.len() => c.read(pipe, &mut self.buffer, READ_TURN, &mut tell),
            _ => false,
        }
    }

    /// Forgets pipes that [`Pod::read_pipe`] found ended, last first.
    pub(crate) fn forget_pipe(&mut self, key: u32, pipe: usize) {
        let container = self.containers.iter_mut().find(|c| c.key == key);
        if let Some(pipes) = container.map(|c| &mut c.pipes).filter(|p| pipe < p.len()) {
            pipes.remove(pipe);
        }
    }

    /// Time has passed: kills what outstayed its grace and helpers that hang.
    pub(crate) fn handle_time(&mut self, server: &mut Server, now: Instant) {
        for container in &mut self.containers {
            if container.kill_at.is_some_and(|at| at <= now) && container.pid().is_some() {
                container.kill();
                container.kill_at = None;
            }
            if let Some(helper) = container
                .helper
                .as_mut()
                .filter(|h| !h.killed && h.deadline <= now)
            {
                helper.killed = true;
                let _ = kill::process(helper.pid, libc::SIGKILL);
            }
        }
        self.sweep(server, now);
    }

    /// When [`Pod::handle_time`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let kills = self
            .containers
            .iter()
            .filter(|c| c.pid().is_some())
            .filter_map(|c| c.kill_at);
        let helpers = self.containers.iter().filter_map(|c| c.helper.as_ref());
        kills
            .chain(helpers.filter(|h| !h.killed).map(|h| h.deadline))
            .chain(self.sessions.iter().filter_map(Session::deadline))
            .min()
    }

    /// Nothing runs and no helper is at work.
    pub(crate) fn idle(&self) -> bool {
        let alive = |c: &Container| !matches!(c.state, ContainerState::Exited(_));
        !self
            .containers
            .iter()
            .any(|c| alive(c) || c.helper.is_some())
            && !self.sessions.iter().any(Session::is_command)
    }

    /// Who waits for the shutdown.
    pub(crate) fn shutdown_askers(&self) -> &[(u64, u32)] {
        &self.shutdown
    }

    pub(crate) fn args(&self) -> &Args {
        &self.args
    }
}

fn find<'a>(containers: &'a mut [Container], id: &str) -> Option<&'a mut Container> {
    containers.iter_mut().find(|c| c.id == id)
}

pub(crate) fn answer(server: &mut Server, asker: Option<(u64, u32)>, reply: Reply) {
    if let Some((to, number)) = asker {
        server.answer(to, number, reply);
    }
}
