//! Descriptors over unix sockets, and pipes between us and containers.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::OFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};

/// Most descriptors that come with one message; the kernel closes what is over it.
const AT_ONCE: usize = 4;

/// Reads bytes and the descriptors that came with them.
pub(crate) fn receive(
    stream: &UnixStream,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(buffer)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let got = recvmsg(stream, &mut data, &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok(got.bytes)
}

/// Sends one descriptor with one byte; never waits.
pub(crate) fn send(to: &OwnedFd, fd: impl AsFd) -> io::Result<()> {
    let fds = [fd.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(to, &[IoSlice::new(b"t")], &mut control, flags)?;
    Ok(())
}

/// A socket through which one descriptor comes back: our end doesn't wait.
pub(crate) fn console() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok((UnixStream::from(ours), theirs))
}

/// The descriptor that came through a [`console`]; it doesn't block.
pub(crate) fn from_console(console: &UnixStream) -> Option<OwnedFd> {
    let mut fds = Vec::new();
    receive(console, &mut [0; 8], &mut fds).ok()?;
    let fd = fds.pop()?;
    nonblocking(&fd).ok()?;
    Some(fd)
}

/// A pipe for a container's output: our end doesn't block, the container's does.
pub(crate) fn output_pipe() -> io::Result<(File, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    nonblocking(&read)?;
    Ok((File::from(read), write))
}

/// A pipe for a container's input: our end (and every copy of it) doesn't block.
pub(crate) fn input_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    nonblocking(&write)?;
    Ok((read, write))
}

/// Reads and writes of it fail with `WouldBlock` instead of waiting.
pub(crate) fn nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

/// What a stream is that nobody wants.
pub(crate) fn null() -> io::Result<OwnedFd> {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    Ok(OwnedFd::from(null))
}

/// The number of a descriptor, as an argument.
pub(crate) fn number(fd: &OwnedFd) -> String {
    fd.as_raw_fd().to_string()
}
