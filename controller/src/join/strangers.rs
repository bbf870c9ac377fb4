//! Boards that show a certificate of this cluster and are no members of it: removed ones, ones that
//! another board took the place of, and ones that joined in the days that a restored store lacks.
//!
//! In memory only, and bounded: they come again as long as they are there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use bramble_api::time::Timestamp;
use bramble_wire::join::hex_of;
use bramble_wire::standing::Stranger;

use crate::pki;

/// One more takes the place of the one that was not seen for longest.
const STRANGERS_MAX: usize = 256;
/// One that was not seen for so long is gone; it would come again every few minutes.
const GONE_S: i64 = 3_600;
/// The same one is logged once in this time.
const LOG_AGAIN_S: i64 = 3_600;

/// Those seen lately, by the fingerprint of their certificate.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    seen: Mutex<BTreeMap<[u8; 32], Seen>>,
}

#[derive(Debug)]
struct Seen {
    node: String,
    from: IpAddr,
    last: Timestamp,
    logged: Timestamp,
    times: u64,
}

impl Strangers {
    /// Notes one that shows this certificate, which our CA has signed. Certificates of people and of
    /// ourselves are no boards'.
    pub(super) fn note(&self, certificate: &[u8], from: IpAddr, now: Timestamp) {
        let Some(node) = node_of(certificate) else {
            return;
        };
        let fingerprint = pki::fingerprint(certificate);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen.contains_key(&fingerprint);
        let stranger = seen.entry(fingerprint).or_insert_with(|| Seen {
            node,
            from,
            last: now,
            logged: now,
            times: 0,
        });
        stranger.times += 1;
        (stranger.from, stranger.last) = (from, now);
        if !known || now.since(stranger.logged) >= LOG_AGAIN_S {
            stranger.logged = now;
            tracing::warn!(
                node = stranger.node, address = %from, times = stranger.times,
                "a board has a certificate of this cluster and is no member of it; what it runs goes on"
            );
        }
        if seen.len() > STRANGERS_MAX {
            let oldest = seen.iter().min_by_key(|(_, seen)| seen.last);
            if let Some(oldest) = oldest.map(|(fingerprint, _)| *fingerprint) {
                seen.remove(&oldest);
            }
        }
    }

    /// Those that are there and still no members, the last one first.
    pub(super) fn seen(
        &self,
        now: Timestamp,
        is_member: impl Fn(&[u8; 32]) -> bool,
    ) -> Vec<Stranger> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|fingerprint, seen| now.since(seen.last) < GONE_S && !is_member(fingerprint));
        let mut list: Vec<_> = seen.iter().collect();
        list.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.last));
        let stranger = |(fingerprint, seen): (&[u8; 32], &Seen)| Stranger {
            node: seen.node.clone(),
            fingerprint: hex_of(fingerprint),
            address: seen.from.to_string(),
            last_seen: seen.last.rfc3339(),
            times: seen.times,
        };
        list.into_iter().map(stranger).collect()
    }
}

/// The node that a certificate was signed for.
fn node_of(certificate: &[u8]) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let subject = parsed.subject();
    let of_nodes = |group: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        group.as_str().is_ok_and(|group| group == "system:nodes")
    };
    subject.iter_organization().find(|group| of_nodes(group))?;
    let name = subject.iter_common_name().next()?;
    Some(name.as_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bramble_wire::name::NodeName;

    use super::*;
    use crate::pki::{Csr, Options, Pki};

    fn csr() -> Csr {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let request = params.serialize_request(&key).unwrap();
        Csr::parse(&request.pem().unwrap()).unwrap()
    }

    #[test]
    fn boards_are_noted_and_people_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            data_dir: dir.path().to_owned(),
            names: Vec::new(),
        };
        let pki = Pki::open(&options).unwrap();
        let board = |name: &str| {
            let name = NodeName::new(name).unwrap();
            pki.sign_node(&name, csr()).unwrap()
        };
        let at = Timestamp::from_seconds;
        let from = |last: u8| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
        let strangers = Strangers::default();
        let (one, two) = (board("pi-1"), board("pi-2"));
        let groups = ["system:masters".to_owned()];
        let person = pki.sign_user("ann", &groups, u64::from(u32::MAX), csr());
        strangers.note(&person.unwrap(), from(9), at(1));
        strangers.note(b"nonsense", from(9), at(1));
        strangers.note(&one, from(1), at(100));
        strangers.note(&two, from(2), at(200));
        strangers.note(&one, from(3), at(300));
        let nobody = |_: &[u8; 32]| false;
        let shown = |now: i64, is_member: &dyn Fn(&[u8; 32]) -> bool| {
            let list = strangers.seen(at(now), is_member).into_iter();
            list.map(|s| (s.node, s.address, s.times))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            shown(400, &nobody),
            [
                ("pi-1".to_owned(), "10.0.0.3".to_owned(), 2),
                ("pi-2".to_owned(), "10.0.0.2".to_owned(), 1)
            ]
        );
        let joined = |fingerprint: &[u8; 32]| *fingerprint == pki::fingerprint(&one);
        assert_eq!(shown(400, &joined).len(), 1, "it has joined again");
        assert!(
            shown(200 + GONE_S, &nobody).is_empty(),
            "it does not come any more"
        );
    }
}
