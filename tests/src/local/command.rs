//! Runs programs and keeps what they printed.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What a program printed, and its exit code.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub line: String,
    /// Exit code; 128 and more for a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// The output itself when the exit code is 0.
    ///
    /// # Errors
    /// With everything that was printed otherwise.
    pub fn success(self) -> Result<Self> {
        if self.code == 0 {
            return Ok(self);
        }
        bail!(
            "`{}` ended with {}\n{}{}",
            self.line,
            self.code,
            self.stdout,
            self.stderr
        )
    }
}

/// Runs a command to its end.
///
/// # Errors
/// When it can't be started.
pub fn run(command: &mut Command) -> Result<Output> {
    finish(command.stdin(Stdio::null()), "")
}

/// Runs a program with text on its standard input.
pub(crate) fn run_with_input(program: &Path, args: &[&str], input: &str) -> Result<Output> {
    finish(
        Command::new(program).args(args).stdin(Stdio::piped()),
        input,
    )
}

/// Runs a program inside a board's network namespace, in the mount namespace of the caller (the
/// shims bind-mount their namespaces, which `ip netns exec` would hide).
///
/// # Errors
/// When it can't be started.
pub fn run_in(netns: &str, program: &Path, args: &[String]) -> Result<Output> {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{netns}"))
        .arg("--")
        .arg(program)
        .args(args);
    run(&mut command)
}

fn finish(command: &mut Command, input: &str) -> Result<Output> {
    use std::os::unix::process::ExitStatusExt;
    let line = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting `{line}`"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // The reader may have ended already; its exit code tells.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .with_context(|| format!("waiting for `{line}`"))?;
    let status = output.status;
    Ok(Output {
        line,
        code: status
            .code()
            .or(status.signal().map(|signal| 128 + signal))
            .unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
