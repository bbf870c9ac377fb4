//! Multicast DNS packets (RFC 1035, 6762, 6763), as far as one service needs them. Pure: bytes in, values
//! out, nothing but the standard library.
//!
//! What is read comes from anybody on the LAN: names are at most 255 bytes, a compressed name only ever
//! points further back, at most [`RECORDS_MAX`] records are looked at, and what does not fit is no packet.

use std::net::Ipv4Addr;

/// Longest packet, read or written: an Ethernet frame.
pub const PACKET_MAX: usize = 1500;
/// Most questions, and most records, that are looked at.
pub const RECORDS_MAX: usize = 16;
/// Longest name as text with its dots.
const NAME_MAX: usize = 254;
const LABEL_MAX: usize = 63;
/// What a controller offers.
const SERVICE: &str = "_bramble._tcp.local";
/// Key of the one text that goes with it.
const CLUSTER: &str = "cluster=";

const A: u16 = 1;
const PTR: u16 = 12;
const TXT: u16 = 16;
const SRV: u16 = 33;
const ANY: u16 = 255;
const INTERNET: u16 = 1;
/// In a question: answer to me alone. In a record: this is all there is.
const TOP: u16 = 0x8000;
/// A response, from who is responsible for the name.
const RESPONSE: u16 = 0x8400;
/// What an answer to one asker may be kept for (RFC 6762, 6.7), and one to all.
const TTL_ONE: u32 = 10;
const TTL_ALL: u32 = 120;

/// A question for the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The asker's number.
    pub id: u16,
    /// The asker wants the answer alone.
    pub alone: bool,
}

/// Where a broker of a cluster is, as somebody says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The cluster: one label of a name.
    pub cluster: String,
    /// Address of the broker.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
}

/// The question for the service, to be answered to the asker alone.
pub fn question(id: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    numbers(&mut out, &[id, 0, 1, 0, 0, 0]);
    name(&mut out, SERVICE);
    numbers(&mut out, &[PTR, INTERNET | TOP]);
    out
}

/// Whether a packet asks for the service.
pub fn asked(packet: &[u8]) -> Option<Asked> {
    let mut reader = Reader::new(packet)?;
    let [id, flags, questions, ..] = reader.header()?;
    // A response, or an operation other than a query.
    if flags & 0xf800 != 0 || usize::from(questions) > RECORDS_MAX {
        return None;
    }
    for _ in 0..questions {
        let name = reader.name()?;
        let (kind, class) = (reader.number()?, reader.number()?);
        if name == SERVICE && matches!(kind, PTR | ANY) && matches!(class & !TOP, INTERNET | ANY) {
            let alone = class & TOP != 0;
            return Some(Asked { id, alone });
        }
    }
    None
}

/// The answer. To one asker it repeats number and question and is kept by nobody for long.
pub fn answer(asked: Asked, to_one: bool, offer: &Offer) -> Vec<u8> {
    let instance = format!("{}.{SERVICE}", offer.cluster);
    let host = format!("{}.local", offer.cluster);
    let (id, questions, ttl, all) = match to_one {
        true => (asked.id, 1, TTL_ONE, 0),
        false => (0, 0, TTL_ALL, TOP),
    };
    let mut out = Vec::with_capacity(512);
    numbers(&mut out, &[id, RESPONSE, questions, 4, 0, 0]);
    if to_one {
        name(&mut out, SERVICE);
        numbers(&mut out, &[PTR, INTERNET]);
    }
    record(&mut out, SERVICE, PTR, INTERNET, ttl, |out| {
        name(out, &instance);
    });
    record(&mut out, &instance, SRV, INTERNET | all, ttl, |out| {
        numbers(out, &[0, 0, offer.port]);
        name(out, &host);
    });
    record(&mut out, &instance, TXT, INTERNET | all, ttl, |out| {
        let text = format!("{CLUSTER}{}", offer.cluster);
        label(out, &text);
    });
    record(&mut out, &host, A, INTERNET | all, ttl, |out| {
        out.extend(offer.address.octets());
    });
    out
}

/// What a packet offers, when it answers the question of this number.
pub fn offers(packet: &[u8], id: u16) -> Vec<Offer> {
    let read = || {
        let mut reader = Reader::new(packet)?;
        let [number, flags, questions, answers, authorities, additional] = reader.header()?;
        let counts = [answers, authorities, additional].map(usize::from);
        let records: usize = counts.iter().sum();
        if number != id
            || flags & 0xf80f != RESPONSE & 0xf800
            || usize::from(questions) > RECORDS_MAX
            || records > RECORDS_MAX
        {
            return None;
        }
        for _ in 0..questions {
            reader.name()?;
            reader.number()?;
            reader.number()?;
        }
        let mut said = Said::default();
        for _ in 0..records {
            said.take(&mut reader)?;
        }
        Some(said.offers())
    };
    read().unwrap_or_default()
}

