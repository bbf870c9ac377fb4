//! `bramble-agent`: see the library.

mod agent;
mod drain;
mod lock;

use std::io::IsTerminal;
use std::process::ExitCode;

use bramble_agent::config::{Cli, Command};
use bramble_agent::image;
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// Blocking work is files and one name lookup; each log stream holds one thread.
const BLOCKING_THREADS: usize = 12;
const STACK: usize = 512 * 1024;

fn main() -> ExitCode {
    // Before anything else is set up: the child that reads archives wants a small, plain process.
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("unpack") => return image::child::run(args),
        Some("pull") => return image::registry::run(args),
        _ => {}
    }
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bramble-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    bramble_agent::root::check()?;
    // One thread: a board's memory is worth more than the agent's throughput.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(STACK)
        .build()?;
    let result = runtime.block_on(async {
        match cli.command {
            None => agent::run(cli.run).await,
            Some(Command::Drain(drain)) => drain::run(drain).await,
            Some(Command::Unpack { .. }) => Ok(()),
        }
    });
    // A name lookup that hangs must not hold up the end.
    runtime.shutdown_background();
    result
}
