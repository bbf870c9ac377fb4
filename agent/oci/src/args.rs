//! Command line of `bramble-oci`.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use bramble_wire::shim::FRAME_MAX;

use crate::process;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Create,
    Start,
    Exec,
    Kill,
    Delete,
}

/// Arguments; those that a verb doesn't use are ignored by it.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) verb: Verb,
    /// Report in postcard instead of JSON.
    pub(crate) postcard: bool,
    /// State directory of libcontainer.
    pub(crate) root: PathBuf,
    /// Container's id.
    pub(crate) id: String,
    /// Directory with `config.json`.
    pub(crate) bundle: PathBuf,
    /// Inherited descriptors that become the container's output.
    pub(crate) stdout_fd: Option<i32>,
    pub(crate) stderr_fd: Option<i32>,
    /// Inherited descriptor that becomes the input.
    pub(crate) stdin_fd: Option<i32>,
    /// Inherited socket to send the terminal's descriptor to; with it there is a terminal.
    pub(crate) console_fd: Option<i32>,
    /// Inherited file with the command to execute, encoded, instead of `--` and the command: a
    /// command line is for everybody to read.
    pub(crate) argv_fd: Option<i32>,
    /// Value for `oom_score_adj`.
    pub(crate) oom_score_adj: Option<i32>,
    /// Start right after creating.
    pub(crate) start: bool,
    /// Signal to send.
    pub(crate) signal: i32,
    /// Working directory of an executed command; the container's own without it.
    pub(crate) cwd: Option<PathBuf>,
    /// Environment of an executed command, besides the container's own.
    pub(crate) env: Vec<String>,
    /// Command to execute, after `--` or from [`Args::read_command`].
    pub(crate) command: Vec<String>,
}

impl Args {
    /// Parses `VERB --name value … [-- COMMAND …]`.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let verb = match args.next().as_deref() {
            Some("create") => Verb::Create,
            Some("start") => Verb::Start,
            Some("exec") => Verb::Exec,
            Some("kill") => Verb::Kill,
            Some("delete") => Verb::Delete,
            _ => return Err("usage: bramble-oci create|start|exec|kill|delete …".to_owned()),
        };
        let mut out = Self {
            verb,
            postcard: false,
            root: PathBuf::new(),
            id: String::new(),
            bundle: PathBuf::new(),
            stdout_fd: None,
            stderr_fd: None,
            stdin_fd: None,
            console_fd: None,
            argv_fd: None,
            oom_score_adj: None,
            start: false,
            signal: libc::SIGKILL,
            cwd: None,
            env: Vec::new(),
            command: Vec::new(),
        };
        while let Some(name) = args.next() {
            match name.as_str() {
                "--postcard" => out.postcard = true,
                "--start" => out.start = true,
                "--" => out.command = args.by_ref().collect(),
                _ => {
                    let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
                    out.set(&name, value)?;
                }
            }
        }
        if !bramble_wire::shim::valid_container_id(&out.id) {
            return Err("--id: not a valid container id".to_owned());
        }
        if !out.root.is_absolute() {
            return Err("--root must be an absolute path".to_owned());
        }
        if verb == Verb::Create && !out.bundle.is_absolute() {
            return Err("--bundle must be an absolute path".to_owned());
        }
        Ok(out)
    }

    /// Reads the command to execute, once. Nothing of its descriptor is left.
    pub(crate) fn read_command(&mut self) -> std::io::Result<()> {
        let Some(number) = self.argv_fd.take() else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        File::from(process::inherited(number)?)
            .take(FRAME_MAX as u64)
            .read_to_end(&mut bytes)?;
        self.command = bramble_wire::decode(&bytes, "command").map_err(std::io::Error::other)?;
        Ok(())
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        let number = || {
            value
                .parse::<i32>()
                .map_err(|_| format!("{name}: not a number"))
        };
        match name {
            "--root" => self.root = value.into(),
            "--id" => self.id = value,
            "--bundle" => self.bundle = value.into(),
            "--stdout-fd" => self.stdout_fd = Some(number()?),
            "--stderr-fd" => self.stderr_fd = Some(number()?),
            "--stdin-fd" => self.stdin_fd = Some(number()?),
            "--console-fd" => self.console_fd = Some(number()?),
            "--argv-fd" => self.argv_fd = Some(number()?),
            "--oom-score-adj" => self.oom_score_adj = Some(number()?),
            "--signal" => self.signal = number()?,
            "--cwd" => self.cwd = Some(value.into()),
            "--env" => self.env.push(value),
            _ => return Err(format!("unknown argument {name}")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Args, String> {
        Args::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let args = parse("exec --root /r --id a --env A=1 -- sh -c --id").unwrap();
        assert_eq!(args.command, ["sh", "-c", "--id"]);
        assert_eq!(args.env, ["A=1"]);
    }

    #[test]
    fn relative_paths_and_bad_ids_are_refused() {
        assert!(parse("create --root r --id a --bundle /b").is_err());
        assert!(parse("create --root /r --id a --bundle b").is_err());
        assert!(parse("create --root /r --id ../a --bundle /b").is_err());
        assert!(parse("create --root /r --id a --bundle /b --colour red").is_err());
        assert!(parse("paint --root /r --id a").is_err());
    }
}
