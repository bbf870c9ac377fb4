//! The table of node keys decides who is a member.

use std::net::IpAddr;

use super::{Fingerprint, Member, Members};
use crate::join::NodeKeys;

impl Members for NodeKeys {
    fn note_stranger(&self, certificate: &[u8], from: IpAddr) {
        NodeKeys::note_stranger(self, certificate, from);
    }

    fn member(&self, certificate: &Fingerprint) -> Option<Member> {
        let key = self.by_fingerprint(&certificate.0)?;
        // Sites come with the site catalogue.
        Some(Member {
            node: key.node,
            site: None,
        })
    }
}
