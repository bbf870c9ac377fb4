//! A profile as a program of the kernel's packet filter (classic BPF), which it runs before each call.
//!
//! ```text
//! which convention? ── unknown: kill
//!   └─ number ── binary search over ranges of numbers with the same fate
//!                  └─ return, or compare arguments first
//! ```
//!
//! Some ten instructions run per call, where a list of comparisons would run hundreds.

use std::collections::BTreeMap;

use super::Error;
use super::profile::{Action, Condition, Operator, Profile};
use super::table::{Arch, X32};

/// The kernel takes no longer program (BPF_MAXINSNS).
const PROGRAM_MAX: usize = 4096;

/// ARM's private calls begin here, far above the others.
const PRIVATE: u32 = 0xf_0000;

/// One instruction, as the kernel reads it (`struct sock_filter`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) yes: u8,
    pub(crate) no: u8,
    pub(crate) k: u32,
}

// linux/bpf_common.h
pub(crate) const LOAD: u16 = 0x20; // LD | W | ABS
pub(crate) const AND: u16 = 0x54; // ALU | AND | K
pub(crate) const JUMP: u16 = 0x05; // JMP | JA
pub(crate) const IF_EQUAL: u16 = 0x15; // JMP | JEQ | K
pub(crate) const IF_GREATER: u16 = 0x25; // JMP | JGT | K
pub(crate) const IF_GREATER_OR_EQUAL: u16 = 0x35; // JMP | JGE | K
pub(crate) const RETURN: u16 = 0x06; // RET | K

// struct seccomp_data
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;
const fn argument_at(argument: u8, high: bool) -> u32 {
    // The lower half comes first: every processor we run on is little endian.
    16 + argument as u32 * 8 + if high { 4 } else { 0 }
}

fn plain(code: u16, k: u32) -> Instruction {
    let (yes, no) = (0, 0);
    Instruction { code, yes, no, k }
}

fn ret(action: Action) -> Instruction {
    plain(RETURN, action.value())
}

/// Compiles a profile for these processors.
///
/// # Errors
/// [`Error::TooLong`] when the kernel would not take it.
pub(crate) fn compile(profile: &Profile, arches: &[Arch]) -> Result<Vec<Instruction>, Error> {
    let mut out = vec![plain(LOAD, ARCH_AT)];
    for arch in arches {
        let block = block(profile, *arch)?;
        out.push(Instruction {
            yes: 1,
            ..plain(IF_EQUAL, arch.audit())
        });
        out.push(plain(JUMP, block.len() as u32));
        out.extend(block);
    }
    // Nothing else can run here; if it does, its numbers mean something else than we think.
    out.push(ret(Action::KillProcess));
    // `yes` and `no` above: equal skips the jump.
    if out.len() > PROGRAM_MAX {
        return Err(Error::TooLong(out.len()));
    }
    Ok(out)
}

/// What happens when all of the conditions hold, in order.
type Alternatives = Vec<(Vec<Condition>, Action)>;

/// What becomes of a range of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Known(Action),
    /// Alternatives in order, and what happens when none holds.
    Depends(Alternatives, Action),
}

fn block(profile: &Profile, arch: Arch) -> Result<Vec<Instruction>, Error> {
    let mut out = vec![plain(LOAD, NUMBER_AT)];
    if arch == Arch::X86_64 {
        // The x32 convention reaches the same calls under other numbers; no board of ours has it.
        out.push(Instruction {
            no: 1,
            ..plain(IF_GREATER_OR_EQUAL, X32)
        });
        out.push(ret(Action::Errno(libc::ENOSYS as u16)));
    }
    out.extend(search(&ranges(profile, arch), arch)?);
    Ok(out)
}

/// First numbers of ranges, with what becomes of them; the first is 0.
fn ranges(profile: &Profile, arch: Arch) -> Vec<(u32, Fate)> {
    let numbers = arch.numbers();
    let mut fates: BTreeMap<u32, (Alternatives, Option<Action>)> = BTreeMap::new();
    let mut newest = 0;
    for rule in &profile.rules {
        let of_rule = rule
            .names
            .iter()
            .filter_map(|name| numbers.get(name.as_str()));
        for number in of_rule.copied() {
            if number < PRIVATE {
                newest = newest.max(number);
            }
            let (alternatives, always) = fates.entry(number).or_default();
            if rule.conditions.is_empty() {
                always.get_or_insert(rule.action);
            } else {
                alternatives.push((rule.conditions.clone(), rule.action));
            }
        }
    }
    let mut out: Vec<(u32, Fate)> = Vec::new();
    let mut push = |from: u32, fate: Fate| {
        if out.last().is_none_or(|(_, last)| *last != fate) {
            out.push((from, fate));
        }
    };
    let default = Fate::Known(profile.default);
    let mut next = 0;
    // A library that meets a call younger than the profile must be told that it isn't there, not that
    // it is forbidden, or it won't fall back to the older one (as runc does it).
    let young = match profile.default {
        Action::Allow | Action::Log | Action::Trace(_) => profile.default,
        _ => Action::Errno(libc::ENOSYS as u16),
    };
    for (number, (alternatives, always)) in fates {
        if number >= PRIVATE && next <= newest + 1 {
            push(newest + 1, Fate::Known(young));
            push(PRIVATE, default.clone());
            next = PRIVATE;
        }
        if number > next {
            push(next, default.clone());
        }
        let otherwise = always.unwrap_or(profile.default);
        push(
            number,
            if alternatives.is_empty() {
                Fate::Known(otherwise)
            } else {
                Fate::Depends(alternatives, otherwise)
            },
        );
        next = number + 1;
    }
    if next <= PRIVATE {
        push(next, Fate::Known(young));
        push(PRIVATE, default);
    } else {
        push(next, default);
    }
    out
}

