//! The table of node keys decides who is a member.

use super::{Fingerprint, Member, Members};
use crate::join::NodeKeys;

impl Members for NodeKeys {
    fn member(&self, certificate: &Fingerprint) -> Option<Member> {
        let key = self.by_fingerprint(&certificate.0)?;
        // Sites come with the site catalogue.
        Some(Member {
            node: key.node,
            site: None,
        })
    }
}
