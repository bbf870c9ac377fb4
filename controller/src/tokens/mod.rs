//! Service-account tokens: making them, verifying them, and telling others how to verify them.
//!
//! In: the cluster's signing key, the store, a clock that may be wrong. Out: signed tokens
//! ([`Minter`]), whose a token is ([`Tokens::authenticate`]), the documents of OpenID discovery, and
//! what belongs into Secrets of the old kind ([`secret`]). The only state is which tokens were seen
//! lately; what makes a token count is in the store.

mod fill;
mod jwt;
mod key;
mod mint;
mod objects;
pub mod secret;
mod verify;

use std::sync::Arc;

use bramble_link::tls::FloorClock;
use serde_json::{Value, json};

pub use fill::fill_secrets;
pub use key::{SigningKey, Unusable};
pub use mint::{
    Bound, DEFAULT_SECONDS, MAX_SECONDS, MIN_SECONDS, Minted, Minter, Request, life_of_pods_token,
};
pub use verify::{Invalid, Verified};

use crate::store::Store;

/// Who signs: the `iss` of every bound token.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// The API's own audiences: a token for one of them counts here.
pub const API_AUDIENCES: [&str; 2] = ["https://kubernetes.default.svc", ISSUER];
/// The `iss` of tokens in Secrets.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// Makes and verifies tokens.
pub struct Tokens {
    key: Arc<SigningKey>,
    store: Arc<dyn Store>,
    clock: Arc<FloorClock>,
    /// The CA's certificate as PEM.
    ca: String,
    recent: verify::Recent,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Tokens of the accounts in `store`, signed with `key`; `ca` is the cluster's, as PEM.
    #[must_use]
    pub fn new(
        key: Arc<SigningKey>,
        store: Arc<dyn Store>,
        clock: Arc<FloorClock>,
        ca: String,
    ) -> Self {
        Self {
            key,
            store,
            clock,
            ca,
            recent: verify::Recent::default(),
        }
    }

    /// `/.well-known/openid-configuration`: where to find the key.
    #[must_use]
    pub fn openid_configuration(&self) -> Value {
        json!({
            "issuer": ISSUER,
            "jwks_uri": format!("{ISSUER}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// `/openid/v1/jwks`: the key.
    #[must_use]
    pub fn key_set(&self) -> Value {
        json!({"keys": [self.key.jwk()]})
    }
}

/// The user name of an account.
fn username(namespace: &str, account: &str) -> String {
    format!("system:serviceaccount:{namespace}:{account}")
}

/// For fuzzing: whatever the bytes are, nothing panics and nobody is let in.
#[doc(hidden)]
pub fn fuzz_bearer(key: &SigningKey, bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| jwt::verified(key, text).is_some())
}

#[cfg(test)]
mod tests;
