//! Many agents in one process: each with keys of its own, a link of its own to the broker and the agent's
//! own half of the protocol. What a board would do it only says: a pod that it is given runs.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bramble_agent_core::session::{self, Document, Observation, Output, Session};
use bramble_link::tls::{self, FloorClock};
use bramble_link::{BrokerUrl, Event, Handle, Link, Options, Subscription, Will, WillSource};
use bramble_wire::clock::Millis;
use bramble_wire::join::{JOIN_PATH, JoinRequest, JoinResponse, hex_of, hex32};
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::object::{ObjectId, PodUid};
use bramble_wire::publish::{Delivery, Publish};
use bramble_wire::report::{Phase, PodReport};
use bramble_wire::seal::SealingSecret;
use bramble_wire::version::{Boot, Nonce};
use bramble_wire::{SigningKey, VerifyingKey, topic};
use ed25519_dalek::Signer;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use crate::http::Access;

/// Requests of the API at a time.
const CLIENTS: usize = 8;
/// Pods of each agent.
const PODS: usize = 2;

const OFFLINE: u8 = 0;
const WELCOMED: u8 = 1;
/// Welcomed, and everything that it had to say is acknowledged.
const SETTLED: u8 = 2;

/// The agents; they end with it.
pub(super) struct Fleet {
    states: Vec<Arc<AtomicU8>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

fn name(number: usize) -> String {
    format!("fleet-{number:04}")
}

impl Fleet {
    /// Joins them, as boards do, and connects them.
    pub(super) async fn join(access: &Access, token: &str, count: usize) -> Result<Self> {
        let mut joining = Vec::new();
        for first in 0..CLIENTS {
            let (access, token) = (access.clone(), token.to_owned());
            joining.push(tokio::spawn(async move {
                let mut client = access.connect().await?;
                let mut members = Vec::new();
                for number in (first..count).step_by(CLIENTS) {
                    let keys = Keys::new(number)?;
                    let body = serde_json::to_value(keys.request(&token)?)?;
                    let answer = client.send("POST", JOIN_PATH, &body).await?;
                    members.push((keys, serde_json::from_slice(&answer)?));
                }
                anyhow::Ok(members)
            }));
        }
        let (mut states, mut tasks) = (Vec::new(), Vec::new());
        for task in joining {
            for (keys, response) in task.await?? {
                let state = Arc::new(AtomicU8::new(OFFLINE));
                let agent = Agent::connect(keys, &response, Arc::clone(&state))?;
                states.push(state);
                tasks.push(tokio::spawn(agent));
            }
        }
        ensure!(states.len() == count, "{} of {count} joined", states.len());
        Ok(Self { states, tasks })
    }

    /// How many are welcomed by the controller.
    pub(super) fn welcomed(&self) -> usize {
        self.at_least(WELCOMED)
    }

    /// How many have nothing more to say that is not acknowledged.
    pub(super) fn settled(&self) -> usize {
        self.at_least(SETTLED)
    }

