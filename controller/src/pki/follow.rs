//! Watching the addresses of this machine.
//!
//! The kernel tells of each that comes or goes (rtnetlink); what it says only means "look again", so a
//! lost message costs time and nothing else. Where that socket is not allowed, and for the host name,
//! of which nobody is told, we look once in a while.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::io::unix::AsyncFd;

use super::Pki;

/// `RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR`.
const ADDRESSES: u32 = 0x10 | 0x100;
/// A new interface gets several addresses at once.
const SETTLE: Duration = Duration::from_millis(200);
/// How often we look when nobody says anything.
const LOOK: Duration = Duration::from_secs(60);
/// The same when nobody can.
const LOOK_UNTOLD: Duration = Duration::from_secs(10);

/// Keeps the certificates of the servers fit for the addresses of this machine, without an end.
pub async fn follow_addresses(pki: Arc<Pki>) {
    let told = match listen() {
        Ok(socket) => Some(socket),
        Err(error) => {
            tracing::warn!(%error, "the kernel does not tell of new addresses; looking for them instead");
            None
        }
    };
    loop {
        // Listening already, so what comes now is not missed.
        match pki.follow_names() {
            Ok(changes) => {
                for (what, names) in changes {
                    tracing::info!(certificate = what, names, "made for the addresses of now");
                }
            }
            Err(error) => tracing::warn!(%error, "can't make a certificate for new addresses"),
        }
        match &told {
            Some(socket) => {
                // Waiting longer than that is what we want here, not a failure.
                let _ = tokio::time::timeout(LOOK, heard(socket)).await;
                tokio::time::sleep(SETTLE).await;
            }
            None => tokio::time::sleep(LOOK_UNTOLD).await,
        }
    }
}

// An OwnedFd is just what the new constructor asks for, but that one is unsafe to call.
#[expect(deprecated)]
fn listen() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, ADDRESSES))?;
    AsyncFd::new(socket)
}

/// Resolves when something was said, and takes all of it.
async fn heard(socket: &AsyncFd<OwnedFd>) {
    let Ok(mut ready) = socket.readable().await else {
        return std::future::pending().await;
    };
    let mut buffer = [0_u8; 8192];
    loop {
        match recv(socket.get_ref(), &mut buffer, RecvFlags::empty()) {
            Err(rustix::io::Errno::AGAIN) => {
                ready.clear_ready();
                return;
            }
            // Too much was said (ENOBUFS), or it broke: look, in any case, and not in a hurry.
            Err(_) => return tokio::time::sleep(SETTLE).await,
            Ok(_) => {}
        }
    }
}
