//! Our ends of a session's streams: pipes, terminals, and the socket through which a terminal (or the
//! pipe to a container's input) comes to us.

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

use super::session::Terminal;

/// A descriptor that was promised comes at once or never.
const PATIENCE: Duration = Duration::from_secs(10);

/// tokio's safe way to register a descriptor is deprecated because of types that lend a descriptor they
/// don't own; this one owns it.
#[expect(
    deprecated,
    reason = "its successor is unsafe, and this crate has no unsafe code"
)]
fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

/// A stream or terminal of a session, ours. Copies share it.
#[derive(Debug, Clone)]
pub(super) struct Stream(Arc<AsyncFd<OwnedFd>>);

impl Stream {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self(Arc::new(register(fd)?)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            let into = buffer.initialize_unfilled();
            match guard.try_io(|fd| Ok(rustix::io::read(fd, into)?)) {
                Ok(Ok(n)) => {
                    buffer.advance(n);
                    return Poll::Ready(Ok(()));
                }
                // A terminal whose last holder is gone: its end.
                Ok(Err(e)) if e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(e)) => return Poll::Ready(Err(e)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(context))?;
            match guard.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)) {
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The end is told by dropping.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Terminal for Stream {
    fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize {
            ws_col: columns,
            ws_row: rows,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // One that has gone has no size.
        let _ = tcsetwinsize(self.0.get_ref(), size);
    }
}

/// A pipe to us: our end, theirs.
pub(super) fn from_process() -> io::Result<(Stream, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((Stream::new(read)?, write))
}

/// A pipe from us: our end, theirs.
pub(super) fn to_process() -> io::Result<(Stream, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((Stream::new(write)?, read))
}

/// Where a descriptor will come from.
#[derive(Debug)]
pub(super) struct Console(AsyncFd<OwnedFd>);

impl Console {
    /// Our end, theirs.
    pub(super) fn new() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        Ok((Self(register(ours)?), theirs))
    }

    /// The descriptor that was sent.
    pub(super) async fn receive(self) -> io::Result<Stream> {
        let receiving = self
            .0
            .async_io(Interest::READABLE, |fd| receive(fd.as_fd()));
        let fd = tokio::time::timeout(PATIENCE, receiving).await??;
        Stream::new(fd)
    }
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 8];
    let mut data = [IoSliceMut::new(&mut byte)];
    recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fd.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Sends all bytes, and descriptors with the first of them.
pub(super) async fn send(stream: &UnixStream, bytes: &[u8], fds: &[OwnedFd]) -> io::Result<()> {
    let mut sent = 0;
    while sent < bytes.len() {
        let with: Vec<_> = match sent {
            0 => fds.iter().map(AsFd::as_fd).collect(),
            _ => Vec::new(),
        };
        let rest = &bytes[sent..];
        sent += stream
            .async_io(Interest::WRITABLE, || send_some(stream, rest, &with))
            .await?;
    }
    Ok(())
}

fn send_some(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let data = [IoSlice::new(bytes)];
    Ok(sendmsg(stream, &data, &mut control, SendFlags::NOSIGNAL)?)
}
