//! The process of an executed command: the container's own, as its `config.json` has it, with another
//! command. So user, groups, capabilities, environment, limits and no_new_privs are the container's, as
//! upstream.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bramble_wire::shim::{Failure, FailureKind};
use libcontainer::oci_spec::runtime::{Process as Spec, Spec as Bundle};

use crate::args::Args;
use crate::failure::failure;

/// `process.json` for libcontainer; it goes with the value.
pub(crate) struct Process(PathBuf);

impl Process {
    pub(crate) fn write(args: &Args, bundle: &Path) -> Result<Self, Failure> {
        let bundle = Bundle::load(bundle.join("config.json"))
            .map_err(|e| failure("read the container's bundle", &e))?;
        let own = bundle.process().clone().unwrap_or_default();
        let process = process(own, args)?;
        // It holds the environment, which may hold secrets: the directory is root's alone.
        let path = args
            .root
            .join(&args.id)
            .join(format!("exec.{}", std::process::id()));
        let bytes = serde_json::to_vec(&process).map_err(|e| failure("encode the command", &e))?;
        let this = Self(path);
        write_private(&this.0, &bytes).map_err(|e| failure("write the command", &e))?;
        Ok(this)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}

fn process(mut own: Spec, args: &Args) -> Result<Spec, Failure> {
    if args.command.is_empty() {
        return Err(Failure {
            kind: FailureKind::Invalid,
            message: "no command".to_owned(),
        });
    }
    own.set_args(Some(args.command.clone()));
    own.set_terminal(Some(args.console_fd.is_some()));
    let mut env = own.env().clone().unwrap_or_default();
    for pair in &args.env {
        let name = pair.split_once('=').map_or(pair.as_str(), |(name, _)| name);
        env.retain(|old| old.split_once('=').map_or(old.as_str(), |(n, _)| n) != name);
        env.push(pair.clone());
    }
    // As containerd does for a command with a terminal.
    if args.console_fd.is_some() && !env.iter().any(|e| e.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    own.set_env(Some(env));
    if let Some(cwd) = &args.cwd {
        own.set_cwd(cwd.clone());
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Args {
        Args::parse(text.split_whitespace().map(str::to_owned)).unwrap()
    }

    fn own() -> Spec {
        serde_json::from_str(
            r#"{"user":{"uid":7,"gid":8,"additionalGids":[9]},"args":["init"],"cwd":"/w",
                "env":["PATH=/bin","A=1"],"noNewPrivileges":true}"#,
        )
        .unwrap()
    }

    #[test]
    fn everything_but_the_command_is_the_containers_own() {
        let made = process(own(), &args("exec --root /r --id a -- ls -l")).unwrap();
        let mut want = own();
        want.set_args(Some(vec!["ls".to_owned(), "-l".to_owned()]));
        want.set_terminal(Some(false));
        assert_eq!(made, want);
    }

    #[test]
    fn a_terminal_has_a_type_and_variables_are_replaced() {
        let made = process(
            own(),
            &args("exec --root /r --id a --console-fd 9 --env A=2 --env B=3 -- sh"),
        )
        .unwrap();
        let env = made.env().clone().unwrap();
        assert_eq!(env, ["PATH=/bin", "A=2", "B=3", "TERM=xterm"]);
        assert_eq!(made.terminal(), Some(true));
        assert!(process(own(), &args("exec --root /r --id a")).is_err());
    }
}
