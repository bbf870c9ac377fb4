//! The broker as a test plays it, and a link that speaks to it.

use std::net::Ipv4Addr;
use std::time::Duration;

use bramble_link::{Event, Events, Handle, Link, Options, Reason, Subscription};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::soon;

/// One accepted TCP connection of the scripted broker.
pub(super) struct Client(pub(super) TcpStream);

/// A packet of the client.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) kind: u8,
    pub(super) body: Vec<u8>,
}

pub(super) const CONNECT: u8 = 1;
pub(super) const PUBLISH: u8 = 3;
pub(super) const SUBSCRIBE: u8 = 8;
pub(super) const PINGREQ: u8 = 12;
pub(super) const DISCONNECT: u8 = 14;

impl Packet {
    /// Of a CONNECT.
    pub(super) fn clean_start(&self) -> bool {
        assert_eq!(self.kind, CONNECT);
        self.body[7] & 0b10 != 0
    }

    /// Of a CONNECT: the interval of pings.
    pub(super) fn keep_alive(&self) -> u16 {
        u16::from_be_bytes([self.body[8], self.body[9]])
    }

    /// Of a SUBSCRIBE with one filter: its retain handling.
    pub(super) fn retain_handling(&self) -> u8 {
        assert_eq!(self.kind, SUBSCRIBE);
        self.body.last().unwrap() >> 4 & 0b11
    }

    /// Of a SUBSCRIBE: the packet identifier.
    pub(super) fn subscribe_id(&self) -> [u8; 2] {
        assert_eq!(self.kind, SUBSCRIBE);
        [self.body[0], self.body[1]]
    }

    /// Of a PUBLISH with QoS 1: topic, packet identifier and payload (no properties).
    pub(super) fn publish(&self) -> (String, [u8; 2], Vec<u8>) {
        assert_eq!(self.kind, PUBLISH);
        let length = usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        let (topic, rest) = self.body[2..].split_at(length);
        (
            String::from_utf8(topic.to_vec()).unwrap(),
            [rest[0], rest[1]],
            rest[3..].to_vec(),
        )
    }
}

impl Client {
    pub(super) async fn read(&mut self) -> Packet {
        self.try_read().await.expect("the client sends a packet")
    }

    /// `None` when the client has hung up.
    pub(super) async fn try_read(&mut self) -> Option<Packet> {
        let kind = self.0.read_u8().await.ok()? >> 4;
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let byte = self.0.read_u8().await.ok()?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.ok()?;
        Some(Packet { kind, body })
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        // A client that has hung up is noticed by reading.
        let _ = self.0.write_all(bytes).await;
    }

    /// Reads the CONNECT and accepts it.
    pub(super) async fn connected(&mut self) -> Packet {
        let connect = self.read().await;
        self.write(&[0x20, 3, 0, 0, 0]).await;
        connect
    }

    /// Connects the client and grants its one subscription; returns both packets.
    pub(super) async fn subscribed(&mut self) -> (Packet, Packet) {
        let connect = self.connected().await;
        let subscribe = self.read().await;
        self.suback(&subscribe, &[1]).await;
        (connect, subscribe)
    }

    pub(super) async fn suback(&mut self, subscribe: &Packet, codes: &[u8]) {
        let [high, low] = subscribe.subscribe_id();
        let mut packet = vec![0x90, 3 + codes.len() as u8, high, low, 0];
        packet.extend(codes);
        self.write(&packet).await;
    }

    pub(super) async fn puback(&mut self, [high, low]: [u8; 2], code: u8) {
        self.write(&[0x40, 4, high, low, code, 0]).await;
    }

    pub(super) async fn publish(&mut self, topic: &str, payload: &[u8]) {
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend(topic.as_bytes());
        body.push(0);
        body.extend(payload);
        let mut packet = vec![0x30];
        let mut length = body.len();
        while length >= 0x80 {
            packet.push(length as u8 | 0x80);
            length >>= 7;
        }
        packet.push(length as u8);
        packet.extend(body);
        self.write(&packet).await;
    }

    /// Waits until the client hangs up.
    pub(super) async fn hung_up(mut self) {
        let mut buffer = [0; 4096];
        while !matches!(self.0.read(&mut buffer).await, Ok(0) | Err(_)) {}
    }
}

pub(super) struct Bed {
    pub(super) listener: TcpListener,
    pub(super) link: Handle,
    pub(super) events: Events,
}

/// A link to a broker that the test plays.
pub(super) async fn bed(adjust: impl FnOnce(&mut Options)) -> Bed {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let mut options = Options::new("faults", vec![url]);
    options.subscriptions = vec![Subscription::queue("in/#")];
    options.backoff_min = Duration::from_millis(20);
    options.backoff_max = Duration::from_millis(200);
    adjust(&mut options);
    let (link, events) = Link::spawn(options).unwrap();
    Bed {
        listener,
        link,
        events,
    }
}

impl Bed {
    pub(super) async fn accept(&self) -> Client {
        Client(soon(self.listener.accept()).await.unwrap().0)
    }

    /// The next event of interest, whatever comes before.
    pub(super) async fn until(&mut self, right: impl Fn(&Event) -> bool) -> Event {
        soon(async {
            loop {
                let event = self.events.next().await.expect("the link is alive");
                if right(&event) {
                    return event;
                }
            }
        })
        .await
    }

    pub(super) async fn subscribed(&mut self) {
        self.until(|event| matches!(event, Event::Subscribed)).await;
    }

    pub(super) async fn disconnected(&mut self) -> (Reason, Duration) {
        match self
            .until(|event| matches!(event, Event::Disconnected { .. }))
            .await
        {
            Event::Disconnected { reason, retry_in } => (reason, retry_in),
            _ => unreachable!(),
        }
    }
}
