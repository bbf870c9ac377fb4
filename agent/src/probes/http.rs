//! A GET as the kubelet's probe does it (`pkg/probe/http`): HTTP/1.1, one connection for each, 200 to
//! 399 is success, redirects to the same host are followed, of a body the first 10 KiB are read.

use std::time::Duration;

use bramble_agent_core::probe::HttpCheck;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{Tried, authority, connect, tls};

/// As upstream: `kube-probe/` with the API's version.
const PROBE_AGENT: &str = "kube-probe/1.37";
const HOOK_AGENT: &str = "kube-lifecycle/1.37";
/// Longest head of an answer; a longer one is a failure.
const HEAD_MAX: usize = 16 * 1024;
/// Of a body so much is read, as upstream.
const BODY_MAX: usize = 10 * 1024;
/// Redirects that are followed, as Go's client does.
const REDIRECTS_MAX: usize = 10;

/// What a server said.
struct Answer {
    code: u16,
    location: Option<String>,
    body: Vec<u8>,
}

pub(super) async fn probe(check: &HttpCheck, limit: Duration) -> Tried {
    let url = url_of(check);
    match timeout(limit, follow(check, PROBE_AGENT)).await {
        Err(_) => Tried::failure(format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
        Ok(Err(why)) => Tried::failure(why),
        Ok(Ok(answer)) => match answer.code {
            200..=299 => Tried::success(""),
            300..=399 => Tried::success(format!(
                "Probe terminated redirects, Response body: {}",
                String::from_utf8_lossy(&answer.body)
            )),
            code => Tried::failure(format!("HTTP probe failed with statuscode: {code}")),
        },
    }
}

pub(super) async fn hook(check: &HttpCheck) -> Result<(), String> {
    follow(check, HOOK_AGENT).await.map(drop)
}

/// Asks, and asks again where it is sent, as long as that is the same host.
async fn follow(first: &HttpCheck, agent: &str) -> Result<Answer, String> {
    let mut check = first.clone();
    for _ in 0..=REDIRECTS_MAX {
        let answer =
            (get(&check, agent).await).map_err(|why| format!("Get {:?}: {why}", url_of(&check)))?;
        let next = match (answer.code, &answer.location) {
            (301 | 302 | 303 | 307 | 308, Some(location)) => redirected(&check, location),
            _ => None,
        };
        match next.filter(|next| next.host == first.host) {
            Some(next) => check = next,
            None => return Ok(answer),
        }
    }
    Err(format!(
        "Get {:?}: stopped after {REDIRECTS_MAX} redirects",
        url_of(&check)
    ))
}

async fn get(check: &HttpCheck, agent: &str) -> Result<Answer, String> {
    let stream = connect(&check.host, check.port).await?;
    let request = request(check, agent);
    if check.https {
        exchange(tls::wrap(stream, &check.host).await?, &request).await
    } else {
        exchange(stream, &request).await
    }
}

fn request(check: &HttpCheck, agent: &str) -> String {
    let given =
        |name: &str| (check.headers.iter()).any(|(given, _)| given.eq_ignore_ascii_case(name));
    let mut text = format!("GET {} HTTP/1.1\r\n", check.path);
    let mut line = |name: &str, value: &str| text += &format!("{name}: {value}\r\n");
    if !given("host") {
        let default = if check.https { 443 } else { 80 };
        match check.port == default && !check.host.contains(':') {
            true => line("Host", &check.host),
            false => line("Host", &authority(&check.host, check.port)),
        }
    }
    for (name, value) in &check.headers {
        // An empty one is how a manifest leaves ours out. What would end the line can't be sent.
        if !value.is_empty() && !format!("{name}{value}").contains(['\r', '\n']) {
            line(name, value);
        }
    }
    if !given("user-agent") {
        line("User-Agent", agent);
    }
    if !given("accept") {
        line("Accept", "*/*");
    }
    line("Connection", "close");
    text + "\r\n"
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> Result<Answer, String> {
    let sent = stream.write_all(request.as_bytes()).await;
    sent.map_err(|error| error.to_string())?;
    let flushed = stream.flush().await;
    flushed.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let (code, location) = head_of(&head)?;
            let body = bytes.split_off(end + 4);
            // Interim answers come before the one that counts.
            if (100..200).contains(&code) {
                bytes = body;
                continue;
            }
            let body = rest(&mut stream, body, &head).await;
            return Ok(Answer {
                code,
                location,
                body,
            });
        }
        if bytes.len() > HEAD_MAX {
            return Err("net/http: server response headers exceeded the limit".into());
        }
        match stream.read(&mut buffer).await {
            Ok(0) => return Err("EOF".into()),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The body as far as it is wanted: a server that writes it has answered. A body cut short is no
/// failure of a probe upstream either.
async fn rest(stream: &mut (impl AsyncRead + Unpin), mut body: Vec<u8>, head: &str) -> Vec<u8> {
    let length = header(head, "content-length").and_then(|value| value.parse().ok());
    let wanted = length.unwrap_or(BODY_MAX).min(BODY_MAX);
    let missing = wanted.saturating_sub(body.len());
    let _ = stream.take(missing as u64).read_to_end(&mut body).await;
    body.truncate(wanted);
    body
}

/// Code and `Location`.
fn head_of(head: &str) -> Result<(u16, Option<String>), String> {
    let line = head.lines().next().unwrap_or_default();
    let mut words = line.splitn(3, ' ');
    let version = words.next().unwrap_or_default();
    let code = words.next().and_then(|code| code.parse().ok());
    match (version.starts_with("HTTP/1."), code) {
        (true, Some(code)) => Ok((code, header(head, "location").map(str::to_owned))),
        _ => Err(format!(
            "net/http: HTTP/1.x transport connection broken: malformed HTTP response {line:?}"
        )),
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find(|(given, _)| given.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// Where a redirect leads; `None` for what can't be followed.
fn redirected(from: &HttpCheck, location: &str) -> Option<HttpCheck> {
    let location = location.split('#').next().unwrap_or_default();
    let absolute = (location.strip_prefix("http://").map(|rest| (false, rest)))
        .or_else(|| location.strip_prefix("https://").map(|rest| (true, rest)))
        .or_else(|| location.strip_prefix("//").map(|rest| (from.https, rest)));
    let path = |path: &str| match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    };
    let Some((https, rest)) = absolute else {
        if location.is_empty() {
            return None;
        }
        let base = from.path.split('?').next().unwrap_or_default();
        let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
        let to = match location.chars().next() {
            Some('/') => location.to_owned(),
            Some('?') => format!("{base}{location}"),
            _ => format!("{folder}/{location}"),
        };
        return Some(HttpCheck {
            path: path(&to),
            ..from.clone()
        });
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (place, to) = rest.split_at(end);
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    let default = if https { 443 } else { 80 };
    let (host, port) = match place
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    Some(HttpCheck {
        host: host.to_owned(),
        port: port.map_or(Some(default), |port| port.parse().ok())?,
        path: path(to),
        https,
        headers: from.headers.clone(),
    })
}

fn url_of(check: &HttpCheck) -> String {
    let scheme = if check.https { "https" } else { "http" };
    format!(
        "{scheme}://{}{}",
        authority(&check.host, check.port),
        check.path
    )
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
