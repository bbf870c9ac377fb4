//! A subject with several organisations: a person's groups. rcgen can't write one, as its names hold one
//! value of each type.
//!
//! In: a certificate that rcgen made and signed. Out: the same with another subject, signed again.

use rcgen::{KeyPair, SigningKey as _};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const UTF8: u8 = 0x0c;
const BITS: u8 = 0x03;
/// 2.5.4.3 and 2.5.4.10, as DER writes them.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
const ORGANISATION: [u8; 3] = [0x55, 0x04, 0x0a];

/// A certificate in DER with the subject `CN=<name>`, `O=` each organisation, signed by `key`.
pub(super) fn replaced(
    certificate: &[u8],
    name: &str,
    organisations: &[String],
    key: &KeyPair,
) -> Result<Vec<u8>, rcgen::Error> {
    let unreadable = || rcgen::Error::CouldNotParseCertificate;
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| unreadable())?;
    let body = parsed.tbs_certificate.as_ref();
    let old = parsed.tbs_certificate.subject.as_raw();
    // Both are parts of the same bytes.
    let from = old.as_ptr().addr() - body.as_ptr().addr();
    let fields = header(body).ok_or_else(unreadable)?;
    let new = subject(name, organisations);
    let body = tlv(
        SEQUENCE,
        &[&body[fields..from], &new, &body[from + old.len()..]],
    );
    let start = header(certificate).ok_or_else(unreadable)?;
    let rest = &certificate[start + parsed.tbs_certificate.as_ref().len()..];
    // The algorithm is a short sequence, before the signature.
    let algorithm = rest
        .get(..2 + usize::from(*rest.get(1).ok_or_else(unreadable)?))
        .ok_or_else(unreadable)?;
    // No bits are left over in the last byte.
    let signature = tlv(BITS, &[&[0], &key.sign(&body)?]);
    Ok(tlv(SEQUENCE, &[&body, algorithm, &signature]))
}

fn subject(name: &str, organisations: &[String]) -> Vec<u8> {
    let organisations = organisations.iter().map(|o| (ORGANISATION, o.as_str()));
    let parts: Vec<Vec<u8>> = organisations
        .chain([(COMMON_NAME, name)])
        .map(|(oid, text)| {
            let pair = [tlv(OID, &[&oid]), tlv(UTF8, &[text.as_bytes()])].concat();
            tlv(SET, &[&tlv(SEQUENCE, &[&pair])])
        })
        .collect();
    tlv(SEQUENCE, &[&parts.concat()])
}

/// How many bytes stand before the content.
fn header(der: &[u8]) -> Option<usize> {
    let length = *der.get(1)?;
    Some(2 + usize::from(length.saturating_sub(0x80)))
}

/// Tag, length and content.
fn tlv(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let length = content.len().to_be_bytes();
    let first = length.iter().position(|byte| *byte != 0);
    let length = &length[first.unwrap_or(length.len() - 1)..];
    let mut out = vec![tag];
    match length {
        [short] if *short < 0x80 => out.push(*short),
        // At most eight bytes.
        long => {
            out.push(0x80 | long.len() as u8);
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(&content);
    out
}
