//! The pods' network on this board: one bridge, one veth pair per pod, addresses and routes, all
//! over netlink in the agent's own network namespace.
//!
//! In come settled addresses (the plan allocates them), out goes a working interface `eth0` in each
//! pod. Nothing is remembered here: the kernel's own tables are the state, and a pod's link carries
//! its UID as alias. Every `ensure_*` and `remove_*` may be repeated.

mod inside;

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use bramble_wire::object::PodUid;
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

/// Interface of a pod, inside it.
pub const POD_INTERFACE: &str = "eth0";

/// Alias of a pod's link, before its UID.
const ALIAS: &str = "bramble-pod:";

/// MTU where no underlay tells one.
const MTU_DEFAULT: u32 = 1500;

/// Why the network is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a netlink request.
    #[error("{what}")]
    Netlink {
        /// What was asked.
        what: String,
        /// Its answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// Something else failed.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An address with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Address.
    pub ip: Ipv4Addr,
    /// Prefix, 0 to 32.
    pub prefix: u8,
}

/// The network of this node.
#[derive(Debug)]
pub struct Network {
    handle: Handle,
    bridge: String,
}

impl Network {
    /// Opens netlink in the namespace of the calling thread. Changes nothing.
    ///
    /// # Errors
    /// When there is no netlink.
    pub fn open(bridge: &str) -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self {
            handle,
            bridge: bridge.to_owned(),
        })
    }

    /// Makes the bridge with the node's address (the pods' gateway) and lets the kernel forward.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn ensure_node(&self, address: Address) -> Result<(), Error> {
        let mtu = self.underlay_mtu().await;
        let index = match self.link(&self.bridge).await? {
            Some(link) => link.header.index,
            None => {
                // A fixed hardware address: otherwise it follows the ports and changes with them.
                let message = LinkBridge::new(&self.bridge)
                    .address(hardware(address.ip))
                    .mtu(mtu);
                let added = self.handle.link().add(message.build()).execute().await;
                ignore(added, EEXIST).map_err(netlink("make the bridge"))?;
                self.index(&self.bridge).await?
            }
        };
        let up = LinkUnspec::new_with_index(index).up().build();
        self.handle
            .link()
            .set(up)
            .execute()
            .await
            .map_err(netlink("bring the bridge up"))?;
        self.remove_other_addresses(index, address).await?;
        let add = self
            .handle
            .address()
            .add(index, address.ip.into(), address.prefix);
        let added = add.execute().await;
        ignore(added, EEXIST).map_err(netlink("set the bridge's address"))?;
        ensure_sysctl("/proc/sys/net/ipv4/ip_forward", "1")
    }

    /// Connects a pod: `eth0` in its namespace with its address and a default route over the
    /// bridge, and its loopback up.
    ///
    /// # Errors
    /// When the kernel refuses; trying again goes on where this stopped.
    pub async fn ensure_pod(
        &self,
        uid: PodUid,
        netns: &Path,
        address: Address,
        gateway: Ipv4Addr,
    ) -> Result<(), Error> {
        let namespace = fs::File::open(netns).map_err(|source| Error::Io {
            what: format!("open the namespace {}", netns.display()),
            source,
        })?;
        let bridge = self.link(&self.bridge).await?.ok_or_else(|| Error::Io {
            what: format!("bridge {}", self.bridge),
            source: io::ErrorKind::NotFound.into(),
        })?;
        let inside = inside::Interface { address, gateway };
        let name = link_name(uid);
        if self.link(&name).await?.is_some() {
            match inside.clone().ensure(clone(&namespace)?).await {
                // The other end is gone, or in the namespace of an earlier life.
                Err(inside::Error::Missing) => self.remove_pod(uid).await?,
                other => return other.map_err(Error::from),
            }
        }
        self.add_pair(&name, uid, &bridge, &namespace, address)
            .await?;
        inside.ensure(namespace).await.map_err(Error::from)
    }

    async fn add_pair(
        &self,
        name: &str,
        uid: PodUid,
        bridge: &LinkMessage,
        namespace: &fs::File,
        address: Address,
    ) -> Result<(), Error> {
        let mtu = mtu(bridge).unwrap_or(MTU_DEFAULT);
        // The other end is born in the pod: moved there later, it would be visible here for a
        // moment, under a name that two pods could fight for.
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(POD_INTERFACE)
            .mtu(mtu)
            .address(hardware(address.ip))
            .setns_by_fd(std::os::fd::AsRawFd::as_raw_fd(namespace))
            .build();
        let pair = LinkMessageBuilder::<LinkVeth>::new(name, POD_INTERFACE)
            .mtu(mtu)
            .controller(bridge.header.index)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .up()
            .build();
        let added = self.handle.link().add(pair).execute().await;
        added.map_err(netlink("make the pod's link"))?;
        // The kernel takes no alias with the creation.
        let index = self.index(name).await?;
        let alias = LinkUnspec::new_with_index(index)
            .alias(format!("{ALIAS}{uid}"))
            .up()
            .build();
        self.handle
            .link()
            .set(alias)
            .execute()
            .await
            .map_err(netlink("name the pod's link"))
    }

    /// Takes a pod's link away; one that is gone is fine.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_pod(&self, uid: PodUid) -> Result<(), Error> {
        let Some(link) = self.link(&link_name(uid)).await? else {
            return Ok(());
        };
        let deleted = self.handle.link().del(link.header.index).execute().await;
        ignore(deleted, ENODEV).map_err(netlink("remove the pod's link"))
    }

    /// Pods that have a link here.
    ///
    /// # Errors
    /// When the kernel doesn't list its links.
    pub async fn pods(&self) -> Result<Vec<PodUid>, Error> {
        let links: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(netlink("list links"))?;
        let alias = |link: &LinkMessage| {
            link.attributes.iter().find_map(|a| match a {
                LinkAttribute::IfAlias(alias) => PodUid::parse(alias.strip_prefix(ALIAS)?),
                _ => None,
            })
        };
        Ok(links.iter().filter_map(alias).collect())
    }

    /// Takes the bridge away; for tests and for leaving a cluster.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_node(&self) -> Result<(), Error> {
        let Some(link) = self.link(&self.bridge).await? else {
            return Ok(());
        };
        let deleted = self.handle.link().del(link.header.index).execute().await;
        ignore(deleted, ENODEV).map_err(netlink("remove the bridge"))
    }

    async fn link(&self, name: &str) -> Result<Option<LinkMessage>, Error> {
        link(&self.handle, name).await
    }

    async fn index(&self, name: &str) -> Result<u32, Error> {
        self.link(name)
            .await?
            .map(|l| l.header.index)
            .ok_or_else(|| Error::Io {
                what: format!("link {name}"),
                source: io::ErrorKind::NotFound.into(),
            })
    }

    /// A node whose range changed keeps no old gateway address.
    async fn remove_other_addresses(&self, index: u32, keep: Address) -> Result<(), Error> {
        use rtnetlink::packet_route::address::AddressAttribute;
        let addresses = self.handle.address().get().set_link_index_filter(index);
        let addresses: Vec<_> = addresses
            .execute()
            .try_collect()
            .await
            .map_err(netlink("list addresses"))?;
        for message in addresses {
            let ip = message.attributes.iter().find_map(|a| match a {
                AddressAttribute::Local(std::net::IpAddr::V4(ip)) => Some(*ip),
                _ => None,
            });
            let same = ip == Some(keep.ip) && message.header.prefix_len == keep.prefix;
            if ip.is_some() && !same {
                let removed = self.handle.address().del(message).execute().await;
                removed.map_err(netlink("remove an old address"))?;
            }
        }
        Ok(())
    }

    /// MTU of the interface with the default route.
    async fn underlay_mtu(&self) -> u32 {
        let ask = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let routes: Vec<RouteMessage> = self
            .handle
            .route()
            .get(ask)
            .execute()
            .try_collect()
            .await
            .unwrap_or_default();
        let output = routes
            .iter()
            .filter(|r| r.header.destination_prefix_length == 0)
            .find_map(|r| {
                r.attributes.iter().find_map(|a| match a {
                    RouteAttribute::Oif(index) => Some(*index),
                    _ => None,
                })
            });
        let Some(index) = output else {
            return MTU_DEFAULT;
        };
        let mut links = std::pin::pin!(self.handle.link().get().match_index(index).execute());
        match links.try_next().await {
            Ok(Some(link)) => mtu(&link).unwrap_or(MTU_DEFAULT),
            _ => MTU_DEFAULT,
        }
    }
}

