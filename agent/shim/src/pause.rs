//! The first process of a pod's process namespace, where its containers share one: it keeps the namespace
//! and takes in orphans. A fork of the shim that has let go of everything else: root file system,
//! capabilities, descriptors. Containers can see it, and those with SYS_PTRACE can look at it; there is
//! nothing to find.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::OnceLock;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// The one of this shim.
static PAUSE: OnceLock<i32> = OnceLock::new();

/// Makes a process namespace with its first process; pins it at `target`.
pub(crate) fn start(target: &Path) -> Result<(), String> {
    let failed = |what: &str, e: &dyn std::fmt::Display| {
        format!("make the pod's process namespace: {what}: {e}")
    };
    // The child's only root; empty, and gone with it.
    let empty = target.with_extension("root");
    fs::create_dir_all(&empty).map_err(|e| failed("its root", &e))?;
    let own = File::open("/proc/self/ns/pid").map_err(|e| failed("our own", &e))?;
    let (ready, report) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|e| failed("pipe", &e))?;
    // SAFETY: takes no pointers; says where children go from now on, we stay where we are.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
        return Err(failed("unshare", &io::Error::last_os_error()));
    }
    // SAFETY: the process has one thread, so the child may go on as if nothing had happened.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(ready);
        let done = seclude(&empty);
        let text = done.map_or_else(|e| e.to_string(), |()| "ready".to_owned());
        let _ = rustix::io::write(&report, text.as_bytes());
        rest();
    }
    drop(report);
    // SAFETY: the descriptor is that of a process namespace, our own: children stay with us again.
    let back = unsafe { libc::setns(own.as_raw_fd(), libc::CLONE_NEWPID) };
    if child < 0 || back != 0 {
        return Err(failed("fork", &io::Error::last_os_error()));
    }
    let _ = PAUSE.set(child);
    let mut text = String::new();
    io::Read::read_to_string(&mut File::from(ready), &mut text).map_err(|e| failed("wait", &e))?;
    if text != "ready" {
        stop();
        return Err(failed("empty it", &text));
    }
    File::create(target)
        .and_then(|_| {
            Ok(rustix::mount::mount_bind(
                format!("/proc/{child}/ns/pid"),
                target,
            )?)
        })
        .map_err(|e| failed("pin it", &e))
}

/// Ends it, and with it everything in its namespace.
pub(crate) fn stop() {
    if let Some(pid) = PAUSE.get() {
        let _ = crate::kill::process(*pid, libc::SIGKILL);
    }
}

/// Containers see the command line, and ours names paths of the board.
fn rename() -> io::Result<()> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // proc(5): 48 and 49; the state, behind the parenthesis, is 3.
    let field = |n: usize| {
        fields
            .split_whitespace()
            .nth(n - 3)
            .and_then(|f| f.parse::<usize>().ok())
    };
    let (Some(start), Some(end)) = (field(48), field(49)) else {
        return Err(io::Error::other("no command line"));
    };
    let name = b"pause";
    let size = end.saturating_sub(start);
    if size <= name.len() {
        return Ok(());
    }
    let memory: *mut u8 = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: the kernel has put our arguments there, writable, `size` bytes of them; from here on nobody
    // reads them, and there is one thread.
    unsafe {
        std::ptr::write_bytes(memory, 0, size);
        std::ptr::copy_nonoverlapping(name.as_ptr(), memory, name.len());
    }
    Ok(())
}

/// Lets go of the board.
fn seclude(empty: &Path) -> io::Result<()> {
    rename()?;
    // SAFETY: takes no pointers; one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    let flags = MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::RDONLY;
    rustix::mount::mount("pause", empty, "tmpfs", flags, Some(c"size=4k,mode=555"))?;
    rustix::process::chdir(empty)?;
    // The old root ends up on top of the new one, and is taken away there.
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    rustix::process::setsid()?;
    drop_rights()
}

fn drop_rights() -> io::Result<()> {
    let failed = || Err(io::Error::last_os_error());
    // linux/capability.h: version 3, this process; then two words for each of three sets.
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [0u32; 6];
    // SAFETY: prctl takes no pointers for these; beyond the last capability it fails, which ends the loop.
    // capset reads a header and three sets of two words, which live through the call. SIG_IGN is a
    // valid disposition, and the set is initialised before use.
    unsafe {
        for capability in 0..64 {
            if libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) != 0 {
                break;
            }
        }
        if libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) != 0
            || libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1 as libc::c_ulong, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_DUMPABLE, 0 as libc::c_ulong, 0, 0, 0) != 0
        {
            return failed();
        }
        libc::prctl(libc::PR_SET_NAME, c"pause".as_ptr());
        // Ignored children leave no zombies. As the first process it gets only signals it asks for.
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
    Ok(())
}

/// Does nothing, for ever, with nothing open: the shim's lock is among what would be.
fn rest() -> ! {
    // SAFETY: nothing of this process uses a descriptor from here on; pause takes nothing.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            0 as libc::c_ulong,
            libc::c_uint::MAX as libc::c_ulong,
            0 as libc::c_ulong,
        );
        loop {
            libc::pause();
        }
    }
}
