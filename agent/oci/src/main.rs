//! Creates, starts, executes in, signals and deletes one container, then exits.
//!
//! The only place that links libcontainer, and a process of its own for each step: libcontainer
//! clones the raw way and changes the directory, the OOM score and the dumpable flag of the whole
//! process, so it must never run in one with several threads or anything to lose. It is started by
//! the shim, which becomes the parent of what is created (`as_sibling`).
//!
//! In come a bundle (`config.json` written by the agent) and a few arguments, out goes one report:
//! a JSON line for a person, or postcard (`--postcard`) for the shim.
#![allow(unsafe_code)] // inherited descriptors, signal dispositions, execve

mod args;
mod console;
mod container;
mod devices;
mod executor;
mod failure;
mod process;
mod seccomp;
mod tenant;

use std::io::Write as _;
use std::process::ExitCode;

use bramble_wire::shim::{Failure, FailureKind, OciReport};

use crate::args::{Args, Verb};

fn main() -> ExitCode {
    let mut args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(message) => {
            return report(
                false,
                &OciReport::Failed(Failure {
                    kind: FailureKind::Invalid,
                    message,
                }),
            );
        }
    };
    process::reset_signals();
    if matches!(args.verb, Verb::Create | Verb::Exec)
        && let Err(error) = process::seal().and_then(|()| process::drop_groups())
    {
        let failed = failure::failure("protect our own program", &error);
        return report(args.postcard, &OciReport::Failed(failed));
    }
    if let Err(error) = args.read_command() {
        let failed = failure::failure("read the command", &error);
        return report(args.postcard, &OciReport::Failed(failed));
    }
    let done = |pid: i32, warnings: Vec<String>| OciReport::Done { pid, warnings };
    let result = match args.verb {
        Verb::Create => container::create(&args).map(|(pid, warnings)| done(pid, warnings)),
        Verb::Start => container::start(&args).map(|()| done(0, Vec::new())),
        Verb::Exec => container::exec(&args).map(|pid| done(pid, Vec::new())),
        Verb::Kill => container::kill(&args).map(|()| done(0, Vec::new())),
        Verb::Delete => container::delete(&args).map(|()| done(0, Vec::new())),
    };
    report(args.postcard, &result.unwrap_or_else(OciReport::Failed))
}

fn report(postcard: bool, report: &OciReport) -> ExitCode {
    let bytes = if postcard {
        bramble_wire::encode(report)
    } else {
        json(report).into_bytes()
    };
    let written = std::io::stdout().write_all(&bytes);
    match (report, written) {
        (OciReport::Done { .. }, Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// The report as one line of JSON.
fn json(report: &OciReport) -> String {
    match report {
        OciReport::Done { pid, warnings } => {
            let warnings: Vec<_> = warnings.iter().map(|w| quote(w)).collect();
            format!("{{\"pid\":{pid},\"warnings\":[{}]}}\n", warnings.join(","))
        }
        OciReport::Failed(failure) => {
            let kind = format!("{:?}", failure.kind);
            format!(
                "{{\"error\":{},\"message\":{}}}\n",
                quote(&kind),
                quote(&failure.message)
            )
        }
    }
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_json() {
        let done = OciReport::Done {
            pid: 7,
            warnings: vec!["a \"b\"\n".to_owned()],
        };
        assert_eq!(
            json(&done),
            "{\"pid\":7,\"warnings\":[\"a \\\"b\\\"\\u000a\"]}\n"
        );
        let message = "exec: \"x\"".to_owned();
        let failed = OciReport::Failed(Failure {
            kind: FailureKind::CommandNotFound,
            message,
        });
        assert_eq!(
            json(&failed),
            "{\"error\":\"CommandNotFound\",\"message\":\"exec: \\\"x\\\"\"}\n"
        );
    }
}
