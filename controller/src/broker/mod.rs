//! The embedded broker: mqtt5 on the loopback, behind our own TLS listener.
//!
//! In: TLS connections of nodes. Out: an MQTT broker for them and for the controller's own
//! [`link`](bramble_link), which reaches it as it would any external broker, so that both are one
//! code path.
//!
//! mqtt5 takes a certificate's identity from the client id, which anybody may choose. So it never
//! sees a certificate: the [`front`] terminates TLS, asks [`Members`] whose certificate it is,
//! notes the node for the source address of the connection that it then opens to mqtt5's plain
//! port, and [`access`] grants that address the rights of that node and no other. A process on this
//! machine that connects to the plain port comes from an address that nobody noted and is refused.
//!
//! Nothing is stored: sessions, queues and retained messages end with the process. The node protocol
//! needs none of them.

mod access;
mod front;
mod members;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bramble_link::options::{self, BrokerUrl};
use bramble_wire::name::{ClusterId, NodeName, SiteName};
use mqtt5::broker::config::{StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerConfig, BrokerShutdownHandle, MqttBroker};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use access::{CONTROLLER_CLIENT_ID, node_client_id};
pub use front::Counters;

/// How long the broker keeps the session of a node that is away.
const SESSION_EXPIRY: Duration = Duration::from_secs(3600);
/// How long somebody else's broker keeps the session of a controller that is away.
const EXTERNAL_SESSION_EXPIRY: Duration = Duration::from_secs(60);
/// Messages queued for a node that is away or slow, and their bytes. The oldest are worth nothing:
/// the node asks when it is back.
const QUEUED_MESSAGES_MAX: usize = 256;
const QUEUED_BYTES_MAX: usize = 1024 * 1024;
/// Messages on their way to one connection before they queue.
const LANE_MAX: usize = 256;
/// Only the controller retains, one message; a few more for tests of the operator.
const RETAINED_MAX: usize = 16;
const RETAINED_SIZE_MAX: usize = 4096;
/// Filters of one client.
const SUBSCRIPTIONS_MAX: usize = 16;
/// How long a clean stop of mqtt5 may take before its tasks are dropped.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(6);

/// SHA-256 of a certificate in DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of(certificate_der: &[u8]) -> Fingerprint {
        use sha2::Digest;
        Fingerprint(sha2::Sha256::digest(certificate_der).into())
    }
}

/// A node that may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name: client id and topics follow from it.
    pub node: NodeName,
    /// Its site, whose catalogue it may read.
    pub site: Option<SiteName>,
}

/// Who belongs to the cluster. Asked at each connection; after a revocation, [`Broker::kick`].
pub trait Members: Send + Sync + 'static {
    /// The member with this certificate; `None` when there is none, or it is revoked.
    fn member(&self, certificate: &Fingerprint) -> Option<Member>;

    /// Somebody showed a certificate (in DER) of the cluster's CA that is no member's.
    fn note_stranger(&self, _certificate: &[u8], _from: IpAddr) {}
}

/// How the broker is set up.
#[derive(Clone)]
pub struct Config {
    /// The cluster, part of every topic.
    pub cluster: ClusterId,
    /// Where nodes connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// TLS that requires client certificates of the cluster's CA:
    /// [`server_config`](bramble_link::tls::server_config) with client roots.
    pub tls: Arc<ServerConfig>,
    /// Connections at a time; one more is closed at once.
    pub clients_max: usize,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a client may leave what we send it unread.
    pub write_timeout: Duration,
}

impl Config {
    /// The usual limits.
    pub fn new(cluster: ClusterId, listen: SocketAddr, tls: Arc<ServerConfig>) -> Config {
        Config {
            cluster,
            listen,
            tls,
            clients_max: 2048,
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
        }
    }
}

/// Why the broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address for nodes can't be listened on.
    #[error("listen for MQTT on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The broker behind it did not start.
    #[error("start the MQTT broker: {0}")]
    Start(String),
    /// No random numbers for the controller's password.
    #[error("draw the controller's password: {0}")]
    Random(String),
}

/// A running broker. Dropping it stops it abruptly; [`shutdown`](Broker::shutdown) lets it say
/// good-bye.
pub struct Broker {
    front: front::Front,
    listen: SocketAddr,
    plain: SocketAddr,
    password: String,
    stop: BrokerShutdownHandle,
    task: JoinHandle<()>,
}

