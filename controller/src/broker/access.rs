//! Who may connect, publish and subscribe. Every decision is made from the source address of the
//! connection, which [`front`](super::front) noted, and from topics parsed as
//! [`bramble_wire::topic`] defines them.

use std::collections::{HashMap, HashSet};
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use bramble_wire::name::{ClusterId, NodeName, SiteName};
use bramble_wire::topic::Topic;
use mqtt5::QoS;
use mqtt5::broker::auth::{AuthProvider, AuthResult};
use mqtt5::broker::events::{BrokerEventHandler, ClientPublishEvent, PublishAction};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::packet::publish::PublishPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;

use super::Member;

/// Client id, user name and user id of the controller's own link. No node has it: theirs have a
/// prefix.
pub const CONTROLLER_CLIENT_ID: &str = "controller";
/// Longest keep-alive that a node may ask for, in seconds. A dead connection is held for 1.5 times.
const KEEP_ALIVE_MAX_S: u16 = 1200;

/// Refusals that are logged; more clients than that are somebody's game.
const LOGGED_MAX: usize = 256;

/// The client id of a node.
pub fn node_client_id(node: &NodeName) -> String {
    format!("bramble-{node}")
}

/// Whether a client id is a node's: a board may put its hardware behind it, so that a copy of its card is
/// another client.
fn is_client_of(id: &str, node: &NodeName) -> bool {
    let own = node_client_id(node);
    let Some(board) = id.strip_prefix(&*own) else {
        return false;
    };
    let hex = |digits: &str| {
        digits.len() == 8
            && (digits.bytes()).all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    board.is_empty() || board.strip_prefix('.').is_some_and(hex)
}

/// Which node is behind which connection to the plain port.
#[derive(Debug, Default)]
pub(super) struct Peers(RwLock<HashMap<SocketAddr, Member>>);

impl Peers {
    pub(super) fn note(&self, address: SocketAddr, member: Member) {
        self.0
            .write()
            .unwrap_or_else(|e| e.into_inner())
            .insert(address, member);
    }

    pub(super) fn forget(&self, address: &SocketAddr) {
        self.0
            .write()
            .unwrap_or_else(|e| e.into_inner())
            .remove(address);
    }

    fn get(&self, address: &SocketAddr) -> Option<Member> {
        self.0
            .read()
            .unwrap_or_else(|e| e.into_inner())
            .get(address)
            .cloned()
    }
}

/// A client that was let in, as mqtt5 hands it back to us in its user id: `node/site`, the site
/// empty when there is none, or the controller.
#[derive(Debug, PartialEq, Eq)]
enum User {
    Controller,
    Node(NodeName, Option<SiteName>),
}

impl User {
    fn id(member: &Member) -> String {
        let site = member.site.as_ref().map_or("", SiteName::as_str);
        format!("{}/{site}", member.node)
    }

    fn parse(id: Option<&str>) -> Option<User> {
        let id = id?;
        if id == CONTROLLER_CLIENT_ID {
            return Some(User::Controller);
        }
        let (node, site) = id.split_once('/')?;
        Some(User::Node(
            NodeName::new(node).ok()?,
            SiteName::new(site).ok(),
        ))
    }
}

/// What was refused, and whom we told about it.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub(super) connects: AtomicU64,
    pub(super) publishes: AtomicU64,
    pub(super) subscribes: AtomicU64,
    logged: Mutex<HashSet<String>>,
}

impl Refusals {
    /// Counts, and logs the first of its kind for each client.
    fn note(&self, counter: &AtomicU64, client: &str, what: &'static str, detail: &str) {
        counter.fetch_add(1, Ordering::Relaxed);
        let mut logged = self.logged.lock().unwrap_or_else(|e| e.into_inner());
        if logged.len() < LOGGED_MAX && logged.insert(format!("{what} {client}")) {
            tracing::warn!(
                client,
                detail,
                "{what} refused; further ones are only counted"
            );
        }
    }
}

/// The rules.
pub(super) struct Access {
    cluster: ClusterId,
    prefix: String,
    peers: Arc<Peers>,
    refusals: Arc<Refusals>,
    /// Hash of the controller's password, so that comparing takes the same time for every guess.
    password: blake3::Hash,
}

impl Access {
    pub(super) fn new(
        cluster: ClusterId,
        peers: Arc<Peers>,
        refusals: Arc<Refusals>,
        password: &str,
    ) -> Access {
        let prefix = format!("bramble/v1/{cluster}/");
        Access {
            cluster,
            prefix,
            peers,
            refusals,
            password: blake3::hash(password.as_bytes()),
        }
    }

