use std::collections::HashMap;

use super::super::default;
use super::super::profile::Rule;
use super::*;

/// A call as a filter sees it.
#[derive(Debug, Clone, Copy)]
struct Call {
    arch: u32,
    number: u32,
    arguments: [u64; 6],
}

/// Runs a program as the kernel does; returns what it returns and how many instructions that took.
fn run(program: &[Instruction], call: Call) -> (u32, usize) {
    let word = |at: u32| match at {
        NUMBER_AT => call.number,
        ARCH_AT => call.arch,
        _ => {
            let argument = call.arguments[(at as usize - 16) / 8];
            if at % 8 == 4 {
                (argument >> 32) as u32
            } else {
                argument as u32
            }
        }
    };
    let (mut at, mut accumulator) = (0, 0);
    for step in 1.. {
        let Instruction { code, yes, no, k } = program[at];
        at += 1;
        let branch = |holds: bool| usize::from(if holds { yes } else { no });
        match code {
            LOAD => accumulator = word(k),
            AND => accumulator &= k,
            JUMP => at += k as usize,
            IF_EQUAL => at += branch(accumulator == k),
            IF_GREATER => at += branch(accumulator > k),
            IF_GREATER_OR_EQUAL => at += branch(accumulator >= k),
            RETURN => return (k, step),
            other => panic!("instruction {other:#x}"),
        }
    }
    unreachable!("programs only jump forward")
}

const FAMILIES: [&[Arch]; 2] = [&[Arch::X86_64, Arch::X86], &[Arch::Aarch64, Arch::Arm]];

fn call(arch: Arch, name: &str, first: u64) -> Call {
    Call {
        arch: arch.audit(),
        number: arch.numbers()[name],
        arguments: [first, 0, 0, 0, 0, 0],
    }
}

fn errno(number: i32) -> u32 {
    Action::Errno(number as u16).value()
}

const ALLOWED: u32 = Action::Allow.value();

#[test]
fn the_default_profile_does_on_every_processor_what_dockers_does() {
    for arches in FAMILIES {
        let program = compile(&default::profile(&[]), arches).unwrap();
        for arch in arches {
            let of = |name, first| run(&program, call(*arch, name, first)).0;
            for name in [
                "read", "openat", "execve", "futex", "mknodat", "ptrace", "seccomp",
            ] {
                assert_eq!(of(name, 0), ALLOWED, "{name} of {arch:?}");
            }
            for name in [
                "mount",
                "umount2",
                "setns",
                "unshare",
                "bpf",
                "keyctl",
                "add_key",
                "request_key",
                "kexec_load",
                "init_module",
                "pivot_root",
                "swapon",
                "reboot",
                "perf_event_open",
                "userfaultfd",
                "io_uring_setup",
                "open_by_handle_at",
                "chroot",
                "settimeofday",
                "quotactl",
                "acct",
                "syslog",
                "move_mount",
                "fsopen",
                "open_tree",
                "process_vm_readv",
            ] {
                let want = if name == "process_vm_readv" {
                    ALLOWED
                } else {
                    errno(libc::EPERM)
                };
                assert_eq!(of(name, 0), want, "{name} of {arch:?}");
            }
            assert_eq!(of("clone3", 0), errno(libc::ENOSYS));
            assert_eq!(of("clone", 0x3d0f00), ALLOWED);
            for new in [0x2_0000, 0x1000_0000, 0x200_0000, 0x4000_0000] {
                assert_eq!(of("clone", new | 17), errno(libc::EPERM), "{new:#x}");
            }
            for (family, want) in [
                (1, 0),
                (2, 0),
                (10, 0),
                (16, 0),
                (39, 0),
                (41, 0),
                (38, 1),
                (40, 1),
            ] {
                let want = if want == 0 {
                    ALLOWED
                } else {
                    errno(libc::EPERM)
                };
                assert_eq!(of("socket", family), want, "socket {family}");
            }
            assert_eq!(of("personality", 0xffff_ffff), ALLOWED);
            assert_eq!(of("personality", 0x0040_0000), errno(libc::EPERM));
            let future = Call {
                number: 900,
                ..call(*arch, "read", 0)
            };
            assert_eq!(run(&program, future).0, errno(libc::ENOSYS));
        }
        let elsewhere = Call {
            arch: 0x4000_0008,
            ..call(arches[0], "read", 0)
        };
        assert_eq!(run(&program, elsewhere).0, Action::KillProcess.value());
        assert!(program.len() < 1000, "{}", program.len());
    }
    let program = compile(&default::profile(&[]), FAMILIES[0]).unwrap();
    let x32 = Call {
        number: X32,
        ..call(Arch::X86_64, "read", 0)
    };
    assert_eq!(run(&program, x32).0, errno(libc::ENOSYS));
    let program = compile(&default::profile(&[]), FAMILIES[1]).unwrap();
    assert_eq!(run(&program, call(Arch::Arm, "set_tls", 0)).0, ALLOWED);
    let unknown = Call {
        number: PRIVATE + 77,
        ..call(Arch::Arm, "read", 0)
    };
    assert_eq!(run(&program, unknown).0, errno(libc::EPERM));
}