    fn at_least(&self, wanted: u8) -> usize {
        let states = self.states.iter();
        states
            .filter(|state| state.load(Ordering::Relaxed) >= wanted)
            .count()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Pods for all of them, and waits until they are said to run.
pub(super) async fn pods(access: &Access, agents: usize) -> Result<()> {
    let mut creating = Vec::new();
    for first in 0..CLIENTS {
        let access = access.clone();
        creating.push(tokio::spawn(async move {
            let mut client = access.connect().await?;
            for number in (first..agents * PODS).step_by(CLIENTS) {
                let pod = json!({
                    "apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": format!("pod-{number:05}")},
                    "spec": {
                        "nodeName": name(number % agents),
                        "containers": [{"name": "main", "image": "bramble.test/hello:v1"}],
                    },
                });
                let path = "/api/v1/namespaces/default/pods";
                client.send("POST", path, &pod).await?;
            }
            anyhow::Ok(())
        }));
    }
    for task in creating {
        task.await??;
    }
    let mut client = access.connect().await?;
    let (path, wanted) = (
        "/api/v1/pods?fieldSelector=status.phase%3DRunning",
        agents * PODS,
    );
    until(Duration::from_secs(180), "every pod to run", async || {
        let list = client.send("GET", path, &Value::Null).await?;
        let list: Value = serde_json::from_slice(&list)?;
        Ok(list["items"]
            .as_array()
            .is_some_and(|items| items.len() == wanted))
    })
    .await
}

/// Waits until the controller, once it answers, says that all nodes are Ready.
pub(super) async fn ready(access: &Access, agents: usize) -> Result<()> {
    until(
        Duration::from_secs(120),
        "every node to be Ready",
        async || {
            let Ok(mut client) = access.connect().await else {
                return Ok(false);
            };
            let list = client.send("GET", "/api/v1/nodes", &Value::Null).await?;
            let list: Value = serde_json::from_slice(&list)?;
            let is_ready = |node: &&Value| {
                let conditions = node["status"]["conditions"].as_array();
                (conditions.into_iter().flatten())
                    .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            };
            let items = list["items"].as_array().context("no list")?;
            Ok(items.iter().filter(is_ready).count() == agents)
        },
    )
    .await
}

async fn until(
    limit: Duration,
    what: &str,
    mut done: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let begun = Instant::now();
    while !done().await? {
        ensure!(
            begun.elapsed() < limit,
            "waited {} s for {what}",
            limit.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(200)).await; // poll
    }
    Ok(())
}

struct Keys {
    node: String,
    tls: KeyPair,
    signing: SigningKey,
    seed: [u8; 32],
}

impl Keys {
    fn new(number: usize) -> Result<Self> {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
        Ok(Self {
            node: name(number),
            tls: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            signing: SigningKey::from_bytes(&seed),
            seed,
        })
    }

    fn request(&self, token: &str) -> Result<JoinRequest> {
        let csr = CertificateParams::new(vec![self.node.clone()])?.serialize_request(&self.tls)?;
        let sealing = SealingSecret::from_seed(&self.seed).1;
        let mut request = JoinRequest {
            token: token.to_owned(),
            node: self.node.clone(),
            csr: csr.pem()?,
            identity_key: hex_of(self.signing.verifying_key().as_bytes()),
            sealing_key: hex_of(&sealing.0),
            proof: String::new(),
            arch: "arm64".into(),
            hardware: String::new(),
        };
        request.proof = hex_of(&self.signing.sign(&request.proof_message()).to_bytes());
        Ok(request)
    }
}

/// One of them: the edge between a link and a session, as the agent's.
struct Agent {
    config: Arc<session::Config>,
    session: Session,
    link: Handle,
    connection: Arc<Mutex<Nonce>>,
    state: Arc<AtomicU8>,
    begun: Instant,
}

impl Agent {
    /// Connects it; it goes on for as long as it is polled.
    fn connect(
        keys: Keys,
        response: &JoinResponse,
        state: Arc<AtomicU8>,
    ) -> Result<impl Future<Output = ()> + Send + 'static> {
        let controller = hex32(&response.controller_key).context("no key of the controller")?;
        let config = Arc::new(session::Config {
            hardware: None,
            cluster: ClusterId::new(&response.cluster)?,
            node: NodeName::new(&response.node)?,
            identity: keys.signing.clone(),
            controller: VerifyingKey::from_bytes(&controller)?,
            boot: Boot(1),
        });
        let urls: Vec<BrokerUrl> = (response.broker_urls("127.0.0.1").iter())
            .map(|url| url.parse())
            .collect::<Result<_, _>>()?;
        let mut options = Options::new(format!("bramble-{}", keys.node), urls);
        let identity = tls::Identity {
            chain: vec![CertificateDer::from_pem_slice(
                response.certificate.as_bytes(),
            )?],
            key: PrivatePkcs8KeyDer::from(keys.tls.serialize_der()).into(),
        };
        let ca = CertificateDer::from_pem_slice(response.ca.as_bytes())?;
        options.tls = Some(tls::client_config(
            &[ca],
            Some(identity),
            FloorClock::new(0),
        )?);
        options.subscriptions = (topic::node_filters(&config.cluster, &config.node).iter())
            .map(
                |filter| match filter.ends_with("/d/+") || filter.ends_with("/c/state") {
                    true => Subscription::latest(filter.as_str()),
                    false => Subscription::queue(filter.as_str()),
                },
            )
            .collect();
        let connection = Arc::new(Mutex::new(Nonce::default()));
        options.will = Some(will(
            Arc::clone(&config),
            Arc::clone(&connection),
            keys.seed,
        ));
        let (link, mut events) = Link::spawn(options)?;
        let mut agent = Self {
            session: Session::new(Arc::clone(&config), None, &keys.seed),
            config,
            link,
            connection,
            state,
            begun: Instant::now(),
        };
        Ok(async move {
            agent.observe();
            loop {
                agent.drain();
                let wake = agent.session.next_wake().unwrap_or(Millis::NEVER);
                let pause = Duration::from_millis(wake.since(agent.now()).min(3_600_000));
                tokio::select! {
                    event = events.next() => match event {
                        Some(event) => agent.handle(event),
                        None => return,
                    },
                    () = tokio::time::sleep(pause) => {
                        let now = agent.now();
                        agent.session.handle_timeout(now);
                    }
                }
            }
        })
    }

