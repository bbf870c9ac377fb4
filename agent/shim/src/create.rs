//! Making a container: its streams, its log, the helper that creates it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use bramble_wire::shim::{
    CONTAINERS_MAX, ContainerState, Create, CreateWith, Failure, FailureKind, path,
    valid_container_id,
};

use crate::clock;
use crate::container::{Container, Input, Pipe, failure};
use crate::fds;
use crate::helper::{Helper, Step};
use crate::log::{Lines, LogFile, Stream};
use crate::pod::Pod;
use crate::sink::{Queue, Sink, in_memory};

/// Both ends of a container's streams; `theirs` with the argument that names each to the helper.
struct Streams {
    pipes: Vec<Pipe>,
    input: Input,
    console: Option<UnixStream>,
    theirs: Vec<(&'static str, OwnedFd)>,
}

impl Pod {
    pub(crate) fn create(&mut self, with: CreateWith, asker: (u64, u32)) -> Result<(), Failure> {
        self.check(&with.create)?;
        let create = with.create.clone();
        let dir = self.args.pod_dir.join(path::CONTAINERS).join(&create.id);
        let _ = fs::remove_file(dir.join(path::EXIT));
        let broken =
            |e: io::Error| failure(FailureKind::Runtime, format!("start bramble-oci: {e}"));
        let log = self.sink(Path::new(&create.log)).map_err(broken)?;
        let streams = streams(&with).map_err(broken)?;
        let score = create.oom_score_adj.to_string();
        let root = self.args.pod_dir.join(path::OCI);
        let numbers: Vec<_> = (streams.theirs.iter())
            .map(|(name, fd)| (*name, fds::number(fd)))
            .collect();
        let mut args: Vec<&OsStr> = ["create", "--postcard", "--id", create.id.as_str()]
            .into_iter()
            .map(OsStr::new)
            .collect();
        args.extend([OsStr::new("--root"), root.as_os_str()]);
        args.extend([OsStr::new("--bundle"), dir.as_os_str()]);
        args.extend([OsStr::new("--oom-score-adj"), OsStr::new(&score)]);
        for (name, number) in &numbers {
            args.extend([OsStr::new(name), OsStr::new(number)]);
        }
        if create.start {
            args.push(OsStr::new("--start"));
        }
        let step = Step::Create {
            start: create.start,
        };
        let pass: Vec<_> = streams.theirs.iter().map(|(_, fd)| fd).collect();
        let helper =
            Helper::spawn(&self.args.oci, step, &args, &pass, Some(asker)).map_err(broken)?;
        self.containers.push(Container {
            key: self.next_key,
            id: create.id,
            dir,
            state: ContainerState::Creating,
            log,
            pipes: streams.pipes,
            input: streams.input,
            interactive: with.stdin,
            console: streams.console,
            terminal: with.terminal,
            stop_signal: match with.stop_signal {
                0 => libc::SIGTERM,
                signal => signal,
            },
            kill: with.kill.into_iter().map(PathBuf::from).collect(),
            oom_events: create.oom_events.into(),
            created_unix_ms: clock::unix_ms(),
            helper: Some(helper),
            term_sent: false,
            kill_at: None,
            delete: None,
        });
        self.next_key += 1;
        Ok(())
    }

    fn check(&self, create: &Create) -> Result<(), Failure> {
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
}

fn streams(with: &CreateWith) -> io::Result<Streams> {
    if with.terminal {
        let (console, theirs) = fds::console()?;
        return Ok(Streams {
            pipes: Vec::new(),
            input: match with.stdin {
                true => Input::Terminal,
                false => Input::Closed,
            },
            console: Some(console),
            theirs: vec![("--console-fd", theirs)],
        });
    }
    let (out, out_end) = fds::output_pipe()?;
    let (err, err_end) = fds::output_pipe()?;
    let mut theirs = vec![("--stdout-fd", out_end), ("--stderr-fd", err_end)];
    let mut input = Input::Closed;
    if with.stdin {
        let (read, end) = fds::input_pipe()?;
        theirs.push(("--stdin-fd", read));
        let once = with.stdin_once;
        input = Input::Pipe { end, once };
    }
    let pipe = |file, stream| Pipe {
        file,
        lines: Lines::new(stream),
    };
    Ok(Streams {
        pipes: vec![pipe(out, Stream::Stdout), pipe(err, Stream::Stderr)],
        input,
        console: None,
        theirs,
    })
}
