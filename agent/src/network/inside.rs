//! The pod's side: runs in the pod's network namespace, on a thread that ends with the work (a
//! thread that has entered a namespace must never go back to a pool).

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;

use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Address, EEXIST, POD_INTERFACE, ignore, link};

/// Why the inside could not be set up.
#[derive(Debug)]
pub(super) enum Error {
    /// There is no `eth0` in the namespace.
    Missing,
    Netlink {
        what: &'static str,
        source: rtnetlink::Error,
    },
    Io(io::Error),
}

/// What a pod's interface shall be.
#[derive(Debug, Clone)]
pub(super) struct Interface {
    pub(super) address: Address,
    pub(super) gateway: Ipv4Addr,
}

impl Interface {
    /// Loopback and interface up, address and default route set.
    pub(super) async fn ensure(self, namespace: File) -> Result<(), Error> {
        let (done, waiting) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("pod-network".to_owned())
            .stack_size(256 * 1024);
        let work = move || {
            // Nobody waits any more when the receiver is gone; the work is done all the same.
            let _ = done.send(self.run(&namespace));
        };
        thread.spawn(work).map_err(Error::Io)?;
        let ended = || Error::Io(io::Error::other("the thread ended early"));
        waiting.await.map_err(|_| ended())?
    }

    fn run(&self, namespace: &File) -> Result<(), Error> {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|e| Error::Io(e.into()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Io)?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Io)?;
            tokio::spawn(connection);
            self.set_up(&handle).await
        })
    }

    async fn set_up(&self, handle: &Handle) -> Result<(), Error> {
        let find = async |name| match link(handle, name).await {
            Ok(Some(link)) => Ok(link.header.index),
            Ok(None) => Err(Error::Missing),
            Err(super::Error::Netlink { source, .. }) => Err(Error::Netlink {
                what: "look for the pod's link",
                source,
            }),
            Err(super::Error::Io { source, .. }) => Err(Error::Io(source)),
        };
        let failed = |what| move |source| Error::Netlink { what, source };
        let interface = find(POD_INTERFACE).await?;
        for index in [find("lo").await?, interface] {
            let up = LinkUnspec::new_with_index(index).up().build();
            handle
                .link()
                .set(up)
                .execute()
                .await
                .map_err(failed("bring the pod's link up"))?;
        }
        let Address { ip, prefix } = self.address;
        let added = handle
            .address()
            .add(interface, ip.into(), prefix)
            .execute()
            .await;
        ignore(added, EEXIST).map_err(failed("set the pod's address"))?;
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(self.gateway)
            .output_interface(interface)
            .build();
        let added = handle.route().add(route).execute().await;
        ignore(added, EEXIST).map_err(failed("set the pod's default route"))
    }
}
