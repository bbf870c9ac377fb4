//! What a registry answers: a head within bounds, and a body that ends where it should or fails.

use std::io::{self, BufRead, Read};

/// Longest line of an answer's head, and of a chunk's size.
const LINE_MAX: u64 = 16 * 1024;
/// Most lines of an answer's head.
const LINES_MAX: usize = 128;

/// An answer, its body not read yet.
pub(in crate::image::registry) struct Response {
    pub(in crate::image::registry) status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Response {
    /// A header's first value.
    pub(in crate::image::registry) fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        let (_, value) = all.find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// Every value of a header.
    pub(in crate::image::registry) fn all<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = &'a str> {
        let same = move |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, v)| v.as_str())
    }

    /// The body.
    pub(in crate::image::registry) fn into_body(self) -> impl Read {
        self.body
    }

    /// The whole body.
    ///
    /// # Errors
    /// When it is longer than `max`, or cut off.
    pub(in crate::image::registry) fn read_all(self, max: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        self.body.take(max + 1).read_to_end(&mut out)?;
        if out.len() as u64 > max {
            return Err(io::Error::other(format!("more than {max} bytes")));
        }
        Ok(out)
    }
}

pub(super) enum Fault {
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
pub(super) fn read_head(method: &str, reader: impl BufRead + 'static) -> Result<Response, Fault> {
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
    use std::io::BufReader;

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
