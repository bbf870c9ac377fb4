//! Whose token it is, and whether it still counts.
//!
//! Signatures are checked once and remembered for the most recent tokens; whether the account and
//! what the token is bound to are still there is looked up each time, so a token ends with them at
//! once. Messages are upstream's.
//!
//! Nothing depends on a calendar that must be right: a token "from the future" bears our signature,
//! so it is our clock that went back, and it counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::jwt::{self, Claims, Kubernetes, Legacy};
use super::objects::Object;
use super::{API_AUDIENCES, ISSUER, LEGACY_ISSUER, Tokens, username};
use crate::apiserver::Identity;

/// Clocks differ, and what was just deleted may be at its last request.
const LEEWAY: u32 = 60;
/// How many tokens are remembered: two generations of this many.
const GENERATION: usize = 256;

/// Why a token does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is no token of this cluster.
    #[error("invalid bearer token")]
    NotOurs,
    /// It was one, or is one for others. The text is upstream's.
    #[error("[invalid bearer token, {0}]")]
    NotNow(String),
}

/// A token that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whose it is.
    pub identity: Identity,
    /// For whom it is, of those who were asked about.
    pub audiences: Vec<String>,
}

/// Tokens whose signature was right, the recent ones.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Generations>);

type Generation = HashMap<[u8; 32], Arc<Claims>>;

#[derive(Debug, Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

impl Recent {
    fn find(&self, hash: &[u8; 32]) -> Option<Arc<Claims>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(claims) = all.young.get(hash) {
            return Some(claims.clone());
        }
        let claims = all.old.remove(hash)?;
        all.keep(*hash, claims.clone());
        Some(claims)
    }

    fn keep(&self, hash: [u8; 32], claims: Arc<Claims>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.keep(hash, claims);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.young.len() + all.old.len()
    }
}

impl Generations {
    fn keep(&mut self, hash: [u8; 32], claims: Arc<Claims>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, claims);
    }
}

impl Tokens {
    /// Whose token this is, if it counts for one of `audiences`; none means the API's own.
    ///
    /// # Errors
    /// [`Invalid`], with upstream's message.
    pub fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Verified, Invalid> {
        let claims = self.signed(token).ok_or(Invalid::NotOurs)?;
        match (claims.iss.as_str(), &claims.kubernetes) {
            (ISSUER, Some(bound)) => self.bound(&claims, bound, audiences),
            (LEGACY_ISSUER, None) => self.legacy(&claims, &claims.legacy, token, audiences),
            _ => Err(Invalid::NotOurs),
        }
    }

    /// By its hash, so that how long it takes says nothing about tokens we know.
    fn signed(&self, token: &str) -> Option<Arc<Claims>> {
        if token.len() > jwt::MAX_TOKEN {
            return None;
        }
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some(claims) = self.recent.find(&hash) {
            return Some(claims);
        }
        let claims = Arc::new(jwt::verified(&self.key, token)?);
        self.recent.keep(hash, claims.clone());
        Some(claims)
    }

    fn bound(
        &self,
        claims: &Claims,
        bound: &Kubernetes,
        audiences: &[String],
    ) -> Result<Verified, Invalid> {
        let audiences = meant(&claims.aud, audiences)?;
        let now = self.clock.now();
        let alive = claims
            .exp
            .is_some_and(|exp| now <= exp.saturating_add(LEEWAY.into()));
        if !alive {
            return Err(not_now("service account token has expired"));
        }
        let (namespace, account) = (&bound.namespace, &bound.serviceaccount);
        if claims.sub != username(namespace, &account.name) {
            return Err(not_now("sub claim is invalid"));
        }
        self.account(namespace, &account.name, &account.uid, LEEWAY)?;
        let alive = |what, resource, namespace, r: &jwt::Ref| {
            self.still_there(what, resource, namespace, r)
        };
        if let Some(secret) = &bound.secret {
            alive("secret", "secrets", namespace, secret)?;
        }
        if let Some(pod) = &bound.pod {
            alive("pod", "pods", namespace, pod)?;
        }
        if let (Some(node), None, None) = (&bound.node, &bound.pod, &bound.secret) {
            alive("node", "nodes", "", node)?;
        }
        let mut extra = BTreeMap::new();
        let mut say = |key: &str, value: &str| {
            if !value.is_empty() {
                let key = format!("authentication.kubernetes.io/{key}");
                extra.insert(key, vec![value.to_owned()]);
            }
        };
        if !claims.jti.is_empty() {
            say("credential-id", &format!("JTI={}", claims.jti));
        }
        for (what, of) in [("node", &bound.node), ("pod", &bound.pod)] {
            if let Some(of) = of {
                say(&format!("{what}-name"), &of.name);
                say(&format!("{what}-uid"), &of.uid);
            }
        }
        Ok(Verified {
            identity: Identity::of_account(namespace, &account.name, &account.uid, extra),
            audiences,
        })
    }

