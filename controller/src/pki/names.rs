//! The names a server certificate carries.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The usual names, `extra`, and what this machine is called, without repeats and in order.
pub(super) fn certificate_names(extra: &[String]) -> Vec<String> {
    let usual = [
        "localhost",
        "127.0.0.1",
        "::1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut names: BTreeSet<String> = usual.iter().map(|&name| name.to_owned()).collect();
    names.extend(extra.iter().filter_map(|name| usable(name)));
    names.extend(local_names().iter().filter_map(|name| usable(name)));
    names.into_iter().collect()
}

/// An address or a DNS name that a certificate can carry, normalised.
fn usable(name: &str) -> Option<String> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return (!address.is_unspecified()).then(|| address.to_string());
    }
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    (name.len() <= 253 && name.split('.').all(label)).then_some(name)
}

/// Host name and addresses of this machine.
#[must_use]
pub fn local_names() -> Vec<String> {
    let mut names = Vec::new();
    let uname = rustix::system::uname();
    names.extend(uname.nodename().to_str().ok().map(str::to_owned));
    let fib = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    names.extend(ipv4_of(&fib).iter().map(ToString::to_string));
    let inet6 = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    names.extend(ipv6_of(&inet6).iter().map(ToString::to_string));
    names
}

/// Local addresses in `/proc/net/fib_trie`: a leaf line, then `/32 host LOCAL`.
fn ipv4_of(trie: &str) -> Vec<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut leaf = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(leaf.filter(|a| !a.is_loopback()));
        }
    }
    found.into_iter().collect()
}

/// Global and unique local addresses in `/proc/net/if_inet6`.
fn ipv6_of(text: &str) -> Vec<Ipv6Addr> {
    let parse = |line: &str| {
        let digits = line.split_whitespace().next()?;
        let address = Ipv6Addr::from(u128::from_str_radix(digits, 16).ok()?);
        // Link-local addresses change meaning from link to link.
        let local = address.is_loopback() || address.segments()[0] & 0xffc0 == 0xfe80;
        (!local).then_some(address)
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_the_kernel_tables() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     \
                    |-- 10.0.0.7\n        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        assert_eq!(ipv4_of(trie), [Ipv4Addr::new(10, 0, 0, 7)]);
        let inet6 = "00000000000000000000000000000001 01 80 10 80 lo\n\
                     fe80000000000000020000fffe000001 02 40 20 80 eth0\n\
                     fd000000000000000000000000000007 02 40 00 80 eth0\n";
        assert_eq!(ipv6_of(inet6), ["fd00::7".parse::<Ipv6Addr>().unwrap()]);
    }

    #[test]
    fn names_that_no_certificate_can_carry_are_left_out() {
        for bad in ["", "a b", "under_score", "-x", "0.0.0.0", "::"] {
            assert_eq!(usable(bad), None, "{bad}");
        }
        assert_eq!(usable("Pi.Local.").as_deref(), Some("pi.local"));
    }
}