/// Starts the broker.
pub async fn start(config: Config, members: Arc<dyn Members>) -> Result<Broker, Error> {
    let password = random_password()?;
    let peers = Arc::new(access::Peers::default());
    let refusals = Arc::new(access::Refusals::default());
    let access = access::Access::new(
        config.cluster.clone(),
        Arc::clone(&peers),
        Arc::clone(&refusals),
        &password,
    );
    let listen_error = |source| Error::Listen {
        address: config.listen,
        source,
    };
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(listen_error)?;
    let listen = listener.local_addr().map_err(listen_error)?;

    let start_error = |error: mqtt5::MqttError| Error::Start(error.to_string());
    let mut broker = MqttBroker::with_config(broker_config(config.clients_max))
        .await
        .map_err(start_error)?
        .with_auth_provider(Arc::new(access));
    let plain = broker
        .local_addr()
        .ok_or_else(|| Error::Start("no local address".to_owned()))?;
    let stop = broker.shutdown_handle();
    let mut ready = broker.ready_receiver();
    let task = tokio::spawn(async move {
        if let Err(error) = broker.run().await {
            tracing::error!(%error, "MQTT broker stopped");
        }
    });
    if ready.wait_for(|ready| *ready).await.is_err() {
        return Err(Error::Start("it ended while starting".to_owned()));
    }
    tracing::info!(%listen, "MQTT broker listens");
    let front = front::Front::spawn(listener, plain, config, members, peers, refusals);
    Ok(Broker {
        front,
        listen,
        plain,
        password,
        stop,
        task,
    })
}

impl Broker {
    /// Where nodes connect.
    pub fn listen_address(&self) -> SocketAddr {
        self.listen
    }

    /// Options for the controller's own link: where to connect and with what, no subscriptions yet.
    pub fn link_options(&self) -> bramble_link::Options {
        let host = self.plain.ip().to_string();
        let url = BrokerUrl {
            tls: false,
            host,
            port: self.plain.port(),
        };
        let mut options = bramble_link::Options::new(CONTROLLER_CLIENT_ID, vec![url]);
        options.credentials = Some((CONTROLLER_CLIENT_ID.to_owned(), self.password.clone()));
        options.for_controller()
    }

    /// Ends the connections of a node. Call it after the node has been revoked: it may connect
    /// again as long as [`Members`] knows it.
    pub fn kick(&self, node: &NodeName) {
        self.front.kick(node);
    }

    /// A reading of the counters.
    pub fn counters(&self) -> Counters {
        self.front.counters()
    }

    /// Stops: no new connections, a DISCONNECT to those that are there.
    pub async fn shutdown(mut self) {
        self.front.stop_accepting().await;
        self.stop.shutdown();
        if tokio::time::timeout(SHUTDOWN_WAIT, &mut self.task)
            .await
            .is_err()
        {
            tracing::warn!("MQTT broker did not stop in time");
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.shutdown();
        self.task.abort();
    }
}

/// Options for the controller's link to a broker that somebody else runs. `tls` carries our client
/// certificate where the broker wants one; `credentials` is a user and password where it wants that.
/// The broker's own access rules must keep the nodes apart: see the contract suite's `mosquitto.acl`.
pub fn external(
    cluster: &ClusterId,
    urls: Vec<BrokerUrl>,
    tls: Option<Arc<rustls::ClientConfig>>,
    credentials: Option<(String, String)>,
) -> bramble_link::Options {
    // Each start is a client of its own: two controllers of one identity must hear one another, and not
    // take the connection from each other.
    let mut start = [0; 4];
    let start = match getrandom::fill(&mut start) {
        Ok(()) => u32::from_le_bytes(start),
        Err(_) => std::process::id(),
    };
    let client_id = format!("{CONTROLLER_CLIENT_ID}-{cluster}-{start:08x}");
    let mut options = bramble_link::Options::new(client_id, urls);
    options.tls = tls;
    options.credentials = credentials;
    // What it leaves behind is nobody's.
    options.session_expiry = EXTERNAL_SESSION_EXPIRY;
    options.for_controller()
}

fn broker_config(clients_max: usize) -> BrokerConfig {
    let storage = StorageConfig::new()
        .with_backend(StorageBackend::Memory)
        .with_max_queued_messages_per_client(QUEUED_MESSAGES_MAX)
        .with_max_queued_bytes_per_client(QUEUED_BYTES_MAX);
    let mut config = BrokerConfig::default()
        .with_bind_address((Ipv4Addr::LOCALHOST, 0))
        // One more for the controller's own link.
        .with_max_clients(clients_max + 1)
        .with_session_expiry(SESSION_EXPIRY)
        .with_max_packet_size(options::PACKET_MAX as usize)
        .with_maximum_qos(1)
        .with_max_subscriptions_per_client(SUBSCRIPTIONS_MAX)
        .with_max_retained_messages(RETAINED_MAX)
        .with_max_retained_message_size(RETAINED_SIZE_MAX)
        .with_client_channel_capacity(LANE_MAX)
        .with_max_outbound_inflight(options::INFLIGHT_MAX)
        .with_server_receive_maximum(options::INFLIGHT_MAX)
        .with_sys_topics_enabled(false)
        .with_storage(storage)
        .with_event_handler(Arc::new(access::NodesRetainNothing));
    config.topic_alias_maximum = 0;
    config.shared_subscription_available = false;
    config.subscription_identifier_available = false;
    config
}

fn random_password() -> Result<String, Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::Random(error.to_string()))?;
    Ok(hex::encode(bytes))
}
