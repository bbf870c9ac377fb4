use std::process::Command;

use std::path::PathBuf;

use super::*;

/// Runs a program as the kernel does.
fn run(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> u64 {
    let context = [kind | access << 16, major, minor];
    let mut registers = [0u64; 6];
    let mut at = 0usize;
    loop {
        let Instruction {
            code,
            registers: both,
            offset,
            value,
        } = program[at];
        let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
        at += 1;
        let mut jump = |holds: bool| {
            if holds {
                at += usize::try_from(offset).unwrap();
            }
        };
        match code {
            LOAD => registers[to] = u64::from(context[offset as usize / 4]),
            AND => registers[to] &= value as u64,
            SHIFT_RIGHT => registers[to] >>= value,
            SET => registers[to] = value as u64,
            COPY => registers[to] = registers[from],
            UNLESS_VALUE => jump(registers[to] != value as u64),
            UNLESS_SAME => jump(registers[to] != registers[from]),
            EXIT => return registers[0],
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn spec(devices: &str) -> Spec {
    let text = format!(
        r#"{{"ociVersion":"1.0.2","linux":{{"cgroupsPath":"/x","resources":{{"devices":{devices}}}}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

#[test]
fn only_listed_devices_open_and_any_can_be_made() {
    let program = program_of(&spec(r#"[{"allow":false,"access":"rwm"}]"#)).unwrap();
    for (kind, access, major, minor, want) in [
        (CHARACTER, READ, 1, 3, 1),
        (CHARACTER, READ | WRITE, 1, 9, 1),
        (CHARACTER, WRITE, 136, 77, 1),
        (CHARACTER, READ, 1, 1, 0),
        (CHARACTER, READ, 1, 11, 0),
        (BLOCK, READ, 1, 3, 0),
        (BLOCK, READ, 8, 0, 0),
        (BLOCK, MKNOD, 8, 0, 1),
        (BLOCK, MKNOD | READ, 8, 0, 0),
        (CHARACTER, MKNOD, 1, 1, 1),
    ] {
        let got = run(&program, kind, access, major, minor);
        assert_eq!(got, want, "{kind} {access} {major}:{minor}");
    }
}

#[test]
fn rules_of_the_specification_open_more() {
    let some =
        r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"b","major":8,"access":"r"}]"#;
    let program = program_of(&spec(some)).unwrap();
    assert_eq!(run(&program, BLOCK, READ, 8, 5), 1);
    assert_eq!(run(&program, BLOCK, WRITE, 8, 5), 0);
    assert_eq!(run(&program, CHARACTER, READ, 8, 5), 0);
    assert_eq!(
        program_of(&spec(r#"[{"allow":true,"access":"rwm"}]"#)),
        None
    );
    let silent: Spec = serde_json::from_str(r#"{"ociVersion":"1.0.2","linux":{}}"#).unwrap();
    assert!(program_of(&silent).is_some());
}

/// Removes its cgroup when the test ends, however.
struct Cgroup(PathBuf);

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The kernel itself: on v2, and on the v2 that lies beside v1 on development machines.
#[test]
fn the_kernel_takes_the_program_and_closes_devices() {
    let root = any_v2().expect("cgroup v2 is mounted somewhere");
    let cgroup = Cgroup(root.join(format!("bramble-devices-{}", std::process::id())));
    fs::create_dir(&cgroup.0).unwrap();
    let program = program_of(&spec("[]")).unwrap();
    attach(&cgroup.0, &program).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let node = dir.path().join("node");
    // /dev/kmsg's number in other clothes: can be made, can't be opened. Without the program it can.
    let script = "[ -z \"$1\" ] || echo $$ > $1/cgroup.procs; rm -f $0; mknod $0 c 1 11 || exit 3; \
                  : 2>/dev/null <$0 || exit 4; : < /dev/null || exit 5";
    let run = |cgroup: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&node).arg(cgroup);
        command.status().unwrap().code()
    };
    // A subshell's redirection that fails ends dash with 2.
    assert!(matches!(run(cgroup.0.to_str().unwrap()), Some(2 | 4)));
    assert_eq!(run(""), Some(0), "without the filter the node opens");
}
