//! What this process must put right before a workload inherits it.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// Every signal as a fresh process has it: Rust ignores SIGPIPE, the shim blocks SIGCHLD and
/// ignores what a terminal sends, and all of it would reach the workload.
pub(crate) fn reset_signals() {
    // SAFETY: the set is initialised before use; SIG_DFL is a valid disposition, and the calls
    // for signals that can't be changed fail without effect. There is one thread.
    unsafe {
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
    }
}

/// Owns a descriptor that the caller passed by number.
pub(crate) fn inherited(number: i32) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: fcntl takes no pointers for these commands; it tells whether the number is open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, was handed to us for this purpose and nobody else in this
    // process knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sets our own OOM score, which the container inherits. libcontainer would fail altogether where
/// the kernel refuses to lower it (no CAP_SYS_RESOURCE); that is worth a warning, no more.
pub(crate) fn set_oom_score(score: i32) -> Option<String> {
    let error = fs::write("/proc/self/oom_score_adj", score.to_string()).err()?;
    Some(format!("oom_score_adj {score} not set: {error}"))
}