#[test]
fn capabilities_open_what_belongs_to_them() {
    for (capability, opens) in [
        ("CAP_SYS_ADMIN", "mount"),
        ("CAP_SYS_ADMIN", "clone3"),
        ("CAP_SYS_CHROOT", "chroot"),
        ("CAP_SYS_MODULE", "init_module"),
        ("CAP_SYS_TIME", "clock_settime"),
        ("CAP_BPF", "bpf"),
        ("CAP_PERFMON", "perf_event_open"),
        ("CAP_SYS_NICE", "mbind"),
    ] {
        let program = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            compile(&default::profile(&names), FAMILIES[0]).unwrap()
        };
        let call = call(Arch::X86_64, opens, 0);
        assert_eq!(run(&program(&[capability]), call).0, ALLOWED, "{opens}");
        assert_ne!(run(&program(&["CAP_CHOWN"]), call).0, ALLOWED, "{opens}");
    }
    let admin = compile(
        &default::profile(&["CAP_SYS_ADMIN".to_owned()]),
        FAMILIES[0],
    )
    .unwrap();
    assert_eq!(
        run(&admin, call(Arch::X86_64, "clone", 0x1000_0000)).0,
        ALLOWED
    );
}

#[test]
fn a_call_is_judged_in_few_steps() {
    let program = compile(&default::profile(&[]), FAMILIES[1]).unwrap();
    for arch in FAMILIES[1] {
        let numbers: HashMap<_, _> = arch.numbers();
        let worst = numbers.values().map(|number| {
            let call = Call {
                number: *number,
                ..call(*arch, "read", 0)
            };
            run(&program, call).1
        });
        assert!(worst.max().unwrap() < 40);
    }
}

/// Every operator at its borders, also those of the upper half, against plain arithmetic.
#[test]
fn comparisons_are_those_of_64_bits() {
    let values = [
        0,
        1,
        5,
        0xffff_ffff,
        1 << 32,
        (1 << 32) + 5,
        5 << 32,
        u64::MAX - 1,
        u64::MAX,
    ];
    for value in values {
        for (operator, holds) in [
            (Operator::Equal, (|a, b| a == b) as fn(u64, u64) -> bool),
            (Operator::NotEqual, |a, b| a != b),
            (Operator::Less, |a, b| a < b),
            (Operator::LessOrEqual, |a, b| a <= b),
            (Operator::Greater, |a, b| a > b),
            (Operator::GreaterOrEqual, |a, b| a >= b),
            (Operator::Masked(0xff_0000_00ff), |a, b| {
                a & 0xff_0000_00ff == b
            }),
        ] {
            let condition = Condition {
                argument: 2,
                operator,
                value,
            };
            let rule = Rule {
                names: vec!["ioctl".to_owned()],
                action: Action::Errno(7),
                conditions: vec![condition],
            };
            let profile = Profile {
                default: Action::Allow,
                rules: vec![rule],
                log: false,
            };
            let program = compile(&profile, FAMILIES[0]).unwrap();
            for given in values {
                let mut call = call(Arch::X86_64, "ioctl", 0);
                call.arguments[2] = given;
                let want = if holds(given, value) {
                    errno(7)
                } else {
                    ALLOWED
                };
                assert_eq!(
                    run(&program, call).0,
                    want,
                    "{given:#x} {operator:?} {value:#x}"
                );
                call.arch = Arch::X86.audit();
                call.number = Arch::X86.numbers()["ioctl"];
                call.arguments[2] = u64::from(given as u32);
                let short = Condition {
                    value: u64::from(value as u32),
                    ..condition
                };
                let mask = match operator {
                    Operator::Masked(mask) => u64::from(mask as u32),
                    _ => u64::MAX,
                };
                let want = match operator {
                    Operator::Masked(_) => call.arguments[2] & mask == short.value,
                    _ => holds(call.arguments[2], short.value),
                };
                let want = if want { errno(7) } else { ALLOWED };
                assert_eq!(
                    run(&program, call).0,
                    want,
                    "32 bits: {given:#x} {operator:?} {value:#x}"
                );
            }
        }
    }
}

/// All conditions of a rule must hold; the first rule with conditions that does wins, whatever stands
/// without conditions.
#[test]
fn rules_are_tried_in_order() {
    let condition = |argument, value| Condition {
        argument,
        operator: Operator::Equal,
        value,
    };
    let rule = |action, conditions| Rule {
        names: vec!["ioctl".to_owned(), "no-such-call".to_owned()],
        action,
        conditions,
    };
    let profile = Profile {
        default: Action::KillThread,
        rules: vec![
            rule(Action::Log, Vec::new()),
            rule(Action::Errno(1), vec![condition(0, 1), condition(1, 1)]),
            rule(Action::Errno(2), vec![condition(0, 1)]),
        ],
        log: false,
    };
    let program = compile(&profile, FAMILIES[1]).unwrap();
    let of = |a, b| {
        let mut call = call(Arch::Aarch64, "ioctl", a);
        call.arguments[1] = b;
        run(&program, call).0
    };
    assert_eq!(of(1, 1), errno(1));
    assert_eq!(of(1, 2), errno(2));
    assert_eq!(of(2, 1), Action::Log.value());
    let other = run(&program, call(Arch::Aarch64, "dup", 0)).0;
    assert_eq!(other, Action::KillThread.value());
    let many = rule(Action::Log, vec![condition(0, 1); 200]);
    let profile = Profile {
        rules: vec![many; 30],
        ..profile
    };
    assert!(matches!(
        compile(&profile, FAMILIES[1]),
        Err(Error::TooLong(_))
    ));
}
