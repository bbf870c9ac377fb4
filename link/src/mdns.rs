//! Finding a controller on the same LAN, by multicast DNS over IPv4.
//!
//! In, on a board that has lost its controller: one question on each of its networks ([`ask`]). Out, on the
//! controller: the address at which the asker reaches its broker ([`answer`]). Nothing is announced and
//! nothing cached; without a question nothing is sent. An answer is a hint and proves nothing: whoever is
//! there has to show a certificate of the cluster's CA, so a liar costs a connection.

pub mod packet;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use bramble_wire::name::ClusterId;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::options::BrokerUrl;
use packet::{Offer, PACKET_MAX};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;
/// Most places that one question finds.
pub const FOUND_MAX: usize = 4;
/// Most networks that are asked, or listened to; the kernel allows 20 memberships of a socket.
const NETWORKS_MAX: usize = 16;
/// Most packets that are looked at for one question.
const PACKETS_MAX: usize = 64;
/// How often the controller looks for new networks.
const LOOK: Duration = Duration::from_secs(15);
/// Answers in a second; more questions than that are not from boards.
const ANSWERS_MAX: u32 = 20;

/// Asks on the networks of these own addresses who has a broker of the cluster, and gathers answers for
/// `wait`; at most [`FOUND_MAX`].
///
/// # Errors
/// When no network can be asked.
pub async fn ask(
    cluster: &ClusterId,
    from: &[Ipv4Addr],
    wait: Duration,
) -> io::Result<Vec<BrokerUrl>> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let id = u16::from_ne_bytes(id);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    sockopt::set_ip_multicast_ttl(&socket, 255)?;
    let mut asked = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
    for own in from.iter().take(NETWORKS_MAX) {
        let sent = match sockopt::set_ip_multicast_if(&socket, own) {
            Ok(()) => (socket.send_to(&packet::question(id), (GROUP, PORT)).await).map(drop),
            Err(error) => Err(error.into()),
        };
        // One network that is down keeps no other from being asked.
        asked = asked.or(sent);
    }
    asked?;
    let mut found = Vec::new();
    let gather = async {
        let mut buffer = [0; PACKET_MAX];
        for _ in 0..PACKETS_MAX {
            let (length, _) = socket.recv_from(&mut buffer).await?;
            for offer in packet::offers(&buffer[..length], id) {
                let url = BrokerUrl {
                    tls: true,
                    host: offer.address.to_string(),
                    port: offer.port,
                };
                if offer.cluster == cluster.as_str() && !found.contains(&url) {
                    found.push(url);
                }
            }
            if found.len() >= FOUND_MAX {
                break;
            }
        }
        io::Result::Ok(())
    };
    // Late or broken: what came counts.
    let _ = tokio::time::timeout(wait, gather).await;
    found.truncate(FOUND_MAX);
    Ok(found)
}