async fn link(handle: &Handle, name: &str) -> Result<Option<LinkMessage>, Error> {
    let mut links = std::pin::pin!(handle.link().get().match_name(name).execute());
    match links.try_next().await {
        Ok(link) => Ok(link),
        Err(error) if errno(&error) == Some(ENODEV) => Ok(None),
        Err(error) => Err(netlink("look for a link")(error)),
    }
}

fn mtu(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|a| match a {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// Name of the host's end: at most 15 bytes, so 48 bits of the UID.
fn link_name(uid: PodUid) -> String {
    let mut short = [0u8; 6];
    for (i, byte) in uid.0.iter().enumerate() {
        short[i % 6] ^= byte.rotate_left(i as u32 / 6);
    }
    short
        .iter()
        .fold("bv".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

/// Locally administered hardware address of an IP address: stable over restarts, so that
/// neighbours' caches stay right.
fn hardware(ip: Ipv4Addr) -> Vec<u8> {
    let [a, b, c, d] = ip.octets();
    vec![0x02, 0xb7, a, b, c, d]
}

fn clone(file: &fs::File) -> Result<fs::File, Error> {
    file.try_clone().map_err(|source| Error::Io {
        what: "duplicate a descriptor".to_owned(),
        source,
    })
}

fn ensure_sysctl(path: &str, value: &str) -> Result<(), Error> {
    if fs::read_to_string(path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    fs::write(path, value).map_err(|source| Error::Io {
        what: format!("write {path}"),
        source,
    })
}

const EEXIST: i32 = 17;
const ENODEV: i32 = 19;

fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(message.raw_code().abs()),
        _ => None,
    }
}

fn ignore(result: Result<(), rtnetlink::Error>, code: i32) -> Result<(), rtnetlink::Error> {
    match result {
        Err(error) if errno(&error) == Some(code) => Ok(()),
        other => other,
    }
}

fn netlink(what: &str) -> impl FnOnce(rtnetlink::Error) -> Error {
    let what = what.to_owned();
    move |source| Error::Netlink { what, source }
}

impl From<inside::Error> for Error {
    fn from(error: inside::Error) -> Self {
        match error {
            inside::Error::Missing => Self::Io {
                what: format!("{POD_INTERFACE} of a pod"),
                source: io::ErrorKind::NotFound.into(),
            },
            inside::Error::Netlink { what, source } => Self::Netlink {
                what: what.to_owned(),
                source,
            },
            inside::Error::Io(source) => Self::Io {
                what: "enter a pod's namespace".to_owned(),
                source,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_fit_and_differ() {
        let mut names = std::collections::BTreeSet::new();
        for n in 0..=255 {
            for at in 0..16 {
                let mut bytes = [0; 16];
                bytes[at] = n;
                names.insert(link_name(PodUid(bytes)));
            }
        }
        // 16 positions fold onto 6 bytes; the rotation keeps most of them apart.
        assert!(names.len() > 1500, "{}", names.len());
        assert!(names.iter().all(|n| n.len() <= 15));
    }
}
