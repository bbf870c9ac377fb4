use std::io::BufRead;
use std::net::TcpListener;
use std::thread::JoinHandle;

use bramble_link::tls::{Identity, server_config};
use rcgen::{BasicConstraints, CertifiedIssuer, IsCa};
use rustls::ServerConnection;

use super::*;

/// A controller that answers one request.
struct Fake {
    port: u16,
    ca: CertificateDer<'static>,
    thread: JoinHandle<Option<String>>,
}

impl Fake {
    /// `send_ca`: the chain ends in the CA, as the real one's does.
    fn start(send_ca: bool, answer: impl FnOnce(&str, &str) -> String + Send + 'static) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let server = server.signed_by(&key, &ca).unwrap();
        let ca_der = ca.der().clone();
        let ca_pem = ca.pem();
        let mut chain = vec![server.der().clone()];
        if send_ca {
            chain.push(ca_der.clone());
        }
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let config = server_config(Identity { chain, key }, None, FloorClock::new(0)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            let mut tls = ServerConnection::new(config).unwrap();
            let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
            let mut reader = std::io::BufReader::new(&mut stream);
            let mut length = 0;
            loop {
                let mut line = String::new();
                // A client that does not believe us hangs up here.
                reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
                if let Some(value) = line.strip_prefix("Content-Length: ") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let body = String::from_utf8(body).unwrap();
            let answer = answer(&body, &ca_pem);
            stream.write_all(answer.as_bytes()).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            Some(body)
        });
        Self {
            port,
            ca: ca_der,
            thread,
        }
    }

    fn controller(&self) -> Controller {
        Controller {
            host: "127.0.0.1".into(),
            port: self.port,
        }
    }

    fn token(&self) -> Token {
        Token {
            ca_sha256: sha256(&self.ca),
            id: "id".into(),
            secret: "secret".into(),
        }
    }

    fn join(self, token: &Token) -> (Result<Membership, Error>, Option<String>) {
        let keys = identity::generate().unwrap();
        let node = NodeName::new("node-1").unwrap();
        let result = join(&self.controller(), token, &node, &keys, FloorClock::new(0));
        (result, self.thread.join().unwrap())
    }
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.0 201 Created\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn response(ca: &str, node: &str) -> String {
    let response = JoinResponse {
        cluster: "c1".into(),
        node: node.into(),
        ca: ca.into(),
        certificate: ca.into(),
        controller_key: "11".repeat(32),
        brokers: vec!["mqtts://{controller}:8883".into()],
        pod_cidr: "10.42.0.0/24".into(),
        cluster_cidr: "10.42.0.0/16".into(),
        service_cidr: "10.43.0.0/16".into(),
    };
    ok(&serde_json::to_string(&response).unwrap())
}

#[test]
fn a_board_joins_and_proves_its_key() {
    let fake = Fake::start(true, |_, ca| response(ca, "node-1"));
    let token = fake.token();
    let (result, sent) = fake.join(&token);
    let membership = result.unwrap();
    assert_eq!(membership.brokers, ["mqtts://127.0.0.1:8883"]);
    assert_eq!(membership.controller, [0x11; 32]);
    let request: JoinRequest = serde_json::from_str(&sent.unwrap()).unwrap();
    let identity = hex32(&request.identity_key).unwrap();
    let identity = ed25519_dalek::VerifyingKey::from_bytes(&identity).unwrap();
    let proof: Vec<u8> = hex::decode(&request.proof).unwrap();
    let proof = ed25519_dalek::Signature::from_slice(&proof).unwrap();
    identity
        .verify_strict(&request.proof_message(), &proof)
        .unwrap();
}

#[test]
fn the_token_is_not_shown_to_a_server_that_is_not_the_controller() {
    for send_ca in [true, false] {
        let fake = Fake::start(send_ca, |_, ca| response(ca, "node-1"));
        let mut token = fake.token();
        token.ca_sha256[0] ^= u8::from(send_ca);
        let (result, sent) = fake.join(&token);
        let error = result.unwrap_err();
        assert!(matches!(error, Error::NotTheController(_)), "{error}");
        assert!(!error.is_retryable());
        assert_eq!(sent, None);
    }
}

#[test]
fn a_refusal_is_told_in_the_controllers_words() {
    let body = r#"{"kind":"Status","message":"the token has been used"}"#;
    let fake = Fake::start(true, move |_, _| {
        format!("HTTP/1.0 403 Forbidden\r\n\r\n{body}")
    });
    let token = fake.token();
    let (result, _) = fake.join(&token);
    assert_eq!(
        result.unwrap_err().to_string(),
        "the controller refused (403): the token has been used"
    );
}

#[test]
fn answers_that_make_no_sense_are_refused() {
    type Answer = fn(&str) -> String;
    let cases: [(Answer, &str); 4] = [
        (|_| ok("{}"), "missing field"),
        (|ca| response(ca, "other"), "another node"),
        (|_| response("x", "node-1"), "no CA certificate"),
        (|_| "nonsense".into(), "not HTTP"),
    ];
    for (answer, expected) in cases {
        let fake = Fake::start(true, move |_, ca| answer(ca));
        let token = fake.token();
        let (result, _) = fake.join(&token);
        let error = result.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let cut = read_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").unwrap_err();
    assert!(cut.is_retryable());
}

#[test]
fn addresses_of_the_controller() {
    let check = |text: &str, host: &str, port| {
        let host = host.to_owned();
        assert_eq!(text.parse(), Ok(Controller { host, port }), "{text}");
    };
    check("pi", "pi", 6443);
    check("10.0.0.1:7000", "10.0.0.1", 7000);
    check("https://pi:6443/", "pi", 6443);
    check("[fd00::1]:1", "fd00::1", 1);
    for bad in ["", "pi:x", ":1", "http://pi/x"] {
        assert!(bad.parse::<Controller>().is_err(), "{bad}");
    }
}
