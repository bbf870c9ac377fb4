//! Which system calls a container may make (ADR 8).
//!
//! In comes a container's specification, out goes a filter that the kernel runs before each call; it is
//! installed by [`crate::executor`] in the container's process, and in each that is executed in it. It is
//! made before anything of the container exists, so that a profile which can't be enforced is an error and
//! never a container without it.

mod compile;
mod default;
mod profile;
mod table;

use libcontainer::oci_spec::runtime::{Capabilities, Spec};

use compile::Instruction;
use table::Arch;

/// Annotation of `config.json` that names a built-in profile (the agent writes it).
const ANNOTATION: &str = "dev.bramble.seccomp";
/// The only one.
const DEFAULT: &str = "runtime/default";

/// Why there is no filter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Error {
    Unknown(String),
    Unsupported(String),
    TooLong(usize),
    NoSuchProfile(String),
    Kernel(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "no system call is called {name:?}"),
            Self::Unsupported(what) => write!(f, "{what} is not supported"),
            Self::TooLong(length) => write!(f, "{length} instructions are too many"),
            Self::NoSuchProfile(name) => write!(f, "no built-in profile is called {name:?}"),
            Self::Kernel(error) => write!(f, "install the filter: {error}"),
        }
    }
}

impl std::error::Error for Error {}

/// A filter ready for the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    program: Vec<Instruction>,
    log: bool,
}

impl Filter {
    /// The filter that a specification asks for; `None`: none.
    ///
    /// # Errors
    /// When it asks for something that can't be enforced here.
    pub(crate) fn of(spec: &Spec) -> Result<Option<Self>, Error> {
        let named = spec.annotations().as_ref().and_then(|a| a.get(ANNOTATION));
        let linux = spec.linux().as_ref();
        let (profile, arches) = match (named, linux.and_then(|l| l.seccomp().as_ref())) {
            (Some(name), _) if name == DEFAULT => {
                (default::profile(&bounding(spec)), Arch::here().to_vec())
            }
            (Some(name), _) => return Err(Error::NoSuchProfile(name.clone())),
            (None, Some(oci)) => profile::from_oci(oci)?,
            (None, None) => return Ok(None),
        };
        if !available() {
            return Err(Error::Kernel(
                "the kernel has no seccomp filters".to_owned(),
            ));
        }
        let program = compile::compile(&profile, &arches)?;
        let log = profile.log;
        Ok(Some(Self { program, log }))
    }

    /// Puts the filter on this thread and all that comes of it, for ever.
    ///
    /// # Errors
    /// When the kernel refuses: without no_new_privs it needs CAP_SYS_ADMIN.
    pub(crate) fn install(&self) -> Result<(), Error> {
        const SET_MODE_FILTER: libc::c_ulong = 1;
        const FLAG_LOG: libc::c_ulong = 2;
        let program = libc::sock_fprog {
            len: u16::try_from(self.program.len())
                .map_err(|_| Error::TooLong(self.program.len()))?,
            filter: self.program.as_ptr().cast_mut().cast(),
        };
        let flags = if self.log { FLAG_LOG } else { 0 };
        let pointer = std::ptr::from_ref(&program);
        // SAFETY: the call reads the program, which lives through it and has the layout of
        // `struct sock_fprog` with `len` of `struct sock_filter` (Instruction is repr(C) like it), and
        // keeps a copy of its own.
        match unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, pointer) } {
            0 => Ok(()),
            _ => Err(Error::Kernel(std::io::Error::last_os_error().to_string())),
        }
    }
}

/// Whether the kernel can filter (CONFIG_SECCOMP_FILTER). Asked before there is a container: later
/// nobody listens.
fn available() -> bool {
    const GET_ACTION_AVAIL: libc::c_ulong = 2;
    let action: u32 = profile::Action::Errno(0).value();
    let pointer = std::ptr::from_ref(&action);
    // SAFETY: the call reads four bytes from the pointer, which lives through it.
    unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            GET_ACTION_AVAIL,
            0 as libc::c_ulong,
            pointer,
        ) == 0
    }
}

/// `CAP_…` of the bounding set: what anything in the container could ever have.
fn bounding(spec: &Spec) -> Vec<String> {
    let process = spec.process().as_ref();
    let sets = process.and_then(|p| p.capabilities().as_ref());
    let bounding: Option<&Capabilities> = sets.and_then(|sets| sets.bounding().as_ref());
    let names = bounding.into_iter().flatten();
    names
        .map(|capability| {
            let name = capability.to_string();
            if name.starts_with("CAP_") {
                name
            } else {
                format!("CAP_{name}")
            }
        })
        .collect()
}
