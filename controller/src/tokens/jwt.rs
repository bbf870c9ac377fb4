//! JSON web tokens in their compact form (RFC 7519), with the claims of upstream's service-account
//! tokens (`k8s.io/kubernetes/pkg/serviceaccount/{claims,legacy}.go`).
//!
//! Only what the cluster's own key signed is read: one algorithm, one key. What the header says about
//! either must be exactly that and is never used to choose.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::key::SigningKey;

/// The longest token that is looked at.
pub(crate) const MAX_TOKEN: usize = 8 * 1024;

/// What a token says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Claims {
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) aud: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) iat: Option<u64>,
    pub(crate) iss: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) jti: String,
    #[serde(rename = "kubernetes.io", skip_serializing_if = "Option::is_none")]
    pub(crate) kubernetes: Option<Kubernetes>,
    #[serde(flatten)]
    pub(crate) legacy: Legacy,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nbf: Option<u64>,
    pub(crate) sub: String,
}

/// The claims of a bound token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kubernetes {
    pub(crate) namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Ref>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Ref>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Ref>,
    pub(crate) serviceaccount: Ref,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warnafter: Option<u64>,
}

/// An object, and which of those that had its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ref {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
}

/// The claims of a token that lives in a Secret and has no end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Legacy {
    #[serde(
        rename = "kubernetes.io/serviceaccount/namespace",
        skip_serializing_if = "String::is_empty"
    )]
    pub(crate) namespace: String,
    #[serde(
        rename = "kubernetes.io/serviceaccount/secret.name",
        skip_serializing_if = "String::is_empty"
    )]
    pub(crate) secret: String,
    #[serde(
        rename = "kubernetes.io/serviceaccount/service-account.name",
        skip_serializing_if = "String::is_empty"
    )]
    pub(crate) account: String,
    #[serde(
        rename = "kubernetes.io/serviceaccount/service-account.uid",
        skip_serializing_if = "String::is_empty"
    )]
    pub(crate) uid: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    /// Extensions that must be understood; none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

/// A token with these claims; `None` when the system has no randomness.
pub(crate) fn sign(key: &SigningKey, claims: &Claims) -> Option<String> {
    let header = Header {
        alg: "ES256".into(),
        kid: Some(key.id().to_owned()),
        crit: None,
    };
    let part = |json: Vec<u8>| URL_SAFE_NO_PAD.encode(json);
    let mut token = part(serde_json::to_vec(&header).ok()?);
    token.push('.');
    token.push_str(&part(serde_json::to_vec(claims).ok()?));
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Some(token)
}

/// The claims of a token that `key` signed; `None` for everything else.
pub(crate) fn verified(key: &SigningKey, token: &str) -> Option<Claims> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let ours = header.kid.as_deref().is_none_or(|kid| kid == key.id());
    if header.alg != "ES256" || !ours || header.crit.is_some() {
        return None;
    }
    // The cheap refusals are behind us; this is the one that costs.
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    if !key.verifies(signed.as_bytes(), &signature) {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}
