//! A broker with its certificates, and links to it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bramble_controller::broker::{self, Broker, Config, Fingerprint, Member, Members};
use bramble_link::tls::{FloorClock, Identity, client_config, server_config};
use bramble_link::{BrokerUrl, Event, Events, Handle, Link, Options, Subscription};
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::topic;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SanType};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const MOSQUITTO: &str = "/usr/sbin/mosquitto";

/// The cluster's CA.
pub(crate) struct Ca {
    issuer: rcgen::Issuer<'static, KeyPair>,
    pub(crate) der: CertificateDer<'static>,
    pem: String,
}

/// A certificate as files want it and as rustls wants it.
pub(crate) struct Leaf {
    pub(crate) der: CertificateDer<'static>,
    key: Vec<u8>,
    pem: String,
    key_pem: String,
}

impl Ca {
    pub(crate) fn new() -> Ca {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "test CA");
        let certificate = params.self_signed(&key).unwrap();
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Ca {
            issuer: rcgen::Issuer::new(params, key),
            der,
            pem,
        }
    }

    pub(crate) fn leaf(&self, name: &str) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![
            SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
            SanType::DnsName("localhost".try_into().unwrap()),
        ];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            der: certificate.der().clone(),
            key: key.serialize_der(),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }
}

impl Leaf {
    pub(crate) fn identity(&self) -> Identity {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        Identity {
            chain: vec![self.der.clone()],
            key,
        }
    }
}

/// Members of the cluster, with revocation.
#[derive(Default)]
pub(crate) struct Table(Mutex<HashMap<[u8; 32], Member>>);

impl Table {
    pub(crate) fn add(&self, certificate: &CertificateDer<'_>, node: &str) {
        let member = Member {
            node: NodeName::new(node).unwrap(),
            site: None,
        };
        self.0
            .lock()
            .unwrap()
            .insert(Fingerprint::of(certificate).0, member);
    }

    pub(crate) fn revoke(&self, node: &str) {
        self.0
            .lock()
            .unwrap()
            .retain(|_, member| member.node.as_str() != node);
    }
}

impl Members for Table {
    fn member(&self, certificate: &Fingerprint) -> Option<Member> {
        self.0.lock().unwrap().get(&certificate.0).cloned()
    }
}

enum Running {
    Embedded(Option<Broker>),
    Mosquitto {
        process: Option<Killed>,
        directory: tempfile::TempDir,
    },
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A broker with TLS, and everything to connect to it.
pub(crate) struct Bed {
    pub(crate) ca: Ca,
    pub(crate) table: Arc<Table>,
    pub(crate) address: SocketAddr,
    running: Running,
}

impl Bed {
    pub(crate) async fn embedded() -> Bed {
        Bed::embedded_with(|_| {}).await
    }

    pub(crate) async fn embedded_with(adjust: impl FnOnce(&mut Config)) -> Bed {
        let (ca, table) = (Ca::new(), Arc::new(Table::default()));
        let mut config = embedded_config(&ca, (Ipv4Addr::LOCALHOST, 0).into());
        adjust(&mut config);
        let broker = broker::start(config, table.clone()).await.unwrap();
        let address = broker.listen_address();
        Bed {
            ca,
            table,
            address,
            running: Running::Embedded(Some(broker)),
        }
    }

    pub(crate) async fn mosquitto() -> Bed {
        Bed::mosquitto_with("").await
    }

