//! Requests to registries over HTTP/1.1, one connection each, blocking: this process does nothing
//! else. In: an address and headers. Out: status, headers and a body that ends where it should or
//! fails. Every wait has an end, every length a bound.
//!
//! Written by hand, as the board's join is: what is needed here and not to be had together is a
//! limit on *silence* instead of on the whole of a download that may take an hour, TLS that is
//! verified with a clock that is never in 1970, and every failure told apart by whether the other
//! side was reached at all.

mod answer;
mod connection;

use std::io::{self, BufReader};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::url::Url;

pub(super) use answer::Response;

use answer::{Fault, read_head};
use connection::{Stream, connect};

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a name's addresses, for a connection, and for TLS, together.
    pub(super) connect: Duration,
    /// For the next byte.
    pub(super) silence: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The other side could not be reached: no network, no such name, nobody there.
    #[error("{server}: {why}")]
    Unreachable { server: String, why: String },
    /// Somebody is there who is not who they should be, or speaks no TLS.
    #[error("{server}: {why}")]
    Tls { server: String, why: String },
    /// The connection broke.
    #[error("{server}: the connection broke: {source}")]
    Cut {
        server: String,
        #[source]
        source: io::Error,
    },
    /// It is no HTTP that we understand.
    #[error("{server}: {why}")]
    Protocol { server: String, why: String },
}

/// One request.
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    pub(super) url: &'a Url,
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) tls: &'a Arc<ClientConfig>,
    pub(super) patience: Patience,
}

/// Sends a request and reads the head of the answer.
///
/// # Errors
/// [`Error`].
pub(super) fn send(request: &Request<'_>) -> Result<Response, Error> {
    let url = request.url;
    let server = url.authority();
    let tcp = connect(url, request.patience)?;
    let cut = |source: io::Error| Error::Cut {
        server: server.clone(),
        source: patient(source, request.patience),
    };
    let mut stream = match url.https {
        false => Stream::Plain(tcp),
        true => {
            tcp.set_read_timeout(Some(request.patience.connect))
                .map_err(cut)?;
            let tls = |why: String| Error::Tls {
                server: server.clone(),
                why,
            };
            let name = ServerName::try_from(url.host.clone()).map_err(|e| tls(e.to_string()))?;
            let mut connection = ClientConnection::new(Arc::clone(request.tls), name)
                .map_err(|e| tls(e.to_string()))?;
            let mut tcp = tcp;
            while connection.is_handshaking() {
                connection
                    .complete_io(&mut tcp)
                    .map_err(|e| handshake(&server, e))?;
            }
            tcp.set_read_timeout(Some(request.patience.silence))
                .map_err(cut)?;
            Stream::Tls(Box::new(StreamOwned::new(connection, tcp)))
        }
    };
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: {server}\r\nUser-Agent: bramble/{}\r\nConnection: close\r\n",
        request.method,
        url.path,
        env!("CARGO_PKG_VERSION")
    );
    for (name, value) in request.headers {
        // A value with a line in it would be another header.
        if value.bytes().any(|b| b < b' ' || b == 0x7f) {
            return Err(Error::Protocol {
                server,
                why: format!("the value of {name} can't be sent"),
            });
        }
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write(head.as_bytes()).map_err(cut)?;
    read_head(request.method, BufReader::new(stream)).map_err(|e| match e {
        Fault::Io(source) => cut(source),
        Fault::Protocol(why) => Error::Protocol {
            server: server.clone(),
            why,
        },
    })
}

fn handshake(server: &str, error: io::Error) -> Error {
    let server = server.to_owned();
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => Error::Tls {
            server,
            why: tls.to_string(),
        },
        None if is_timeout(&error) => Error::Unreachable {
            server,
            why: "no answer to the TLS handshake".into(),
        },
        None => Error::Cut {
            server,
            source: error,
        },
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// The kernel calls a silence "resource temporarily unavailable".
fn patient(error: io::Error, patience: Patience) -> io::Error {
    match is_timeout(&error) {
        true => io::Error::new(
            io::ErrorKind::TimedOut,
            format!("nothing came for {} s", patience.silence.as_secs()),
        ),
        false => error,
    }
}
