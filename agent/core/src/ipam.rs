//! Addresses of a node's pods. An address is a pod's from before its sandbox starts until after
//! everything of it has stopped; both are on disk.

use std::collections::BTreeSet;

use bramble_wire::object::{Cidr, PodUid};

/// The address of the node's bridge, which is its pods' gateway.
pub fn gateway(cidr: Cidr) -> [u8; 4] {
    (network(cidr) | 1).to_be_bytes()
}

/// A free address for a pod. The search starts at a place that depends on the pod, so that an
/// address that was just given back is seldom given out at once (neighbours may still remember it).
///
/// The network address, the gateway and the broadcast address are never given out.
pub fn allocate(cidr: Cidr, uid: PodUid, taken: &BTreeSet<[u8; 4]>) -> Option<[u8; 4]> {
    if cidr.prefix > 30 {
        return None;
    }
    let hosts = (1u64 << (32 - u32::from(cidr.prefix))) - 3;
    let start = uid.0.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    }) % hosts;
    // One more than is taken is enough to find a free one, or to know that there is none.
    (0..hosts.min(taken.len() as u64 + 1))
        .map(|step| (start + step) % hosts + 2)
        .map(|host| (u64::from(network(cidr)) + host) as u32)
        .map(u32::to_be_bytes)
        .find(|address| !taken.contains(address))
}

fn network(cidr: Cidr) -> u32 {
    let mask = u32::MAX
        .checked_shl(32 - u32::from(cidr.prefix.min(32)))
        .unwrap_or(0);
    u32::from_be_bytes(cidr.address) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(prefix: u8) -> Cidr {
        Cidr {
            address: [10, 42, 3, 0],
            prefix,
        }
    }

    #[test]
    fn a_range_is_used_to_its_last_address_without_the_reserved_ones() {
        let mut taken = BTreeSet::new();
        for n in 0..253u8 {
            let address = allocate(cidr(24), PodUid([n; 16]), &taken).expect("room");
            assert!(taken.insert(address), "{address:?} given out twice");
            assert_eq!(address[..3], [10, 42, 3]);
            assert!(!matches!(address[3], 0 | 1 | 255), "{address:?}");
        }
        assert_eq!(allocate(cidr(24), PodUid([254; 16]), &taken), None);
        taken.remove(&[10, 42, 3, 77]);
        assert_eq!(
            allocate(cidr(24), PodUid([254; 16]), &taken),
            Some([10, 42, 3, 77])
        );
    }

    #[test]
    fn ranges_too_small_give_nothing() {
        let none = BTreeSet::new();
        assert_eq!(allocate(cidr(32), PodUid([1; 16]), &none), None);
        assert_eq!(allocate(cidr(31), PodUid([1; 16]), &none), None);
        assert_eq!(
            allocate(cidr(30), PodUid([1; 16]), &none),
            Some([10, 42, 3, 2])
        );
        assert!(allocate(cidr(0), PodUid([1; 16]), &none).is_some());
    }

    #[test]
    fn the_gateway_is_the_first_host() {
        assert_eq!(gateway(cidr(24)), [10, 42, 3, 1]);
    }
}
