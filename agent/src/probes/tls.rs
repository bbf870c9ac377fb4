//! TLS as probes speak it: the certificate is not looked at, as upstream (`InsecureSkipVerify`). What
//! is asked is whether the server answers, and nothing secret is sent but what the manifest says.

use std::sync::{Arc, OnceLock};

use bramble_link::tls::provider;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls::{Proof, anybody};

/// Makes a connection a TLS one.
pub(super) async fn wrap(stream: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(config()?);
    let connected = connector.connect(name, stream).await;
    connected.map_err(|error| format!("remote error: tls: {error}"))
}

fn config() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Option<Arc<ClientConfig>>> = OnceLock::new();
    let made = CONFIG.get_or_init(|| {
        let builder = ClientConfig::builder_with_provider(provider());
        let config = builder
            .with_safe_default_protocol_versions()
            .ok()?
            .dangerous()
            .with_custom_certificate_verifier(anybody(Proof::Waived))
            .with_no_client_auth();
        Some(Arc::new(config))
    });
    made.clone()
        .ok_or_else(|| "TLS is not available".to_owned())
}
