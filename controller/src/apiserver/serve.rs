//! Starting and stopping the server.

use std::net::SocketAddr;
use std::sync::Arc;

use bramble_api::status::Status;
use bramble_link::tls::{FloorClock, provider};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::admission::Admission;
use super::metrics::Metrics;
use super::rbac::{self, Rbac};
use super::refusals::Refusals;
use super::shares::Shares;
use super::{Context, Limits, PodLogs, Stopping, accept};
use crate::join::Joiner;
use crate::pki::Serving;
use crate::store::Store;
use crate::tokens::Tokens;
use crate::usage::Usages;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken.
    #[error("the API address {address} is in use by another program; choose another with --listen")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// It can't be listened on.
    #[error("listening on the API address {address}; choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Without them nobody could be told from anybody.
    #[error("preparing the cluster's roles: {0}")]
    Roles(#[source] Status),
    /// Certificates that rustls does not take.
    #[error("setting up TLS of the API: {0}")]
    Tls(String),
}

/// Who the server is, and whom it believes.
#[derive(Debug)]
pub struct Trust {
    /// What it shows.
    pub certificate: Arc<Serving>,
    /// The CA of its clients.
    pub ca: CertificateDer<'static>,
    /// Decides what is in time.
    pub clock: Arc<FloorClock>,
    /// Tokens of service accounts.
    pub tokens: Arc<Tokens>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: tokio::sync::watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Starts serving on `address`.
///
/// # Errors
/// [`Error`], saying which address and which flag.
pub async fn start(
    address: SocketAddr,
    trust: Trust,
    store: Arc<dyn Store>,
    joiner: Arc<Joiner>,
    logs: Arc<dyn PodLogs>,
    usage: Arc<Usages>,
    limits: Limits,
) -> Result<Server, Error> {
    let clients = verifier(&trust.ca)?;
    let config = tls_config(trust.certificate, clients.clone(), trust.clock.clone())?;
    let listener = TcpListener::bind(address).await.map_err(|source| {
        if source.kind() == std::io::ErrorKind::AddrInUse {
            Error::InUse { address }
        } else {
            Error::Listen { address, source }
        }
    })?;
    let address = listener
        .local_addr()
        .map_err(|source| Error::Listen { address, source })?;
    let (stop, stopping) = tokio::sync::watch::channel(false);
    rbac::ensure_roles(&*store).await.map_err(Error::Roles)?;
    let rbac = Rbac::open(store.clone()).map_err(|e| Error::Roles(Status::internal(e)))?;
    let admission = Admission::new(store.clone(), joiner.service_cidr());
    let ctx = Arc::new(Context {
        store,
        admission: Arc::new(admission),
        logs,
        usage,
        joiner,
        rbac,
        tokens: trust.tokens,
        clients,
        clock: trust.clock,
        limits,
        metrics: Metrics::default(),
        refusals: Refusals::default(),
        certified: Arc::new(Semaphore::new(limits.connections)),
        users: Arc::default(),
        requests: Shares::new(limits.requests, limits.requests_per_user),
        joins: Arc::new(Semaphore::new(limits.joins)),
        backups: Arc::new(Semaphore::new(1)),
        watches: Shares::new(limits.watches, limits.watches_per_user),
        stopping: Stopping(stopping),
    });
    let task = tokio::spawn(accept::run(
        listener,
        TlsAcceptor::from(Arc::new(config)),
        ctx,
    ));
    Ok(Server {
        address,
        stop,
        task,
    })
}

impl Server {
    /// Where it listens; the port is the real one when 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends long answers, lets short ones finish, and closes every connection.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // A panic in the accept loop was reported when it happened; stopping goes on.
        let _ = self.task.await;
    }
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    Error::Tls(error.to_string())
}

/// Which client certificates are ours.
fn verifier(ca: &CertificateDer<'static>) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).map_err(|e| failed(&e))?;
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| failed(&e))
}

/// Client certificates are asked for: without one a client may still see health and version, bring a
/// token, and a board may join.
fn tls_config(
    certificate: Arc<Serving>,
    clients: Arc<dyn ClientCertVerifier>,
    clock: Arc<FloorClock>,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_details(provider(), clock)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(&e))?
        .with_client_cert_verifier(Arc::new(Lenient(clients)))
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Lets certificates of other CAs pass TLS, so that their clients get upstream's 401. The client has
/// shown that it holds the key; whether the certificate counts is decided, by the strict verifier, when
/// the connection is made (`connection::certified`).
#[derive(Debug)]
struct Lenient(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Lenient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _rest: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
