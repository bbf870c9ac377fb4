//! The Debian package in a small root file system of its own: what stands in it, and what its scripts do
//! when it comes and goes. The command is the real one, the other programs are scripts; systemd and the
//! user database are scripts, too, which note what they were asked.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A machine with the package unpacked.
struct Machine {
    dir: tempfile::TempDir,
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{text}\n{said}");
    text
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let made = dir.path().join("made");
        fs::create_dir(&made).unwrap();
        // Not the real one yet: it would be compressed for long.
        script(&made.join("bramble"), "");
        for name in ["agent", "controller", "oci", "shim"] {
            // `drain` ends as the file says.
            let text = "echo \"$0 $*\" >> /asked\n[ ! -e /drain-fails ] || { echo 'pod x is left' >&2; exit 1; }";
            script(&made.join(format!("bramble-{name}")), text);
        }
        // -s -o OUT IN
        script(&made.join("strip"), "cp \"$4\" \"$3\"");
        let machine = Self { dir };
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/deb/build.sh");
        let arguments = ["amd64", "made", "made/strip", "1.2.3", "out"].map(|part| match part {
            "made" | "made/strip" | "out" => machine.path(part).into_os_string(),
            other => other.into(),
        });
        succeed(Command::new("sh").arg(build).args(arguments));
        machine.unpack();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name.trim_start_matches('/'))
    }

    fn package(&self) -> PathBuf {
        self.path("out/bramble_1.2.3_amd64.deb")
    }

    /// What dpkg does before it runs the package's scripts, in a root with a shell.
    fn unpack(&self) {
        let package = self.package();
        let root = self.path("root");
        for folder in ["bin", "run/systemd/system", "proc", "dev", "var/lib", "etc"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        succeed(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root));
        let control = root.join("control");
        succeed(
            Command::new("dpkg-deb")
                .arg("-e")
                .arg(&package)
                .arg(control),
        );
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for name in ["sh", "cat", "mkdir", "chmod", "rm"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        for name in ["systemctl", "useradd"] {
            let text = format!("echo \"{name} $*\" >> /asked");
            script(&root.join("bin").join(name), &text);
        }
        script(&root.join("bin/getent"), "exit 2");
        let program = root.join("usr/lib/bramble/bramble");
        fs::remove_file(&program).unwrap();
        fs::hard_link(env!("CARGO_BIN_EXE_bramble"), program).unwrap();
        // It wants its libraries.
        let libraries = succeed(Command::new("ldd").arg(env!("CARGO_BIN_EXE_bramble")));
        for library in libraries.split_whitespace().filter(|w| w.starts_with('/')) {
            let place = root.join(library.trim_start_matches('/'));
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(library, place).unwrap();
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path("root").join(name.trim_start_matches('/'))
    }

    /// Runs something in the root, with mounts of its own.
    fn run(&self, line: &str) -> Output {
        self.run_after("mount -t proc proc \"$1/proc\"", line)
    }

    fn run_after(&self, first: &str, line: &str) -> Output {
        let script = "mount --bind /dev \"$1/dev\" && exec chroot \"$1\" /bin/sh -c \"$2\"";
        Command::new("unshare")
            .args(["-m", "sh", "-c", &format!("{first} && {script}"), "sh"])
            .arg(self.path("root"))
            .arg(line)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .unwrap()
    }

    fn runs(&self, line: &str) -> String {
        let output = self.run(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(!output.status.success(), "{line}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file("asked")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn the_token_of_a_board_is_for_root_and_no_argument() {
    let machine = Machine::new();
    let listed = succeed(Command::new("dpkg-deb").arg("-c").arg(machine.package()));
    let line = (listed.lines())
        .find(|line| line.ends_with("./etc/default/bramble-agent"))
        .unwrap();
    assert!(line.starts_with("-rw------- root/root"), "{line}");
    let text = fs::read_to_string(machine.file("etc/default/bramble-agent")).unwrap();
    assert!(text.contains("#BRAMBLE_TOKEN="), "{text}");
    assert!(!text.contains("--token"), "{text}");
    let said = machine.runs("/control/postinst configure");
    assert!(!said.contains("--token"), "{said}");
}

#[test]
fn a_configuration_that_was_deleted_is_no_failure() {
    let machine = Machine::new();
    machine.runs("chmod 644 /etc/default/bramble-agent && /control/postinst configure");
    let mode = |name: &str| {
        fs::metadata(machine.file(name))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode("etc/default/bramble-agent") & 0o777, 0o600);
    machine.runs("rm /etc/default/bramble-agent && /control/postinst configure 1.2.2");
    let asked = machine.asked();
    let restarts = "systemctl try-restart bramble-controller.service bramble-agent.service";
    assert_eq!(asked.iter().filter(|line| *line == restarts).count(), 2);
    assert!(
        asked
            .iter()
            .any(|line| line.starts_with("useradd --system"))
    );
}

#[test]
fn a_package_with_pods_that_can_not_be_ended_stays() {
    let machine = Machine::new();
    machine
        .runs("/control/postinst configure && mkdir -p /run/bramble/pods /var/lib/bramble/agent");
    fs::write(machine.file("drain-fails"), "").unwrap();
    let said = machine.fails("/control/prerm remove");
    assert!(said.contains("pod x is left"), "{said}");
    assert!(said.contains("the package stays"), "{said}");
    assert!(machine.file("run/bramble/pods").exists());
    // Off by then: a reboot does not start the pods again.
    let drain = "/usr/lib/bramble/bramble-agent drain";
    let asked = machine.asked();
    let at = |line: &str| asked.iter().position(|asked| asked == line);
    let off = at("systemctl disable --now bramble-agent.service").expect("switched off");
    assert!(off < at(drain).expect("drained"), "{asked:?}");

    fs::remove_file(machine.file("drain-fails")).unwrap();
    machine.runs("/control/prerm remove && /control/postrm remove");
    assert!(!machine.file("run/bramble").exists());
    assert!(machine.file("var/lib/bramble/agent").exists(), "data stays");
    // An upgrade touches nothing that runs.
    let before = machine.asked().len();
    machine.runs("/control/prerm upgrade 1.2.4");
    assert_eq!(machine.asked().len(), before);
    let said = machine.runs("/control/postrm purge");
    assert!(said.contains("Data is kept in /var/lib/bramble"), "{said}");
    assert!(machine.file("var/lib/bramble/agent").exists());
}

#[test]
fn uninstalling_stops_before_data_that_pods_use() {
    let machine = Machine::new();
    machine.runs("mkdir -p /run/bramble /var/lib/bramble/agent");
    fs::write(machine.file("drain-fails"), "").unwrap();
    let uninstall = "/usr/bin/bramble uninstall --purge --yes";
    let said = machine.fails(uninstall);
    assert!(said.contains("nothing was removed"), "{said}");
    assert!(said.contains("pod x is left"), "{said}");
    assert!(machine.file("var/lib/bramble/agent").exists());
    fs::remove_file(machine.file("drain-fails")).unwrap();
    // Where it can't be seen what is mounted, nothing is removed either.
    machine.runs("rm -r /run/bramble");
    let output = machine.run_after("true", uninstall);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("reading /proc/self/mountinfo"), "{said}");
    assert!(machine.file("var/lib/bramble/agent").exists());
    machine.runs("mkdir -p /run/bramble");
    machine.runs(uninstall);
    assert!(!machine.file("var/lib/bramble").exists());
    assert!(!machine.file("run/bramble").exists());
}
