//! The connection to a registry: to one of a name's addresses, plain or TLS.

use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::{Error, Patience};
use crate::image::registry::url::Url;

/// Connects to one of the name's addresses.
pub(super) fn connect(url: &Url, patience: Patience) -> Result<TcpStream, Error> {
    let end = Instant::now() + patience.connect;
    let unreachable = |why: String| Error::Unreachable {
        server: url.authority(),
        why,
    };
    let addresses = resolve(url, patience.connect).map_err(unreachable)?;
    let mut last = String::from("no address");
    for address in &addresses {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(address, left) {
            Ok(tcp) => {
                let prepared = tcp
                    .set_read_timeout(Some(patience.silence))
                    .and_then(|()| tcp.set_write_timeout(Some(patience.silence)));
                prepared.map_err(|e| unreachable(e.to_string()))?;
                return Ok(tcp);
            }
            Err(error) => last = format!("dial tcp {address}: {}", plain(&error)),
        }
    }
    Err(unreachable(last))
}

/// The resolver has no limit of its own that could be set; a thread that hangs in it ends with the
/// process.
fn resolve(url: &Url, patience: Duration) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = url.host.parse() {
        return Ok(vec![SocketAddr::new(ip, url.port)]);
    }
    let (sender, receiver) = mpsc::channel();
    let (host, port) = (url.host.clone(), url.port);
    let name = host.clone();
    std::thread::spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs();
        let _ = sender.send(found.map(Iterator::collect));
    });
    match receiver.recv_timeout(patience) {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(format!("lookup {name}: {}", plain(&error))),
        Err(_) => Err(format!("lookup {name}: no answer")),
    }
}

/// Without Rust's `(os error 111)`.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let text = text
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(text);
    text.to_owned()
}

pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.write_all(bytes),
            Self::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buffer),
            Self::Tls(tls) => match tls.read(buffer) {
                // Closed without saying so; where the body's length is known, that tells.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                other => other,
            },
        }
    }
}
