//! TLS of the cluster: one pinned CA, certificates without a practical end, and a clock that can't
//! be in 1970.
//!
//! Membership is a matter of the controller's key table, not of the calendar: certificates of nodes,
//! broker and CA are valid for centuries. A board whose clock starts in 1970 would still find them
//! not yet valid, so both ends verify with a [`FloorClock`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::{
    NoServerSessionStorage, ResolvesServerCert, WantsServerCert, WebPkiClientVerifier,
};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

/// 2026-01-01: no release is older, whatever the clock says.
const BUILD_FLOOR: u64 = 1_767_225_600;

/// A TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The CA certificate is not usable as a trust anchor.
    #[error("unusable CA certificate")]
    Ca(#[source] rustls::Error),
    /// The verifier of client certificates could not be made.
    #[error("unusable client CA")]
    ClientCa(#[source] rustls::server::VerifierBuilderError),
    /// Certificate and key do not fit each other, or are not usable.
    #[error("unusable certificate or key")]
    Identity(#[source] rustls::Error),
    /// The provider lacks the protocol versions.
    #[error("unusable TLS provider")]
    Provider(#[source] rustls::Error),
}

/// The system's clock, but never before a floor. The floor only rises.
#[derive(Debug)]
pub struct FloorClock {
    floor: AtomicU64,
}

impl FloorClock {
    /// A clock that is never before `floor` (seconds since 1970), nor before this release.
    pub fn new(floor: u64) -> Arc<FloorClock> {
        Arc::new(FloorClock {
            floor: AtomicU64::new(floor.max(BUILD_FLOOR)),
        })
    }

    /// A time from a trusted source: from now on it is at least that late.
    pub fn raise(&self, seconds: u64) {
        self.floor.fetch_max(seconds, Ordering::Relaxed);
    }

    /// Seconds since 1970.
    pub fn now(&self) -> u64 {
        UnixTime::now()
            .as_secs()
            .max(self.floor.load(Ordering::Relaxed))
    }
}

impl TimeProvider for FloorClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.now())))
    }
}

/// A certificate chain and its private key.
#[derive(Debug)]
pub struct Identity {
    /// The chain, our own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Identity {
        Identity {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

/// The crypto provider of every TLS connection: ring.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// TLS for a client: the server's certificate must come from one of `roots` and name the host we
/// connect to; `identity` is our own, for servers that ask.
pub fn client_config(
    roots: &[CertificateDer<'static>],
    identity: Option<Identity>,
    clock: Arc<FloorClock>,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_details(provider(), clock)
        .with_safe_default_protocol_versions()
        .map_err(Error::Provider)?
        .with_root_certificates(root_store(roots)?);
    let mut config = match identity {
        Some(Identity { chain, key }) => builder
            .with_client_auth_cert(chain, key)
            .map_err(Error::Identity)?,
        None => builder.with_no_client_auth(),
    };
    // One connection a day is not worth a cache of sessions.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// TLS for a server. With `client_roots`, a client must present a certificate from one of them.
pub fn server_config(
    identity: Identity,
    client_roots: Option<&[CertificateDer<'static>]>,
    clock: Arc<FloorClock>,
) -> Result<Arc<ServerConfig>, Error> {
    let config = server_builder(client_roots, clock)?
        .with_single_cert(identity.chain, identity.key)
        .map_err(Error::Identity)?;
    Ok(without_resumption(config))
}

/// The same with a certificate that may change: each handshake asks for the one of now.
pub fn changing_server_config(
    certificate: Arc<dyn ResolvesServerCert>,
    client_roots: Option<&[CertificateDer<'static>]>,
    clock: Arc<FloorClock>,
) -> Result<Arc<ServerConfig>, Error> {
    let config = server_builder(client_roots, clock)?.with_cert_resolver(certificate);
    Ok(without_resumption(config))
}

fn server_builder(
    client_roots: Option<&[CertificateDer<'static>]>,
    clock: Arc<FloorClock>,
) -> Result<ConfigBuilder<ServerConfig, WantsServerCert>, Error> {
    let builder = ServerConfig::builder_with_details(provider(), clock)
        .with_safe_default_protocol_versions()
        .map_err(Error::Provider)?;
    Ok(match client_roots {
        Some(roots) => {
            let roots = Arc::new(root_store(roots)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(Error::ClientCa)?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    })
}

/// No resumption: every connection shows its certificate, and a revoked one finds no way around.
fn without_resumption(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

fn root_store(roots: &[CertificateDer<'static>]) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(Error::Ca)?;
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_is_never_before_its_floor() {
        let clock = FloorClock::new(0);
        assert!(clock.now() >= BUILD_FLOOR);
        let future = UnixTime::now().as_secs() + 1_000_000;
        clock.raise(future);
        assert_eq!(clock.now(), future);
        clock.raise(5);
        assert_eq!(clock.now(), future, "the floor only rises");
    }
}
