//! Case files: what is run and what upstream's answer looks like.
//!
//! ```text
//! # a comment
//! $ kubectl get pods -n $NS          a case begins: a line for `sh`
//! + --watch=false                    more of the line
//! ? 1                                exit code, 0 unless given
//! > NAME … READY                     standard output has this; `…` is any text within a line
//! ! NotFound                         standard error has this
//! - Warning                          neither of them has this
//! ~ 30                               tried again for so many seconds until it is so
//! @ 1.32 1.37                        releases; all unless given
//! x exec comes with the node         upstream offers this, we refuse it, for this reason
//! = kubectl 1.37 source or document  where upstream's behaviour was looked up
//! % plugin repo                      commands that ask no API server need no case
//! ```
//! `$NAME` in expectations stands for the variable, as in the command.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// A command and what is expected of it.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// For `sh -c`.
    pub script: String,
    /// Exit code.
    pub exit: i32,
    /// Wanted on standard output.
    pub out: Vec<String>,
    /// Wanted on standard error.
    pub err: Vec<String>,
    /// Not wanted on either.
    pub never: Vec<String>,
    /// How long it is tried again.
    pub patience: Duration,
    /// Releases that run it; all when empty.
    pub releases: Vec<String>,
    /// Why we refuse what upstream does.
    pub refused: Option<String>,
    /// Where upstream's behaviour was looked up.
    pub source: String,
    /// Line of the file.
    pub line: usize,
}

impl Case {
    /// What was expected and not seen; empty when all was.
    pub fn judge(
        &self,
        exit: i32,
        out: &str,
        err: &str,
        variables: &BTreeMap<String, String>,
    ) -> Vec<String> {
        let mut missing = Vec::new();
        if exit != self.exit {
            missing.push(format!("exit code {exit}, expected {}", self.exit));
        }
        let mut check = |wanted: &[String], text: &str, has: bool, place: &str| {
            for pattern in wanted {
                let filled = fill(pattern, variables);
                if text.lines().any(|line| matches(&filled, line)) != has {
                    let not = if has { "has no" } else { "has" };
                    missing.push(format!("{place} {not} `{filled}`"));
                }
            }
        };
        check(&self.out, out, true, "standard output");
        check(&self.err, err, true, "standard error");
        check(&self.never, out, false, "standard output");
        check(&self.never, err, false, "standard error");
        missing
    }

    /// Whether a release runs it.
    pub fn is_for(&self, release: &str) -> bool {
        self.releases.is_empty() || self.releases.iter().any(|one| one == release)
    }
}

fn fill(pattern: &str, variables: &BTreeMap<String, String>) -> String {
    let mut text = pattern.to_owned();
    // Longer names first: one may begin another.
    for (name, value) in variables.iter().rev() {
        text = text.replace(&format!("${name}"), value);
    }
    text
}

/// Whether a line has the pattern's parts one after the other.
fn matches(pattern: &str, line: &str) -> bool {
    let mut rest = line;
    pattern.split('…').map(str::trim).all(|part| {
        let found = rest.find(part);
        if let Some(at) = found {
            rest = &rest[at + part.len()..];
        }
        found.is_some()
    })
}

/// A file.
#[derive(Debug, Default)]
pub struct File {
    /// In their order.
    pub cases: Vec<Case>,
    /// First words of commands that ask no API server.
    pub local: Vec<String>,
}

/// The cases of a file.
///
/// # Errors
/// With the line that is no part of a case.
pub fn parse(text: &str) -> Result<File> {
    let mut cases: Vec<Case> = Vec::new();
    let mut local = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (mark, rest) = line.split_at(1);
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        if mark == "$" {
            cases.push(Case {
                script: rest.to_owned(),
                line: number,
                ..Case::default()
            });
            continue;
        }
        if mark == "%" {
            local.extend(rest.split_whitespace().map(str::to_owned));
            continue;
        }
        let case = (cases.last_mut()).with_context(|| format!("line {number}: no case yet"))?;
        match mark {
            "+" => {
                case.script.push('\n');
                case.script.push_str(rest);
            }
            "?" => {
                case.exit = (rest.parse()).with_context(|| format!("line {number}: exit code"))?;
            }
            ">" => case.out.push(rest.to_owned()),
            "!" => case.err.push(rest.to_owned()),
            "-" => case.never.push(rest.to_owned()),
            "~" => {
                let seconds = (rest.parse()).with_context(|| format!("line {number}: seconds"))?;
                case.patience = Duration::from_secs(seconds);
            }
            "@" => case.releases = rest.split_whitespace().map(str::to_owned).collect(),
            "x" => case.refused = Some(rest.to_owned()),
            "=" => rest.clone_into(&mut case.source),
            _ => bail!("line {number}: `{line}` begins with no mark"),
        }
    }
    for case in &cases {
        let looked = !case.out.is_empty() || !case.err.is_empty() || !case.never.is_empty();
        ensure!(
            looked || case.exit == 0,
            "line {}: a case that fails says how",
            case.line
        );
        ensure!(
            !case.source.is_empty(),
            "line {}: a case says where upstream's behaviour was looked up",
            case.line
        );
        ensure!(
            case.refused.is_none() || !case.err.is_empty() || !case.out.is_empty(),
            "line {}: a refused case names the error",
            case.line
        );
    }
    Ok(File { cases, local })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_read_and_judged() {
        let text = "# c\n$ kubectl get x -n $NS\n+ -o wide\n? 1\n> a … c\n! $NS is not\n- panic\n~ 3\n@ 1.37\n= here\n% plugin\n";
        let case = &parse(text).unwrap().cases[0];
        assert_eq!(case.script, "kubectl get x -n $NS\n-o wide");
        assert!(case.is_for("1.37") && !case.is_for("1.20"));
        let variables = BTreeMap::from([
            ("N".to_owned(), "no".to_owned()),
            ("NS".to_owned(), "n1".to_owned()),
        ]);
        let judge = |exit, out, err| case.judge(exit, out, err, &variables).len();
        assert_eq!(judge(1, "a b c", "n1 is not there"), 0);
        assert_eq!(judge(0, "a b c", "n1 is not there"), 1);
        assert_eq!(judge(1, "c b a", "n1 is not there"), 1);
        assert_eq!(judge(1, "a\nc", "n2 is not there"), 2);
        assert_eq!(judge(1, "a b c", "n1 is not there, panic"), 1);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["> x", "$ a\nb", "$ a\n? b", "$ a\n? 1", "$ a\nx why"] {
            let text = format!("{text}\n= here");
            assert!(parse(&text).is_err(), "{text}");
        }
        assert!(parse("$ a\n= here").is_ok() && parse("$ a").is_err());
    }
}
