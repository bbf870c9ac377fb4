//! The containers of the pod: one owner of their states, their pipes and the helpers at work.
//!
//! In come asks, exits of children, readable pipes and the passing of time; out go answers, events
//! and records on disk. An exit is on disk before anybody is told.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bramble_wire::shim::{
    CONTAINERS_MAX, ContainerInfo, ContainerRecord, ContainerState, Create, Event, ExitRecord,
    Failure, FailureKind, Hello, Reply, Request, ShimRecord, VERSION, path, valid_container_id,
};

use crate::args::Args;
use crate::clock;
use crate::container::{Container, Pipe, READ_TURN, failure, kill, oom_killed, write_record};
use crate::helper::{Helper, Step, number, output_pipe};
use crate::log::{Lines, LogFile, Stream};
use crate::server::Server;
use crate::sink::{Queue, Sink, in_memory};

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
    args: Args,
    this: ShimRecord,
    containers: Vec<Container>,
    strays: Vec<Exit>,
    /// Writes logs that lie on a disk; started with the first of them.
    log_queue: Option<Arc<Queue>>,
    shutdown: Vec<(u64, u32)>,
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
            strays,
            shutdown,
            buffer: vec![0; 8192],
        }
    }

    /// Answers an ask now, or notes who waits.
    pub(crate) fn handle_ask(&mut self, server: &mut Server, from: u64, ask: (u32, Request)) {
        let (number, request) = ask;
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
            Request::Create(create) => self.create(create, asker).err().map(Reply::Failed),
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
            Request::CreateWith(_)
            | Request::Exec(_)
            | Request::Attach(_)
            | Request::EndInput { .. }
            | Request::EndSession { .. } => Some(Reply::Failed(failure(
                FailureKind::Invalid,
                "not yet".to_owned(),
            ))),
            Request::Shutdown => {
                self.shutdown.push(asker);
                self.stop_all(0);
                None
            }
        };
        if let Some(reply) = reply {
            server.answer(from, number, reply);
        }
    }

    fn create(&mut self, create: Create, asker: (u64, u32)) -> Result<(), Failure> {
        if !valid_container_id(&create.id) || !Path::new(&create.log).is_absolute() {
            return Err(failure(
                FailureKind::Invalid,
                "bad container id or log path".into(),
            ));
        }
        if self.containers.iter().any(|c| c.id == create.id) {
            return Err(failure(
                FailureKind::Exists,
                format!("container {} exists", create.id),
            ));
        }
        if self.containers.len() >= CONTAINERS_MAX || !self.shutdown.is_empty() {
            return Err(failure(
                FailureKind::Invalid,
                "too many containers or shutting down".into(),
            ));
        }
        let dir = self.args.pod_dir.join(path::CONTAINERS).join(&create.id);
        let _ = fs::remove_file(dir.join(path::EXIT));
        let broken =
            |e: io::Error| failure(FailureKind::Runtime, format!("start bramble-oci: {e}"));
        let log = self.sink(Path::new(&create.log)).map_err(broken)?;
        let (out, out_end) = output_pipe().map_err(broken)?;
        let (err, err_end) = output_pipe().map_err(broken)?;
        let (out_number, err_number) = (number(&out_end), number(&err_end));
        let score = create.oom_score_adj.to_string();
        let root = self.args.pod_dir.join(path::OCI);
        let mut args: Vec<&OsStr> = ["create", "--postcard", "--id", create.id.as_str()]
            .into_iter()
            .map(OsStr::new)
            .collect();
        args.extend([OsStr::new("--root"), root.as_os_str()]);
        args.extend([OsStr::new("--bundle"), dir.as_os_str()]);
        for text in [
            "--stdout-fd",
            &out_number,
            "--stderr-fd",
            &err_number,
            "--oom-score-adj",
            &score,
        ] {
            args.push(OsStr::new(text));
        }
        if create.start {
            args.push(OsStr::new("--start"));
        }
        let step = Step::Create {
            start: create.start,
        };
        let helper = Helper::spawn(
            &self.args.oci,
            step,
            &args,
            &[&out_end, &err_end],
            Some(asker),
        )
        .map_err(broken)?;
        let pipes = vec![
            Pipe {
                file: out,
                lines: Lines::new(Stream::Stdout),
            },
            Pipe {
                file: err,
                lines: Lines::new(Stream::Stderr),
            },
        ];
        self.containers.push(Container {
            id: create.id,
            dir,
            state: ContainerState::Creating,
            log,
            pipes,
            oom_events: create.oom_events.into(),
            created_unix_ms: clock::unix_ms(),
            helper: Some(helper),
            term_sent: false,
            kill_at: None,
            delete: None,
        });
        Ok(())
    }

    fn sink(&mut self, path: &Path) -> io::Result<Sink> {
        let file = LogFile::new(path, self.args.log_bytes, self.args.log_files);
        if path.parent().is_some_and(in_memory) {
            return Ok(Sink::new(file, None));
        }
        if self.log_queue.is_none() {
            self.log_queue = Some(Queue::start()?);
        }
        Ok(Sink::new(file, self.log_queue.clone()))
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

    /// A child has ended: a helper, a container's first process, or somebody's orphan.
    pub(crate) fn handle_exit(&mut self, server: &mut Server, exit: Exit) {
        let at = |c: &Container| c.helper.as_ref().is_some_and(|h| h.pid == exit.pid);
        if let Some(index) = self.containers.iter().position(at) {
            self.helper_ended(server, index, exit);
        } else if let Some(index) = self
            .containers
            .iter()
            .position(|c| c.pid() == Some(exit.pid))
        {
            self.container_ended(server, index, exit);
        } else if self
            .containers
            .iter()
            .any(|c| matches!(c.state, ContainerState::Creating))
        {
            if self.strays.len() >= STRAYS_MAX {
                self.strays.remove(0);
            }
            self.strays.push(exit);
        }
        if !self
            .containers
            .iter()
            .any(|c| matches!(c.state, ContainerState::Creating))
        {
            self.strays.clear();
        }
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
            (Step::Delete, Ok(_)) => {
                self.containers.remove(index);
                answer(server, asker, Reply::Done);
                return;
            }
            (_, Err(failure)) => Reply::Failed(failure),
        };
        answer(server, asker, reply);
        // Asked to stop while it was being made.
        if container.kill_at.is_some_and(|at| at <= Instant::now()) {
            let _ = container.send(libc::SIGKILL);
        } else if container.kill_at.is_some() && !container.term_sent {
            container.term_sent = true;
            let _ = container.send(libc::SIGTERM);
        }
        let pid = container.pid();
        if let Some(at) = self.strays.iter().position(|s| Some(s.pid) == pid) {
            let stray = self.strays.remove(at);
            self.container_ended(server, index, stray);
        }
    }

    fn container_ended(&mut self, server: &mut Server, index: usize, exit: Exit) {
        let container = &mut self.containers[index];
        container.drain_to_end(&mut self.buffer);
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
    }

    /// Every pipe that may have something to read, as `(container, pipe)`.
    pub(crate) fn pipes(&self) -> impl Iterator<Item = (usize, usize, &File)> {
        self.containers
            .iter()
            .enumerate()
            .flat_map(|(c, container)| {
                container
                    .pipes
                    .iter()
                    .enumerate()
                    .map(move |(p, pipe)| (c, p, &pipe.file))
            })
    }

    /// Reads a pipe of [`Pod::pipes`] that is ready. An ended one stays, emptied, until
    /// [`Pod::forget_ended_pipes`], so that the numbers of the others hold for this turn.
    pub(crate) fn read_pipe(&mut self, container: usize, pipe: usize) -> bool {
        match self.containers.get_mut(container) {
            Some(c) if pipe < c.pipes.len() => c.read(pipe, &mut self.buffer, READ_TURN),
            _ => false,
        }
    }

    /// Forgets pipes that [`Pod::read_pipe`] found ended, last first.
    pub(crate) fn forget_pipe(&mut self, container: usize, pipe: usize) {
        let pipes = self.containers.get_mut(container).map(|c| &mut c.pipes);
        if let Some(pipes) = pipes.filter(|p| pipe < p.len()) {
            pipes.remove(pipe);
        }
    }

    /// Time has passed: kills what outstayed its grace and helpers that hang.
    pub(crate) fn handle_time(&mut self, now: Instant) {
        for container in &mut self.containers {
            if container.kill_at.is_some_and(|at| at <= now) && container.pid().is_some() {
                let _ = container.send(libc::SIGKILL);
                container.kill_at = None;
            }
            if let Some(helper) = container
                .helper
                .as_mut()
                .filter(|h| !h.killed && h.deadline <= now)
            {
                helper.killed = true;
                kill(helper.pid, libc::SIGKILL).unwrap_or_default();
            }
        }
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
            .min()
    }

    /// Nothing runs and no helper is at work.
    pub(crate) fn idle(&self) -> bool {
        let alive = |c: &Container| !matches!(c.state, ContainerState::Exited(_));
        !self
            .containers
            .iter()
            .any(|c| alive(c) || c.helper.is_some())
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

fn answer(server: &mut Server, asker: Option<(u64, u32)>, reply: Reply) {
    if let Some((to, number)) = asker {
        server.answer(to, number, reply);
    }
}
