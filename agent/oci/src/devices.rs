//! Which devices a container may open, on cgroup v2: there the rules are a program (eBPF) attached to the
//! container's cgroup, and libcontainer makes it only with a C library. It is a dozen instructions, so
//! it is written here by hand (ADR 9).
//!
//! In comes a container's specification, out goes a cgroup with a program on it, made before the container's
//! first process joins it. On cgroup v1 libcontainer writes the same rules into the devices controller.

use std::ffi::c_long;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::Path;

use libcontainer::oci_spec::runtime::{LinuxDeviceType, Spec};

/// Where v2 is mounted when there is no v1 beside it.
const ROOT: &str = "/sys/fs/cgroup";

/// Opens the container's devices and closes all others; nothing on cgroup v1 and for a container that
/// may have everything.
///
/// # Errors
/// When the kernel can't: a container that would reach devices it must not does not come to be.
pub(crate) fn restrict(spec: &Spec) -> io::Result<()> {
    let (Some(program), true) = (program_of(spec), unified()) else {
        return Ok(());
    };
    let linux = spec.linux().as_ref();
    let Some(path) = linux.and_then(|l| l.cgroups_path().as_ref()) else {
        return Err(io::Error::other("no cgroupsPath"));
    };
    let relative = path.strip_prefix("/").unwrap_or(path);
    let cgroup = Path::new(ROOT).join(relative);
    fs::create_dir_all(&cgroup)?;
    attach(&cgroup, &program)
}

/// Whether v2 carries everything.
fn unified() -> bool {
    const CGROUP2: c_long = 0x6367_7270;
    rustix::fs::statfs(ROOT).is_ok_and(|found| found.f_type as c_long == CGROUP2)
}

/// `None`: any number.
type Number = Option<u32>;

/// A rule that opens something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    /// `None`: both sorts.
    kind: Option<u32>,
    major: Number,
    minor: Number,
    access: u32,
}

// linux/bpf.h: BPF_DEVCG_*
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;
const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = MKNOD | READ | WRITE;

const fn character(major: u32, minor: Number) -> Rule {
    Rule {
        kind: Some(CHARACTER),
        major: Some(major),
        minor,
        access: ALL,
    }
}

/// What every container has, as runc's list: null, zero, full, random, urandom, tty, console, ptmx, its
/// terminals, and tunnels (useless without NET_ADMIN).
const ALWAYS: [Rule; 10] = [
    character(1, Some(3)),
    character(1, Some(5)),
    character(1, Some(7)),
    character(1, Some(8)),
    character(1, Some(9)),
    character(5, Some(0)),
    character(5, Some(1)),
    character(5, Some(2)),
    character(136, None),
    character(10, Some(200)),
];

/// Any node may be made; whether it can be opened is another matter.
const MAKE: Rule = Rule {
    kind: None,
    major: None,
    minor: None,
    access: MKNOD,
};

fn program_of(spec: &Spec) -> Option<Vec<Instruction>> {
    let resources = spec.linux().as_ref().and_then(|l| l.resources().as_ref());
    let mut rules = vec![MAKE];
    rules.extend(ALWAYS);
    for rule in resources
        .and_then(|r| r.devices().as_ref())
        .into_iter()
        .flatten()
    {
        let number = |n: Option<i64>| n.and_then(|n| u32::try_from(n).ok());
        let kind = match rule.typ() {
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(CHARACTER),
            Some(LinuxDeviceType::B) => Some(BLOCK),
            _ => None,
        };
        let letters = rule.access().as_deref().unwrap_or("rwm");
        let access = [('m', MKNOD), ('r', READ), ('w', WRITE)]
            .iter()
            .filter(|(letter, _)| letters.contains(*letter))
            .fold(0, |all, (_, bit)| all | bit);
        // Closed is what no rule opens; the agent writes no other rule that closes.
        if !rule.allow() {
            continue;
        }
        let rule = Rule {
            kind,
            major: number(rule.major()),
            minor: number(rule.minor()),
            access,
        };
        if rule.kind.is_none() && rule.major.is_none() && rule.minor.is_none() && access == ALL {
            return None;
        }
        rules.push(rule);
    }
    Some(assemble(&rules))
}

/// One instruction (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// Destination in the lower half, source in the upper one.
    registers: u8,
    offset: i16,
    value: i32,
}

// Opcodes of 32-bit arithmetic, loads and jumps (linux/bpf_common.h, linux/bpf.h).
const LOAD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const SET: u8 = 0xb4;
const COPY: u8 = 0xbc;
const UNLESS_VALUE: u8 = 0x55;
const UNLESS_SAME: u8 = 0x5d;
const EXIT: u8 = 0x95;