    fn now(&self) -> Millis {
        Millis(1 + self.begun.elapsed().as_millis() as u64)
    }

    fn handle(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Subscribed => {
                let nonce = *self
                    .connection
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                self.session.handle_connected(nonce, now);
            }
            Event::Disconnected { .. } => self.session.handle_disconnected(now),
            Event::Message { topic, payload } => {
                self.session.handle_packet(&topic, &payload, now);
            }
            _ => {}
        }
    }

    /// Does what the session wants done.
    fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Publish(publish) => self.publish(publish),
                Output::Persist(document) => {
                    let now = self.now();
                    self.session.handle_persisted(document.version, now);
                    self.observe();
                }
                Output::Forget(_) | Output::TimeFloor { .. } => {}
                Output::StreamOpen(..) | Output::StreamIn(..) => {}
            }
        }
        let state = match (self.session.is_welcomed(), self.session.is_settled()) {
            (_, true) => SETTLED,
            (true, false) => WELCOMED,
            (false, false) => OFFLINE,
        };
        self.state.store(state, Ordering::Relaxed);
    }

    /// What is refused is said again by the session.
    fn publish(&self, publish: Publish) {
        let topic = publish.topic_text(&self.config.cluster);
        let _ = match publish.delivery {
            Delivery::State => self.link.put(&topic, publish.payload),
            Delivery::Retained => self.link.put_retained(&topic, publish.payload),
            Delivery::Message => self.link.send(&topic, publish.payload),
        };
    }

    /// Every pod of the document runs.
    fn observe(&mut self) {
        let document = self.session.document().cloned();
        let running = |uid: &PodUid| PodReport {
            uid: *uid,
            phase: Phase::Running,
            pod_ip: Some([10, 96, 0, 1]),
            sandbox: true,
            ..PodReport::default()
        };
        let pods = document.iter().flat_map(|document| uids(document));
        let observation = Observation {
            pods: pods.map(|uid| (uid, running(&uid))).collect(),
            converged: document.as_ref().map(|document| document.version),
            ..Observation::default()
        };
        let now = self.now();
        self.session.handle_observed(observation, now);
    }
}

fn uids(document: &Document) -> impl Iterator<Item = PodUid> {
    document.objects.keys().filter_map(|id| match id {
        ObjectId::Pod(uid) => Some(*uid),
        _ => None,
    })
}

/// A will for each connection, told from the others by a number.
fn will(config: Arc<session::Config>, at: Arc<Mutex<Nonce>>, seed: [u8; 32]) -> WillSource {
    let count = std::sync::atomic::AtomicU64::new(1);
    WillSource::new(move || {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&seed[..8]);
        nonce[8..].copy_from_slice(&count.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        *at.lock().unwrap_or_else(PoisonError::into_inner) = Nonce(nonce);
        let will = config.last_will(Nonce(nonce));
        Will {
            topic: will.topic_text(&config.cluster).to_string(),
            payload: will.payload.into(),
            retain: false,
        }
    })
}
