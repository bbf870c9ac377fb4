//! The built program as a person or a script meets it: exit codes, streams, becoming another program.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of a release: the program, and scripts in place of its siblings.
struct Release {
    dir: tempfile::TempDir,
}

impl Release {
    fn new(siblings: &[&str]) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        // On the disk of the build, so that a link is enough.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::hard_link(env!("CARGO_BIN_EXE_bramble"), dir.path().join("bramble")).unwrap();
        for name in siblings {
            let path = dir.path().join(name);
            let script =
                "#!/bin/sh\necho $$ \"$(basename \"$0\")\" \"$@\" $BRAMBLE_TOKEN\nexit 7\n";
            std::fs::write(&path, script).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { dir }
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("bramble")
    }
}

/// Runs with nothing of this machine's configuration.
fn run(program: &Path, args: &[&str]) -> (u32, Output) {
    let child = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/nonexistent")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    (child.id(), child.wait_with_output().unwrap())
}

fn check(args: &[&str], code: i32) -> (String, String) {
    let (_, output) = run(Path::new(env!("CARGO_BIN_EXE_bramble")), args);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
    (out, err)
}

#[test]
fn exit_codes_tell_usage_from_failure() {
    assert!(check(&["--help"], 0).0.contains("Exit codes"));
    assert_eq!(
        check(&["--version"], 0).0,
        concat!("bramble ", env!("CARGO_PKG_VERSION"), "\n")
    );
    assert!(check(&["frobnicate"], 2).1.contains("frobnicate"));
    let (out, err) = check(&["status", "--kubeconfig", "/nonexistent/k"], 1);
    assert_eq!(out, "");
    assert!(
        err.starts_with("bramble: reading /nonexistent/k: "),
        "{err}"
    );
    let (out, err) = check(&["image", "list", "--socket", "/nonexistent/s"], 1);
    assert_eq!(out, "");
    assert!(
        err.contains("is bramble-agent running on this board?"),
        "{err}"
    );
}

#[test]
fn the_version_is_told_without_a_controller() {
    let (out, err) = check(&["version", "--kubeconfig", "/nonexistent/k"], 0);
    assert_eq!(out, concat!("client   ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(err.starts_with("server   not reached: "), "{err}");
}

#[test]
fn controller_and_agent_take_over_the_process() {
    let release = Release::new(&["bramble-controller", "bramble-agent"]);
    for name in ["controller", "agent"] {
        let (pid, output) = run(
            &release.program(),
            &[name, "drain", "--help", "a b", "--", "-x"],
        );
        assert_eq!(output.status.code(), Some(7));
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!("{pid} bramble-{name} drain --help a b -- -x\n")
        );
    }
}

#[test]
fn joining_becomes_the_agent() {
    let release = Release::new(&["bramble-agent"]);
    let token = format!("bramble1.{}.abc.secret", "a5".repeat(32));
    let (pid, output) = run(
        &release.program(),
        &[
            "join",
            "pi.lan",
            "--token",
            &token,
            "--node-name",
            "n",
            "--",
            "--bridge",
            "b",
        ],
    );
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!(
            "{pid} bramble-agent --join https://pi.lan:6443 --node-name n --bridge b {token}\n"
        )
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("`bramble agent --bridge b` starts it again"),
        "{said}"
    );
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn a_missing_sibling_is_named() {
    let release = Release::new(&[]);
    let (_, output) = run(&release.program(), &["agent"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("bramble-agent is not in"), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_bramble"))
        .args(["completion", "bash"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
