//! The shim: one small process per pod that stays when the agent goes.
//!
//! It is the pod's pause (its namespaces hang on it and on bind mounts), the parent of its
//! containers, the reader of their output and the writer of their exit records. In come asks on a
//! unix socket ([`bramble_wire::shim`]), exits of children and bytes from pipes; out go answers,
//! events, log files and records. One thread, one `poll`, no allocation that grows with load (a second
//! thread only where logs lie on a disk, see `sink`).
//!
//! It is deliberately without a container library: `bramble-oci` is run for each step.
#![allow(unsafe_code)] // fork, unshare, signalfd, kill: no safe wrapper without an async runtime

mod args;
mod client;
mod clock;
mod command;
mod container;
mod create;
mod fds;
mod helper;
mod kill;
mod log;
mod pause;
mod pod;
mod sandbox;
mod server;
mod session;
mod sink;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bramble_wire::shim::{Reply, ShimRecord, path};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{WaitOptions, wait};

use crate::args::Args;
use crate::container::write_record;
use crate::pod::{Exit, Pod};
use crate::server::Server;

/// Grace for the containers when the machine is going down (SIGTERM to the shim itself).
const TERM_GRACE_MS: u32 = 30_000;

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("bramble-shim: {error}");
            return ExitCode::from(2);
        }
    };
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bramble-shim: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Forks; the parent waits until the child serves its socket, so that the agent has a plain
/// "started or not" and no zombie to keep.
fn start(args: Args) -> Result<(), String> {
    let (ready, report) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|e| format!("make a pipe: {e}"))?;
    // SAFETY: the process has one thread, so the child may go on as if nothing had happened.
    match unsafe { libc::fork() } {
        -1 => Err(format!("fork: {}", io::Error::last_os_error())),
        0 => {
            drop(ready);
            child(args, File::from(report));
            std::process::exit(0)
        }
        _ => {
            drop(report);
            let mut text = String::new();
            File::from(ready)
                .read_to_string(&mut text)
                .map_err(|e| e.to_string())?;
            match text.as_str() {
                "ready" => Ok(()),
                "" => Err("ended before it was ready".to_owned()),
                error => Err(error.to_owned()),
            }
        }
    }
}

fn child(args: Args, mut report: File) {
    match prepare(args) {
        Ok((pod, server, signals, _lock)) => {
            let _ = report.write_all(b"ready");
            drop(report);
            serve(pod, server, &signals);
        }
        Err(error) => {
            let _ = report.write_all(error.as_bytes());
        }
    }
}

fn prepare(args: Args) -> Result<(Pod, Server, OwnedFd, File), String> {
    let lock = lock(&args)?;
    redirect(&args)?;
    sandbox::detach(&args);
    let signals = block_signals().map_err(|e| format!("set up signals: {e}"))?;
    sandbox::ensure_namespaces(&args)?;
    let pod_dir = args.pod_dir.clone();
    for dir in [path::OCI, path::CONTAINERS] {
        fs::create_dir_all(pod_dir.join(dir)).map_err(|e| format!("make {dir}: {e}"))?;
    }
    let pid = rustix::process::getpid().as_raw_pid();
    let this = ShimRecord {
        pid,
        start_time: clock::start_time(pid),
    };
    write_record(&pod_dir, path::SHIM, &this);
    let server =
        Server::bind(&pod_dir.join(path::SOCKET)).map_err(|e| format!("bind the socket: {e}"))?;
    Ok((Pod::new(args, this), server, signals, lock))
}

/// At most one shim per pod. The lock goes with the process, however it ends.
fn lock(args: &Args) -> Result<File, String> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(args.pod_dir.join("shim.lock"))
        .map_err(|e| format!("open the lock in {}: {e}", args.pod_dir.display()))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| "a shim of this pod runs already".to_owned())?;
    Ok(file)
}

/// Lets go of the agent's standard streams.
fn redirect(args: &Args) -> Result<(), String> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null");
    let errors = OpenOptions::new()
        .create(true)
        .append(true)
        .open(args.pod_dir.join(path::SHIM_ERRORS));
    let (null, errors) = null
        .and_then(|n| errors.map(|e| (n, e)))
        .map_err(|e| format!("redirect: {e}"))?;
    let done = rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .and_then(|()| rustix::stdio::dup2_stderr(&errors));
    done.map_err(|e| format!("redirect: {e}"))
}

