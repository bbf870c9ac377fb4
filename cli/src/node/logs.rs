//! `bramble node logs`: a container's log, as `kubectl logs` prints it.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use bramble_wire::local::Request;
use bramble_wire::stream::{Logs, Out};

use super::select;
use crate::agent::{Agent, Output};
use crate::args::NodeLogs;

/// Prints the log.
pub(crate) fn run(args: &NodeLogs) -> Result<()> {
    let socket = &args.socket.socket;
    let (pod, container) = select::chosen(socket, &args.pod, args.container.as_deref())?;
    let request = Logs {
        pod,
        container,
        follow: args.follow,
        previous: args.previous,
        timestamps: args.timestamps,
        tail_lines: args.tail,
        since_unix_s: None,
        limit_bytes: None,
        resume: None,
    };
    let (_input, output) = Agent::connect(socket)?.open(Request::Logs(request))?;
    print(output)
}

fn print(mut output: Output) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    loop {
        match output.next()? {
            Out::Data { bytes, .. } | Out::Log { bytes, .. } => (stdout.write_all(&bytes))
                .and_then(|()| stdout.flush())
                .context("writing the output")?,
            Out::End { error, .. } => {
                return error.map_or(Ok(()), |error| Err(super::ended(&error)));
            }
            _ => {}
        }
    }
}