/// Answers questions for a broker of the cluster that listens on this port, on the networks of the own
/// addresses, which are looked up again now and then. Does not end.
///
/// # Errors
/// When nobody can be listened to.
pub async fn answer(
    cluster: &ClusterId,
    port: u16,
    own: impl Fn() -> Vec<Ipv4Addr>,
) -> io::Result<()> {
    let socket = listen()?;
    let mut joined = BTreeSet::new();
    let mut look = tokio::time::interval(LOOK);
    let mut quota = Quota::new(Instant::now());
    let mut buffer = [0; PACKET_MAX];
    loop {
        let received = tokio::select! {
            _ = look.tick() => {
                join(&socket, &own(), &mut joined);
                continue;
            }
            received = socket.recv_from(&mut buffer) => received,
        };
        let (length, from) = match received {
            Ok((length, SocketAddr::V4(from))) => (length, from),
            Ok(_) => continue,
            Err(error) => {
                // Of an answer that nobody took; the socket goes on.
                tracing::debug!(%error, "mDNS");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(asked) = packet::asked(&buffer[..length]) else {
            continue;
        };
        let Some(address) = reached_at(from, &own()) else {
            continue;
        };
        if !quota.take(Instant::now()) {
            continue;
        }
        // Who asks from another port than everybody's is no responder: it takes an answer of its own
        // (RFC 6762, 6.7).
        let to_one = from.port() != PORT;
        let to_all = !to_one && !asked.alone;
        let offer = Offer {
            cluster: cluster.to_string(),
            address,
            port,
        };
        let bytes = packet::answer(asked, to_one, &offer);
        let to = if to_all {
            SocketAddrV4::new(GROUP, PORT)
        } else {
            from
        };
        let sent = match sockopt::set_ip_multicast_if(&socket, &address) {
            Ok(()) => socket.send_to(&bytes, to).await.map(drop),
            Err(error) => Err(error.into()),
        };
        match sent {
            Ok(()) => tracing::debug!(%from, %address, "told by mDNS where the broker is"),
            Err(error) => tracing::debug!(%from, %error, "mDNS"),
        }
    }
}

/// A socket for questions to everybody, and for none that is sent to this machine alone: those come from
/// anywhere. Other responders of the machine have sockets like it.
fn listen() -> io::Result<UdpSocket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_ip_multicast_ttl(&socket, 255)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(GROUP, PORT))?;
    UdpSocket::from_std(std::net::UdpSocket::from(socket))
}

/// Listens on the networks of these addresses. One that went and came back is joined again by then.
fn join(socket: &UdpSocket, own: &[Ipv4Addr], joined: &mut BTreeSet<Ipv4Addr>) {
    joined.retain(|address| own.contains(address));
    for address in own.iter().take(NETWORKS_MAX) {
        if joined.contains(address) {
            continue;
        }
        match sockopt::set_ip_add_membership(socket, &GROUP, address) {
            // A second address of one network finds it joined.
            Ok(()) | Err(rustix::io::Errno::ADDRINUSE) => {
                joined.insert(*address);
            }
            Err(error) => tracing::debug!(%address, %error, "no mDNS on this network"),
        }
    }
}

/// Which of the own addresses somebody reaches: the only one, else that by which this machine reaches him;
/// nothing is sent. None when that is none of them, as on a pod's network.
fn reached_at(peer: SocketAddrV4, own: &[Ipv4Addr]) -> Option<Ipv4Addr> {
    if let [only] = own {
        return Some(*only);
    }
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(peer).ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(address) => Some(*address.ip()).filter(|ip| own.contains(ip)),
        SocketAddr::V6(_) => None,
    }
}

/// [`ANSWERS_MAX`] in each second.
struct Quota {
    since: Instant,
    taken: u32,
}

impl Quota {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            taken: 0,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        self.taken += 1;
        self.taken <= ANSWERS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_bounded() {
        let start = Instant::now();
        let mut quota = Quota::new(start);
        let given = (0..1000).filter(|_| quota.take(start)).count();
        assert_eq!(given, ANSWERS_MAX as usize);
        assert!(quota.take(start + Duration::from_secs(1)));
    }

    #[test]
    fn an_asker_is_told_the_address_that_faces_it() {
        let peer = "127.0.0.1:4000".parse().unwrap();
        let (lan, other) = (Ipv4Addr::new(192, 168, 1, 1), Ipv4Addr::new(10, 9, 8, 7));
        let here = Ipv4Addr::LOCALHOST;
        assert_eq!(reached_at(peer, &[lan, here]), Some(here));
        assert_eq!(reached_at(peer, &[lan, other]), None);
        assert_eq!(
            reached_at(peer, &[lan]),
            Some(lan),
            "the broker listens nowhere else"
        );
        assert_eq!(reached_at(peer, &[]), None);
    }

    #[tokio::test]
    async fn a_question_without_a_network_says_so() {
        let cluster = ClusterId::new("c").unwrap();
        let wait = Duration::from_millis(1);
        assert!(ask(&cluster, &[], wait).await.is_err());
        let nobodys = [[203, 0, 113, 7].into()];
        assert!(ask(&cluster, &nobodys, wait).await.is_err());
    }
}
