//! Changes of directories, told by the kernel.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use tokio::io::unix::AsyncFd;

/// That something changed; what it was is looked up.
pub(crate) struct Notices {
    fd: AsyncFd<OwnedFd>,
}

impl Notices {
    #[allow(
        deprecated,
        reason = "the successor is unsafe, for types whose descriptor changes; an `OwnedFd`'s does not"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        let fd = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self {
            fd: AsyncFd::new(fd)?,
        })
    }

    /// Watches a path for some sorts of changes.
    pub(crate) fn watch(&self, path: &Path, what: WatchFlags) -> io::Result<()> {
        add_watch(self.fd.get_ref(), path, what)?;
        Ok(())
    }

    /// Waits for one or more notices and takes them all.
    pub(crate) async fn next(&self) -> io::Result<()> {
        let mut ready = self.fd.readable().await?;
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(self.fd.get_ref(), &mut buffer) {
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        Ok(())
    }
}
