//! The terminal of a container or an executed command: libcontainer opens it inside the container and
//! sends its descriptor to a socket with a name; from there it goes on to the caller's socket.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use bramble_wire::shim::{Failure, FailureKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::args::Args;
use crate::process;

/// libcontainer connects before `build` returns, and sends soon after or never.
const PATIENCE_S: i64 = 10;

/// See the module. Its socket goes with it.
pub(crate) struct Console {
    listener: UnixListener,
    path: PathBuf,
    caller: OwnedFd,
}

impl Console {
    /// Listens, when the caller wants a terminal.
    pub(crate) fn bind(args: &Args) -> Result<Option<Self>, Failure> {
        let Some(number) = args.console_fd else {
            return Ok(None);
        };
        let caller = process::inherited(number).map_err(|e| broken("take the socket", &e))?;
        // Short, and nobody else's: there is one process of our number.
        let path = args.root.join(format!("tty.{}", std::process::id()));
        let _ = fs::remove_file(&path);
        fs::create_dir_all(&args.root).map_err(|e| broken("make the state directory", &e))?;
        let listener = UnixListener::bind(&path).map_err(|e| broken("listen", &e))?;
        Ok(Some(Self {
            listener,
            path,
            caller,
        }))
    }

    /// Where libcontainer connects to.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the terminal from libcontainer and gives it to the caller.
    pub(crate) fn pass_on(self) -> Result<(), Failure> {
        readable(&self.listener).map_err(|e| broken("wait for it", &e))?;
        let (stream, _) = self.listener.accept().map_err(|e| broken("accept", &e))?;
        readable(&stream).map_err(|e| broken("wait for it", &e))?;
        let terminal = receive(&stream).map_err(|e| broken("receive it", &e))?;
        send(&self.caller, &terminal).map_err(|e| broken("hand it on", &e))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn readable(fd: impl std::os::fd::AsFd) -> io::Result<()> {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    let limit = Timespec {
        tv_sec: PATIENCE_S,
        tv_nsec: 0,
    };
    match poll(&mut fds, Some(&limit))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

fn receive(stream: &std::os::unix::net::UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 64];
    let mut data = [IoSliceMut::new(&mut name)];
    recvmsg(
        stream.as_fd(),
        &mut data,
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let rights = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    rights.ok_or_else(|| io::Error::other("no descriptor came"))
}

fn send(to: &OwnedFd, terminal: &OwnedFd) -> io::Result<()> {
    let fds = [terminal.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    // The socket is fresh and we are the only one to write: there is room for a byte.
    sendmsg(
        to,
        &[IoSlice::new(b"t")],
        &mut control,
        SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    )?;
    Ok(())
}

fn broken(what: &str, error: &io::Error) -> Failure {
    Failure {
        kind: FailureKind::Runtime,
        message: format!("terminal: {what}: {error}"),
    }
}