    fn admit(&self, connect: &ConnectPacket, from: SocketAddr) -> Result<String, ReasonCode> {
        if connect.protocol_version != 5 {
            return Err(ReasonCode::UnsupportedProtocolVersion);
        }
        match self.peers.get(&from) {
            Some(member) => self.admit_node(connect, &member),
            None => self.admit_controller(connect),
        }
    }

    fn admit_node(&self, connect: &ConnectPacket, member: &Member) -> Result<String, ReasonCode> {
        if !is_client_of(&connect.client_id, &member.node) {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        if connect.keep_alive == 0 || connect.keep_alive > KEEP_ALIVE_MAX_S {
            return Err(ReasonCode::QuotaExceeded);
        }
        if let Some(will) = &connect.will {
            let own = Topic::parse(&self.cluster, &will.topic)
                .is_some_and(|topic| topic == Topic::Life(member.node.clone()));
            if !own || will.retain {
                return Err(ReasonCode::NotAuthorized);
            }
        }
        Ok(User::id(member))
    }

    fn admit_controller(&self, connect: &ConnectPacket) -> Result<String, ReasonCode> {
        let password = connect.password.as_deref().map(blake3::hash);
        let right = connect.client_id == CONTROLLER_CLIENT_ID
            && connect.username.as_deref() == Some(CONTROLLER_CLIENT_ID)
            && password == Some(self.password);
        if right {
            Ok(CONTROLLER_CLIENT_ID.to_owned())
        } else {
            Err(ReasonCode::NotAuthorized)
        }
    }

    fn may_publish(&self, user: Option<&str>, topic: &str) -> bool {
        match User::parse(user) {
            Some(User::Controller) => topic.starts_with(&self.prefix),
            Some(User::Node(node, _)) => Topic::parse(&self.cluster, topic)
                .is_some_and(|topic| topic.node() == Some(&node) && topic.node_publishes()),
            None => false,
        }
    }

    fn may_subscribe(&self, user: Option<&str>, filter: &str) -> bool {
        let Some(filter) = filter.strip_prefix(&self.prefix) else {
            return false;
        };
        let (node, site) = match User::parse(user) {
            Some(User::Controller) => return true,
            Some(User::Node(node, site)) => (node, site),
            None => return false,
        };
        let levels: Vec<&str> = filter.split('/').collect();
        match levels.as_slice() {
            ["c", "state"] => true,
            ["nodes", owner, rest @ ..] if *owner == node.as_str() => match rest {
                ["d", level] => *level != "#",
                ["rpc", boot, "rs"] => *boot != "#",
                ["cmd", "#"] => true,
                ["cmd", id, "rq" | "in"] => *id != "#",
                _ => false,
            },
            ["sites", name, "d", level] => {
                site.is_some_and(|site| site.as_str() == *name) && *level != "#"
            }
            _ => false,
        }
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl AuthProvider for Access {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        client_addr: SocketAddr,
    ) -> Answer<'a, mqtt5::Result<AuthResult>> {
        let result = match self.admit(connect, client_addr) {
            Ok(user) => AuthResult::success_with_user(user),
            Err(code) => {
                let (client, detail) = (&connect.client_id, format!("{code:?} from {client_addr}"));
                self.refusals
                    .note(&self.refusals.connects, client, "connection", &detail);
                AuthResult::fail(code)
            }
        };
        Box::pin(ready(Ok(result)))
    }

    fn authorize_publish<'a>(
        &'a self,
        client_id: &str,
        user_id: Option<&'a str>,
        topic: &'a str,
    ) -> Answer<'a, bool> {
        let may = self.may_publish(user_id, topic);
        if !may {
            self.refusals
                .note(&self.refusals.publishes, client_id, "publish", topic);
        }
        Box::pin(ready(may))
    }

    fn authorize_subscribe<'a>(
        &'a self,
        client_id: &str,
        user_id: Option<&'a str>,
        topic_filter: &'a str,
    ) -> Answer<'a, bool> {
        let may = self.may_subscribe(user_id, topic_filter);
        if !may {
            self.refusals.note(
                &self.refusals.subscribes,
                client_id,
                "subscription",
                topic_filter,
            );
        }
        Box::pin(ready(may))
    }
}

/// Takes the retain flag off what nodes publish: their state would outlive them in our memory.
pub(super) struct NodesRetainNothing;