/// What the records of one packet say.
#[derive(Default)]
struct Said {
    services: Vec<(String, u16, String)>,
    clusters: Vec<(String, String)>,
    addresses: Vec<(String, Ipv4Addr)>,
}

impl Said {
    fn take(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let name = reader.name()?;
        let (kind, class) = (reader.number()?, reader.number()?);
        let ttl = (reader.number()?, reader.number()?);
        let length = usize::from(reader.number()?);
        let start = reader.at;
        let end = start.checked_add(length)?;
        let data = reader.packet.get(start..end)?;
        // Nothing that is taken back (no time to live), and of no other network.
        if class & !TOP == INTERNET && ttl != (0, 0) {
            match kind {
                SRV => {
                    reader.number()?;
                    reader.number()?;
                    let port = reader.number()?;
                    let host = reader.name()?;
                    if reader.at != end {
                        return None;
                    }
                    self.services.push((name, port, host));
                }
                TXT => {
                    if let Some(cluster) = text(data) {
                        self.clusters.push((name, cluster));
                    }
                }
                A => {
                    let octets: [u8; 4] = data.try_into().ok()?;
                    self.addresses.push((name, octets.into()));
                }
                _ => {}
            }
        }
        reader.at = end;
        Some(())
    }

    fn offers(self) -> Vec<Offer> {
        let usable = |ip: &Ipv4Addr| {
            !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_broadcast())
        };
        let mut offers = Vec::new();
        for (instance, port, host) in &self.services {
            let ours = instance
                .strip_suffix(SERVICE)
                .is_some_and(|first| first.ends_with('.'));
            let cluster = self.clusters.iter().find(|(name, _)| name == instance);
            let Some((_, cluster)) = cluster.filter(|_| ours && *port != 0) else {
                continue;
            };
            for (_, address) in self.addresses.iter().filter(|(name, _)| name == host) {
                let offer = Offer {
                    cluster: cluster.clone(),
                    address: *address,
                    port: *port,
                };
                if usable(address) && !offers.contains(&offer) && offers.len() < RECORDS_MAX {
                    offers.push(offer);
                }
            }
        }
        offers
    }
}

/// The cluster that a text record names.
fn text(mut data: &[u8]) -> Option<String> {
    while let Some((&length, rest)) = data.split_first() {
        let (string, rest) = rest.split_at_checked(length.into())?;
        if let Some(cluster) = std::str::from_utf8(string).ok()?.strip_prefix(CLUSTER) {
            return Some(cluster.to_owned());
        }
        data = rest;
    }
    None
}

struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(packet: &'a [u8]) -> Option<Self> {
        (packet.len() <= PACKET_MAX).then_some(Self { packet, at: 0 })
    }

    fn header(&mut self) -> Option<[u16; 6]> {
        let mut header = [0; 6];
        for number in &mut header {
            *number = self.number()?;
        }
        Some(header)
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = self.packet.get(self.at..self.at.checked_add(2)?)?;
        self.at += 2;
        Some(u16::from_be_bytes(bytes.try_into().ok()?))
    }

    /// A name in lower case without its last dot.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut at = self.at;
        // Where this stretch began: a pointer leads further back than that, so it ends.
        let mut began = at;
        let mut after = None;
        loop {
            let length = *self.packet.get(at)?;
            match length & 0xc0 {
                0 if length == 0 => {
                    self.at = after.unwrap_or(at + 1);
                    return Some(name);
                }
                0 => {
                    let label = self.packet.get(at + 1..at + 1 + usize::from(length))?;
                    let label = std::str::from_utf8(label).ok()?;
                    if label.contains('.') || name.len() + 1 + label.len() > NAME_MAX {
                        return None;
                    }
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.push_str(&label.to_ascii_lowercase());
                    at += 1 + usize::from(length);
                }
                0xc0 => {
                    let low = *self.packet.get(at + 1)?;
                    after.get_or_insert(at + 2);
                    at = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if at >= began {
                        return None;
                    }
                    began = at;
                }
                _ => return None,
            }
        }
    }
}

fn numbers(out: &mut Vec<u8>, numbers: &[u16]) {
    for number in numbers {
        out.extend(number.to_be_bytes());
    }
}

fn label(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= usize::from(u8::MAX), "{text}");
    out.push(u8::try_from(text.len()).unwrap_or(0));
    out.extend(text.as_bytes());
}

fn name(out: &mut Vec<u8>, name: &str) {
    for part in name.split('.') {
        debug_assert!(part.len() <= LABEL_MAX, "{name}");
        label(out, part);
    }
    out.push(0);
}

fn record(
    out: &mut Vec<u8>,
    owner: &str,
    kind: u16,
    class: u16,
    ttl: u32,
    data: impl FnOnce(&mut Vec<u8>),
) {
    name(out, owner);
    numbers(out, &[kind, class]);
    out.extend(ttl.to_be_bytes());
    let mut body = Vec::new();
    data(&mut body);
    numbers(out, &[u16::try_from(body.len()).unwrap_or(0)]);
    out.extend(body);
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
