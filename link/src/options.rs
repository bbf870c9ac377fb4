//! How a link is set up, and the limits it keeps.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::ClientConfig;

/// Publishes that may be unacknowledged at a time. Half of the window of packet identifiers, so that
/// a broker that acknowledges out of order does not run us into a collision.
pub const UNACKED_MAX: usize = 8;
/// Window of packet identifiers, ours and the broker's. rumqttc allocates a table of this size: with
/// its default a client weighs 13.9 MB.
pub const INFLIGHT_MAX: u16 = 16;
/// Largest MQTT packet either way: the largest payload, and room for topic and properties.
pub const PACKET_MAX: u32 = 257 * 1024;
/// Longest topic that the link sends; with it a full payload fits [`PACKET_MAX`].
pub const TOPIC_MAX: usize = 400;
/// Shortest keep-alive in use. A large message on a slow line holds up a ping.
pub const KEEP_ALIVE_MIN: Duration = Duration::from_secs(30);
/// Keep-alive for links paid by the byte.
pub const KEEP_ALIVE_METERED: Duration = Duration::from_secs(240);

/// Where a broker is: `mqtts://host:port`, or `mqtt://host:port` on the loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Host name or address, an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Why a broker URL is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither `mqtts://` nor `mqtt://`.
    #[error("a broker URL starts with mqtts:// or mqtt://, not {0:?}")]
    Scheme(String),
    /// No host, or characters that no host has.
    #[error("no usable host in broker URL {0:?}")]
    Host(String),
    /// Not a port number.
    #[error("no usable port in broker URL {0:?}")]
    Port(String),
}

impl BrokerUrl {
    /// Whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl FromStr for BrokerUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<BrokerUrl, UrlError> {
        let (tls, rest) = if let Some(rest) = url.strip_prefix("mqtts://") {
            (true, rest)
        } else if let Some(rest) = url.strip_prefix("mqtt://") {
            (false, rest)
        } else {
            return Err(UrlError::Scheme(url.to_owned()));
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, tail) = rest
                    .split_once(']')
                    .ok_or_else(|| UrlError::Host(url.to_owned()))?;
                (host, tail.strip_prefix(':'))
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(usable) {
            return Err(UrlError::Host(url.to_owned()));
        }
        let port = match port {
            Some(port) => port.parse().map_err(|_| UrlError::Port(url.to_owned()))?,
            None if tls => 8883,
            None => 1883,
        };
        Ok(BrokerUrl {
            tls,
            host: host.to_owned(),
            port,
        })
    }
}

impl std::fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// How messages of a subscription wait for the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Only the newest message of a topic matters; it takes the place of an unread one.
    Latest,
    /// Every message matters; when the reader is too far behind the newest is dropped and counted,
    /// and the sender's own retry brings it again.
    Queue,
}

/// A topic filter to subscribe to on every connection.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The topic filter.
    pub filter: String,
    /// How its messages wait.
    pub delivery: Delivery,
    /// Whether a connection without it is of any use. If so, a refusal ends the connection.
    pub required: bool,
}

impl Subscription {
    /// A required subscription of which only the newest message per topic matters.
    pub fn latest(filter: impl Into<String>) -> Subscription {
        Subscription {
            filter: filter.into(),
            delivery: Delivery::Latest,
            required: true,
        }
    }

    /// A required subscription of which every message matters.
    pub fn queue(filter: impl Into<String>) -> Subscription {
        Subscription {
            filter: filter.into(),
            delivery: Delivery::Queue,
            required: true,
        }
    }

    /// The same, but the link can live without it.
    pub fn optional(mut self) -> Subscription {
        self.required = false;
        self
    }
}

/// What the broker publishes for us when the connection dies.
#[derive(Debug, Clone)]
pub struct Will {
    /// Topic.
    pub topic: String,
    /// Bytes.
    pub payload: Bytes,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
}

/// Makes the will of the connection that is about to be made, once for each attempt: it names the
/// connection, so that a stale one can be told.
#[derive(Clone)]
pub struct WillSource(Arc<dyn Fn() -> Will + Send + Sync>);

impl WillSource {
    /// A will made anew for each attempt. Called from the link's task; must not block.
    pub fn new(make: impl Fn() -> Will + Send + Sync + 'static) -> WillSource {
        WillSource(Arc::new(make))
    }

    pub(crate) fn make(&self) -> Will {
        (self.0)()
    }
}

impl From<Will> for WillSource {
    fn from(will: Will) -> WillSource {
        WillSource::new(move || will.clone())
    }
}

