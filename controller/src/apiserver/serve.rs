//! Starting and stopping the server.

use std::net::SocketAddr;
use std::sync::Arc;

use bramble_link::tls::{FloorClock, Identity, provider};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::admission::Admission;
use super::refusals::Refusals;
use super::{Context, Limits, PodLogs, Stopping, accept};
use crate::join::Joiner;
use crate::store::Store;

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
    /// Certificates that rustls does not take.
    #[error("setting up TLS of the API: {0}")]
    Tls(String),
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
#[allow(clippy::too_many_arguments)]
pub async fn start(
    address: SocketAddr,
    identity: &Identity,
    ca: &CertificateDer<'static>,
    clock: Arc<FloorClock>,
    store: Arc<dyn Store>,
    joiner: Arc<Joiner>,
    logs: Arc<dyn PodLogs>,
    limits: Limits,
) -> Result<Server, Error> {
    let config = tls_config(identity, ca, clock)?;
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
    let admission = Admission::new(store.clone(), joiner.service_cidr());
    let ctx = Arc::new(Context {
        store,
        admission: Arc::new(admission),
        logs,
        joiner,
        limits,
        refusals: Refusals::default(),
        certified: Arc::new(Semaphore::new(limits.connections)),
        requests: Arc::new(Semaphore::new(limits.requests)),
        joins: Arc::new(Semaphore::new(limits.joins)),
        watches: Arc::new(Semaphore::new(limits.watches)),
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

/// Client certificates are asked for and, when there is one, must come from our CA: without one a
/// client may still see health and version, and a board may join.
fn tls_config(
    identity: &Identity,
    ca: &CertificateDer<'static>,
    clock: Arc<FloorClock>,
) -> Result<ServerConfig, Error> {
    let failed = |e: &dyn std::fmt::Display| Error::Tls(e.to_string());
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).map_err(|e| failed(&e))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| failed(&e))?;
    let mut config = ServerConfig::builder_with_details(provider(), clock)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(|e| failed(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