/// SIGCHLD and SIGTERM come through a descriptor; what a terminal might send is ignored.
fn block_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before use and lives through the calls;
    // signalfd returns a new descriptor that nobody else owns.
    unsafe {
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGPIPE, libc::SIGQUIT] {
            libc::signal(signal, libc::SIG_IGN);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigaddset(&mut set, libc::SIGTERM);
        if libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// What a descriptor in the poll set stands for.
#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Connection(u64),
    /// Key of a container, and which of its pipes.
    Pipe(u32, usize),
    /// A reader of a container's output has room again.
    Client,
}

fn serve(mut pod: Pod, mut server: Server, signals: &OwnedFd) {
    let mut terminating = false;
    loop {
        for connection in server.flush() {
            pod.connection_closed(connection);
        }
        if pod.idle() && (terminating || !pod.shutdown_askers().is_empty()) {
            finish(&pod, &mut server);
            return;
        }
        let ready = wait_ready(&pod, &server, signals);
        let mut ended = Vec::new();
        for source in ready {
            match source {
                Source::Signals => terminating |= drain_signals(signals),
                Source::Listener => server.accept(),
                Source::Connection(id) => {
                    for asked in server.read(id) {
                        pod.handle_ask(&mut server, id, asked);
                    }
                }
                Source::Pipe(container, pipe) => {
                    if pod.read_pipe(container, pipe) {
                        ended.push((container, pipe));
                    }
                }
                Source::Client => pod.flush_clients(),
            }
        }
        // From the back, so that removing one leaves the numbers of the others as they are.
        for (container, pipe) in ended.into_iter().rev() {
            pod.forget_pipe(container, pipe);
        }
        if terminating {
            pod.stop_all(TERM_GRACE_MS);
        }
        reap(&mut pod, &mut server);
        pod.handle_time(&mut server, Instant::now());
    }
}

fn wait_ready(pod: &Pod, server: &Server, signals: &OwnedFd) -> Vec<Source> {
    let mut sources = vec![Source::Signals, Source::Listener];
    let mut fds = vec![
        PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        PollFd::new(&server.listener, PollFlags::IN),
    ];
    // Pipes come before connections: an ask may remove a container.
    for (container, pipe, file) in pod.pipes() {
        sources.push(Source::Pipe(container, pipe));
        fds.push(PollFd::new(file, PollFlags::IN));
    }
    for client in pod.waiting_clients() {
        sources.push(Source::Client);
        fds.push(PollFd::new(client, PollFlags::OUT));
    }
    for connection in &server.connections {
        let write = if connection.wants_write() {
            PollFlags::OUT
        } else {
            PollFlags::empty()
        };
        sources.push(Source::Connection(connection.id));
        fds.push(PollFd::new(&connection.stream, PollFlags::IN | write));
    }
    let timeout = pod.next_deadline().map(|at| {
        let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        Timespec {
            tv_sec: left.as_secs() as _,
            tv_nsec: left.subsec_nanos() as _,
        }
    });
    match rustix::event::poll(&mut fds, timeout.as_ref()) {
        Ok(_) => sources
            .into_iter()
            .zip(fds)
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|(source, _)| source)
            .collect(),
        Err(_) => Vec::new(),
    }
}

/// Empties the signal descriptor; true when one of them was SIGTERM.
fn drain_signals(signals: &OwnedFd) -> bool {
    let mut term = false;
    let mut record = [0u8; size_of::<libc::signalfd_siginfo>()];
    while let Ok(n) = rustix::io::read(signals, &mut record) {
        if n < 4 {
            break;
        }
        // `ssi_signo` is the first field.
        let number = u32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
        term |= number == libc::SIGTERM as u32;
    }
    term
}

fn reap(pod: &mut Pod, server: &mut Server) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        let signal = status.terminating_signal().unwrap_or(0);
        let code = status.exit_status().unwrap_or(128 + signal);
        pod.handle_exit(
            server,
            Exit {
                pid: pid.as_raw_pid(),
                code,
                signal,
            },
        );
    }
}

fn finish(pod: &Pod, server: &mut Server) {
    let dir = &pod.args().pod_dir;
    if !pod.shutdown_askers().is_empty() {
        sandbox::release_namespaces(dir);
    }
    let _ = fs::remove_file(dir.join(path::SOCKET));
    let _ = fs::remove_file(dir.join(path::SHIM));
    for (to, number) in pod.shutdown_askers() {
        server.answer(*to, *number, Reply::Done);
    }
    server.flush();
}
