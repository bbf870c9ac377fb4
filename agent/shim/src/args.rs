//! Command line of the shim. By hand: an argument parser would weigh more than the shim.

use std::path::PathBuf;

/// What the agent tells a shim at its start; nothing of it changes later.
#[derive(Debug)]
pub(crate) struct Args {
    /// `<run dir>/pods/<uid>`; exists.
    pub(crate) pod_dir: PathBuf,
    /// UID of the pod.
    pub(crate) pod: String,
    /// Host name inside the pod.
    pub(crate) hostname: String,
    /// The program `bramble-oci`.
    pub(crate) oci: PathBuf,
    /// Share the board's network instead of making one.
    pub(crate) host_network: bool,
    /// Share the board's IPC instead of making a namespace.
    pub(crate) host_ipc: bool,
    /// Make a process namespace for the containers that want to share one.
    pub(crate) share_processes: bool,
    /// Kernel settings of the namespaces: name with dots, value.
    pub(crate) sysctls: Vec<(String, String)>,
    /// The same, where a kernel may lack them.
    pub(crate) default_sysctls: Vec<(String, String)>,
    /// Files to write our pid to, one per cgroup hierarchy; failures are not fatal.
    pub(crate) cgroup_procs: Vec<PathBuf>,
    /// A log file is rotated at this size.
    pub(crate) log_bytes: u64,
    /// Rotated files kept beside the current one.
    pub(crate) log_files: u32,
}

impl Args {
    /// Parses `--name value` pairs.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut out = Self {
            pod_dir: PathBuf::new(),
            pod: String::new(),
            hostname: String::new(),
            oci: PathBuf::new(),
            host_network: false,
            host_ipc: false,
            share_processes: false,
            sysctls: Vec::new(),
            default_sysctls: Vec::new(),
            cgroup_procs: Vec::new(),
            log_bytes: 1 << 20,
            log_files: 1,
        };
        while let Some(name) = args.next() {
            match name.as_str() {
                "--host-network" => out.host_network = true,
                "--host-ipc" => out.host_ipc = true,
                "--share-processes" => out.share_processes = true,
                _ => {
                    let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
                    out.set(&name, value)?;
                }
            }
        }
        if !out.pod_dir.is_absolute() || !out.oci.is_absolute() || out.pod.is_empty() {
            return Err("--pod-dir, --oci (both absolute) and --pod are needed".to_owned());
        }
        Ok(out)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        let number = || {
            value
                .parse::<u64>()
                .map_err(|_| format!("{name}: not a number"))
        };
        let pair = || {
            let (key, value) = value
                .split_once('=')
                .ok_or_else(|| format!("{name}: not NAME=VALUE"))?;
            Ok::<_, String>((key.to_owned(), value.to_owned()))
        };
        match name {
            "--pod-dir" => self.pod_dir = value.into(),
            "--pod" => self.pod = value,
            "--hostname" => self.hostname = value,
            "--oci" => self.oci = value.into(),
            "--cgroup-procs" => self.cgroup_procs.push(value.into()),
            "--sysctl" => self.sysctls.push(pair()?),
            "--default-sysctl" => self.default_sysctls.push(pair()?),
            "--log-bytes" => self.log_bytes = number()?.max(4096),
            "--log-files" => self.log_files = number()?.min(100) as u32,
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
    fn needs_its_three_paths_and_refuses_the_unknown() {
        let args = parse("--pod-dir /p --oci /o --pod u --log-bytes 5000 --host-network").unwrap();
        assert_eq!((args.log_bytes, args.host_network), (5000, true));
        assert!(parse("--pod-dir p --oci /o --pod u").is_err());
        assert!(parse("--pod-dir /p --oci /o").is_err());
        assert!(parse("--pod-dir /p --oci /o --pod u --colour red").is_err());
        assert!(parse("--pod-dir /p --oci /o --pod").is_err());
    }
}
