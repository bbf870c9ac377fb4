//! A real registry (Debian's `docker-registry`) for tests, a way to push to it, a proxy that cuts
//! connections, and a registry that says what a test tells it to.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// `open sesame`, by bcrypt with as few rounds as there can be.
const HTPASSWD: &str = "ali:$2b$04$cvSoSLLHtfnxLDzz0R.LKe2vwBAQbLRerq6wHbdkHMLTlrDW1xOHy\n";
pub const USER: &str = "ali";
pub const PASSWORD: &str = "open sesame";

/// How a registry is started.
#[derive(Default)]
pub struct Setup {
    /// Certificate chain and key, PEM.
    pub tls: Option<(String, String)>,
    /// Wants [`USER`] and [`PASSWORD`].
    pub auth: bool,
    /// Address to listen at; 127.0.0.1 otherwise.
    pub host: Option<String>,
}

/// A running registry; ends when dropped. Several may share a storage.
pub struct Registry {
    child: Child,
    pub address: SocketAddr,
}

impl Registry {
    /// Starts one on a folder.
    pub fn start(storage: &Path, setup: &Setup) -> Self {
        // The port may be taken before the registry has it; then another is tried.
        for _ in 0..5 {
            if let Some(registry) = Self::try_start(storage, setup) {
                return registry;
            }
        }
        panic!("docker-registry does not start; `./x tools` installs it");
    }

    fn try_start(storage: &Path, setup: &Setup) -> Option<Self> {
        let host = setup.host.as_deref().unwrap_or("127.0.0.1");
        let address = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap();
        let folder = storage.join(format!("config-{}", address.port()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut config = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: {address}\n",
            storage.join("data").display()
        );
        if let Some((certificate, key)) = &setup.tls {
            let (cert_file, key_file) = (folder.join("cert.pem"), folder.join("key.pem"));
            std::fs::write(&cert_file, certificate).unwrap();
            std::fs::write(&key_file, key).unwrap();
            config += &format!(
                "  tls: {{certificate: {}, key: {}}}\n",
                cert_file.display(),
                key_file.display()
            );
        }
        if setup.auth {
            let file = folder.join("htpasswd");
            std::fs::write(&file, HTPASSWD).unwrap();
            config += &format!(
                "auth: {{htpasswd: {{realm: here, path: {}}}}}\n",
                file.display()
            );
        }
        let path = folder.join("config.yml");
        std::fs::write(&path, config).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(path)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry is there; `./x tools` installs it");
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let mut up = false;
        while !up && log.read_line(&mut line).unwrap() > 0 {
            up = line.contains("listening on");
            line.clear();
        }
        // It must not fill its pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let registry = Self { child, address };
        up.then_some(registry)
    }

    /// Puts a blob into a repository.
    pub fn push_blob(&self, repository: &str, digest: &str, bytes: &[u8]) {
        let (status, headers, _) = self.ask(
            "POST",
            &format!("/v2/{repository}/blobs/uploads/"),
            &[],
            b"",
        );
        assert_eq!(status, 202, "{headers}");
        let location = header(&headers, "location").expect("a location");
        let path = &location[location.find("/v2/").unwrap()..];
        let (status, headers, _) = self.ask(
            "PUT",
            &format!("{path}&digest={digest}"),
            &["Content-Type: application/octet-stream"],
            bytes,
        );
        assert_eq!(status, 201, "{headers}");
    }

    /// Puts a manifest or index under a tag or digest.
    pub fn push_manifest(&self, repository: &str, version: &str, media_type: &str, bytes: &[u8]) {
        let (status, headers, body) = self.ask(
            "PUT",
            &format!("/v2/{repository}/manifests/{version}"),
            &[&format!("Content-Type: {media_type}")],
            bytes,
        );
        let body = String::from_utf8_lossy(&body);
        assert_eq!(status, 201, "{headers}\n{body}");
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        for header in headers {
            head += &format!("{header}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head, answer[end + 4..].to_vec())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (n, value) = line.split_once(':')?;
        n.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A TCP proxy that cuts each connection after so many bytes from the server.
pub struct Cutter {
    pub address: SocketAddr,
    /// Bytes after which a connection is cut; 0 cuts none.
    pub after: Arc<AtomicU64>,
    /// Bytes that went through, from the server.
    pub bytes: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Cutter {
    pub fn start(to: SocketAddr, after: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let after = Arc::new(AtomicU64::new(after));
        let bytes = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (after, bytes, stop) = (after.clone(), bytes.clone(), stop.clone());
            std::thread::spawn(move || {
                for client in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (Ok(client), Ok(server)) = (client, TcpStream::connect(to)) else {
                        continue;
                    };
                    let (after, bytes) = (after.load(Ordering::SeqCst), bytes.clone());
                    std::thread::spawn(move || forward(&client, &server, after, &bytes));
                }
            })
        };
        Self {
            address,
            after,
            bytes,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn forward(client: &TcpStream, server: &TcpStream, after: u64, bytes: &AtomicU64) {
    let up = {
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from, &mut to))
    };
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let mut buffer = [0; 16 * 1024];
    let mut left = if after == 0 { u64::MAX } else { after };
    while left > 0 {
        let most = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        match from.read(&mut buffer[..most]) {
            Ok(n) if n > 0 && to.write_all(&buffer[..n]).is_ok() => {
                left -= n as u64;
                bytes.fetch_add(n as u64, Ordering::SeqCst);
            }
            _ => break,
        }
    }
    let _ = client.shutdown(std::net::Shutdown::Both);
    let _ = server.shutdown(std::net::Shutdown::Both);
    let _ = up.join();
}

/// Answers a request: method, path, head. What comes back is written as it is.
pub type Script = dyn Fn(&str, &str, &str) -> Vec<u8> + Send + Sync;

/// A server that says what a test tells it to.
pub struct Scripted {
    pub address: SocketAddr,
    /// First line and head of each request.
    pub seen: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    pub fn start(script: Box<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (seen, stop) = (seen.clone(), stop.clone());
            std::thread::spawn(move || {
                for client in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(mut client) = client else { continue };
                    let mut head = String::new();
                    let mut reader = BufReader::new(client.try_clone().unwrap());
                    while !head.ends_with("\r\n\r\n")
                        && reader.read_line(&mut head).is_ok_and(|n| n > 0)
                    {}
                    let mut words = head.split(' ');
                    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
                    let answer = script(method, path, &head);
                    seen.lock().unwrap().push(head.clone());
                    let _ = client.write_all(&answer);
                }
            })
        };
        Self {
            address,
            seen,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An answer with a length.
pub fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        out += &format!("{name}: {value}\r\n");
    }
    let mut out = format!("{out}\r\n").into_bytes();
    out.extend_from_slice(body);
    out
}

/// A file about registries.
pub fn registries(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("registries.toml");
    std::fs::write(&path, text).unwrap();
    path
}
