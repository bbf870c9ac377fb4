//! Joining the cluster: the token a person carries to a board, and the JSON bodies of
//! `POST /bramble/v1/join` and `/bramble/v1/tokens`, shared by controller, agent and CLI.
//!
//! A board generates all of its keys itself and sends the public halves. It trusts the server
//! because the SHA-256 of the CA's certificate is in the token; the server sends that certificate
//! at the end of its TLS chain. Everything secret here has a `Debug` that hides it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// Path of the join endpoint; the only one that changes anything without a client certificate.
pub const JOIN_PATH: &str = "/bramble/v1/join";
/// Path of the tokens (administrators only): POST, GET, and DELETE with `/{id}`.
pub const TOKENS_PATH: &str = "/bramble/v1/tokens";
/// Path of client certificates for people.
pub const CERTIFICATES_PATH: &str = "/bramble/v1/certificates";

const PREFIX: &str = "bramble1";

/// A join token: `bramble1.<sha256 of the CA's certificate, hex>.<id>.<secret>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the CA's certificate in DER.
    pub ca_sha256: [u8; 32],
    /// Public part: names the token in lists.
    pub id: String,
    /// What proves that the bearer was given the token.
    pub secret: String,
}

/// Why a text is not a join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a join token: expected bramble1.<64 hex digits>.<id>.<secret>, as `bramble token create` prints it"
)]
pub struct NotAToken;

impl FromStr for Token {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let mut parts = text.trim().split('.');
        let mut next = || parts.next().ok_or(NotAToken);
        if next()? != PREFIX {
            return Err(NotAToken);
        }
        let ca_sha256 = hex32(next()?).ok_or(NotAToken)?;
        let part = |text: &str, max: usize| {
            let fine = !text.is_empty()
                && text.len() <= max
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            fine.then(|| text.to_owned()).ok_or(NotAToken)
        };
        let id = part(next()?, 16)?;
        let secret = part(next()?, 64)?;
        if parts.next().is_some() {
            return Err(NotAToken);
        }
        Ok(Self {
            ca_sha256,
            id,
            secret,
        })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{PREFIX}.{}.{}.{}",
            hex_of(&self.ca_sha256),
            self.id,
            self.secret
        )
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.id)
    }
}

/// Lower-case hexadecimal.
pub fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// 32 bytes from 64 hexadecimal digits.
pub fn hex32(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(digits.chunks(2)) {
        let digit = |b: u8| {
            char::from(b)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

/// What a board sends.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinRequest {
    /// The whole token.
    pub token: String,
    /// Name that the node wants: an RFC 1123 label.
    pub node: String,
    /// PEM of a certificate request, signed with the board's TLS key (ECDSA P-256 or Ed25519). Only
    /// its key is used.
    pub csr: String,
    /// Ed25519 public key of the node protocol, 64 hex digits.
    pub identity_key: String,
    /// X25519 public key for secrets, 64 hex digits.
    pub sealing_key: String,
    /// Signature of [`JoinRequest::proof_message`] with the identity key, 128 hex digits: shows that
    /// the board holds it, so that nobody joins with another's key.
    pub proof: String,
    /// `kubernetes.io/arch` of the board (`arm64`, `arm`, `amd64`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub arch: String,
    /// Which board it is ([`HardwareId`](crate::version::HardwareId)), 32 hex digits; empty where nothing
    /// says so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hardware: String,
}

impl JoinRequest {
    /// What the proof signs: every other field that matters, each with its length.
    pub fn proof_message(&self) -> Vec<u8> {
        let mut message = b"bramble/join/1\0".to_vec();
        for part in [
            &self.token,
            &self.node,
            &self.csr,
            &self.identity_key,
            &self.sealing_key,
        ] {
            message.extend_from_slice(&(part.len() as u64).to_be_bytes());
            message.extend_from_slice(part.as_bytes());
        }
        message
    }
}

impl fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinRequest")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// What a board gets. Asking again with the same identity key and token gives the same answer (with
/// a fresh certificate), so a lost reply costs nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinResponse {
    /// Id of the cluster.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// The CA's certificate, PEM.
    pub ca: String,
    /// The node's certificate, PEM.
    pub certificate: String,
    /// Ed25519 public key that signs what the controller says, 64 hex digits.
    pub controller_key: String,
    /// Where to reach the broker, best first: `mqtts://host:port`. A host of `0.0.0.0` never occurs;
    /// `{controller}` stands for the host this request went to.
    pub brokers: Vec<String>,
    /// The node's own range of pod addresses, `10.42.3.0/24`.
    pub pod_cidr: String,
    /// The range of all pods.
    pub cluster_cidr: String,
    /// The range of all services.
    pub service_cidr: String,
}

impl JoinResponse {
    /// The broker URLs with `{controller}` replaced by the host that answered the join request.
    pub fn broker_urls(&self, controller_host: &str) -> Vec<String> {
        let host = if controller_host.contains(':') && !controller_host.starts_with('[') {
            format!("[{controller_host}]")
        } else {
            controller_host.to_owned()
        };
        self.brokers
            .iter()
            .map(|url| url.replace("{controller}", &host))
            .collect()
    }
}

/// Body of `POST /bramble/v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRequest {
    /// Seconds that it is valid; absent means a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// How many nodes may join with it; absent means one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// The node whose place the board takes that joins with it: the name, the range of addresses and what
    /// is bound to it. The board that had the name is no member any more from that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

/// A token as lists show it: without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenInfo {
    /// Id.
    pub id: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it ends, RFC 3339.
    pub expires: String,
    /// How many nodes may join with it in all.
    pub uses: u32,
    /// Which nodes have.
    pub nodes: Vec<String>,
    /// The only node that it is for, whose place a board takes with it; empty is any new one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub replaces: String,
}

