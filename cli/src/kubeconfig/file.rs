//! Writing a kubeconfig to a file: whole or not at all, for its owner alone, and never over one that
//! is there unless that is asked for.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Kubeconfig, read_file, yaml, yaml_reason};
use crate::args::KubeconfigArgs;

/// Where the output goes, and over what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    merge: bool,
    force: bool,
}

impl Target {
    /// `None`: standard output.
    pub(super) fn of(args: &KubeconfigArgs) -> Result<Option<Self>> {
        let path = match &args.output {
            Some(path) if path.as_os_str() == "-" => None,
            Some(path) => Some(path.clone()),
            None if args.merge => Some(kubectls()?),
            None => None,
        };
        let Some(path) = path else {
            ensure!(!args.merge, "--merge needs a file, not standard output");
            return Ok(None);
        };
        let taken = fs::metadata(&path).is_ok_and(|meta| meta.len() > 0);
        ensure!(
            !taken || args.merge || args.force,
            "{} exists; add to it with --merge or replace it with --force",
            path.display()
        );
        Ok(Some(Self {
            path,
            merge: args.merge && taken,
            force: args.force,
        }))
    }
}

/// The file that kubectl writes.
fn kubectls() -> Result<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty());
    if let Some(list) = listed {
        return std::env::split_paths(&list)
            .find(|path| !path.as_os_str().is_empty())
            .context("KUBECONFIG names no file");
    }
    let home = std::env::var_os("HOME").context("no HOME; name the file with --output")?;
    Ok(PathBuf::from(home).join(".kube/config"))
}

/// Writes `config` to the file, or into what is there.
pub(super) fn write(target: &Target, config: &Kubeconfig) -> Result<()> {
    let path = &target.path;
    let text = if target.merge {
        let there = read_file(path)?;
        merged(&there, config, target.force)
            .with_context(|| format!("merging into {}", path.display()))?
    } else {
        config.render()
    };
    replace(path, &text).with_context(|| format!("writing {}", path.display()))
}

/// The file's text with the context, cluster and user of `config` in it. The current context stays,
/// if there is one.
fn merged(there: &[u8], config: &Kubeconfig, force: bool) -> Result<String> {
    let mut file = bramble_api::decode::untyped(Some("application/yaml"), there)
        .map_err(|status| anyhow::anyhow!("not YAML: {}", yaml_reason(status.message())))?;
    ensure!(file.is_object(), "not a kubeconfig");
    let ours = bramble_api::decode::untyped(Some("application/yaml"), config.render().as_bytes())
        .map_err(|status| anyhow::anyhow!("{}", status.message()))?;
    for (list, entry) in [
        ("clusters", "cluster"),
        ("users", "user"),
        ("contexts", "context"),
    ] {
        let new = &ours[list][0];
        if file[list].is_null() {
            file[list] = json!([]);
        }
        let Some(entries) = file[list].as_array_mut() else {
            bail!("{list} is no list");
        };
        match entries.iter_mut().find(|old| old["name"] == new["name"]) {
            None => entries.push(new.clone()),
            // The same cluster under another address, a fresh credential of the same user.
            Some(old) if force || may_replace(entry, &old[entry], &new[entry]) => {
                *old = new.clone()
            }
            Some(_) => bail!(
                "there is another {entry} {}; choose a --name, or replace it with --force",
                new["name"]
            ),
        }
    }
    let current = &file["current-context"];
    if current.as_str().is_none_or(str::is_empty) {
        file["current-context"] = ours["current-context"].clone();
    }
    for key in ["apiVersion", "kind"] {
        file[key] = ours[key].clone();
    }
    Ok(yaml::text(&file))
}

fn may_replace(what: &str, old: &Value, new: &Value) -> bool {
    let same = |key: &str| old[key] == new[key];
    match what {
        "cluster" => same("certificate-authority-data"),
        "context" => same("cluster") && same("user"),
        _ => old == new,
    }
}

/// Writes beside, then renames: a full disk leaves the old file.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    // A link keeps pointing where it does.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        // What is left of it is of no use; that it can't be removed changes nothing.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
