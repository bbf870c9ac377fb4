//! Where the node looks for its controller, and when it looks elsewhere: what a person says, then what was
//! found on the LAN, then what the accepted document says, then what the join said, which stays for good.
//!
//! In: brokers of those four. Out: one list for the link. The document is on the node's disk, so a
//! board that starts alone looks where the controller announced that it would be.

use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bramble_agent_core::session::Document;
use bramble_link::BrokerUrl;
use bramble_wire::limits::{BROKER_URL_MAX, BROKERS_MAX};
use tokio::sync::Notify;

/// Where the brokers may be.
#[derive(Debug)]
pub struct Brokers {
    by_hand: Vec<BrokerUrl>,
    joined: Vec<BrokerUrl>,
    now: Mutex<Now>,
    found: Notify,
}

#[derive(Debug, Default)]
struct Now {
    told: Vec<BrokerUrl>,
    found: Vec<BrokerUrl>,
    connected: Option<BrokerUrl>,
}

impl Brokers {
    /// Those that a person names, those of the document on disk, those of the join.
    pub fn new(
        by_hand: Vec<BrokerUrl>,
        document: Option<&Document>,
        joined: Vec<BrokerUrl>,
    ) -> Self {
        let brokers = Self {
            by_hand,
            joined,
            now: Mutex::default(),
            found: Notify::new(),
        };
        if let Some(document) = document {
            brokers.accept(document);
        }
        brokers
    }

    /// Takes over what an accepted document says.
    pub fn accept(&self, document: &Document) {
        let told = document.node().map(|node| node.brokers);
        self.now().told = usable(&told.unwrap_or_default());
    }

    /// Takes over what was found on the LAN; nothing found leaves what was found before.
    pub fn find(&self, found: Vec<BrokerUrl>) {
        let mut now = self.now();
        if !found.is_empty() && now.found != found {
            now.found = found;
            self.found.notify_one();
        }
    }

    /// Resolves when something else has been found.
    pub async fn found(&self) {
        self.found.notified().await;
    }

    /// Every place, best first, each once.
    pub fn list(&self) -> Vec<BrokerUrl> {
        let now = self.now();
        let mut seen = BTreeSet::new();
        (self.by_hand.iter().chain(&now.found))
            .chain(&now.told)
            .chain(&self.joined)
            .filter(|url| seen.insert(url.to_string()))
            .cloned()
            .collect()
    }

    /// Notes the broker that the link is connected to.
    pub fn connected(&self, broker: Option<BrokerUrl>) {
        if broker.is_some() {
            self.now().connected = broker;
        }
    }

