//! A server of its own for each test, and a small HTTPS client.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bramble_api::metadata;
use bramble_link::tls::{self, FloorClock, Identity};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::apiserver::{Limits, NoLogs, PodLogs, Server, Trust, ensure_namespaces, start};
use crate::join::{Joiner, NodeKeys, Settings};
use crate::pki::{Options, Pki};
use crate::store::{Body, Durability, EventKind, Expect, Key, MemoryStore, Op, Page, Scope, Store};
use crate::tokens::Tokens;
use crate::usage::Usages;

pub(super) struct Cluster {
    pub(super) store: MemoryStore,
    pub(super) pki: Arc<Pki>,
    pub(super) usage: Arc<Usages>,
    address: SocketAddr,
    admin: Identity,
    _server: Server,
    _accounts: AbortOnDrop,
    _dir: tempfile::TempDir,
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the controllers do in a whole cluster: every namespace has a `default` service account.
async fn equip(store: Arc<dyn Store>) {
    let scope = Scope::all("", "namespaces");
    let start = store.list(&scope, &Page::default()).unwrap();
    let mut watcher = store.watch_pending(&scope, start.revision).unwrap();
    let mut names: Vec<_> = start.entries.iter().map(|e| e.key.name.clone()).collect();
    loop {
        for name in names.drain(..) {
            let object = serde_json::json!({"kind": "ServiceAccount", "apiVersion": "v1",
                "metadata": {"name": "default", "namespace": &*name, "uid": format!("account-{name}")}});
            let canonical = metadata::canonical(&object);
            // One that is there is as good.
            let _ = store.commit(vec![Op::Put {
                key: Key::new("", "serviceaccounts", &*name, "default"),
                expect: Expect::Absent,
                body: Body {
                    json: canonical.bytes,
                    revision_at: canonical.revision_at,
                },
                durability: Durability::Memory,
            }]);
        }
        let Ok(event) = watcher.next().await else {
            return;
        };
        if event.kind == EventKind::Added {
            names.push(event.entry.key.name.clone());
        }
    }
}

/// An answer.
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(super) fn warnings(&self) -> Vec<&str> {
        self.headers
            .get_all("warning")
            .iter()
            .map(|v| v.to_str().unwrap())
            .collect()
    }

    pub(super) fn message(&self) -> String {
        self.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Panics with the answer unless the code is `code`.
    #[track_caller]
    pub(super) fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}

impl Cluster {
    pub(super) async fn start() -> Self {
        Self::with(MemoryStore::default(), Limits::default(), Arc::new(NoLogs)).await
    }

    pub(super) async fn with(store: MemoryStore, limits: Limits, logs: Arc<dyn PodLogs>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            data_dir: dir.path().to_owned(),
            names: Vec::new(),
        };
        let pki = Arc::new(Pki::open(&options).unwrap());
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        ensure_namespaces(&*shared).await.unwrap();
        let accounts = tokio::spawn(equip(shared.clone()));
        let keys = NodeKeys::open(shared.clone()).unwrap();
        let settings = Settings {
            brokers: vec!["mqtts://{controller}:8883".into()],
            pod_cidr: "10.42.0.0/22".parse().unwrap(),
            service_cidr: "10.43.0.0/16".parse().unwrap(),
        };
        let joiner = Arc::new(Joiner::new(shared.clone(), pki.clone(), keys, settings));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let clock = FloorClock::new(0);
        let key = pki.service_accounts.clone();
        let tokens = Tokens::new(key, shared.clone(), clock.clone(), pki.ca_pem());
        let trust = Trust {
            certificate: pki.api.clone(),
            ca: pki.ca.clone(),
            clock,
            tokens: Arc::new(tokens),
        };
        let usage = Arc::<Usages>::default();
        let measured = Arc::clone(&usage);
        let server = start(any, trust, shared, joiner, logs, measured, limits)
            .await
            .unwrap();
        let text = std::fs::read_to_string(dir.path().join("pki/admin.pem")).unwrap();
        let admin = Identity {
            chain: vec![PemObject::from_pem_slice(text.as_bytes()).unwrap()],
            key: PemObject::from_pem_slice(text.as_bytes()).unwrap(),
        };
        let address = server.address();
        Self {
            store,
            pki,
            usage,
            address,
            admin,
            _server: server,
            _accounts: AbortOnDrop(accounts),
            _dir: dir,
        }
    }

