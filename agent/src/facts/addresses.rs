//! The board's own addresses, from the kernel's table.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};

/// Most that are told.
const MAX: usize = 8;
/// Interfaces whose addresses are for containers and machines on the board.
const INSIDE: [&str; 8] = [
    "bramble", "veth", "docker", "br-", "virbr", "cni", "flannel", "cali",
];

/// Addresses that others may use, in order; none when the kernel does not say.
pub async fn own(bridge: &str) -> Vec<[u8; 4]> {
    let Ok((connection, handle, _)) = rtnetlink::new_connection() else {
        return Vec::new();
    };
    let driver = tokio::spawn(connection);
    let all: Result<Vec<AddressMessage>, _> = handle.address().get().execute().try_collect().await;
    driver.abort();
    let own = |message: &AddressMessage| {
        let mut address = None;
        let mut label = "";
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(IpAddr::V4(ip)) => address = Some(*ip),
                AddressAttribute::Label(name) => label = name,
                _ => {}
            }
        }
        address.filter(|ip| is_own(*ip, label, bridge))
    };
    let mut list: Vec<_> = (all.unwrap_or_default().iter())
        .filter_map(own)
        .map(|ip| ip.octets())
        .collect();
    list.sort_unstable();
    list.dedup();
    list.truncate(MAX);
    list
}

fn is_own(ip: Ipv4Addr, interface: &str, bridge: &str) -> bool {
    let inside = interface == bridge || INSIDE.iter().any(|name| interface.starts_with(name));
    !(inside || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_containers_and_of_nobody_are_left_out() {
        for (ip, interface, own) in [
            ([192, 168, 1, 4], "eth0", true),
            ([10, 8, 0, 2], "wg0", true),
            ([10, 42, 0, 1], "pods", false),
            ([10, 42, 0, 1], "bramble0", false),
            ([172, 17, 0, 1], "docker0", false),
            ([127, 0, 0, 1], "lo", false),
            ([169, 254, 3, 4], "eth0", false),
        ] {
            assert_eq!(
                is_own(ip.into(), interface, "pods"),
                own,
                "{ip:?} {interface}"
            );
        }
    }
}
