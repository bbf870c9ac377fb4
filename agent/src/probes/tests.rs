//! Probes against real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

fn web(address: SocketAddr, path: &str) -> HttpCheck {
    HttpCheck {
        host: address.ip().to_string(),
        port: address.port(),
        path: path.into(),
        https: false,
        headers: Vec::new(),
    }
}

/// A server that answers each path with the bytes given for it, and keeps what it was asked.
async fn server(answers: &[(&'static str, &'static str)]) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (answers, seen) = (answers.to_vec(), Arc::clone(&asked));
    tokio::spawn(async move {
        let mut hanging = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).await.unwrap() == 0 {
                    break;
                }
                request.push(byte[0]);
            }
            let request = String::from_utf8(request).unwrap();
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            seen.lock().unwrap().push(request);
            let answer = answers.iter().find(|(of, _)| *of == path);
            let Some((_, answer)) = answer else { continue };
            if answer.is_empty() {
                // Hangs; the connection stays open.
                hanging.push(stream);
                continue;
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, asked)
}

#[tokio::test]
async fn codes_from_200_to_399_are_success() {
    let (address, _) = server(&[
        ("/200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("/204", "HTTP/1.0 204 No Content\r\n\r\n"),
        (
            "/100",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
        ),
        ("/304", "HTTP/1.1 304 Not Modified\r\n\r\n"),
        (
            "/404",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone",
        ),
        (
            "/500",
            "HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("/bad", "SSH-2.0-OpenSSH_9\r\n\r\n"),
    ])
    .await;
    let url = |path: &str| format!("http://{address}{path}");
    let cases = [
        ("/200", Tried::success("")),
        ("/204", Tried::success("")),
        ("/100", Tried::success("")),
        (
            "/304",
            Tried::success("Probe terminated redirects, Response body: "),
        ),
        (
            "/404",
            Tried::failure("HTTP probe failed with statuscode: 404"),
        ),
        (
            "/500",
            Tried::failure("HTTP probe failed with statuscode: 500"),
        ),
        (
            "/bad",
            Tried::failure(format!(
                "Get {:?}: net/http: HTTP/1.x transport connection broken: malformed HTTP response \"SSH-2.0-OpenSSH_9\"",
                url("/bad")
            )),
        ),
        (
            "/cut",
            Tried::failure(format!("Get {:?}: EOF", url("/cut"))),
        ),
    ];
    for (path, expected) in cases {
        let tried = probe(&Check::Http(web(address, path)), LIMIT).await;
        assert_eq!(tried, expected, "{path}");
    }
}

#[tokio::test]
async fn requests_say_who_asks_and_what_the_manifest_adds() {
    let (address, asked) = server(&[("/x?a=1", "HTTP/1.1 200 OK\r\n\r\n")]).await;
    let mut check = web(address, "/x?a=1");
    probe(&Check::Http(check.clone()), LIMIT).await;
    check.headers = [
        ("Host", "example.org"),
        ("X-A", "1"),
        ("Accept", ""),
        ("Bad", "a\r\nEvil: 1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    probe(&Check::Http(check.clone()), LIMIT).await;
    http_hook(&check).await.unwrap();
    let asked = asked.lock().unwrap().clone();
    assert_eq!(
        asked[0],
        format!(
            "GET /x?a=1 HTTP/1.1\r\nHost: {address}\r\nUser-Agent: kube-probe/1.37\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        )
    );
    assert_eq!(
        asked[1],
        "GET /x?a=1 HTTP/1.1\r\nHost: example.org\r\nX-A: 1\r\nUser-Agent: kube-probe/1.37\r\nConnection: close\r\n\r\n"
    );
    assert!(asked[2].contains("User-Agent: kube-lifecycle/1.37\r\n"));
}

#[tokio::test]
async fn redirects_to_the_same_host_are_followed_and_others_are_a_warning() {
    let (address, asked) = server(&[
        ("/a/b", "HTTP/1.1 302 Found\r\nLocation: c?d=1\r\n\r\n"),
        ("/a/c?d=1", "HTTP/1.1 301 Moved\r\nlocation: /e\r\n\r\n"),
        ("/e", "HTTP/1.1 503 No\r\n\r\n"),
        (
            "/out",
            "HTTP/1.1 302 Found\r\nLocation: http://example.org/\r\nContent-Length: 3\r\n\r\nbye",
        ),
        ("/loop", "HTTP/1.1 307 Again\r\nLocation: /loop\r\n\r\n"),
    ])
    .await;
    let ask = async |path: &str| probe(&Check::Http(web(address, path)), LIMIT).await;
    assert_eq!(
        ask("/a/b").await,
        Tried::failure("HTTP probe failed with statuscode: 503")
    );
    assert_eq!(
        ask("/out").await,
        Tried::success("Probe terminated redirects, Response body: bye")
    );
    asked.lock().unwrap().clear();
    assert!(
        ask("/loop")
            .await
            .message
            .ends_with("stopped after 10 redirects")
    );
    assert_eq!(asked.lock().unwrap().len(), 11);
}

#[tokio::test]
async fn what_does_not_answer_in_time_fails() {
    let (address, _) = server(&[("/hang", "")]).await;
    let tried = probe(
        &Check::Http(web(address, "/hang")),
        Duration::from_millis(50),
    )
    .await;
    assert_eq!(
        tried,
        Tried::failure(format!(
            "Get \"http://{address}/hang\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        ))
    );
}

#[tokio::test]
async fn nobody_there_is_said_as_go_says_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tcp = Check::Tcp {
        host: "127.0.0.1".into(),
        port: address.port(),
    };
    assert_eq!(probe(&tcp, LIMIT).await, Tried::success(""));
    drop(listener);
    let refused = format!("dial tcp {address}: connect: connection refused");
    assert_eq!(probe(&tcp, LIMIT).await, Tried::failure(&refused));
    assert_eq!(
        probe(&Check::Http(web(address, "/")), LIMIT).await,
        Tried::failure(format!("Get \"http://{address}/\": {refused}"))
    );
    let impossible = Check::Impossible("strconv.Atoi: parsing \"x\": invalid syntax".into());
    assert_eq!(probe(&impossible, LIMIT).await.outcome, Outcome::Unknown);
}

#[tokio::test]
async fn the_certificate_is_not_looked_at() {
    let signed = rcgen::generate_simple_self_signed(["elsewhere.example".to_owned()]).unwrap();
    let key =
        rustls_pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![signed.cert.der().clone()], key)
    .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let mut check = web(address, "/");
    check.https = true;
    assert_eq!(probe(&Check::Http(check), LIMIT).await, Tried::success(""));
}

/// A body of gRPC: one message, then trailers.
struct Body(Vec<Frame<Bytes>>);

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.pop().map(Ok))
    }
}

/// A health service: `status` of the service asked for, by name.
async fn health_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(answer);
            let io = hyper_util::rt::TokioIo::new(stream);
            let executor = hyper_util::rt::TokioExecutor::new();
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(executor).serve_connection(io, service),
            );
        }
    });
    address
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    use http_body_util::BodyExt as _;
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    assert_eq!(request.headers()["te"], "trailers");
    let asked = request.into_body().collect().await.unwrap().to_bytes();
    let name = asked.get(7..).unwrap_or_default();
    let status: Option<&[u8]> = match name {
        b"" | b"good" => Some(&[0, 0, 0, 0, 2, 8, 1]),
        b"bad" => Some(&[0, 0, 0, 0, 2, 8, 2]),
        b"silent" => Some(&[0, 0, 0, 0, 0]),
        name if name.len() == 300 => Some(&[0, 0, 0, 0, 2, 8, 1]),
        _ => None,
    };
    let code = if status.is_some() { "0" } else { "12" };
    let trailers = [("grpc-status".parse().unwrap(), code.parse().unwrap())];
    let mut frames = vec![Frame::trailers(trailers.into_iter().collect())];
    frames.extend(status.map(|bytes| Frame::data(Bytes::copy_from_slice(bytes))));
    let response = Response::builder().header("content-type", "application/grpc");
    Ok(response.body(Body(frames)).unwrap())
}

#[tokio::test]
async fn grpc_health_is_asked_of_a_real_http2_server() {
    let address = health_server().await;
    let ask = async |service: &str| {
        let check = Check::Grpc {
            host: address.ip().to_string(),
            port: address.port(),
            service: service.into(),
        };
        probe(&check, LIMIT).await
    };
    assert_eq!(ask("").await, Tried::success(""));
    assert_eq!(ask("good").await, Tried::success(""));
    assert_eq!(
        ask("bad").await,
        Tried::failure("service unhealthy (responded with \"NOT_SERVING\")")
    );
    assert_eq!(
        ask("silent").await,
        Tried::failure("service unhealthy (responded with \"UNKNOWN\")")
    );
    let none = ask("unheard of").await;
    assert!(none.message.contains("does not implement"), "{none:?}");
}

#[tokio::test]
async fn what_is_not_grpc_fails() {
    let (address, _) = server(&[("*", "HTTP/1.1 400 Bad Request\r\n\r\n")]).await;
    let check = Check::Grpc {
        host: address.ip().to_string(),
        port: address.port(),
        service: String::new(),
    };
    let tried = probe(&check, LIMIT).await;
    assert_eq!(tried.outcome, Outcome::Failure);
}
