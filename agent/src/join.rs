//! Becoming a node: the board makes its own keys, checks that the server is the one that the token
//! was made by, and only then sends the token and the public halves.
//!
//! In: the controller's address, a token, a name, the board's keys. Out: a [`Membership`] to store.
//! One HTTPS request, made by hand: a client library would weigh more than all the rest of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use bramble_link::tls::{FloorClock, provider};
use bramble_wire::join::{JOIN_PATH, JoinRequest, JoinResponse, Token, hex_of, hex32};
use bramble_wire::name::NodeName;
use ed25519_dalek::Signer;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use sha2::{Digest, Sha256};

use crate::facts;
use crate::identity;
use crate::state::{Keys, Membership};
use crate::tls::{Proof, verifier};

const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);
/// An answer is three keys and two certificates.
const ANSWER_MAX: u64 = 64 * 1024;
const DEFAULT_PORT: u16 = 6443;

/// Where the controller is: `host`, `host:port`, `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// Host name or address.
    pub host: String,
    /// Port of its API.
    pub port: u16,
}

impl std::str::FromStr for Controller {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not host, host:port or https://host:port");
        let rest = text.strip_prefix("https://").unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, tail) = rest.split_once(']').ok_or_else(bad)?;
                (host, tail.strip_prefix(':'))
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| bad())?,
            None => DEFAULT_PORT,
        };
        if host.is_empty() || host.contains('/') {
            return Err(bad());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl Controller {
    /// Its address, if its name can be resolved.
    ///
    /// # Errors
    /// What the resolver says.
    pub fn resolve(&self) -> std::io::Result<SocketAddr> {
        (self.host.as_str(), self.port)
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| std::io::Error::new(ErrorKind::NotFound, "no address"))
    }
}

/// Why a board did not become a node.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody there, or not for long enough. Worth trying again.
    #[error("reach the controller")]
    Network(#[source] std::io::Error),
    /// TLS failed: not a controller, or not the one that the token was made by.
    #[error("the server did not prove to be the controller that made the token: {0}")]
    NotTheController(rustls::Error),
    /// The controller said no.
    #[error("the controller refused ({status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// The answer makes no sense.
    #[error("the controller's answer is unusable: {0}")]
    Answer(String),
    /// The request could not be made.
    #[error("make the request")]
    Request(#[source] rcgen::Error),
}

impl Error {
    /// Whether trying again may help without a person doing something.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Network(_) => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::NotTheController(_) | Self::Answer(_) | Self::Request(_) => false,
        }
    }
}

/// Joins. Blocks for at most a minute.
///
/// # Errors
/// [`Error`].
pub fn join(
    controller: &Controller,
    token: &Token,
    node: &NodeName,
    keys: &Keys,
    clock: Arc<FloorClock>,
) -> Result<Membership, Error> {
    let request = request(token, node, keys)?;
    let body = serde_json::to_vec(&request).map_err(|error| Error::Answer(error.to_string()))?;
    let answer = post(controller, token.ca_sha256, &body, clock)?;
    let response: JoinResponse =
        serde_json::from_slice(&answer).map_err(|error| Error::Answer(error.to_string()))?;
    membership(&response, controller, token, node)
}

fn request(token: &Token, node: &NodeName, keys: &Keys) -> Result<JoinRequest, Error> {
    let der = PrivatePkcs8KeyDer::from(keys.tls.clone());
    let tls = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256);
    let csr = CertificateParams::new(vec![node.to_string()])
        .and_then(|params| params.serialize_request(&tls?))
        .and_then(|csr| csr.pem())
        .map_err(Error::Request)?;
    let signing = identity::signing_key(keys);
    let mut request = JoinRequest {
        token: token.to_string(),
        node: node.to_string(),
        csr,
        identity_key: hex_of(signing.verifying_key().as_bytes()),
        sealing_key: hex_of(&identity::sealing_public(keys).0),
        proof: String::new(),
        arch: facts::architecture().into(),
        hardware: facts::hardware::id().map_or_else(String::new, |id| id.to_string()),
    };
    request.proof = hex_of(&signing.sign(&request.proof_message()).to_bytes());
    Ok(request)
}

