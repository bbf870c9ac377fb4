//! Whether every command that a client offers is run by a case.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Client;
use super::case::File;

/// Commands of a client (`get`, `create deployment`), as its own help lists them.
///
/// # Errors
/// When the client can't be run or lists nothing.
pub fn offered(client: &Client) -> Result<BTreeSet<String>> {
    let program = client.path.join(&client.name);
    let mut all = BTreeSet::new();
    for command in listed(&help(&program, &[])?) {
        let inner = listed(&help(&program, &[&command])?);
        if inner.is_empty() {
            all.insert(command);
        } else {
            all.extend(inner.into_iter().map(|sub| format!("{command} {sub}")));
        }
    }
    ensure!(!all.is_empty(), "{} lists no commands", program.display());
    Ok(all)
}

fn help(program: &Path, command: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(command)
        .arg("--help")
        .output()
        .with_context(|| format!("running {}", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The names under the headings that end in `Commands:` or `Commands (…):`.
fn listed(help: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in help.lines() {
        if line.ends_with(':') && !line.starts_with(' ') {
            inside = line.contains("Commands");
        } else if let Some(entry) = line.strip_prefix("  ").filter(|_| inside) {
            let name = entry.split(' ').next().unwrap_or_default();
            if !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
                names.insert(name.to_owned());
            }
        } else if !line.is_empty() {
            inside = false;
        }
    }
    names
}

/// The commands of a set that no case of the release runs.
pub fn missing(client: &Client, offered: &BTreeSet<String>, file: &File) -> Vec<String> {
    let mut scripts = String::new();
    for case in file
        .cases
        .iter()
        .filter(|case| case.is_for(&client.release))
    {
        scripts.push_str(&case.script.replace('\n', " "));
        scripts.push('\n');
    }
    let run = |command: &str| {
        let text = format!("{} {command}", client.name);
        scripts.match_indices(&text).any(|(at, _)| {
            let next = scripts[at + text.len()..].chars().next();
            next.is_none_or(|c| c.is_whitespace() || c == ';' || c == ')')
        })
    };
    let local = |command: &str| {
        let first = command.split(' ').next().unwrap_or_default();
        file.local.iter().any(|one| one == first)
    };
    (offered.iter())
        .filter(|command| !run(command) && !local(command))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_read_and_gaps_are_found() {
        let help = "Basic Commands (Beginner):\n  get       shows\n  run       runs\n\nOptions:\n  none x\n\nOther Commands:\n  api-versions  x\n\nUsage:\n  kubectl [flags]\n";
        let names = listed(help);
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(all, ["api-versions", "get", "run"]);
        let client = Client {
            name: "kubectl".to_owned(),
            release: "1.37".to_owned(),
            path: "/".into(),
        };
        let cases = super::super::case::parse(
            "$ kubectl get pods\n= x\n$ kubectl runs\n= x\n$ kubectl api-versions\n= x\n@ 1.20\n% runs\n",
        );
        assert_eq!(
            missing(&client, &names, &cases.unwrap()),
            ["api-versions", "run"]
        );
    }
}