impl BrokerEventHandler for NodesRetainNothing {
    fn on_client_publish<'a>(&'a self, event: ClientPublishEvent) -> Answer<'a, PublishAction> {
        let controller = event.user_id.as_deref() == Some(CONTROLLER_CLIENT_ID);
        let action = if controller || !event.retain {
            PublishAction::Continue
        } else {
            let qos = if event.packet_id.is_some() {
                QoS::AtLeastOnce
            } else {
                QoS::AtMostOnce
            };
            let mut publish = PublishPacket::new(event.topic.as_ref(), event.payload, qos);
            publish.packet_id = event.packet_id;
            PublishAction::Transform(publish)
        };
        Box::pin(ready(action))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        let cluster = ClusterId::new("c1").unwrap();
        Access::new(cluster, Arc::default(), Arc::default(), "secret")
    }

    fn member(node: &str, site: Option<&str>) -> Member {
        let site = site.map(|site| SiteName::new(site).unwrap());
        Member {
            node: NodeName::new(node).unwrap(),
            site,
        }
    }

    #[test]
    fn a_client_id_names_its_node_and_perhaps_its_board() {
        let node = NodeName::new("n1").unwrap();
        for (id, is) in [
            ("bramble-n1", true),
            ("bramble-n1.0123abcd", true),
            ("bramble-n1.0123ABCD", false),
            ("bramble-n1.0123abc", false),
            ("bramble-n1.0123abcde", false),
            ("bramble-n1.", false),
            ("bramble-n10123abcd", false),
            ("bramble-n2.0123abcd", false),
            ("controller", false),
        ] {
            assert_eq!(is_client_of(id, &node), is, "{id}");
        }
    }

    #[test]
    fn nodes_publish_their_own_reports_and_nothing_else() {
        let access = access();
        let user = User::id(&member("n1", None));
        let check =
            |topic: &str| access.may_publish(Some(&user), &format!("bramble/v1/c1/{topic}"));
        for topic in [
            "s/birth",
            "s/life",
            "s/sum",
            "s/report",
            "rpc/7/rq",
            "cmd/9/out",
        ] {
            assert!(check(&format!("nodes/n1/{topic}")), "{topic}");
            assert!(
                !check(&format!("nodes/n2/{topic}")),
                "another node's {topic}"
            );
        }
        for topic in [
            "d/head",
            "rpc/7/rs",
            "cmd/9/rq",
            "cmd/9/in",
            "s/other",
            "s/report/x",
        ] {
            assert!(!check(&format!("nodes/n1/{topic}")), "{topic}");
        }
        assert!(!check("c/state"));
        assert!(!access.may_publish(Some(&user), "bramble/v1/c2/nodes/n1/s/report"));
        assert!(!access.may_publish(None, "bramble/v1/c1/nodes/n1/s/report"));
    }

    #[test]
    fn nodes_subscribe_to_their_own_orders_and_their_site() {
        let access = access();
        let user = User::id(&member("n1", Some("home")));
        let check =
            |filter: &str| access.may_subscribe(Some(&user), &format!("bramble/v1/c1/{filter}"));
        let allowed = [
            "nodes/n1/d/+",
            "nodes/n1/d/head",
            "nodes/n1/rpc/7/rs",
            "nodes/n1/rpc/+/rs",
            "nodes/n1/cmd/#",
            "nodes/n1/cmd/+/rq",
            "nodes/n1/cmd/+/in",
            "c/state",
            "sites/home/d/+",
        ];
        for filter in allowed {
            assert!(check(filter), "{filter}");
        }
        let refused = [
            "#",
            "nodes/#",
            "nodes/+/d/+",
            "nodes/+/cmd/#",
            "nodes/n2/d/+",
            "nodes/n2/cmd/#",
            "nodes/n1/#",
            "nodes/n1/s/+",
            "nodes/n1/d/#",
            "c/#",
            "sites/other/d/+",
            "sites/+/d/+",
            "sites/home/#",
        ];
        for filter in refused {
            assert!(!check(filter), "{filter}");
        }
        for filter in [
            "#",
            "$share/g/bramble/v1/c1/nodes/n1/d/+",
            "$SYS/#",
            "bramble/v1/+/nodes/n1/d/+",
        ] {
            assert!(!access.may_subscribe(Some(&user), filter), "{filter}");
        }
        let homeless = User::id(&member("n1", None));
        assert!(!access.may_subscribe(Some(&homeless), "bramble/v1/c1/sites//d/+"));
    }

    #[test]
    fn a_node_named_controller_is_a_node() {
        let member = member("controller", None);
        assert_ne!(User::id(&member), CONTROLLER_CLIENT_ID);
        assert_eq!(
            User::parse(Some(&User::id(&member))),
            Some(User::Node(NodeName::new("controller").unwrap(), None))
        );
        assert_ne!(node_client_id(&member.node), CONTROLLER_CLIENT_ID);
    }
}
