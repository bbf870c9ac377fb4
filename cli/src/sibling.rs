//! Becoming another program of the same folder: the controller or the agent.
//!
//! `exec` instead of a child: signals, exit codes and the process' name are the program's own.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::args::{Join, Restore, TOKEN_VARIABLE};

/// Becomes `program`, which stands beside this one; returns only when that fails.
pub(crate) fn exec(program: &str, args: &[OsString]) -> Result<()> {
    become_program(Command::new(find(program)?).args(args))
}

/// Becomes the agent, told to join first.
pub(crate) fn join(join: &Join) -> Result<()> {
    let agent = find("bramble-agent")?;
    eprintln!(
        "Joining {} and running the agent of this board; Ctrl-C stops the agent, its pods go on.\n\
         From now on `{}` starts it again, without the token.",
        join.server,
        again(join)
    );
    // Not as an argument: every user of the board could read it there as long as the agent runs.
    become_program(
        Command::new(agent)
            .args(agent_args(join))
            .env(TOKEN_VARIABLE, &join.token),
    )
}

/// Becomes the controller, told to restore.
pub(crate) fn restore(restore: &Restore) -> Result<()> {
    exec("bramble-controller", &restore_args(restore))
}

fn restore_args(restore: &Restore) -> Vec<OsString> {
    // In one word, so that no name of a file is read as a flag.
    let flag = |name: &str, value: &Path| {
        let mut word = OsString::from(name);
        word.push(value);
        word
    };
    let mut args = vec![flag("--restore=", &restore.file)];
    args.extend(
        restore
            .data_dir
            .as_ref()
            .map(|dir| flag("--data-dir=", dir)),
    );
    args.extend(restore.force.then(|| "--force".into()));
    args.extend(restore.check.then(|| "--check".into()));
    args
}

pub(crate) fn find(program: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding the folder of this program")?;
    let folder = own.parent().unwrap_or(Path::new("/"));
    let path = folder.join(program);
    if !path.exists() {
        bail!(
            "{program} is not in {}; put all programs of a release into one folder",
            folder.display()
        );
    }
    Ok(path)
}

fn become_program(command: &mut Command) -> Result<()> {
    let error = command.exec();
    Err(error).with_context(|| format!("starting {}", command.get_program().display()))
}

/// Command line of later starts.
fn again(join: &Join) -> String {
    let places = [("--data-dir", &join.data_dir), ("--run-dir", &join.run_dir)];
    let places = places.iter().filter_map(|(flag, dir)| {
        let dir = dir.as_ref()?;
        Some(format!(" {flag} {}", dir.display()))
    });
    let more = join
        .args
        .iter()
        .map(|arg| format!(" {}", arg.to_string_lossy()));
    std::iter::once("bramble agent".to_owned())
        .chain(places)
        .chain(more)
        .collect()
}

fn agent_args(join: &Join) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["--join".into(), join.server.to_string().into()];
    if let Some(name) = &join.node_name {
        args.extend(["--node-name".into(), name.into()]);
    }
    if let Some(dir) = &join.data_dir {
        args.extend(["--data-dir".into(), dir.into()]);
    }
    if let Some(dir) = &join.run_dir {
        args.extend(["--run-dir".into(), dir.into()]);
    }
    args.extend(join.args.iter().cloned());
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controller_is_told_what_to_restore() {
        let full = Restore {
            file: "-x.tar".into(),
            data_dir: Some("/d".into()),
            force: true,
            check: false,
        };
        let want = ["--restore=-x.tar", "--data-dir=/d", "--force"];
        assert_eq!(restore_args(&full), want);
        let check = Restore {
            data_dir: None,
            force: false,
            check: true,
            ..full
        };
        assert_eq!(restore_args(&check), ["--restore=-x.tar", "--check"]);
    }

    #[test]
    fn the_agent_gets_everything_it_needs() {
        let full = Join {
            server: "https://pi.lan".parse().unwrap(),
            token: "t".into(),
            node_name: Some("kitchen".into()),
            data_dir: Some("/d".into()),
            run_dir: Some("/r".into()),
            args: vec!["--bridge".into(), "br9".into()],
        };
        assert_eq!(
            agent_args(&full),
            [
                "--join",
                "https://pi.lan:6443",
                "--node-name",
                "kitchen",
                "--data-dir",
                "/d",
                "--run-dir",
                "/r",
                "--bridge",
                "br9"
            ]
        );
        assert_eq!(
            again(&full),
            "bramble agent --data-dir /d --run-dir /r --bridge br9"
        );
    }
}
