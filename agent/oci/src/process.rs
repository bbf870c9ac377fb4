//! What this process must put right before a workload inherits it.

use std::ffi::{CString, c_long, c_uint};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;

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

/// First argument of a run that stands on a read-only mount of its own program.
const SEALED: &str = "bramble-oci: sealed";

/// Runs this program anew from a private read-only mount of its file, unless that has been done. Until
/// it becomes the container's program, the container's first process has ours as `/proc/self/exe`; who
/// opened that for writing from inside would write the board's program (CVE-2019-5736). Costs no
/// memory: the pages are those of the file.
pub(crate) fn seal() -> io::Result<()> {
    let mut arguments = std::env::args_os();
    if arguments.next().is_some_and(|name| name == SEALED) {
        return Ok(());
    }
    let terminated = |bytes: Vec<u8>| CString::new(bytes).map_err(io::Error::other);
    let mut texts = vec![terminated(SEALED.into())?];
    for argument in arguments {
        texts.push(terminated(argument.into_vec())?);
    }
    let mut pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let file = read_only_mount(c"/proc/self/exe")?;
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    // SAFETY: the arguments are NUL-terminated strings in an array that ends with a null pointer, all
    // alive through the call; `environ` is the C library's own array, and there is one thread. The call
    // returns only when it fails.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd() as c_long,
            c"".as_ptr(),
            pointers.as_ptr(),
            environ,
            libc::AT_EMPTY_PATH as c_long,
        )
    };
    Err(io::Error::last_os_error())
}

/// A mount of one file that nobody sees and nobody can write through.
fn read_only_mount(path: &std::ffi::CStr) -> io::Result<OwnedFd> {
    const CLONE: c_uint = 1;
    let flags = CLONE | libc::O_CLOEXEC as c_uint;
    // SAFETY: the path is a NUL-terminated string that lives through the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD as c_long,
            path.as_ptr(),
            flags,
        )
    };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel has just made for us.
    let file = unsafe { OwnedFd::from_raw_fd(fd) };
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the kernel reads the attributes, of the size that is told, and an empty string; both live
    // through the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            file.as_raw_fd() as c_long,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH as c_long,
            std::ptr::from_ref(&attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 {
        Ok(file)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives up our own further groups: a container that names none would keep them.
pub(crate) fn drop_groups() -> io::Result<()> {
    // SAFETY: a count of 0 reads nothing from the pointer.
    match unsafe { libc::setgroups(0, std::ptr::null()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
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

/// Gives our streams to the user of the process we become, as runc does: a program that isn't root's
/// may open `/dev/stdout` anew. What is no pipe or terminal of ours (`/dev/null`) is left alone.
pub(crate) fn give_streams(uid: u32) {
    use rustix::fs::{FileType, Uid, fchown, fstat};
    let streams = [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ];
    for stream in streams {
        let kind = fstat(stream).map(|s| FileType::from_raw_mode(s.st_mode));
        let ours = match kind {
            Ok(FileType::Fifo | FileType::Socket) => true,
            Ok(FileType::CharacterDevice) => rustix::termios::isatty(stream),
            _ => false,
        };
        if ours {
            // One that can't be given can still be written to.
            let _ = fchown(stream, Some(Uid::from_raw(uid)), None);
        }
    }
}

/// Which processes the kernel kills first when memory ends: the value of one.
pub(crate) fn oom_score(pid: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).ok()?;
    text.trim().parse().ok()
}

/// Sets our own OOM score, which the container inherits. libcontainer would fail altogether where
/// the kernel refuses to lower it (no CAP_SYS_RESOURCE); that is worth a warning, no more.
pub(crate) fn set_oom_score(score: i32) -> Option<String> {
    let error = fs::write("/proc/self/oom_score_adj", score.to_string()).err()?;
    Some(format!("oom_score_adj {score} not set: {error}"))
}
