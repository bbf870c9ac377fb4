//! The `bramble` command: what `kubectl` does not know.
//!
//! In comes a command line, out goes an exit code: 0 done, 1 failed, 2 wrong usage, or that of a command
//! executed in a container. It keeps no state: the controller is asked over HTTPS with a kubeconfig, the agent of this board over its
//! socket. Results go to standard output, everything else to standard error.

mod adopt;
mod agent;
mod args;
mod backup;
mod completion;
mod doctor;
mod http;
mod image;
mod kubeconfig;
mod manifests;
mod member;
mod node;
mod output;
mod release;
mod sibling;
mod status;
mod token;
mod uninstall;
mod url;
mod version;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use bramble_api::time::Timestamp;
use clap::Parser as _;

use args::{Access, Cli, Command, Node};
use kubeconfig::Prefer;

fn main() -> ExitCode {
    // Wrong usage ends here, with clap's message and code 2.
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

/// Says what went wrong; a command in a container has said so itself.
fn failure(error: &anyhow::Error) -> ExitCode {
    if let Some(exited) = error.downcast_ref::<node::exec::Exited>() {
        return exited.code();
    }
    eprintln!("bramble: {error:#}");
    ExitCode::FAILURE
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Controller(program) => sibling::exec("bramble-controller", &program.args),
        Command::Agent(program) => sibling::exec("bramble-agent", &program.args),
        Command::Join(join) => sibling::join(&join),
        Command::Token { command } => token::run(&command),
        Command::Kubeconfig(args) => kubeconfig::run(&args),
        Command::Status { output, access } => status::run(&access, output),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(restore) => sibling::restore(&restore),
        Command::Image { command } => image::run(&command),
        Command::Adopt(args) => adopt::run(&args),
        Command::Release(args) => release::run(&args),
        Command::Node { command } => match command {
            Node::Doctor(args) => doctor::run(&args),
            Node::Status(args) => node::status::run(&args),
            Node::Logs(args) => node::logs::run(&args),
            Node::Exec(args) => node::exec::run(&args),
            Node::Remove(args) => member::remove(&args),
            Node::Replace(args) => member::replace(&args),
            Node::Apply(args) => node::own::apply(&args),
            Node::Delete(args) => node::own::delete(&args),
        },
        Command::CompilePods(args) => manifests::run(&args),
        Command::Uninstall(args) => uninstall::run(&args),
        Command::Completion { shell } => completion::print(shell),
        Command::Version { access } => version::run(&access),
    }
}

/// A client for the kubeconfig that a person means.
fn client(access: &Access) -> Result<http::Client> {
    http::Client::new(&kubeconfig::load(access, Prefer::Home)?)
}

fn now() -> Timestamp {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_seconds(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}
