//! A small HTTPS client with the administrator's certificate: one connection, one request at a time.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bramble_link::tls::{self, FloorClock, Identity};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Whom to talk to, and as whom.
#[derive(Clone)]
pub(crate) struct Access {
    address: SocketAddr,
    connector: TlsConnector,
}

impl Access {
    /// The administrator, from the files of the controller's data directory.
    pub(crate) fn admin(data: &Path, address: SocketAddr) -> Result<Self> {
        let read = |name: &str| {
            let path = data.join("pki").join(name);
            std::fs::read(&path).with_context(|| path.display().to_string())
        };
        let admin = read("admin.pem")?;
        let identity = Identity {
            chain: vec![CertificateDer::from_pem_slice(&admin)?],
            key: PrivateKeyDer::from_pem_slice(&admin)?,
        };
        let roots = [CertificateDer::from_pem_slice(&read("ca.crt")?)?];
        let config = tls::client_config(&roots, Some(identity), FloorClock::new(0))?;
        Ok(Self {
            address,
            connector: TlsConnector::from(Arc::clone(&config)),
        })
    }

    pub(crate) async fn connect(&self) -> Result<Client> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let stream = self.connector.connect(name, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Client { sender })
    }
}

pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    async fn request(&mut self, method: &str, path: &str, body: Bytes) -> Result<Incoming> {
        let content_type = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", content_type)
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        if !head.status.is_success() {
            let text = body.collect().await?.to_bytes();
            bail!(
                "{method} {path}: {} {}",
                head.status,
                String::from_utf8_lossy(&text)
            );
        }
        Ok(body)
    }

    /// Sends a request and reads the answer to its end.
    ///
    /// # Errors
    /// When the answer is no success.
    pub(crate) async fn send(&mut self, method: &str, path: &str, body: &Value) -> Result<Bytes> {
        let body = match body {
            Value::Null => Bytes::new(),
            body => body.to_string().into(),
        };
        let body = self.request(method, path, body).await?;
        Ok(body.collect().await?.to_bytes())
    }

    /// Opens a watch.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) async fn watch(mut self, path: &str) -> Result<Events> {
        let body = self.request("GET", path, Bytes::new()).await?;
        Ok(Events {
            body,
            rest: Vec::new(),
            _client: self,
        })
    }
}

/// The events of a watch.
pub(crate) struct Events {
    body: Incoming,
    rest: Vec<u8>,
    _client: Client,
}

impl Events {
    /// Bytes of the next event.
    ///
    /// # Errors
    /// When the stream ends.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                return Ok(self.rest.drain(..=end).collect());
            }
            let frame = self.body.frame().await.context("the watch ended")??;
            let data = frame.into_data().ok().context("trailers in a watch")?;
            ensure!(!data.is_empty(), "an empty frame");
            self.rest.extend_from_slice(&data);
        }
    }
}
