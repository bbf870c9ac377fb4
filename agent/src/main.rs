//! Entry point.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    // Hidden: the short-lived child that reads image archives, before anything else is set up.
    if args.next().as_deref() == Some("unpack") {
        return bramble_agent::image::child::run(args);
    }
    ExitCode::SUCCESS
}