    /// Address of the broker that the link is, or was last, connected to; before that, of the best
    /// one. Blocks while the name is resolved.
    pub fn address(&self) -> Option<SocketAddr> {
        let connected = self.now().connected.clone();
        let broker = connected.or_else(|| self.list().into_iter().next())?;
        let mut addresses = (broker.host.as_str(), broker.port).to_socket_addrs().ok()?;
        addresses.find(SocketAddr::is_ipv4)
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When to look for the controller at another broker: the one that the link is connected to works, and
/// the controller does not speak there.
#[derive(Debug)]
pub struct Patience {
    /// Since when nobody speaks, milliseconds.
    since: Option<u64>,
    lasts_ms: u64,
}

impl Patience {
    const FIRST_MS: u64 = 2 * 60_000;
    /// A controller that is away for long has not moved; connections cost a metered link something.
    const MOST_MS: u64 = 64 * 60_000;

    /// Of a link that has just been set up.
    pub fn new() -> Self {
        Self {
            since: None,
            lasts_ms: Self::FIRST_MS,
        }
    }

    /// When it ends; `connected` is whether the link stands, `welcomed` whether the controller speaks.
    pub fn due(&mut self, connected: bool, welcomed: bool, now_ms: u64) -> Option<u64> {
        if welcomed {
            *self = Self::new();
            return None;
        }
        if !connected {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now_ms);
        Some(since.saturating_add(self.lasts_ms))
    }

    /// It has ended, and another broker is tried; the next lasts longer.
    pub fn end(&mut self) {
        self.since = None;
        self.lasts_ms = (self.lasts_ms * 2).min(Self::MOST_MS);
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::new()
    }
}

/// Those that can be used: encrypted, and within the limits. A bad one harms no other.
fn usable(told: &[String]) -> Vec<BrokerUrl> {
    (told.iter().take(BROKERS_MAX))
        .filter(|url| url.len() <= BROKER_URL_MAX)
        .filter_map(|url| match url.parse::<BrokerUrl>() {
            Ok(url) if url.tls => Some(url),
            Ok(url) => {
                tracing::warn!(%url, "a broker that is not encrypted is left out");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "a broker that the controller names is left out");
                None
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use bramble_agent_core::session::Stored;
    use bramble_wire::document::Digest;
    use bramble_wire::object::{NodeConfig, Object, ObjectId};
    use bramble_wire::version::{HistoryId, Version};

    fn document(brokers: &[&str]) -> Document {
        let node = NodeConfig {
            brokers: brokers.iter().map(|url| (*url).to_owned()).collect(),
            ..NodeConfig::default()
        };
        let stored = Stored {
            revision: 1,
            hash: Default::default(),
            body: bramble_wire::encode(&Object::Node(node)).into(),
        };
        Document {
            version: Version::default(),
            history: HistoryId::default(),
            digest: Digest::default(),
            objects: BTreeMap::from([(ObjectId::Node, stored)]),
            unclaimed: BTreeMap::new(),
        }
    }

    fn urls(list: &[&str]) -> Vec<BrokerUrl> {
        list.iter().map(|url| url.parse().unwrap()).collect()
    }

    /// The brokers of a node that was told `told`.
    fn after(by_hand: &[&str], told: &[&str], joined: &[&str]) -> Vec<String> {
        let brokers = Brokers::new(urls(by_hand), Some(&document(told)), urls(joined));
        brokers.list().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_join_comes_last_and_stays() {
        assert_eq!(
            after(&["mqtts://hand"], &["mqtts://told"], &["mqtts://joined"]),
            [
                "mqtts://hand:8883",
                "mqtts://told:8883",
                "mqtts://joined:8883"
            ]
        );
        assert_eq!(
            after(&[], &[], &["mqtts://joined"]),
            ["mqtts://joined:8883"]
        );
    }

    #[test]
    fn a_place_is_named_once() {
        assert_eq!(
            after(
                &[],
                &["mqtts://a", "mqtts://b"],
                &["mqtts://b:8883", "mqtts://c"]
            ),
            ["mqtts://a:8883", "mqtts://b:8883", "mqtts://c:8883"]
        );
    }

    #[test]
    fn what_can_not_be_used_is_left_out() {
        let long = format!("mqtts://{}", "x".repeat(BROKER_URL_MAX));
        let told = [
            "mqtt://plain",
            "http://other",
            "",
            long.as_str(),
            "mqtts://good",
        ];
        assert_eq!(
            after(&[], &told, &["mqtts://joined"]),
            ["mqtts://good:8883", "mqtts://joined:8883"]
        );
        let many: Vec<_> = (0..BROKERS_MAX + 5)
            .map(|n| format!("mqtts://h{n}"))
            .collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(after(&[], &many, &[]).len(), BROKERS_MAX);
    }

    #[test]
    fn a_later_document_takes_the_place_of_an_earlier() {
        let before = document(&["mqtts://a"]);
        let brokers = Brokers::new(vec![], Some(&before), urls(&["mqtts://joined"]));
        brokers.accept(&document(&["mqtts://b"]));
        assert_eq!(brokers.list(), urls(&["mqtts://b", "mqtts://joined"]));
    }

    #[tokio::test]
    async fn what_was_found_is_tried_before_what_was_told() {
        let told = document(&["mqtts://told"]);
        let brokers = Brokers::new(urls(&["mqtts://hand"]), Some(&told), urls(&["mqtts://b"]));
        brokers.find(urls(&["mqtts://10.0.0.1", "mqtts://b"]));
        brokers.found().await;
        let expected = [
            "mqtts://hand",
            "mqtts://10.0.0.1",
            "mqtts://b",
            "mqtts://told",
        ];
        assert_eq!(brokers.list(), urls(&expected));
        brokers.find(vec![]);
        assert_eq!(brokers.list(), urls(&expected), "nobody answered");
        brokers.find(urls(&["mqtts://10.0.0.2"]));
        brokers.found().await;
        let expected = [
            "mqtts://hand",
            "mqtts://10.0.0.2",
            "mqtts://told",
            "mqtts://b",
        ];
        assert_eq!(brokers.list(), urls(&expected));
    }

    #[test]
    fn a_broker_where_nobody_speaks_is_left_after_a_while() {
        let mut patience = Patience::new();
        let minute = 60_000;
        assert_eq!(patience.due(false, false, 0), None, "not even connected");
        assert_eq!(patience.due(true, false, 5), Some(2 * minute + 5));
        assert_eq!(patience.due(true, false, 9), Some(2 * minute + 5), "still");
        patience.end();
        assert_eq!(patience.due(true, false, 10), Some(4 * minute + 10));
        for _ in 0..20 {
            patience.end();
        }
        assert_eq!(patience.due(true, false, 0), Some(64 * minute));
        assert_eq!(patience.due(true, true, 0), None);
        assert_eq!(patience.due(true, false, 0), Some(2 * minute));
    }

    #[test]
    fn a_lost_connection_begins_anew() {
        let mut patience = Patience::new();
        patience.due(true, false, 0);
        patience.due(false, false, 50);
        assert_eq!(patience.due(true, false, 100), Some(120_100));
    }

    #[test]
    fn the_board_faces_the_broker_that_it_reached() {
        let brokers = Brokers::new(
            vec![],
            None,
            urls(&["mqtts://127.0.0.1", "mqtts://127.0.0.2"]),
        );
        assert_eq!(brokers.address(), "127.0.0.1:8883".parse().ok());
        brokers.connected(Some("mqtts://127.0.0.2".parse().unwrap()));
        brokers.connected(None);
        assert_eq!(brokers.address(), "127.0.0.2:8883".parse().ok());
    }
}
