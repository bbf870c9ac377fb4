//! Which system calls a container may make: what the agent's part of it is.
//!
//! In comes what the manifest asks for, out goes what `config.json` says. The default profile is named by
//! an annotation and lives in `bramble-oci`: written out it would cost every container several kilobytes of
//! memory. A profile of the board is read here, when the container is made, and put into `config.json`,
//! so that commands executed later meet the same one whatever has become of the file.

use std::io::{self, Read as _};
use std::path::{Component, Path};

use bramble_wire::object::Seccomp;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde_json::Value;

use super::rights::Rights;

/// Says in `config.json` that [`DEFAULT`] is wanted.
pub const ANNOTATION: &str = "dev.bramble.seccomp";
/// The default profile.
pub const DEFAULT: &str = "runtime/default";
/// A profile on the board may be this long, bytes; Docker's whole default has 14 KiB.
pub const PROFILE_MAX: u64 = 128 * 1024;

/// What is wanted of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// No filter.
    Nothing,
    /// The default profile.
    Default,
    /// A profile on the board.
    File(&'a str),
}

/// What a container's rights ask for; the privileged are never filtered, as upstream.
pub fn wanted(rights: &Rights) -> Wanted<'_> {
    match &rights.seccomp {
        _ if rights.privileged => Wanted::Nothing,
        Seccomp::Unconfined => Wanted::Nothing,
        Seccomp::RuntimeDefault => Wanted::Default,
        Seccomp::Localhost(name) => Wanted::File(name),
    }
}

/// Reads a profile (OCI `linux.seccomp`, JSON) from the board's folder of them.
///
/// # Errors
/// When the path leaves the folder (also by a symbolic link), the file is missing, too long or not an
/// object with a default action. What it says in detail is for `bramble-oci` to judge.
pub fn read(folder: &Path, name: &str) -> io::Result<Value> {
    let said = |why: &str| io::Error::other(format!("seccomp profile {name:?}: {why}"));
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if name.is_empty() || !Path::new(name).components().all(plain) {
        return Err(said("not a path below the board's folder of profiles"));
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let open = rustix::fs::open(folder, flags | OFlags::DIRECTORY, Mode::empty())
        .map_err(|e| said(&format!("open {}: {e}", folder.display())))?;
    // Not waiting for the other end of a pipe that lies there.
    let file = rustix::fs::openat2(
        &open,
        name,
        flags | OFlags::NONBLOCK,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(|e| said(&format!("open in {}: {e}", folder.display())))?;
    let file = std::fs::File::from(file);
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return Err(said("not a file"));
    }
    let mut text = Vec::new();
    file.take(PROFILE_MAX + 1)
        .read_to_end(&mut text)
        .map_err(|e| said(&e.to_string()))?;
    if text.len() as u64 > PROFILE_MAX {
        return Err(said(&format!("longer than {PROFILE_MAX} bytes")));
    }
    let value: Value = serde_json::from_slice(&text).map_err(|e| said(&e.to_string()))?;
    check(&value).map_err(|why| said(&why))?;
    Ok(value)
}

/// Docker's own form has conditions beside the lists (`archMap`, `includes`, `excludes`, `minKernel`). Passed
/// over, they would allow what they are meant to forbid.
fn check(profile: &Value) -> Result<(), String> {
    const KEYS: [&str; 7] = [
        "defaultAction",
        "defaultErrnoRet",
        "architectures",
        "flags",
        "listenerPath",
        "listenerMetadata",
        "syscalls",
    ];
    const OF_CALLS: [&str; 5] = ["names", "action", "errnoRet", "args", "comment"];
    if !profile["defaultAction"].is_string() {
        return Err("no defaultAction in it".to_owned());
    }
    let calls = profile["syscalls"].as_array().into_iter().flatten();
    let objects =
        std::iter::once((profile, KEYS.as_slice())).chain(calls.map(|c| (c, OF_CALLS.as_slice())));
    for (object, known) in objects {
        let keys = object.as_object().into_iter().flatten();
        let empty =
            |value: &Value| value.is_null() || value.as_object().is_some_and(|o| o.is_empty());
        for (key, value) in keys {
            if !known.contains(&key.as_str()) && !empty(value) {
                return Err(format!("{key:?} is not of the OCI's form of profiles"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_from_their_folder_and_from_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("seccomp");
        std::fs::create_dir_all(folder.join("app")).unwrap();
        let good = r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#;
        std::fs::write(folder.join("app/web.json"), good).unwrap();
        std::fs::write(dir.path().join("outside.json"), good).unwrap();
        std::os::unix::fs::symlink("../outside.json", folder.join("link.json")).unwrap();
        std::os::unix::fs::symlink("app/web.json", folder.join("inside.json")).unwrap();
        std::fs::write(folder.join("list.json"), "[]").unwrap();
        std::fs::write(folder.join("text.json"), "allow").unwrap();
        std::fs::write(
            folder.join("long.json"),
            " ".repeat(PROFILE_MAX as usize + 1),
        )
        .unwrap();
        let docker = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["read"],"action":"SCMP_ACT_ALLOW","comment":"","includes":{}},
            {"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_BPF"]}}]}"#;
        std::fs::write(folder.join("docker.json"), docker).unwrap();
        for name in ["app/web.json", "./app/web.json", "inside.json"] {
            assert!(read(&folder, name).is_ok(), "{name}");
        }
        for (name, why) in [
            ("../outside.json", "not a path below"),
            ("/etc/passwd", "not a path below"),
            ("", "not a path below"),
            ("link.json", "cross-device"),
            ("missing.json", "No such file"),
            ("app", "not a file"),
            ("list.json", "defaultAction"),
            ("text.json", "expected"),
            ("long.json", "longer than"),
            ("docker.json", "includes"),
        ] {
            let error = read(&folder, name).unwrap_err().to_string();
            assert!(
                error.to_lowercase().contains(&why.to_lowercase()),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn the_privileged_are_not_filtered() {
        let mut rights = Rights {
            seccomp: Seccomp::RuntimeDefault,
            ..Rights::default()
        };
        assert_eq!(wanted(&rights), Wanted::Default);
        rights.privileged = true;
        assert_eq!(wanted(&rights), Wanted::Nothing);
    }
}