/// Everything a link needs to know before it starts.
#[derive(Clone)]
pub struct Options {
    /// Brokers, tried in turn.
    pub urls: Vec<BrokerUrl>,
    /// The client id; two links with one id take over from each other.
    pub client_id: String,
    /// TLS, needed as soon as one URL is `mqtts`.
    pub tls: Option<Arc<ClientConfig>>,
    /// User name and password, for brokers that want them.
    pub credentials: Option<(String, String)>,
    /// Allows `mqtt://` to a host that is not this machine.
    pub allow_plaintext: bool,
    /// Filters to subscribe to on every connection.
    pub subscriptions: Vec<Subscription>,
    /// The last will.
    pub will: Option<WillSource>,
    /// Ping interval. Raised to [`KEEP_ALIVE_MIN`] unless `short_keep_alive`.
    pub keep_alive: Duration,
    /// Allows a keep-alive down to 5 s, which is rumqttc's own floor. For tests.
    pub short_keep_alive: bool,
    /// Silence after which the connection is given up; `None`: 2.5 × keep-alive.
    pub watchdog: Option<Duration>,
    /// How long connecting, and subscribing, may take.
    pub connect_timeout: Duration,
    /// How long the broker keeps the session when the link is down.
    pub session_expiry: Duration,
    /// First ceiling of the back-off.
    pub backoff_min: Duration,
    /// Last ceiling of the back-off.
    pub backoff_max: Duration,
    /// Topics with state waiting to be sent; one more is refused.
    pub outbox_slots: usize,
    /// Frames waiting to be sent; one more is refused.
    pub outbox_frames: usize,
    /// Bytes waiting to be sent or unacknowledged; more is refused.
    pub outbox_bytes: usize,
    /// Unread messages; one more is dropped.
    pub inbox_messages: usize,
    /// Bytes of unread messages; more is dropped.
    pub inbox_bytes: usize,
}

impl Options {
    /// Options with the limits of a node.
    pub fn new(client_id: impl Into<String>, urls: Vec<BrokerUrl>) -> Options {
        Options {
            urls,
            client_id: client_id.into(),
            tls: None,
            credentials: None,
            allow_plaintext: false,
            subscriptions: Vec::new(),
            will: None,
            keep_alive: Duration::from_secs(60),
            short_keep_alive: false,
            watchdog: None,
            connect_timeout: Duration::from_secs(10),
            session_expiry: Duration::from_secs(3600),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            outbox_slots: 64,
            outbox_frames: 64,
            outbox_bytes: 1024 * 1024,
            inbox_messages: 64,
            inbox_bytes: 1024 * 1024,
        }
    }

    /// Raises the limits to those of the controller, which talks to all nodes over one link.
    pub fn for_controller(mut self) -> Options {
        self.outbox_slots = 20_000;
        self.outbox_frames = 512;
        self.outbox_bytes = 8 * 1024 * 1024;
        self.inbox_messages = 4096;
        self.inbox_bytes = 8 * 1024 * 1024;
        self
    }

    /// The keep-alive in use.
    pub(crate) fn effective_keep_alive(&self) -> Duration {
        let floor = if self.short_keep_alive {
            Duration::from_secs(5)
        } else {
            KEEP_ALIVE_MIN
        };
        self.keep_alive.max(floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |url: &str, tls, host: &str, port, back: &str| {
            let parsed: BrokerUrl = url.parse().unwrap();
            assert_eq!(
                (parsed.tls, parsed.host.as_str(), parsed.port),
                (tls, host, port),
                "{url}"
            );
            assert_eq!(parsed.to_string(), back);
        };
        check(
            "mqtts://broker.example",
            true,
            "broker.example",
            8883,
            "mqtts://broker.example:8883",
        );
        check(
            "mqtts://10.0.0.1:18883/",
            true,
            "10.0.0.1",
            18883,
            "mqtts://10.0.0.1:18883",
        );
        check(
            "mqtt://localhost",
            false,
            "localhost",
            1883,
            "mqtt://localhost:1883",
        );
        check(
            "mqtts://[fd00::1]:8883",
            true,
            "fd00::1",
            8883,
            "mqtts://[fd00::1]:8883",
        );
        check("mqtt://[::1]", false, "::1", 1883, "mqtt://[::1]:1883");
    }

    #[test]
    fn bad_urls() {
        for url in [
            "",
            "http://x",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://a b",
            "mqtts://u:p@host",
            "mqtt://[::1",
        ] {
            assert!(url.parse::<BrokerUrl>().is_err(), "{url:?}");
        }
        assert_eq!(
            "mqtt://h:70000".parse::<BrokerUrl>(),
            Err(UrlError::Port("mqtt://h:70000".into()))
        );
    }

    #[test]
    fn loopback() {
        for (url, loopback) in [
            ("mqtt://localhost", true),
            ("mqtt://127.0.0.9", true),
            ("mqtt://[::1]", true),
            ("mqtt://10.0.0.1", false),
            ("mqtt://broker", false),
        ] {
            assert_eq!(
                url.parse::<BrokerUrl>().unwrap().is_loopback(),
                loopback,
                "{url}"
            );
        }
    }

    #[test]
    fn keep_alive_has_a_floor() {
        let mut options = Options::new("x", vec![]);
        options.keep_alive = Duration::from_secs(1);
        assert_eq!(options.effective_keep_alive(), KEEP_ALIVE_MIN);
        options.short_keep_alive = true;
        assert_eq!(options.effective_keep_alive(), Duration::from_secs(5));
    }
}