    /// mosquitto with more lines in its configuration.
    pub(crate) async fn mosquitto_with(more: &'static str) -> Bed {
        assert!(
            Path::new(MOSQUITTO).exists(),
            "{MOSQUITTO} is missing: `apt-get install mosquitto`, or run ./x test, which installs it"
        );
        let ca = Ca::new();
        let directory = tempfile::tempdir().unwrap();
        let server = ca.leaf("broker");
        let write =
            |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("ca.pem", &ca.pem);
        write("server.pem", &server.pem);
        write("server.key", &server.key_pem);
        write(
            "acl",
            &include_str!("mosquitto.acl").replace("CLUSTER", cluster().as_str()),
        );
        let port = free_port();
        write("more.conf", more);
        let process = spawn_mosquitto(directory.path(), port).await;
        Bed {
            ca,
            table: Arc::default(),
            address: (Ipv4Addr::LOCALHOST, port).into(),
            running: Running::Mosquitto {
                process: Some(process),
                directory,
            },
        }
    }

    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self.running, Running::Embedded(_))
    }

    /// Changes mosquitto's access rules, given the right ones, while it runs.
    pub(crate) fn rules(&self, change: impl FnOnce(&str) -> String) {
        let Running::Mosquitto {
            process: Some(process),
            directory,
        } = &self.running
        else {
            panic!("mosquitto does not run");
        };
        let right = include_str!("mosquitto.acl").replace("CLUSTER", cluster().as_str());
        std::fs::write(directory.path().join("acl"), change(&right)).unwrap();
        let pid = process.0.id().to_string();
        let told = Command::new("kill").args(["-HUP", &pid]).status().unwrap();
        assert!(told.success());
    }

    pub(crate) fn broker(&self) -> &Broker {
        match &self.running {
            Running::Embedded(Some(broker)) => broker,
            _ => panic!("not the embedded broker"),
        }
    }

    /// Stops the broker hard and starts another at the same address, without anything stored.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }

    pub(crate) async fn stop(&mut self) {
        match &mut self.running {
            Running::Embedded(broker) => broker.take().unwrap().shutdown().await,
            Running::Mosquitto { process, .. } => drop(process.take()),
        }
    }

    pub(crate) async fn start(&mut self) {
        match &mut self.running {
            Running::Embedded(broker) => {
                let config = embedded_config(&self.ca, self.address);
                *broker = Some(broker::start(config, self.table.clone()).await.unwrap());
            }
            Running::Mosquitto { process, directory } => {
                *process = Some(spawn_mosquitto(directory.path(), self.address.port()).await);
            }
        }
    }

    /// Options of a node's link, all its filters subscribed.
    pub(crate) fn node_options(&self, node: &str, _boot: u64) -> Options {
        let leaf = self.ca.leaf(node);
        self.table.add(&leaf.der, node);
        let mut options = self.options_with(&format!("bramble-{node}"), Some(&leaf));
        let name = NodeName::new(node).unwrap();
        let filters = topic::node_filters(&cluster(), &name);
        options.subscriptions = filters
            .iter()
            .map(|f| Subscription::queue(f.as_str()))
            .collect();
        options
    }

    /// Options of a link with this certificate and nothing subscribed.
    pub(crate) fn options_with(&self, client_id: &str, leaf: Option<&Leaf>) -> Options {
        let mut options = Options::new(client_id, vec![url(self.address)]);
        let (roots, clock) = ([self.ca.der.clone()], FloorClock::new(0));
        options.tls = Some(client_config(&roots, leaf.map(Leaf::identity), clock).unwrap());
        quick(&mut options);
        options
    }

    pub(crate) fn controller_options(&self) -> Options {
        let mut options = match &self.running {
            Running::Embedded(_) => self.broker().link_options(),
            Running::Mosquitto { .. } => self
                .options_with("controller", Some(&self.ca.leaf("bramble.controller")))
                .for_controller(),
        };
        quick(&mut options);
        let filters = topic::controller_filters(&cluster());
        options.subscriptions = filters
            .iter()
            .map(|f| Subscription::queue(f.as_str()))
            .collect();
        options
    }

    pub(crate) async fn node(&self, node: &str, boot: u64) -> Peer {
        Peer::start(self.node_options(node, boot)).await
    }

    pub(crate) async fn controller(&self) -> Peer {
        Peer::start(self.controller_options()).await
    }
}

fn embedded_config(ca: &Ca, listen: SocketAddr) -> Config {
    let roots = [ca.der.clone()];
    let identity = ca.leaf("broker").identity();
    let tls = server_config(identity, Some(&roots), FloorClock::new(0)).unwrap();
    Config::new(cluster(), listen, tls)
}

