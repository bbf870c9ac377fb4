//! Against a TLS server on the loopback interface that gives one fixed answer.

use super::*;
use std::io::Read;
use std::net::TcpListener;
use std::thread::JoinHandle;

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(&[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let cert = params.self_signed(&key).unwrap();
        Self {
            pem: cert.pem(),
            der: cert.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn leaf(&self, names: &[&str]) -> (String, CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let cert = params(names).signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), cert.der().clone(), key)
    }
}

/// A server that answers one connection, and what it was sent.
struct Server {
    port: u16,
    thread: JoinHandle<String>,
}

fn serve(ca: &Authority, names: &[&str], answer: &str) -> Server {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (_, cert, key) = ca.leaf(names);
    let mut roots = RootCertStore::empty();
    roots.add(ca.der.clone()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![cert], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = answer.to_owned();
    let thread = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        // Requests of these tests fit into what arrives up to the end of the body.
        while !finished(&request) {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return String::new(),
                Ok(n) => request.extend_from_slice(&buffer[..n]),
            }
        }
        let _ = stream.write_all(answer.as_bytes());
        stream.conn.send_close_notify();
        let _ = stream.flush();
        String::from_utf8(request).unwrap()
    });
    Server { port, thread }
}

fn finished(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("Content-Length: "))
        .and_then(|l| l.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}

/// A client with a kubeconfig of `ca`, made by the same code as a person's.
fn client(ca: &Authority, user: &Authority, port: u16) -> Client {
    let (chain, _, key) = user.leaf(&[]);
    let pack = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let text = format!(
        "clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority-data: {}}}}}]\n\
         users: [{{name: u, user: {{client-certificate-data: {}, client-key-data: {}}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n",
        pack(ca.pem.clone()),
        pack(chain),
        pack(key.serialize_pem())
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    std::fs::write(&path, text).unwrap();
    let access = crate::args::Access {
        kubeconfig: Some(path),
        context: None,
    };
    let config = crate::kubeconfig::load(&access, crate::kubeconfig::Prefer::Home).unwrap();
    Client::new(&config).unwrap()
}

const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{\"a\": 1}";

#[test]
fn a_request_with_a_body_is_answered() {
    let ca = Authority::new();
    let server = serve(&ca, &["127.0.0.1"], FINE);
    let client = client(&ca, &ca, server.port);
    let body = serde_json::json!({"uses": 1});
    let value: Value = client.json("POST", "/x?y=1", Some(&body)).unwrap();
    assert_eq!(value, serde_json::json!({"a": 1}));
    let request = server.thread.join().unwrap();
    assert!(request.starts_with("POST /x?y=1 HTTP/1.1\r\n"), "{request}");
    assert!(
        request.contains(&format!("Host: 127.0.0.1:{}\r\n", server.port)),
        "{request}"
    );
    assert!(request.ends_with("\r\n\r\n{\"uses\":1}"), "{request}");
}

fn failure(answer: &str) -> String {
    let ca = Authority::new();
    let server = serve(&ca, &["127.0.0.1"], answer);
    let error = client(&ca, &ca, server.port)
        .get::<Value>("/x")
        .unwrap_err();
    server.thread.join().unwrap();
    format!("{error:#}")
}

#[test]
fn the_servers_words_are_passed_on() {
    let status = r#"{"kind":"Status","message":"no tokens \"abc\"","code":404}"#;
    let answer = format!(
        "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{status}",
        status.len()
    );
    assert_eq!(failure(&answer), "no tokens \"abc\" (404)");
    let foreign = "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno!";
    assert!(failure(foreign).contains("is no Bramble controller"));
    let unknown = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
    assert!(failure(unknown).contains("does not know the user"));
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{";
    assert!(failure(cut).contains("ended inside"), "{}", failure(cut));
}

#[test]
fn a_server_of_another_cluster_is_refused() {
    let (ca, other) = (Authority::new(), Authority::new());
    let server = serve(&other, &["127.0.0.1"], FINE);
    let error = client(&ca, &other, server.port)
        .get::<Value>("/x")
        .unwrap_err();
    assert_eq!(server.thread.join().unwrap(), "", "nothing was sent to it");
    let text = format!("{error:#}");
    assert!(text.contains("is another cluster"), "{text}");
}

#[test]
fn a_server_with_another_name_is_refused() {
    let ca = Authority::new();
    let server = serve(&ca, &["10.9.9.9"], FINE);
    let error = client(&ca, &ca, server.port)
        .get::<Value>("/x")
        .unwrap_err();
    assert_eq!(server.thread.join().unwrap(), "", "nothing was sent to it");
    let text = format!("{error:#}");
    assert!(text.contains("--advertise 127.0.0.1"), "{text}");
}

#[test]
fn nobody_there_is_said_plainly() {
    let ca = Authority::new();
    // Bound and dropped: nothing listens there for the moment.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = client(&ca, &ca, port).get::<Value>("/x").unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("is the controller running?"), "{text}");
}
