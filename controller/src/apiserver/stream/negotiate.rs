//! Which way a client wants to be spoken with, and the answer that switches to it.
//!
//! WebSocket (RFC 6455, the handshake only) with one of Kubernetes' subprotocols, SPDY/3.1 with a
//! protocol version, or SPDY/3.1 inside of WebSocket messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bramble_api::status::Status;
use http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Response};

use super::super::respond::{self, Body};

/// What RFC 6455 appends to a client's key.
const WEBSOCKET: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const SPDY_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const SPDY_ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// How channels are told apart in WebSocket messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Channels {
    /// Text: the channel's digit, then base64.
    pub(super) base64: bool,
    /// The error channel has a `Status`, else text.
    pub(super) status: bool,
    /// A client can end a channel.
    pub(super) close: bool,
}

/// The way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// WebSocket messages with channels.
    Channels(Channels),
    /// SPDY on the connection; for commands whether the error stream has a `Status`.
    Spdy {
        /// As in [`Channels::status`].
        status: bool,
    },
    /// SPDY in WebSocket messages.
    Tunnel,
}

/// The way, and the answer to be sent when the stream is there.
#[derive(Debug)]
pub(super) struct Switch {
    pub(super) way: Way,
    pub(super) answer: Response<Body>,
}

/// WebSocket subprotocols of commands, and what each means. None at all is the oldest one.
const COMMAND: [(&str, Channels); 5] = [
    ("v5.channel.k8s.io", channels(false, true, true)),
    ("v4.channel.k8s.io", channels(false, true, false)),
    ("v4.base64.channel.k8s.io", channels(true, true, false)),
    ("channel.k8s.io", channels(false, false, false)),
    ("base64.channel.k8s.io", channels(true, false, false)),
];

/// The same for port-forward.
const FORWARD: [(&str, Channels); 2] = [
    ("v4.channel.k8s.io", channels(false, false, false)),
    ("v4.base64.channel.k8s.io", channels(true, false, false)),
];

const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

const SPDY_COMMAND: [&str; 4] = [
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
];

const SPDY_FORWARD: [&str; 1] = ["portforward.k8s.io"];

const fn channels(base64: bool, status: bool, close: bool) -> Channels {
    Channels {
        base64,
        status,
        close,
    }
}

/// What a client asks for.
///
/// # Errors
/// Upstream's refusals, as a whole answer: not all of them are a `Status`.
pub(super) fn negotiate(headers: &HeaderMap, forward: bool) -> Result<Switch, Box<Response<Body>>> {
    let wants = |what: &str| {
        let named = values(headers, &CONNECTION).any(|v| v.eq_ignore_ascii_case("upgrade"));
        named && values(headers, &UPGRADE).any(|v| v.eq_ignore_ascii_case(what))
    };
    if wants("websocket") {
        websocket(headers, forward)
    } else if wants("SPDY/3.1") {
        spdy(headers, forward)
    } else {
        let status = Status::bad_request("Upgrade request required");
        Err(Box::new(respond::status(&status)))
    }
}

fn websocket(headers: &HeaderMap, forward: bool) -> Result<Switch, Box<Response<Body>>> {
    let refuse = |why: &str| Box::new(respond::status(&Status::bad_request(why)));
    let key = headers.get(SEC_WEBSOCKET_KEY);
    let key = key.ok_or_else(|| refuse("missing Sec-WebSocket-Key"))?;
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .map(HeaderValue::as_bytes)
        != Some(b"13")
    {
        let mut response = refuse("unsupported WebSocket version");
        let version = HeaderValue::from_static("13");
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_VERSION, version);
        return Err(response);
    }
    let offered: Vec<&str> = values(headers, &SEC_WEBSOCKET_PROTOCOL).collect();
    let (way, chosen) = choose(&offered, forward).ok_or_else(|| {
        refuse(&format!(
            "none of the WebSocket subprotocols is served here: {}",
            offered.join(", ")
        ))
    })?;
    let mut input = key.as_bytes().to_vec();
    input.extend_from_slice(WEBSOCKET.as_bytes());
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &input);
    let accept = STANDARD.encode(digest.as_ref());
    let mut answer = switching("websocket");
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        answer.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(chosen) = chosen {
        let chosen = HeaderValue::from_static(chosen);
        answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    Ok(Switch { way, answer })
}