    /// A token of a Secret counts as long as that Secret holds it.
    fn legacy(
        &self,
        claims: &Claims,
        legacy: &Legacy,
        token: &str,
        audiences: &[String],
    ) -> Result<Verified, Invalid> {
        let api: Vec<String> = API_AUDIENCES.iter().map(|&a| a.to_owned()).collect();
        let audiences = meant(&api, audiences)?;
        let Legacy {
            namespace,
            secret,
            account,
            uid,
        } = legacy;
        let whole = [namespace, secret, account, uid];
        if whole.iter().any(|c| c.is_empty()) || claims.sub != username(namespace, account) {
            return Err(not_now("sub claim is invalid"));
        }
        let invalidated = || not_now("Token has been invalidated");
        let stored = Object::read(&*self.store, "secrets", namespace, secret)
            .filter(|s| !s.is_gone(0))
            .ok_or_else(invalidated)?;
        let held = stored.data.as_ref().and_then(|d| d.get("token"));
        let same = held.and_then(|h| STANDARD.decode(h).ok());
        if same.as_deref() != Some(token.as_bytes()) {
            return Err(not_now("Token does not match server's copy"));
        }
        self.account(namespace, account, uid, 0)?;
        Ok(Verified {
            identity: Identity::of_account(namespace, account, uid, BTreeMap::new()),
            audiences,
        })
    }

    fn account(&self, namespace: &str, name: &str, uid: &str, leeway: u32) -> Result<(), Invalid> {
        let stored = Object::read(&*self.store, "serviceaccounts", namespace, name)
            .ok_or_else(|| not_now(format!("serviceaccounts {name:?} not found")))?;
        if stored.is_gone(leeway.into()) {
            let why = format!("service account {namespace}/{name} has been deleted");
            return Err(not_now(why));
        }
        let is = &stored.metadata.uid;
        if is != uid || uid.is_empty() {
            let why = format!("service account UID ({is}) does not match claim ({uid})");
            return Err(not_now(why));
        }
        Ok(())
    }

    fn still_there(
        &self,
        what: &str,
        resource: &str,
        namespace: &str,
        claim: &jwt::Ref,
    ) -> Result<(), Invalid> {
        let stored = Object::read(&*self.store, resource, namespace, &claim.name)
            .filter(|stored| !stored.is_gone(LEEWAY.into()))
            .ok_or_else(|| not_now("service account token has been invalidated"))?;
        let (is, said) = (&stored.metadata.uid, &claim.uid);
        if is != said || said.is_empty() {
            return Err(not_now(format!(
                "{what} UID ({is}) does not match service account {what} ref claim ({said})"
            )));
        }
        Ok(())
    }
}

fn not_now(why: impl Into<String>) -> Invalid {
    Invalid::NotNow(why.into())
}

/// For whom the token is, of those who ask.
fn meant(token: &[String], asked: &[String]) -> Result<Vec<String>, Invalid> {
    let api: Vec<String>;
    let asked = if asked.is_empty() {
        api = API_AUDIENCES.iter().map(|&a| a.to_owned()).collect();
        &api
    } else {
        asked
    };
    let both: Vec<String> = token
        .iter()
        .filter(|a| asked.contains(a))
        .cloned()
        .collect();
    if both.is_empty() {
        let shown = |list: &[String]| {
            let quoted: Vec<String> = list.iter().map(|a| format!("{a:?}")).collect();
            quoted.join(" ")
        };
        return Err(not_now(format!(
            "token audiences [{}] is invalid for the target audiences [{}]",
            shown(token),
            shown(asked)
        )));
    }
    Ok(both)
}
