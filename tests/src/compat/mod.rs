//! `./x compat`: what real clients send and what they make of the answers.
//!
//! In: case files (`tests/compat/*.cases`, see [`case`]), the clients' programs by release, a
//! running cluster. Out: one line per case (release, command, exit code, verdict) and a summary.
//! A command that a client offers and no case runs is red ([`coverage`]), and so is a case that was
//! not run.

pub mod case;
pub mod coverage;

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use case::Case;

/// Longest time of one try of a command.
const COMMAND_LIMIT: Duration = Duration::from_secs(90);
/// Most output that is looked at.
const OUTPUT_MAX: usize = 1 << 20;

/// A client in one release.
#[derive(Debug, Clone)]
pub struct Client {
    /// `kubectl`, `helm` or `python`.
    pub name: String,
    /// `1.37`.
    pub release: String,
    /// Folder to put first on the path.
    pub path: PathBuf,
}

/// Whether a case went as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As upstream.
    Same,
    /// Refused with the error that the case names: not offered yet.
    Refused,
    /// Neither: what was expected and not seen.
    Different(Vec<String>),
}

/// What became of a case.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code of the last try; 124 when it did not end in time.
    pub exit: i32,
    /// The verdict.
    pub verdict: Verdict,
    /// Standard output and standard error of the last try.
    pub shown: String,
    /// Time it took, with repetitions.
    pub took: Duration,
}

/// What a command printed.
#[derive(Debug, Default)]
struct Printed {
    exit: i32,
    out: String,
    err: String,
}

/// Runs a case until it is as expected or its patience is over.
///
/// # Errors
/// When the shell can't be started.
pub fn run(
    case: &Case,
    client: &Client,
    folder: &Path,
    variables: &BTreeMap<String, String>,
) -> Result<Outcome> {
    let begun = Instant::now();
    loop {
        let printed = once(case, client, folder, variables)?;
        let missing = case.judge(printed.exit, &printed.out, &printed.err, variables);
        if missing.is_empty() || begun.elapsed() >= case.patience {
            let verdict = match (missing.is_empty(), &case.refused) {
                (false, _) => Verdict::Different(missing),
                (true, Some(_)) => Verdict::Refused,
                (true, None) => Verdict::Same,
            };
            return Ok(Outcome {
                exit: printed.exit,
                verdict,
                shown: format!("{}{}", printed.out, printed.err),
                took: begun.elapsed(),
            });
        }
        std::thread::sleep(Duration::from_millis(200)); // poll
    }
}

fn once(
    case: &Case,
    client: &Client,
    folder: &Path,
    variables: &BTreeMap<String, String>,
) -> Result<Printed> {
    let mut out = tempfile::tempfile()?;
    let mut err = tempfile::tempfile()?;
    // helm's cases look at their work with the newest kubectl.
    let kubectl = crate::kubectl()?;
    let kubectl = kubectl.parent().unwrap_or(folder).display();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut child = Command::new("sh")
        .args(["-c", &case.script])
        .current_dir(folder)
        .env(
            "PATH",
            format!("{}:{kubectl}:{path}", client.path.display()),
        )
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(err.try_clone()?)
        .process_group(0)
        .spawn()
        .context("starting sh")?;
    let begun = Instant::now();
    let exit = loop {
        if let Some(status) = child.try_wait()? {
            break status.code().unwrap_or(137);
        }
        if begun.elapsed() >= COMMAND_LIMIT {
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-9", "--", &group]).status();
            child.wait()?;
            break 124;
        }
        std::thread::sleep(Duration::from_millis(10)); // poll
    };
    let text = |file: &mut std::fs::File| -> Result<String> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.take(OUTPUT_MAX as u64).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Printed {
        exit,
        out: text(&mut out)?,
        err: text(&mut err)?,
    })
}