/// The first of the client's subprotocols that is served.
fn choose(offered: &[&str], forward: bool) -> Option<(Way, Option<&'static str>)> {
    let table: &[(&str, Channels)] = if forward { &FORWARD } else { &COMMAND };
    if offered.is_empty() {
        return Some((Way::Channels(channels(false, false, false)), None));
    }
    offered.iter().find_map(|offer| {
        if forward && *offer == TUNNEL {
            return Some((Way::Tunnel, Some(TUNNEL)));
        }
        let (name, channels) = table.iter().find(|(name, _)| name == offer)?;
        Some((Way::Channels(*channels), Some(*name)))
    })
}

fn spdy(headers: &HeaderMap, forward: bool) -> Result<Switch, Box<Response<Body>>> {
    let served: &[&'static str] = if forward {
        &SPDY_FORWARD
    } else {
        &SPDY_COMMAND
    };
    let offered: Vec<&str> = values(headers, &SPDY_VERSION).collect();
    if offered.is_empty() {
        let why = "unable to upgrade: X-Stream-Protocol-Version is required";
        return Err(Box::new(respond::text(400, why)));
    }
    let chosen = (offered.iter()).find_map(|offer| served.iter().find(|name| *name == offer));
    let Some(chosen) = chosen else {
        let why = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
            offered.join(" "),
            served.join(" ")
        );
        let mut response = respond::text(403, why);
        for name in served {
            let name = HeaderValue::from_static(name);
            response.headers_mut().append(SPDY_ACCEPTED, name);
        }
        return Err(Box::new(response));
    };
    let mut answer = switching("SPDY/3.1");
    let version = HeaderValue::from_static(chosen);
    answer.headers_mut().insert(SPDY_VERSION, version);
    let status = chosen.starts_with("v4");
    let way = Way::Spdy { status };
    Ok(Switch { way, answer })
}

fn switching(to: &'static str) -> Response<Body> {
    let mut answer = Response::new(respond::full(""));
    *answer.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(to));
    answer
}

/// The values of a header: several lines, each a list.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn websocket(protocols: &str) -> HeaderMap {
        headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", protocols),
        ])
    }

    #[test]
    fn websockets_get_the_first_protocol_that_is_served() {
        let switch = negotiate(
            &websocket("v9.x, v5.channel.k8s.io,v4.channel.k8s.io"),
            false,
        );
        let switch = switch.unwrap();
        assert_eq!(switch.way, Way::Channels(channels(false, true, true)));
        let answer = switch.answer.headers();
        // The example of RFC 6455, 1.3.
        assert_eq!(answer[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer[SEC_WEBSOCKET_PROTOCOL], "v5.channel.k8s.io");
        let switch = negotiate(&websocket("SPDY/3.1+portforward.k8s.io"), true).unwrap();
        assert_eq!(switch.way, Way::Tunnel);
        let refused = negotiate(&websocket("SPDY/3.1+portforward.k8s.io"), false);
        assert_eq!(refused.unwrap_err().status(), 400);
        let switch = negotiate(&websocket(""), false).unwrap();
        assert_eq!(switch.way, Way::Channels(channels(false, false, false)));
        assert!(!switch.answer.headers().contains_key(SEC_WEBSOCKET_PROTOCOL));
    }

    #[test]
    fn spdy_names_its_version() {
        let base = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
        let with = |version: &str| {
            let mut headers = headers(&base);
            for one in version.split(' ') {
                let one = HeaderValue::from_str(one).unwrap();
                headers.append(SPDY_VERSION, one);
            }
            headers
        };
        let switch = negotiate(&with("v5.channel.k8s.io v4.channel.k8s.io"), false).unwrap();
        assert_eq!(switch.way, Way::Spdy { status: true });
        assert_eq!(switch.answer.headers()[SPDY_VERSION], "v4.channel.k8s.io");
        let switch = negotiate(&with("channel.k8s.io"), false).unwrap();
        assert_eq!(switch.way, Way::Spdy { status: false });
        let refused = negotiate(&with("v4.channel.k8s.io"), true).unwrap_err();
        assert_eq!(refused.status(), 403);
        assert_eq!(refused.headers()[SPDY_ACCEPTED], "portforward.k8s.io");
        assert_eq!(negotiate(&headers(&base), true).unwrap_err().status(), 400);
        assert_eq!(
            negotiate(&HeaderMap::new(), true).unwrap_err().status(),
            400
        );
    }
}