// The kernel hands `struct bpf_cgroup_dev_ctx` over in register 1.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

fn step(code: u8, to: u8, from: u8, offset: i16, value: i32) -> Instruction {
    let registers = to | from << 4;
    Instruction {
        code,
        registers,
        offset,
        value,
    }
}

/// 1 when a rule opens the device for every kind of access that is wanted, else 0.
fn assemble(rules: &[Rule]) -> Vec<Instruction> {
    let mut out = vec![
        step(LOAD, KIND, CONTEXT, 0, 0),
        step(AND, KIND, 0, 0, 0xffff),
        step(LOAD, ACCESS, CONTEXT, 0, 0),
        step(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        step(LOAD, MAJOR, CONTEXT, 4, 0),
        step(LOAD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules {
        let mut tests = Vec::new();
        let wanted = [(KIND, rule.kind), (MAJOR, rule.major), (MINOR, rule.minor)];
        for (register, value) in wanted {
            if let Some(value) = value {
                tests.push(step(UNLESS_VALUE, register, 0, 0, value as i32));
            }
        }
        // The context is read; its register is free.
        tests.push(step(COPY, CONTEXT, ACCESS, 0, 0));
        tests.push(step(AND, CONTEXT, 0, 0, rule.access as i32));
        tests.push(step(UNLESS_SAME, CONTEXT, ACCESS, 0, 0));
        let length = tests.len();
        for (at, test) in tests.iter_mut().enumerate() {
            if matches!(test.code, UNLESS_VALUE | UNLESS_SAME) {
                // To the next rule, behind the two instructions that say yes.
                test.offset = (length - at - 1 + 2) as i16;
            }
        }
        out.extend(tests);
        out.push(step(SET, RESULT, 0, 0, 1));
        out.push(step(EXIT, 0, 0, 0, 0));
    }
    out.push(step(SET, RESULT, 0, 0, 0));
    out.push(step(EXIT, 0, 0, 0, 0));
    out
}

fn attach(cgroup: &Path, program: &[Instruction]) -> io::Result<()> {
    let because = |what: &str, error: io::Error| {
        io::Error::new(error.kind(), format!("{what} the device filter: {error}"))
    };
    let program = load(program).map_err(|e| because("load", e))?;
    let directory = fs::File::open(cgroup)?;
    attach_to(directory.as_fd(), program.as_fd()).map_err(|e| because("attach", e))
}

/// Beginning of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
    name: [u8; 16],
}

/// Beginning of `union bpf_attr` for BPF_PROG_ATTACH.
#[repr(C)]
#[derive(Default)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    const PROG_LOAD: c_long = 5;
    const CGROUP_DEVICE: u32 = 15;
    let license = c"Apache-2.0";
    let mut attributes = LoadAttributes {
        kind: CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr().addr() as u64,
        license: license.as_ptr().addr() as u64,
        ..LoadAttributes::default()
    };
    attributes.name[..7].copy_from_slice(b"devices");
    // SAFETY: the kernel reads the attributes, the instructions and the text they point to, which live
    // through the call; addresses are exposed by `addr` of live references.
    let fd = unsafe {
        bpf(
            PROG_LOAD,
            std::ptr::from_ref(&attributes).cast(),
            size_of::<LoadAttributes>(),
        )
    }?;
    // SAFETY: a descriptor that the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn attach_to(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    const PROG_ATTACH: c_long = 8;
    const DEVICE: u32 = 6;
    /// Programs of cgroups above still count, and below more may be added.
    const ALLOW_MULTI: u32 = 2;
    let number = |fd: BorrowedFd<'_>| fd.as_raw_fd() as u32;
    let attributes = AttachAttributes {
        target: number(cgroup),
        program: number(program),
        kind: DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: the kernel reads the attributes, which live through the call.
    unsafe {
        bpf(
            PROG_ATTACH,
            std::ptr::from_ref(&attributes).cast(),
            size_of::<AttachAttributes>(),
        )
    }?;
    Ok(())
}

/// # Safety
/// `attributes` points to `size` bytes that the command reads, and what they point to is alive.
unsafe fn bpf(command: c_long, attributes: *const u8, size: usize) -> io::Result<i32> {
    // SAFETY: as the caller promises.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size as c_long) };
    match i32::try_from(result) {
        Ok(fd) if fd >= 0 => Ok(fd),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Where v2 is mounted, also beside v1; for tests.
#[cfg(test)]
fn any_v2() -> Option<std::path::PathBuf> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .map(std::path::PathBuf::from)
        .into_iter()
        .find(|p| p.join("cgroup.controllers").exists())
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
