//! Requests to registries over HTTP/1.1, one connection each, blocking: this process does nothing
//! else. In: an address and headers. Out: status, headers and a body that ends where it should or
//! fails. Every wait has an end, every length a bound.
//!
//! Written by hand, as the board's join is: what is needed here and not to be had together is a
//! limit on *silence* instead of on the whole of a download that may take an hour, TLS that is
//! verified with a clock that is never in 1970, and every failure told apart by whether the other
//! side was reached at all.

use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::url::Url;

/// Longest line of an answer's head, and of a chunk's size.
const LINE_MAX: u64 = 16 * 1024;
/// Most lines of an answer's head.
const LINES_MAX: usize = 128;

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

/// An answer, its body not read yet.
pub(super) struct Response {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Response {
    /// A header's first value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        let (_, value) = all.find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// Every value of a header.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let same = move |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, v)| v.as_str())
    }

    /// The body.
    pub(super) fn into_body(self) -> impl Read {
        self.body
    }

    /// The whole body.
    ///
    /// # Errors
    /// When it is longer than `max`, or cut off.
    pub(super) fn read_all(self, max: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        self.body.take(max + 1).read_to_end(&mut out)?;
        if out.len() as u64 > max {
            return Err(io::Error::other(format!("more than {max} bytes")));
        }
        Ok(out)
    }
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

/// Connects to one of the name's addresses.
fn connect(url: &Url, patience: Patience) -> Result<TcpStream, Error> {
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

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
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

enum Fault {
    Io(io::Error),
    Protocol(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn read_line(reader: &mut impl BufRead) -> Result<String, Fault> {
    let mut line = Vec::new();
    reader.take(LINE_MAX).read_until(b'\n', &mut line)?;
    match line.pop() {
        Some(b'\n') => {}
        Some(_) if line.len() as u64 + 1 >= LINE_MAX => {
            return Err(Fault::Protocol("a line is too long".into()));
        }
        _ => return Err(Fault::Io(io::ErrorKind::UnexpectedEof.into())),
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| Fault::Protocol("the answer is not HTTP".into()))
}

/// Reads heads until one that is an answer (1xx are not).
fn read_head(method: &str, reader: impl BufRead + 'static) -> Result<Response, Fault> {
    let mut reader: Box<dyn BufRead> = Box::new(reader);
    loop {
        let line = read_line(&mut reader)?;
        let mut words = line.splitn(3, ' ');
        let version = words.next().is_some_and(|v| v.starts_with("HTTP/1."));
        let status = words.next().and_then(|status| status.parse::<u16>().ok());
        let Some(status) = status.filter(|s| version && (100..600).contains(s)) else {
            return Err(Fault::Protocol(
                "the answer is not HTTP; a registry that speaks TLS, or none?".into(),
            ));
        };
        let mut headers = Vec::new();
        loop {
            let line = read_line(&mut reader)?;
            if line.is_empty() {
                break;
            }
            if headers.len() >= LINES_MAX {
                return Err(Fault::Protocol("too many headers".into()));
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.push((name.to_owned(), value.trim().to_owned()));
            }
        }
        if status >= 200 {
            let framing = framing(method, status, &headers)?;
            return Ok(Response {
                status,
                headers,
                body: Body { framing, reader },
            });
        }
    }
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With an empty chunk; so many bytes are left of this one.
    Chunks { left: u64, first: bool, done: bool },
    /// With the connection.
    Close,
}

fn framing(method: &str, status: u16, headers: &[(String, String)]) -> Result<Framing, Fault> {
    if method == "HEAD" || matches!(status, 204 | 304) {
        return Ok(Framing::Length(0));
    }
    let find = |name: &str| {
        let same = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        headers.iter().find(same).map(|(_, value)| value.as_str())
    };
    match find("transfer-encoding") {
        Some(coding) if coding.eq_ignore_ascii_case("chunked") => {
            return Ok(Framing::Chunks {
                left: 0,
                first: true,
                done: false,
            });
        }
        Some(coding) if !coding.eq_ignore_ascii_case("identity") => {
            return Err(Fault::Protocol(format!("transfer coding {coding:?}")));
        }
        _ => {}
    }
    match find("content-length").map(str::parse) {
        Some(Ok(length)) => Ok(Framing::Length(length)),
        Some(Err(_)) => Err(Fault::Protocol("a length that is no number".into())),
        None => Ok(Framing::Close),
    }
}

/// A body.
struct Body {
    framing: Framing,
    reader: Box<dyn BufRead>,
}

impl Body {
    /// Reads the size of the next chunk; 0 is the end.
    fn next_chunk(&mut self, first: bool) -> io::Result<u64> {
        let bad = |fault: Fault| match fault {
            Fault::Io(error) => error,
            Fault::Protocol(why) => io::Error::other(why),
        };
        if !first && !read_line(&mut self.reader).map_err(bad)?.is_empty() {
            return Err(io::Error::other("a chunk does not end where it should"));
        }
        let line = read_line(&mut self.reader).map_err(bad)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let digits = !size.is_empty() && size.bytes().all(|b| b.is_ascii_hexdigit());
        match u64::from_str_radix(size, 16) {
            Ok(size) if digits => Ok(size),
            _ => Err(io::Error::other("a chunk without a size")),
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Framing::Chunks {
            left: 0,
            first,
            done: false,
        } = self.framing
        {
            let left = self.next_chunk(first)?;
            self.framing = Framing::Chunks {
                left,
                first: false,
                done: left == 0,
            };
        }
        let left = match &mut self.framing {
            Framing::Close => return self.reader.read(buffer),
            Framing::Length(left) | Framing::Chunks { left, .. } => left,
        };
        let most = buffer
            .len()
            .min(usize::try_from(*left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        match self.reader.read(&mut buffer[..most])? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the answer was cut off",
            )),
            n => {
                *left -= n as u64;
                Ok(n)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Status and body of an answer's bytes, or why not.
    fn read(method: &str, bytes: &[u8]) -> Result<(u16, String), String> {
        let reader = BufReader::new(io::Cursor::new(bytes.to_vec()));
        let response = read_head(method, reader).map_err(|fault| match fault {
            Fault::Io(error) => error.to_string(),
            Fault::Protocol(why) => why,
        })?;
        let status = response.status;
        let body = response.read_all(50).map_err(|error| error.to_string())?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    #[test]
    fn bodies_end_where_they_should() {
        let ok = |text: &str| read("GET", text.as_bytes()).unwrap();
        let bad = |text: &str| read("GET", text.as_bytes()).unwrap_err();
        assert_eq!(
            ok("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef"),
            (200, "abc".into())
        );
        assert_eq!(ok("HTTP/1.0 404 No\n\nabc"), (404, "abc".into()));
        assert_eq!(
            ok(
                "HTTP/1.1 200\r\ntransfer-encoding: Chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n"
            ),
            (200, "abcde".into())
        );
        assert_eq!(
            ok("HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 206 Part\r\nContent-Length: 1\r\n\r\nx"),
            (206, "x".into())
        );
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
        assert_eq!(read("HEAD", head).unwrap(), (200, String::new()));
        assert!(bad("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab").contains("cut off"));
        assert!(
            bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd").contains("end")
        );
        assert!(
            bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n").contains("size")
        );
        assert!(bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n").contains("gzip"));
        assert!(bad(&format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(60))).contains("more than"));
        assert!(bad("\x15\x03\x01\x00\x02\x02\n").contains("not HTTP"));
        assert!(bad(&"x".repeat(100_000)).contains("too long"));
        assert!(bad(&format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(500))).contains("many"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read("GET", &bytes);
            let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            answer.extend(&bytes);
            let _ = read("GET", &answer);
        }
    }
}
