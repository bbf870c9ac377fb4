//! Entry point of `bramble-controller`: flags, logging, then [`bramble_controller::run`].

use std::process::ExitCode;

use bramble_controller::{config::Config, run};
use clap::Parser;

fn main() -> ExitCode {
    let config = Config::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "info,mqtt5=error".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let outcome = if let Some(file) = &config.restore {
        run::restore(&config, file).map(|told| print!("{told}"))
    } else if config.restored {
        run::mark_restored(&config).map(|epoch| {
            println!(
                "epoch {epoch} begins; start the controller, look at what the nodes run (bramble status), \
                 then let go what you do not want: bramble release"
            );
        })
    } else {
        run::until_stopped(&config)
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bramble-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}
