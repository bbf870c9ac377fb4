//! A small HTTPS client: one request, one connection, one answer.
//!
//! In: a kubeconfig and a path. Out: status and body, or an error that says what to do about it.
//! Blocking, on rustls alone: the few requests of a command need neither a pool nor a runtime.
//! The server must show a certificate of the kubeconfig's CA; no other root is known.

mod message;

use std::io::{ErrorKind, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rustls::client::Resumption;
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::kubeconfig::{Credentials, Kubeconfig};
use crate::url::Url;
pub(crate) use message::Answer;

const CONNECT: Duration = Duration::from_secs(5);
/// Between two reads or writes, not for the whole answer.
const SILENCE: Duration = Duration::from_secs(30);
/// 2026-01-01. Certificates of a cluster are valid from 2020 on; a board whose clock starts in 1970
/// would find them not valid yet.
const FLOOR: u64 = 1_767_225_600;

/// Reaches the controller of a kubeconfig.
pub(crate) struct Client {
    server: Url,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    authorization: Option<String>,
    /// The kubeconfig, for messages.
    source: String,
}

/// The system's clock, but never before [`FLOOR`].
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = UnixTime::now().as_secs().max(FLOOR);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(now)))
    }
}

impl Client {
    /// A client for a kubeconfig; nothing is sent yet.
    pub(crate) fn new(config: &Kubeconfig) -> Result<Self> {
        let source = config.path.display().to_string();
        let name = config
            .tls_server_name
            .clone()
            .unwrap_or_else(|| config.server.host.clone());
        Ok(Self {
            name: ServerName::try_from(name.clone())
                .with_context(|| format!("kubeconfig {source}: {name:?} is no server name"))?,
            tls: tls(config).with_context(|| format!("kubeconfig {source}"))?,
            authorization: match &config.credentials {
                Credentials::Token(token) => Some(format!("Bearer {token}")),
                Credentials::Certificate { .. } => None,
            },
            server: config.server.clone(),
            source,
        })
    }

    /// The address that is asked.
    pub(crate) fn server(&self) -> &Url {
        &self.server
    }

    /// GET of a JSON value.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.json("GET", path, None)
    }

    /// A request with a JSON answer; any code but 2xx is an error.
    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = self.request(method, path, &body)?;
        if !(200..300).contains(&answer.code) {
            bail!(self.refusal(&answer));
        }
        serde_json::from_slice(&answer.body).with_context(|| {
            format!(
                "the answer of {} to {method} {path} makes no sense; is it a Bramble controller \
                 (kubeconfig {})?",
                self.server, self.source
            )
        })
    }

    /// GET of something that may be large, as it comes. `out` holds part of it when this fails.
    pub(crate) fn download(&self, path: &str, out: &mut impl Write) -> Result<()> {
        let refused = self.exchange("GET", path, "", |stream| message::download(stream, out))?;
        match refused {
            Some(answer) => bail!(self.refusal(&answer)),
            None => Ok(()),
        }
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Result<Answer> {
        self.exchange(method, path, body, |stream| message::read(stream))
    }

    /// Sends a request; `read` gets what comes back.
    fn exchange<T>(
        &self,
        method: &str,
        path: &str,
        body: &str,
        read: impl FnOnce(&mut StreamOwned<ClientConnection, TcpStream>) -> Result<T>,
    ) -> Result<T> {
        let mut head = format!(
            "{method} {}{path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n\
             User-Agent: bramble/{}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.server.path,
            self.server.authority(),
            env!("CARGO_PKG_VERSION"),
            body.len()
        );
        if !body.is_empty() {
            head.push_str("Content-Type: application/json\r\n");
        }
        if let Some(value) = &self.authorization {
            head.push_str(&format!("Authorization: {value}\r\n"));
        }
        head.push_str("\r\n");
        let exchange = || -> Result<T> {
            let socket = self.connect()?;
            socket.set_read_timeout(Some(SILENCE))?;
            socket.set_write_timeout(Some(SILENCE))?;
            let connection = ClientConnection::new(Arc::clone(&self.tls), self.name.clone())?;
            let mut stream = StreamOwned::new(connection, socket);
            stream.write_all(head.as_bytes())?;
            stream.write_all(body.as_bytes())?;
            stream.flush()?;
            read(&mut stream)
        };
        exchange().map_err(|error| self.explain(error))
    }

    /// Tries every address of the host, in the resolver's order.
    fn connect(&self) -> Result<TcpStream> {
        let addresses = (self.server.host.as_str(), self.server.port)
            .to_socket_addrs()
            .with_context(|| {
                format!(
                    "the name {} can't be resolved (server of kubeconfig {})",
                    self.server.host, self.source
                )
            })?;
        let mut last = anyhow!("{} has no address", self.server.host);
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Says what a person can do about a failed exchange.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let Self { server, source, .. } = self;
        let Some(io) = error.downcast_ref::<std::io::Error>() else {
            return error.context(format!("asking {server}"));
        };
        let tls = io.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
        let hint = match (tls, io.kind()) {
            (Some(rustls::Error::InvalidCertificate(why)), _) => match why {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                    "{server} is another cluster than the one of kubeconfig {source} (its \
                     certificate comes from another CA)"
                ),
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => {
                    format!(
                        "the certificate of {server} does not name {}; start the controller with \
                         --advertise {0}",
                        self.server.host
                    )
                }
                _ => format!("the certificate of {server} is not valid"),
            },
            (Some(rustls::Error::AlertReceived(_)), _) => {
                format!("{server} refused the client certificate of kubeconfig {source}")
            }
            (Some(_), _) => format!("{server} does not speak TLS as expected"),
            (None, ErrorKind::ConnectionRefused) => format!(
                "nothing listens at {server} (kubeconfig {source}); is the controller running?"
            ),
            (None, ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
                format!("{server} does not answer (kubeconfig {source})")
            }
            (None, _) => format!("asking {server} (kubeconfig {source})"),
        };
        error.context(hint)
    }

    /// The server's own words where it has any.
    fn refusal(&self, answer: &Answer) -> String {
        let status: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let message = status["message"].as_str().unwrap_or_default();
        let Self { server, source, .. } = self;
        match answer.code {
            401 => format!("{server} does not know the user of kubeconfig {source}"),
            404 if status["kind"] != "Status" => {
                format!("{server} is no Bramble controller (kubeconfig {source})")
            }
            code if message.is_empty() => format!("{server} answered with {code}"),
            code => format!("{message} ({code})"),
        }
    }
}

fn tls(config: &Kubeconfig) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("certificate-authority", &config.ca)? {
        roots
            .add(certificate)
            .context("certificate-authority is unusable")?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_details(provider, Arc::new(Clock))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut tls = match &config.credentials {
        Credentials::Token(_) => builder.with_no_client_auth(),
        Credentials::Certificate { chain, key } => {
            let chain = certificates("client-certificate", chain)?;
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|error| anyhow!("client-key is not a private key in PEM: {error}"))?;
            builder
                .with_client_auth_cert(chain, key)
                .context("client-certificate and client-key don't fit")?
        }
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls.resumption = Resumption::disabled();
    Ok(Arc::new(tls))
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| anyhow!("{what} is not PEM: {error}"))?;
    if certificates.is_empty() {
        bail!("{what} holds no certificate in PEM");
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests;
