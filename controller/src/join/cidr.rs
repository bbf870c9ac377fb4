//! IPv4 ranges of pods and services.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 range, `10.42.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    base: u32,
    prefix: u8,
}

/// Why a text is not a range we can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an IPv4 range with its host bits zero, like 10.42.0.0/16")]
pub struct InvalidCidr {
    text: String,
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let base = u32::from(address.parse::<Ipv4Addr>().ok()?);
            let prefix: u8 = prefix.parse().ok().filter(|p| (1..=30).contains(p))?;
            (base & (u32::MAX >> prefix) == 0).then_some(Self { base, prefix })
        };
        parse().ok_or_else(|| InvalidCidr {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

impl Cidr {
    /// How many /24 it has.
    #[must_use]
    pub fn subnets(&self) -> u32 {
        let bits = 24_u32.checked_sub(u32::from(self.prefix));
        bits.and_then(|bits| 1_u32.checked_shl(bits)).unwrap_or(0)
    }

    /// The `index`-th /24 of the range.
    #[must_use]
    pub fn subnet(&self, index: u32) -> Option<Self> {
        (index < self.subnets()).then(|| Self {
            base: self.base + (index << 8),
            prefix: 24,
        })
    }

    /// Length of the prefix.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The first address.
    #[must_use]
    pub fn base(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.base)
    }

    /// The `index`-th address.
    #[must_use]
    pub fn address(&self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base.wrapping_add(index))
    }

    /// Whether an address is in the range.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.base ^ u32::from(address)) >> (32 - self.prefix) == 0
    }

    /// Whether the ranges share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let bits = self.prefix.min(other.prefix);
        (self.base ^ other.base) >> (32 - bits) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_counted_from_the_base() {
        let range: Cidr = "10.42.0.0/16".parse().unwrap();
        assert_eq!(range.subnet(0).unwrap().to_string(), "10.42.0.0/24");
        assert_eq!(range.subnet(255).unwrap().to_string(), "10.42.255.0/24");
        assert_eq!(range.subnet(256), None);
        assert_eq!(
            "10.42.7.0/24"
                .parse::<Cidr>()
                .unwrap()
                .subnet(0)
                .unwrap()
                .to_string(),
            "10.42.7.0/24"
        );
        assert_eq!("10.42.7.0/25".parse::<Cidr>().unwrap().subnet(0), None);
    }

    #[test]
    fn bad_ranges_are_refused_and_overlaps_are_seen() {
        for bad in [
            "",
            "10.0.0.0",
            "10.0.0.1/8",
            "10.0.0.0/0",
            "10.0.0.0/33",
            "fd00::/8",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
        let a: Cidr = "10.42.0.0/16".parse().unwrap();
        assert!(a.overlaps(&"10.0.0.0/8".parse().unwrap()));
        assert!(!a.overlaps(&"10.43.0.0/16".parse().unwrap()));
        assert!(a.contains(Ipv4Addr::new(10, 42, 255, 1)));
        assert!(!a.contains(Ipv4Addr::new(10, 43, 0, 1)));
    }
}
