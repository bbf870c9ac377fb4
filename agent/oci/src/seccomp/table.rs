//! Numbers of system calls by name, for the processors that a program in a container may be for: the
//! board's own and the 32-bit one beside it.

use std::collections::HashMap;

const TABLE: &str = include_str!("syscalls.txt");

/// A processor's calling convention, as the kernel tells it to filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Arch {
    X86_64,
    X86,
    Aarch64,
    Arm,
}

/// Bit of an x86_64 call number that means the x32 convention.
pub(crate) const X32: u32 = 0x4000_0000;

impl Arch {
    /// What can run here. Both of a family, whichever of them we are built for: a 32-bit helper may
    /// start a 64-bit program.
    pub(crate) const fn here() -> &'static [Self] {
        if cfg!(any(target_arch = "x86_64", target_arch = "x86")) {
            &[Self::X86_64, Self::X86]
        } else {
            &[Self::Aarch64, Self::Arm]
        }
    }

    /// `AUDIT_ARCH_*` of linux/audit.h: machine of the ELF header, 64 bits, little endian.
    pub(crate) const fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    const fn column(self) -> usize {
        match self {
            Self::X86_64 => 0,
            Self::X86 => 1,
            Self::Aarch64 => 2,
            Self::Arm => 3,
        }
    }

    /// Numbers by name. A call that the processor doesn't have is missing.
    pub(crate) fn numbers(self) -> HashMap<&'static str, u32> {
        rows()
            .filter_map(|row| {
                let mut fields = row.split(' ');
                let name = fields.next()?;
                Some((name, fields.nth(self.column())?.parse().ok()?))
            })
            .collect()
    }
}

fn rows() -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter(|line| !line.starts_with('#'))
}

/// Whether any processor has a call of that name: a profile may name calls of others, but not nonsense.
pub(crate) fn known(name: &str) -> bool {
    rows().any(|line| line.split(' ').next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernel() {
        for (arch, calls) in [
            (Arch::X86_64, [("read", 0), ("clone", 56), ("clone3", 435)]),
            (Arch::X86, [("read", 3), ("clone", 120), ("clone3", 435)]),
            (
                Arch::Aarch64,
                [("read", 63), ("clone", 220), ("clone3", 435)],
            ),
            (
                Arch::Arm,
                [("read", 3), ("set_tls", 0xf_0005), ("clone3", 435)],
            ),
        ] {
            let numbers = arch.numbers();
            for (name, number) in calls {
                assert_eq!(numbers.get(name), Some(&number), "{name} of {arch:?}");
            }
        }
        assert!(!Arch::Aarch64.numbers().contains_key("open"));
        assert!(known("openat2") && !known("#") && !known("nonsense"));
    }

    /// Against the C library's own constants, where it has them.
    #[test]
    fn numbers_agree_with_the_c_library() {
        let numbers = Arch::here()[usize::from(cfg!(target_pointer_width = "32"))].numbers();
        for (name, number) in [
            ("openat", libc::SYS_openat),
            ("mount", libc::SYS_mount),
            ("keyctl", libc::SYS_keyctl),
            ("bpf", libc::SYS_bpf),
            ("ptrace", libc::SYS_ptrace),
            ("setns", libc::SYS_setns),
            ("io_uring_setup", libc::SYS_io_uring_setup),
        ] {
            assert_eq!(numbers[name] as libc::c_long, number, "{name}");
        }
    }
}