/// Answer to `POST /bramble/v1/tokens`; the only time that the secret is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCreated {
    /// The token.
    pub token: String,
    /// What lists will show.
    pub info: TokenInfo,
}

impl fmt::Debug for TokenCreated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCreated")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// Answer to `GET /bramble/v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenList {
    /// Tokens that have not ended, oldest first.
    pub items: Vec<TokenInfo>,
}

/// Body of `POST /bramble/v1/certificates`: an administrator wants a certificate for somebody. The
/// private key stays with whoever made the request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateRequest {
    /// Certificate signing request, PEM; nothing of it is taken over but its key.
    pub csr: String,
    /// Name of the user.
    pub user: String,
    /// The user's groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Seconds that it is valid; absent means a year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// Answer to `POST /bramble/v1/certificates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateCreated {
    /// The certificate, PEM.
    pub certificate: String,
    /// When it ends, RFC 3339, by the controller's clock.
    pub expires: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    fn token() -> Token {
        Token {
            ca_sha256: [0xa5; 32],
            id: "abc123".into(),
            secret: "s3cret".into(),
        }
    }

    #[test]
    fn a_token_survives_the_trip_through_text() {
        let text = token().to_string();
        assert_eq!(text.parse(), Ok(token()));
        assert_eq!(format!("  {text}\n").parse(), Ok(token()));
        assert_eq!(format!("{:?}", token()), "Token(abc123)");
    }

    #[test]
    fn other_texts_are_refused() {
        let good = token().to_string();
        let long = format!("bramble1.{}.a.{}", "a5".repeat(32), "x".repeat(65));
        for bad in [
            "",
            "bramble1",
            "bramble1.a.b.c",
            &good[1..],
            &format!("{good}.x"),
            &long,
            &good.replace("s3cret", "S3CRET"),
            &good.replace("abc123", ""),
        ] {
            assert_eq!(bad.parse::<Token>(), Err(NotAToken), "{bad}");
        }
    }

    #[test]
    fn the_proof_covers_every_field_without_ambiguity() {
        let request = JoinRequest {
            token: "a".into(),
            node: "bc".into(),
            csr: "d".into(),
            identity_key: "e".into(),
            sealing_key: "f".into(),
            proof: String::new(),
            arch: String::new(),
            hardware: String::new(),
        };
        let shifted = JoinRequest {
            token: "ab".into(),
            node: "c".into(),
            ..request.clone()
        };
        assert_ne!(request.proof_message(), shifted.proof_message());
    }

    #[test]
    fn the_host_of_the_controller_is_filled_in() {
        let response = JoinResponse {
            cluster: "c".into(),
            node: "n".into(),
            ca: String::new(),
            certificate: String::new(),
            controller_key: String::new(),
            brokers: vec!["mqtts://{controller}:8883".into()],
            pod_cidr: String::new(),
            cluster_cidr: String::new(),
            service_cidr: String::new(),
        };
        assert_eq!(response.broker_urls("10.0.0.1"), ["mqtts://10.0.0.1:8883"]);
        assert_eq!(response.broker_urls("fd00::1"), ["mqtts://[fd00::1]:8883"]);
    }
}