async fn spawn_mosquitto(directory: &Path, port: u16) -> Killed {
    let at = |name: &str| directory.join(name).display().to_string();
    let more = std::fs::read_to_string(directory.join("more.conf")).unwrap();
    let configuration = format!(
        "user root\nlistener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\n\
         require_certificate true\nuse_identity_as_username true\nallow_anonymous false\n\
         acl_file {}\npersistence false\n{more}\n",
        at("ca.pem"),
        at("server.pem"),
        at("server.key"),
        at("acl"),
    );
    std::fs::write(directory.join("mosquitto.conf"), configuration).unwrap();
    let child = Command::new(MOSQUITTO)
        .arg("-c")
        .arg(directory.join("mosquitto.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut process = Killed(child);
    let mut here = Ok(None);
    poll_until("mosquitto listens", async || {
        here = process.0.try_wait();
        let ended = !matches!(here, Ok(None));
        let address = (Ipv4Addr::LOCALHOST, port);
        ended || tokio::net::TcpStream::connect(address).await.is_ok()
    })
    .await;
    assert_eq!(here.unwrap(), None, "mosquitto ended at once");
    process
}

fn free_port() -> u16 {
    StdListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

pub(crate) fn cluster() -> ClusterId {
    ClusterId::new("contract").unwrap()
}

pub(crate) fn url(address: SocketAddr) -> BrokerUrl {
    format!("mqtts://{address}").parse().unwrap()
}

fn quick(options: &mut Options) {
    options.backoff_min = Duration::from_millis(50);
    options.backoff_max = Duration::from_millis(400);
}

/// `nodes/<node>/<rest>` of the test's cluster.
pub(crate) fn node_topic(node: &str, rest: &str) -> String {
    format!("bramble/v1/{}/nodes/{node}/{rest}", cluster())
}

/// A link and what came over it.
pub(crate) struct Peer {
    pub(crate) link: Handle,
    pub(crate) events: Events,
}

impl Peer {
    /// Starts a link and waits until it is subscribed.
    pub(crate) async fn start(options: Options) -> Peer {
        let mut peer = Peer::spawn(options);
        peer.until(|event| matches!(event, Event::Subscribed)).await;
        peer
    }

    pub(crate) fn spawn(options: Options) -> Peer {
        let (link, events) = Link::spawn(options).unwrap();
        Peer { link, events }
    }

    /// Reads events until one is right, which it returns; the ones before it are gone.
    pub(crate) async fn until(&mut self, right: impl Fn(&Event) -> bool) -> Event {
        let mut seen = Vec::new();
        let search = async {
            loop {
                let event = self.events.next().await.expect("the link is alive");
                if right(&event) {
                    return event;
                }
                seen.push(format!("{event:.200?}"));
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(event) => event,
            Err(_) => panic!("the expected event did not come, but: {seen:#?}"),
        }
    }

    /// The next message, whatever else happens before it.
    pub(crate) async fn message(&mut self) -> (String, Vec<u8>) {
        match self
            .until(|event| matches!(event, Event::Message { .. }))
            .await
        {
            Event::Message { topic, payload } => (topic, payload.to_vec()),
            _ => unreachable!(),
        }
    }

    /// Expects this to be the next message.
    #[track_caller]
    pub(crate) fn expect<'a>(
        &'a mut self,
        topic: &'a str,
        payload: &'a [u8],
    ) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let (got_topic, got_payload) = self.message().await;
            assert_eq!(got_topic, topic, "expected at {caller}");
            assert_eq!(
                got_payload.len(),
                payload.len(),
                "size, expected at {caller}"
            );
            assert!(got_payload == payload, "payload, expected at {caller}");
        }
    }
}

/// Polls what tells of itself by no event (another process, a counter) until it holds.
pub(crate) async fn poll_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await; // poll
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "waited in vain until {what}");
}
