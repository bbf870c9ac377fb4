//! The key that signs service-account tokens: ECDSA on P-256 (ES256).
//!
//! In: the PKCS#8 of `<data-dir>/pki/service-account.key`. Out: signatures in the form of JWTs, the
//! key's id, and its public half as a JWK for others who verify.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What stands before the point in the DER of a public key on P-256 (RFC 5480).
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The key can't be used.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("no private key on P-256 in PKCS#8")]
pub struct Unusable;

/// The signing key of service-account tokens.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    id: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new key, as the PKCS#8 to keep; `None` when the system has no randomness.
    #[must_use]
    pub fn generate() -> Option<Vec<u8>> {
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .ok()
            .map(|document| document.as_ref().to_vec())
    }

    /// Reads a key that was kept.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn from_pem(text: &str) -> Result<Self, Unusable> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| Unusable)?;
        Self::from_pkcs8(der.secret_pkcs8_der())
    }

    /// The same, in DER.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Unusable> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random)
            .map_err(|_| Unusable)?;
        // As upstream derives it: the hash of the public key's DER.
        let mut hash = Sha256::new();
        hash.update(SPKI);
        hash.update(pair.public_key());
        let id = URL_SAFE_NO_PAD.encode(hash.finalize());
        Ok(Self { pair, random, id })
    }

    /// The key's id, as in the `kid` of its tokens.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A signature of 64 bytes; `None` when the system has no randomness.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signature = self.pair.sign(&self.random, message).ok()?;
        Some(signature.as_ref().to_vec())
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key())
            .verify(message, signature)
            .is_ok()
    }

    /// The public key (RFC 7517).
    #[must_use]
    pub fn jwk(&self) -> Value {
        // An uncompressed point: 4, x, y.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        json!({"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
               "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
    }
}
