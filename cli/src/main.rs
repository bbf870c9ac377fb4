//! The `bramble` command: what `kubectl` does not know.
//!
//! In comes a command line, out goes an exit code: 0 done, 1 failed, 2 wrong usage. It keeps no
//! state: the controller is asked over HTTPS with a kubeconfig, the agent of this board over its
//! socket. Results go to standard output, everything else to standard error.

mod args;
mod completion;
mod output;
mod sibling;
mod url;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use args::{Cli, Command};

fn main() -> ExitCode {
    // Wrong usage ends here, with clap's message and code 2.
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bramble: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Controller(program) => sibling::exec("bramble-controller", &program.args),
        Command::Agent(program) => sibling::exec("bramble-agent", &program.args),
        Command::Join(join) => sibling::join(&join),
        Command::Completion { shell } => completion::print(shell),
        Command::Token { .. }
        | Command::Kubeconfig { .. }
        | Command::Status { .. }
        | Command::Image { .. }
        | Command::Version { .. } => anyhow::bail!("not built yet"),
    }
}