    pub(super) async fn connect(&self, identity: Option<Identity>) -> TlsStream<TcpStream> {
        let roots = std::slice::from_ref(&self.pki.ca);
        let config = tls::client_config(roots, identity, FloorClock::new(0)).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(config)
            .connect(name, stream)
            .await
            .unwrap()
    }

    pub(super) fn admin(&self) -> Identity {
        self.admin.clone()
    }

    /// The administrator's own connection, over the first of these protocols.
    pub(super) async fn connect_admin_with(&self, protocols: &[&[u8]]) -> TlsStream<TcpStream> {
        let roots = std::slice::from_ref(&self.pki.ca);
        let clock = FloorClock::new(0);
        let config = tls::client_config(roots, Some(self.admin.clone()), clock).unwrap();
        let mut config = Arc::unwrap_or_clone(config);
        config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap()
    }

    /// The administrator's own connection.
    pub(super) async fn connect_admin(&self) -> TlsStream<TcpStream> {
        self.connect(Some(self.admin.clone())).await
    }

    /// A TCP connection and nothing more.
    pub(super) async fn connect_plain(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The same from an address of this machine.
    pub(super) async fn connect_from(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Sends a request, with the head of the answer as result.
    pub(super) async fn open(
        &self,
        identity: Option<Identity>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> hyper::Response<Incoming> {
        let stream = self.connect(identity).await;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(20), sender.send_request(request));
        answer.await.expect("an answer in time").unwrap()
    }

    pub(super) async fn send_as(
        &self,
        identity: Option<Identity>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let (head, body) = self
            .open(identity, method, path, headers, body)
            .await
            .into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply {
            code: head.status.as_u16(),
            headers: head.headers,
            body,
        }
    }

    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        self.send_as(Some(self.admin.clone()), method, path, headers, body)
            .await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    /// Makes a ConfigMap; the object as it was stored.
    pub(super) async fn has_config_map(&self, name: &str) -> Value {
        let posted = self
            .post(super::CONFIG_MAPS, &super::config_map(name))
            .await;
        posted.expect(201).json()
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send(
            "PUT",
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    pub(super) async fn patch(&self, path: &str, kind: &str, body: &Value) -> Reply {
        let content_type = format!("application/{kind}+json");
        self.send(
            "PATCH",
            path,
            &[("content-type", &content_type)],
            body.to_string(),
        )
        .await
    }

    pub(super) async fn delete(&self, path: &str, options: &Value) -> Reply {
        let body = options.to_string();
        self.send(
            "DELETE",
            path,
            &[("content-type", "application/json")],
            body,
        )
        .await
    }

    /// Opens a watch and returns its events one by one.
    pub(super) async fn watch(&self, path: &str) -> Events {
        self.watch_with(path, &[]).await
    }

    pub(super) async fn watch_with(&self, path: &str, headers: &[(&str, &str)]) -> Events {
        let answer = self
            .open(Some(self.admin.clone()), "GET", path, headers, "")
            .await;
        assert_eq!(answer.status().as_u16(), 200);
        Events {
            body: answer.into_body(),
            rest: Vec::new(),
        }
    }
}

/// The events of a watch.
pub(super) struct Events {
    body: Incoming,
    rest: Vec<u8>,
}

impl Events {
    /// The next event; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(Duration::from_secs(20), self.body.frame()).await;
            let data = frame
                .expect("an event in time")?
                .unwrap()
                .into_data()
                .unwrap();
            self.rest.extend_from_slice(&data);
        }
    }

    /// `TYPE name`, or `BOOKMARK` with whether it ends the initial events.
    pub(super) async fn brief(&mut self) -> String {
        let Some(event) = self.next().await else {
            return "END".into();
        };
        let kind = event["type"].as_str().unwrap().to_owned();
        let meta = &event["object"]["metadata"];
        match kind.as_str() {
            "BOOKMARK" => {
                let end = meta["annotations"]["k8s.io/initial-events-end"].as_str();
                format!("BOOKMARK {}", end.unwrap_or("-"))
            }
            "ERROR" => format!("ERROR {}", event["object"]["code"]),
            _ => format!("{kind} {}", meta["name"].as_str().unwrap()),
        }
    }
}