fn membership(
    response: &JoinResponse,
    controller: &Controller,
    token: &Token,
    node: &NodeName,
) -> Result<Membership, Error> {
    let answer = |what: &str| Error::Answer(what.to_owned());
    let der = |pem: &str, what: &str| {
        CertificateDer::from_pem_slice(pem.as_bytes())
            .map(|der| der.as_ref().to_vec())
            .map_err(|_| answer(what))
    };
    let ca = der(&response.ca, "no CA certificate in it")?;
    if sha256(&ca) != token.ca_sha256 {
        return Err(answer("its CA is not the one of the token"));
    }
    if response.node != node.as_str() {
        return Err(answer("it is for another node"));
    }
    let brokers = response.broker_urls(&controller.host);
    if brokers.is_empty() {
        return Err(answer("no broker in it"));
    }
    Ok(Membership {
        cluster: response.cluster.clone(),
        node: response.node.clone(),
        ca,
        certificate: der(&response.certificate, "no node certificate in it")?,
        controller: hex32(&response.controller_key)
            .ok_or_else(|| answer("no controller key in it"))?,
        brokers,
        controller_host: controller.host.clone(),
    })
}

/// One POST; returns the body of a 2xx answer.
fn post(
    controller: &Controller,
    ca_sha256: [u8; 32],
    body: &[u8],
    clock: Arc<FloorClock>,
) -> Result<Vec<u8>, Error> {
    let name = ServerName::try_from(controller.host.clone())
        .map_err(|error| Error::Answer(format!("{:?}: {error}", controller.host)))?;
    let config = ClientConfig::builder_with_details(provider(), clock)
        .with_safe_default_protocol_versions()
        .map_err(Error::NotTheController)?
        .dangerous()
        .with_custom_certificate_verifier(pinned(ca_sha256))
        .with_no_client_auth();
    let address = controller.resolve().map_err(Error::Network)?;
    let mut tcp = TcpStream::connect_timeout(&address, CONNECT).map_err(Error::Network)?;
    tcp.set_read_timeout(Some(ANSWER)).map_err(Error::Network)?;
    tcp.set_write_timeout(Some(ANSWER))
        .map_err(Error::Network)?;
    let mut tls = ClientConnection::new(Arc::new(config), name).map_err(Error::NotTheController)?;
    // The whole handshake first: nothing secret is sent before the server has proven itself.
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).map_err(tls_error)?;
    }
    let host = &controller.host;
    let head = format!(
        "POST {JOIN_PATH} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Accept: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
    (stream.write_all(head.as_bytes()))
        .and_then(|()| stream.write_all(body))
        .and_then(|()| stream.flush())
        .map_err(tls_error)?;
    let mut answer = Vec::new();
    match stream.take(ANSWER_MAX).read_to_end(&mut answer) {
        // Some servers close without saying so; the length below tells whether all is there.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
        other => drop(other.map_err(tls_error)?),
    }
    read_answer(&answer)
}

fn tls_error(error: std::io::Error) -> Error {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        Some(tls) => Error::NotTheController(tls.clone()),
        None => Error::Network(error),
    }
}

/// Status, headers, body.
fn read_answer(answer: &[u8]) -> Result<Vec<u8>, Error> {
    let bad = |what: &str| Error::Answer(what.to_owned());
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(|| bad("not HTTP"))?;
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| bad("not HTTP"))?;
    let body = &answer[end + 4..];
    let status: u16 = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| bad("not HTTP"))?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    if length.is_some_and(|length| body.len() < length) {
        let cut = std::io::Error::new(ErrorKind::UnexpectedEof, "the answer was cut off");
        return Err(Error::Network(cut));
    }
    if (200..300).contains(&status) {
        return Ok(body.to_vec());
    }
    let message = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|status| Some(status.get("message")?.as_str()?.to_owned()))
        .unwrap_or_else(|| String::from_utf8_lossy(body).chars().take(200).collect());
    Err(Error::Refused { status, message })
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Believes a server whose chain ends in the CA that the token names.
fn pinned(ca_sha256: [u8; 32]) -> Arc<dyn ServerCertVerifier> {
    verifier(Proof::Demanded, move |shown| {
        let ca = shown
            .intermediates
            .iter()
            .find(|certificate| sha256(certificate) == ca_sha256)
            .ok_or_else(|| {
                rustls::Error::General("it does not have the CA that the token names".into())
            })?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(
                shown.end_entity,
                shown.intermediates,
                shown.server_name,
                shown.ocsp_response,
                shown.now,
            )?;
        Ok(())
    })
}

#[cfg(test)]
mod tests;
