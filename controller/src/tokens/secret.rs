//! Secrets of type `kubernetes.io/service-account-token`: filled by the controller, without an end,
//! gone with their account.
//!
//! In: such a Secret and the account it names, if that is there. Out: what to do with the Secret. As
//! upstream's token controller (`k8s.io/kubernetes/pkg/controller/serviceaccount`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::jwt::{self, Claims, Legacy};
use super::{LEGACY_ISSUER, Tokens, username};

/// The type of such Secrets.
pub const TYPE: &str = "kubernetes.io/service-account-token";
/// The annotation that names the account.
pub const ACCOUNT: &str = "kubernetes.io/service-account.name";
/// The annotation with the account's uid.
pub const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// What becomes of a Secret.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It is as it should be, or not ours.
    Keep,
    /// It gets this form.
    Write(Value),
    /// Its account is gone, or is another of that name.
    Delete,
}

impl Tokens {
    /// What becomes of `secret`, whose account has `uid` or is not there.
    #[must_use]
    pub fn fate_of(&self, secret: &Value, uid: Option<&str>) -> Fate {
        let text = |pointer: &str| {
            secret
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let annotation = |key: &str| {
            secret["metadata"]["annotations"][key]
                .as_str()
                .unwrap_or_default()
        };
        let account = annotation(ACCOUNT);
        if text("/type") != TYPE
            || account.is_empty()
            || !secret["metadata"]["deletionTimestamp"].is_null()
        {
            return Fate::Keep;
        }
        let said = annotation(ACCOUNT_UID);
        let uid = match uid {
            Some(uid) if said.is_empty() || said == uid => uid,
            _ => return Fate::Delete,
        };
        let namespace = text("/metadata/namespace");
        let ca = STANDARD.encode(&self.ca);
        let there = |key: &str| secret["data"][key].as_str().is_some_and(|v| !v.is_empty());
        let whole =
            said == uid && secret["data"]["ca.crt"] == *ca && there("namespace") && there("token");
        if whole {
            return Fate::Keep;
        }
        let mut filled = secret.clone();
        filled["metadata"]["annotations"][ACCOUNT_UID] = uid.into();
        if !filled["data"].is_object() {
            filled["data"] = json!({});
        }
        filled["data"]["ca.crt"] = ca.into();
        if !there("namespace") {
            filled["data"]["namespace"] = STANDARD.encode(namespace).into();
        }
        if !there("token") {
            let claims = Claims {
                iss: LEGACY_ISSUER.to_owned(),
                sub: username(namespace, account),
                legacy: Legacy {
                    namespace: namespace.to_owned(),
                    secret: text("/metadata/name").to_owned(),
                    account: account.to_owned(),
                    uid: uid.to_owned(),
                },
                ..Claims::default()
            };
            // Without randomness there is no token yet; whoever asks comes again.
            let Some(token) = jwt::sign(&self.key, &claims) else {
                return Fate::Keep;
            };
            filled["data"]["token"] = STANDARD.encode(token).into();
        }
        Fate::Write(filled)
    }
}
