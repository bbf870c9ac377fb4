//! Which address or port is given out: a random one of the upper part of the range, where people do
//! not choose theirs, and of the lower part only when that is full.
//!
//! Sources: upstream's `pkg/registry/core/service/ipallocator/ipallocator.go` and
//! `pkg/registry/core/service/portallocator/allocator.go` (`calculateRangeOffset`).

use std::fmt;
use std::net::Ipv4Addr;

use super::NODE_PORTS;

/// The range of cluster addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Network address.
    pub base: Ipv4Addr,
    /// Length of the prefix.
    pub prefix: u8,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl Range {
    /// Usable addresses: neither the network's nor the broadcast's.
    fn size(self) -> u32 {
        let all = 1_u64 << (32 - u32::from(self.prefix.min(32)));
        u32::try_from(all.saturating_sub(2)).unwrap_or(u32::MAX)
    }

    fn at(self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base).wrapping_add(1 + index))
    }

    /// The first usable address: the Service `kubernetes`.
    #[must_use]
    pub fn first(self) -> Ipv4Addr {
        self.at(0)
    }

    /// Whether an address is one that Services get.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(u32::from(self.base));
        (1..=self.size()).contains(&offset)
    }

    /// A free address. The first one is never given out.
    #[must_use]
    pub fn pick(self, random: u64, taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        let size = self.size();
        let reserved = if size < 16 {
            0
        } else {
            (size / 16).clamp(16, 256)
        };
        scan(random, reserved, size)
            .map(|index| self.at(index))
            .find(|address| *address != self.first() && !taken(*address))
    }
}

/// A free node port.
pub(super) fn port(random: u64, taken: impl Fn(u16) -> bool) -> Option<u16> {
    let size = u32::from(NODE_PORTS.end() - NODE_PORTS.start()) + 1;
    let reserved = (size / 32).clamp(16, 128);
    scan(random, reserved, size)
        .filter_map(|index| u16::try_from(u32::from(*NODE_PORTS.start()) + index).ok())
        .find(|port| !taken(*port))
}

/// Every index once: those of the upper part from a random one on, then those below `reserved`.
fn scan(random: u64, reserved: u32, size: u32) -> impl Iterator<Item = u32> {
    let upper = size.saturating_sub(reserved);
    let start = if upper == 0 {
        0
    } else {
        u32::try_from(random % u64::from(upper)).unwrap_or(0)
    };
    let above = (0..upper).map(move |step| {
        let index = (u64::from(start) + u64::from(step)) % u64::from(upper);
        reserved + u32::try_from(index).unwrap_or(0)
    });
    above.chain(0..reserved.min(size))
}