/// Goes to the range that the number in the accumulator falls in.
fn search(ranges: &[(u32, Fate)], arch: Arch) -> Result<Vec<Instruction>, Error> {
    if let [(_, fate)] = ranges {
        return match fate {
            Fate::Known(action) => Ok(vec![ret(*action)]),
            Fate::Depends(alternatives, otherwise) => depends(alternatives, *otherwise, arch),
        };
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let (low, high) = (search(below, arch)?, search(above, arch)?);
    let at = plain(IF_GREATER_OR_EQUAL, above[0].0);
    let mut out = match u8::try_from(low.len()) {
        Ok(yes) => vec![Instruction { yes, ..at }],
        // Conditional jumps reach 255 instructions, others everything.
        Err(_) => vec![Instruction { no: 1, ..at }, plain(JUMP, low.len() as u32)],
    };
    out.extend(low);
    out.extend(high);
    Ok(out)
}

/// Where a comparison leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    /// The instruction after this one.
    Next,
    /// The end of the condition: it holds.
    Holds,
    /// The end of the rule: it doesn't.
    Fails,
}

fn depends(
    alternatives: &[(Vec<Condition>, Action)],
    otherwise: Action,
    arch: Arch,
) -> Result<Vec<Instruction>, Error> {
    let mut out = Vec::new();
    for (conditions, action) in alternatives {
        let steps: Vec<Vec<(Instruction, To, To)>> =
            conditions.iter().map(|c| steps(c, arch)).collect();
        let length: usize = steps.iter().map(Vec::len).sum();
        let (mut at, mut end) = (0, 0);
        for condition in &steps {
            end += condition.len();
            for (instruction, yes, no) in condition {
                at += 1;
                let jump = |to: &To| {
                    let target = match to {
                        To::Next => at,
                        To::Holds => end,
                        // Behind the return of this alternative.
                        To::Fails => length + 1,
                    };
                    u8::try_from(target - at).map_err(|_| Error::TooLong(target))
                };
                out.push(Instruction {
                    yes: jump(yes)?,
                    no: jump(no)?,
                    ..*instruction
                });
            }
        }
        out.push(ret(*action));
    }
    out.push(ret(otherwise));
    Ok(out)
}

/// One comparison of 64 bits, in halves; of 32 bits where the processor has no more.
fn steps(condition: &Condition, arch: Arch) -> Vec<(Instruction, To, To)> {
    let Condition {
        argument,
        operator,
        value,
    } = *condition;
    let (high, low) = ((value >> 32) as u32, value as u32);
    let load = |upper| {
        (
            plain(LOAD, argument_at(argument, upper)),
            To::Next,
            To::Next,
        )
    };
    let mut out = Vec::new();
    if matches!(arch, Arch::X86_64 | Arch::Aarch64) {
        out.push(load(true));
        // The upper half decides, unless it is equal: then the lower one does.
        let upper: &[(u16, To, To)] = match operator {
            Operator::Masked(mask) => {
                out.push((plain(AND, (mask >> 32) as u32), To::Next, To::Next));
                &[(IF_EQUAL, To::Next, To::Fails)]
            }
            Operator::Equal => &[(IF_EQUAL, To::Next, To::Fails)],
            Operator::NotEqual => &[(IF_EQUAL, To::Next, To::Holds)],
            Operator::Less | Operator::LessOrEqual => &[
                (IF_GREATER, To::Fails, To::Next),
                (IF_EQUAL, To::Next, To::Holds),
            ],
            Operator::Greater | Operator::GreaterOrEqual => &[
                (IF_GREATER, To::Holds, To::Next),
                (IF_EQUAL, To::Next, To::Fails),
            ],
        };
        out.extend(
            upper
                .iter()
                .map(|(code, yes, no)| (plain(*code, high), *yes, *no)),
        );
    }
    out.push(load(false));
    let (code, yes, no) = match operator {
        Operator::Masked(mask) => {
            out.push((plain(AND, mask as u32), To::Next, To::Next));
            (IF_EQUAL, To::Holds, To::Fails)
        }
        Operator::Equal => (IF_EQUAL, To::Holds, To::Fails),
        Operator::NotEqual => (IF_EQUAL, To::Fails, To::Holds),
        Operator::Less => (IF_GREATER_OR_EQUAL, To::Fails, To::Holds),
        Operator::LessOrEqual => (IF_GREATER, To::Fails, To::Holds),
        Operator::Greater => (IF_GREATER, To::Holds, To::Fails),
        Operator::GreaterOrEqual => (IF_GREATER_OR_EQUAL, To::Holds, To::Fails),
    };
    out.push((plain(code, low), yes, no));
    out
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
