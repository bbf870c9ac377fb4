//! Trying what hooks and probes ask for over the network.
//!
//! In: a settled [`Check`] and a time. Out: a [`Tried`] with the text that upstream has for it. Commands
//! are not here: they need the runtime (`agent/src/pods`). Nothing is kept between two tries, and
//! each reads a bounded answer.

mod grpc;
mod http;
mod tls;

use std::net::IpAddr;
use std::time::Duration;

use bramble_agent_core::probe::machine::Outcome;
use bramble_agent_core::probe::{Check, HttpCheck};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What became of a try, with a text for people where upstream has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tried {
    /// What it counts for.
    pub(crate) outcome: Outcome,
    /// What went wrong, or was strange.
    pub(crate) message: String,
}

impl Tried {
    /// It succeeded; a message is a warning.
    pub(crate) fn success(message: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Success,
            message: message.into(),
        }
    }

    /// It failed.
    pub(crate) fn failure(message: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Failure,
            message: message.into(),
        }
    }

    /// It could not be tried.
    pub(crate) fn unknown(message: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Unknown,
            message: message.into(),
        }
    }
}

/// Tries a probe. A command or a wait is not this module's: `Unknown`.
pub(crate) async fn probe(check: &Check, limit: Duration) -> Tried {
    match check {
        Check::Http(check) => http::probe(check, limit).await,
        Check::Tcp { host, port } => tcp(host, *port, limit).await,
        Check::Grpc {
            host,
            port,
            service,
        } => grpc::probe(host, *port, service, limit).await,
        Check::Impossible(why) => Tried::unknown(why.clone()),
        Check::Exec(_) | Check::Sleep { .. } => Tried::unknown("missing probe handler"),
    }
}

/// A hook that asks a web server; any answer will do, as upstream.
///
/// # Errors
/// With a text for people when there was no answer.
pub(crate) async fn http_hook(check: &HttpCheck) -> Result<(), String> {
    http::hook(check).await
}

async fn tcp(host: &str, port: u16, limit: Duration) -> Tried {
    match timeout(limit, connect(host, port)).await {
        Ok(Ok(_)) => Tried::success(""),
        Ok(Err(why)) => Tried::failure(why),
        Err(_) => Tried::failure(timed_out(host, port)),
    }
}

/// Errors are said in the words of Go's `net`, which people search for.
async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((host, port)).await.map_err(|error| {
        let what = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
            std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
            _ if host.parse::<IpAddr>().is_err() => {
                return format!("dial tcp: lookup {host}: {error}");
            }
            _ => error.to_string(),
        };
        format!("dial tcp {}: {what}", authority(host, port))
    })
}

fn timed_out(host: &str, port: u16) -> String {
    format!("dial tcp {}: i/o timeout", authority(host, port))
}

/// Host and port; an IPv6 address in brackets.
fn authority(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests;
