//! The verbs, in terms of libcontainer.

use std::io;
use std::path::Path;

use bramble_wire::shim::{Failure, FailureKind};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::container::{Container, ContainerStatus};
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::signal::Signal;
use libcontainer::syscall::syscall::SyscallType;

use crate::args::Args;
use crate::console::Console;
use crate::devices;
use crate::executor::Command;
use crate::failure::failure;
use crate::process;
use crate::tenant;

/// Creates (and starts, if asked) the container; returns its first process and what was left out.
pub(crate) fn create(args: &Args) -> Result<(i32, Vec<String>), Failure> {
    let mut warnings = Vec::new();
    if let Some(score) = args.oom_score_adj {
        warnings.extend(process::set_oom_score(score));
    }
    // What a killed predecessor left half made would be taken for a running container.
    if args.root.join(&args.id).exists() {
        delete(args)?;
    }
    let spec = specification(&args.bundle)?;
    devices::restrict(&spec).map_err(|e| failure("close the board's devices", &e))?;
    let console = Console::bind(args)?;
    let mut container = builder(args, console.as_ref(), &spec)?
        .as_init(&args.bundle)
        // cgroups are plain directories here; the default would look for systemd's bus.
        .with_systemd(false)
        // The shim, our parent, becomes the parent of the container.
        .as_sibling(true)
        .with_detach(true)
        .build()
        .map_err(|e| failure("create the container", &e))?;
    if let Some(console) = console {
        console.pass_on()?;
    }
    let pid = container.pid().map_or(0, |p| p.as_raw());
    if args.start {
        container
            .start()
            .map_err(|e| failure("start the container", &e))?;
    }
    Ok((pid, warnings))
}

/// Starts a created container.
pub(crate) fn start(args: &Args) -> Result<(), Failure> {
    let mut container = load(args)?.ok_or_else(|| not_found(args))?;
    container
        .start()
        .map_err(|e| failure("start the container", &e))
}

/// Executes a command in a running container; returns its process.
pub(crate) fn exec(args: &Args) -> Result<i32, Failure> {
    let mut container = load(args)?.ok_or_else(|| not_found(args))?;
    // The state on disk is of the last helper's time.
    container
        .refresh_status()
        .map_err(|e| failure("look at the container", &e))?;
    if container.status() != ContainerStatus::Running {
        return Err(Failure {
            kind: FailureKind::NotFound,
            message: "container not running".to_owned(),
        });
    }
    // The kernel sacrifices a command as it would its container, not as the shim that we come from.
    if let Some(score) = container
        .pid()
        .and_then(|pid| process::oom_score(pid.as_raw()))
    {
        process::set_oom_score(score);
    }
    let spec = specification(container.bundle())?;
    let process = tenant::Process::write(args, container.bundle())?;
    let console = Console::bind(args)?;
    let pid = builder(args, console.as_ref(), &spec)?
        .as_tenant()
        .with_process(Some(process.path()))
        .as_sibling(true)
        .with_detach(true)
        .build()
        .map_err(|e| failure("execute in the container", &e))?;
    if let Some(console) = console {
        console.pass_on()?;
    }
    Ok(pid.as_raw())
}

/// Signals the first process, or everything in the container with SIGKILL.
pub(crate) fn kill(args: &Args) -> Result<(), Failure> {
    let Some(mut container) = load(args)? else {
        return Ok(());
    };
    let signal = Signal::try_from(args.signal).map_err(|_| Failure {
        kind: FailureKind::Invalid,
        message: "no such signal".to_owned(),
    })?;
    match container.kill(signal, args.signal == libc::SIGKILL) {
        // It has ended: that is what a killer wants.
        Err(LibcontainerError::IncorrectStatus(_)) => Ok(()),
        other => other.map_err(|e| failure("signal the container", &e)),
    }
}

/// Kills what is left of it and removes its cgroup and state; one that is gone is fine.
pub(crate) fn delete(args: &Args) -> Result<(), Failure> {
    let state = args.root.join(&args.id);
    if let Some(mut container) = load(args)? {
        container
            .delete(true)
            .map_err(|e| failure("delete the container", &e))?;
    }
    remove_dir(&state)
}

fn remove_dir(state: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(state) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            let message = format!("remove {}: {e}", state.display());
            Err(Failure {
                kind: FailureKind::Runtime,
                message,
            })
        }
        _ => Ok(()),
    }
}

/// `config.json` of a bundle.
fn specification(bundle: &Path) -> Result<Spec, Failure> {
    Spec::load(bundle.join("config.json")).map_err(|e| failure("read config.json", &e))
}

fn builder(
    args: &Args,
    console: Option<&Console>,
    spec: &Spec,
) -> Result<ContainerBuilder, Failure> {
    std::fs::create_dir_all(&args.root).map_err(|e| failure("make the state directory", &e))?;
    let mut builder = ContainerBuilder::new(args.id.clone(), SyscallType::default())
        .with_executor(Command::for_container(spec)?)
        .with_root_path(&args.root)
        .map_err(|e| failure("state directory", &e))?
        .with_console_socket(console.map(Console::path));
    let own = |number| process::inherited(number).map_err(|e| failure("inherited descriptor", &e));
    if let Some(number) = args.stdin_fd {
        builder = builder.with_stdin(own(number)?);
    }
    if let Some(number) = args.stdout_fd {
        builder = builder.with_stdout(own(number)?);
    }
    if let Some(number) = args.stderr_fd {
        builder = builder.with_stderr(own(number)?);
    }
    Ok(builder)
}

/// The container's state; `None` when there is none or it was never written whole.
fn load(args: &Args) -> Result<Option<Container>, Failure> {
    let state = args.root.join(&args.id);
    if !state.join("state.json").exists() {
        return Ok(None);
    }
    Container::load(state)
        .map(Some)
        .map_err(|e| failure("load the container's state", &e))
}

fn not_found(args: &Args) -> Failure {
    Failure {
        kind: FailureKind::NotFound,
        message: format!("no container {}", args.id),
    }
}
