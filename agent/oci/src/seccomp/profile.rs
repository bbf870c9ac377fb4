//! What a filter shall do, in terms of names; and how that comes out of `config.json`.

use libcontainer::oci_spec::runtime::{
    Arch as OciArch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSeccompOperator,
};

use super::Error;
use super::table::{Arch, known};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Allow,
    Log,
    Errno(u16),
    Trace(u16),
    Trap,
    KillThread,
    KillProcess,
}

impl Action {
    /// Value that a filter returns (linux/seccomp.h).
    pub(crate) const fn value(self) -> u32 {
        match self {
            Self::Allow => 0x7fff_0000,
            Self::Log => 0x7ffc_0000,
            Self::Trace(number) => 0x7ff0_0000 | number as u32,
            Self::Errno(number) => 0x0005_0000 | number as u32,
            Self::Trap => 0x0003_0000,
            Self::KillThread => 0,
            Self::KillProcess => 0x8000_0000,
        }
    }
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// Equal after this mask.
    Masked(u64),
}

/// One comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    /// 0 to 5.
    pub(crate) argument: u8,
    pub(crate) operator: Operator,
    pub(crate) value: u64,
}

/// What happens to calls of these names when all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) names: Vec<String>,
    pub(crate) action: Action,
    pub(crate) conditions: Vec<Condition>,
}

/// A whole filter. A call gets the action of the first rule with conditions that names it and holds,
/// else of the first rule without conditions that names it, else the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) default: Action,
    pub(crate) rules: Vec<Rule>,
    /// The kernel logs what is not allowed.
    pub(crate) log: bool,
}

/// Reads `linux.seccomp`; also says for which processors it is.
///
/// # Errors
/// For what this runtime can't enforce: unknown names of calls, notification, unknown flags.
pub(crate) fn from_oci(oci: &LinuxSeccomp) -> Result<(Profile, Vec<Arch>), Error> {
    let mut log = false;
    for flag in oci.flags().iter().flatten() {
        match flag {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => log = true,
            // One thread installs it; speculation is the kernel's affair since 5.16.
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync
            | LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => {}
            other => return Err(Error::Unsupported(format!("flag {other:?}"))),
        }
    }
    if oci.listener_path().is_some() {
        return Err(Error::Unsupported("listenerPath".to_owned()));
    }
    let mut rules = Vec::new();
    for call in oci.syscalls().iter().flatten() {
        if let Some(name) = call.names().iter().find(|name| !known(name)) {
            // Upstream passes over calls that its library doesn't know; those of other processors are
            // many in every profile. One that would be forbidden and isn't is another matter.
            if call.action() != LinuxSeccompAction::ScmpActAllow {
                return Err(Error::Unknown(name.clone()));
            }
        }
        let action = action(call.action(), call.errno_ret())?;
        let conditions = call.args().iter().flatten().map(condition);
        let conditions = conditions.collect::<Result<Vec<_>, _>>()?;
        let mut arguments: Vec<_> = conditions.iter().map(|c| c.argument).collect();
        arguments.sort_unstable();
        let twice = arguments.windows(2).any(|pair| pair[0] == pair[1]);
        // As runc and libseccomp: several conditions on one argument are alternatives.
        let alternatives: Vec<Vec<Condition>> = if twice {
            conditions.into_iter().map(|one| vec![one]).collect()
        } else {
            vec![conditions]
        };
        rules.extend(alternatives.into_iter().map(|conditions| Rule {
            names: call.names().clone(),
            action,
            conditions,
        }));
    }
    let default = action(oci.default_action(), oci.default_errno_ret())?;
    let profile = Profile {
        default,
        rules,
        log,
    };
    Ok((profile, arches(oci)))
}

/// The board's own processor always, the 32-bit one beside it when the profile says nothing or names it.
fn arches(oci: &LinuxSeccomp) -> Vec<Arch> {
    let listed = oci.architectures().clone().unwrap_or_default();
    let here = Arch::here();
    let native = here[usize::from(cfg!(target_pointer_width = "32"))];
    let named = |arch: Arch| {
        listed.iter().any(|l| {
            matches!(
                (arch, l),
                (Arch::X86_64, OciArch::ScmpArchX86_64)
                    | (Arch::X86, OciArch::ScmpArchX86)
                    | (Arch::Aarch64, OciArch::ScmpArchAarch64)
                    | (Arch::Arm, OciArch::ScmpArchArm)
            )
        })
    };
    let wanted = |arch: &Arch| listed.is_empty() || *arch == native || named(*arch);
    here.iter().copied().filter(wanted).collect()
}

fn action(action: LinuxSeccompAction, number: Option<u32>) -> Result<Action, Error> {
    let number = || {
        let number = number.unwrap_or(libc::EPERM as u32);
        // The kernel knows no error above this one (MAX_ERRNO).
        match u16::try_from(number) {
            Ok(small) if small <= 4095 => Ok(small),
            _ => Err(Error::Unsupported(format!("errnoRet {number}"))),
        }
    };
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            Action::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => Action::KillProcess,
        LinuxSeccompAction::ScmpActTrap => Action::Trap,
        LinuxSeccompAction::ScmpActErrno => Action::Errno(number()?),
        LinuxSeccompAction::ScmpActTrace => Action::Trace(number()?),
        LinuxSeccompAction::ScmpActLog => Action::Log,
        LinuxSeccompAction::ScmpActAllow => Action::Allow,
        LinuxSeccompAction::ScmpActNotify => {
            return Err(Error::Unsupported("SCMP_ACT_NOTIFY".to_owned()));
        }
    })
}

fn condition(arg: &LinuxSeccompArg) -> Result<Condition, Error> {
    let argument = u8::try_from(arg.index()).ok().filter(|index| *index < 6);
    let argument =
        argument.ok_or_else(|| Error::Unsupported(format!("argument {}", arg.index())))?;
    let (operator, value) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpEq => (Operator::Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpNe => (Operator::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (Operator::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (Operator::LessOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (Operator::Greater, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (Operator::GreaterOrEqual, arg.value()),
        // The first value is the mask.
        LinuxSeccompOperator::ScmpCmpMaskedEq => (
            Operator::Masked(arg.value()),
            arg.value_two().unwrap_or_default(),
        ),
    };
    Ok(Condition {
        argument,
        operator,
        value,
    })
}
