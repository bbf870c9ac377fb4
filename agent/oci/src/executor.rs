//! Finds and executes the container's command, inside the container, with runc's wording.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};

use crate::failure::{NOT_EXECUTABLE, NOT_FOUND, failure};
use crate::process;
use crate::seccomp::{self, Filter};
use bramble_wire::shim::Failure;

/// Replaces libcontainer's executor: that one lets the C library run a file of unknown format with
/// `/bin/sh`, and its errors can't be told apart.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    /// What the kernel shall refuse, see [`crate::seccomp`].
    filter: Option<Filter>,
}

impl Command {
    /// For this container, and for all that is executed in it later.
    pub(crate) fn for_container(spec: &Spec) -> Result<Self, Failure> {
        let filter = Filter::of(spec).map_err(|e| failure("seccomp profile", &e))?;
        Ok(Self { filter })
    }

    fn restrict(&self) -> Result<(), ExecutorValidationError> {
        let failed = |e: seccomp::Error| ExecutorValidationError::ArgValidationError(e.to_string());
        self.filter
            .as_ref()
            .map_or(Ok(()), |f| f.install().map_err(failed))
    }
}

/// Whether the process gives up gaining privileges, which is also the right to be filtered.
fn no_new_privileges(spec: &Spec) -> bool {
    let process = spec.process().as_ref();
    process.and_then(|p| p.no_new_privileges()).unwrap_or(false)
}

impl Executor for Command {
    /// The last moment at which a filter may be installed by one who can still gain privileges.
    fn before_capabilities_drop(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let user = spec.process().as_ref().map(|p| p.user().uid());
        process::give_streams(user.unwrap_or_default());
        if no_new_privileges(spec) {
            return Ok(());
        }
        self.restrict()
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let name = command(spec)
            .map_err(ExecutorValidationError::ArgValidationError)?
            .remove(0);
        match find(&name, &search_path(spec)) {
            Ok(_) => Ok(()),
            Err(Missing { executable: false }) if !name.contains('/') => Err(validation(
                NOT_FOUND,
                format!("exec: {name:?}: executable file not found in $PATH"),
            )),
            Err(Missing { executable: false }) => Err(validation(
                NOT_FOUND,
                format!("exec: {name:?}: stat {name}: no such file or directory"),
            )),
            Err(Missing { executable: true }) => Err(validation(
                NOT_EXECUTABLE,
                format!("exec: {name:?}: permission denied"),
            )),
        }
    }

    /// The environment of this process becomes the container's. `HOME` is there already when the
    /// image knows the user; where it doesn't, it is `/`, as with runc.
    fn setup_envs(&self, mut envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        envs.entry("HOME".to_owned())
            .or_insert_with(|| "/".to_owned());
        let names: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
        for name in names {
            // SAFETY: the process has one thread; nobody reads the environment meanwhile.
            unsafe { std::env::remove_var(name) };
        }
        for (name, value) in envs {
            // The standard library would end the process over such a name.
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                continue;
            }
            // SAFETY: as above.
            unsafe { std::env::set_var(name, value) };
        }
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let args = command(spec).map_err(ExecutorError::Other)?;
        let path = find(&args[0], &search_path(spec)).unwrap_or_else(|_| args[0].clone().into());
        let strings: Vec<CString> = args
            .iter()
            .map(|a| CString::new(a.as_bytes()))
            .collect::<Result<_, _>>()
            .map_err(|_| ExecutorError::InvalidArg)?;
        let program =
            CString::new(path.as_os_str().as_bytes()).map_err(|_| ExecutorError::InvalidArg)?;
        let mut pointers: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
        pointers.push(std::ptr::null());
        // As late as can be: a profile must allow no more of our own doing than this call.
        if no_new_privileges(spec)
            && let Err(error) = self.restrict()
        {
            eprintln!("exec {}: {error}", path.display());
            std::process::exit(255)
        }
        // SAFETY: program and arguments are NUL-terminated strings that live through the call, and
        // the array ends with a null pointer. On success the call does not return.
        unsafe { libc::execv(program.as_ptr(), pointers.as_ptr()) };
        let error = io::Error::last_os_error();
        let text = match error.raw_os_error() {
            Some(libc::ENOEXEC) => "exec format error".to_owned(),
            Some(libc::ENOENT) => "no such file or directory".to_owned(),
            Some(libc::EACCES) => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        // Nobody reads reports any more; the container's log is where upstream shows this too.
        eprintln!("exec {}: {text}", path.display());
        std::process::exit(255)
    }
}

fn validation(mark: &str, text: String) -> ExecutorValidationError {
    ExecutorValidationError::ArgValidationError(format!("{mark}{text}"))
}

fn command(spec: &Spec) -> Result<Vec<String>, String> {
    let args = spec
        .process()
        .as_ref()
        .and_then(|p| p.args().clone())
        .unwrap_or_default();
    if args.first().is_none_or(String::is_empty) {
        return Err(format!("{NOT_FOUND}no command specified"));
    }
    Ok(args)
}

fn search_path(spec: &Spec) -> String {
    let env = spec
        .process()
        .as_ref()
        .and_then(|p| p.env().clone())
        .unwrap_or_default();
    // The last one wins, as in the environment of the process.
    let value = env
        .iter()
        .rev()
        .find_map(|e| e.strip_prefix("PATH=").map(str::to_owned));
    value.unwrap_or_default()
}

/// Nothing to execute; `executable`: there is something, but it can't be executed.
#[derive(Debug, PartialEq, Eq)]
struct Missing {
    executable: bool,
}

fn find(name: &str, search: &str) -> Result<PathBuf, Missing> {
    let mut missing = Missing { executable: false };
    let directories: Vec<&str> = if name.contains('/') {
        vec![""]
    } else {
        search.split(':').collect()
    };
    for directory in directories {
        let path = if name.contains('/') {
            PathBuf::from(name)
        } else {
            Path::new(directory).join(name)
        };
        match path.metadata() {
            Ok(m) if m.is_file() && m.permissions().mode() & 0o111 != 0 => return Ok(path),
            // A directory of that name in $PATH is no candidate, one that was named is.
            Ok(m) if m.is_file() || name.contains('/') => missing.executable = true,
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => missing.executable = true,
            _ => {}
        }
    }
    Err(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn search_follows_the_shell() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for d in [&a, &b, &a.join("folder")] {
            fs::create_dir(d).unwrap();
        }
        for (path, mode) in [(a.join("plain"), 0o644), (b.join("tool"), 0o755)] {
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let path = format!("{}:{}", a.display(), b.display());
        let missing = |executable| Err(Missing { executable });
        assert_eq!(find("tool", &path), Ok(b.join("tool")));
        assert_eq!(find("nothing", &path), missing(false));
        assert_eq!(find("plain", &path), missing(true));
        assert_eq!(find("folder", &path), missing(false));
        assert_eq!(
            find(a.join("folder").to_str().unwrap(), &path),
            missing(true)
        );
        assert_eq!(find("/nothing/here", &path), missing(false));
    }
}
