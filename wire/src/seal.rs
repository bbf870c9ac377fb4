//! Secrets that one node only can read: HPKE base mode (RFC 9180) with X25519, HKDF-SHA256 and
//! ChaCha20-Poly1305, bound to cluster, node, object and revision.

use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use serde::{Deserialize, Serialize};

use crate::name::{ClusterId, NodeName};
use crate::object::ObjectId;
use crate::random::Random;

type Scheme = X25519HkdfSha256;
const INFO: &[u8] = b"bramble/seal/1";

/// Public half of a node's sealing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SealingPublic(pub [u8; 32]);

/// Private half; never leaves the board, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingSecret([u8; 32]);

impl fmt::Debug for SealingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingSecret(..)")
    }
}

impl SealingSecret {
    /// Derives a key pair from 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> (Self, SealingPublic) {
        let (secret, public) = Scheme::derive_keypair(seed);
        (
            Self(secret.to_bytes().into()),
            SealingPublic(public.to_bytes().into()),
        )
    }

    /// The key as stored.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// A stored key.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// A sealed byte string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Encapsulated key.
    pub enc: [u8; 32],
    /// Cipher text with its tag.
    #[serde(with = "serde_bytes")]
    pub ciphertext: Vec<u8>,
}

/// What a seal is bound to; opening under another binding fails.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// Cluster.
    pub cluster: &'a ClusterId,
    /// Node that may open it.
    pub node: &'a NodeName,
    /// Object that it is part of.
    pub id: &'a ObjectId,
    /// Store revision of that object.
    pub revision: u64,
}

impl Binding<'_> {
    fn aad(&self) -> Vec<u8> {
        crate::encode(&(self.cluster, self.node, self.id, self.revision))
    }
}

/// Why a seal could not be made or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The node's public key is not a point of the curve.
    #[error("sealing key is invalid")]
    Key,
    /// Wrong key, wrong binding or altered bytes.
    #[error("sealed for another node, object or revision, or altered")]
    Open,
}

/// Seals `plain` to a node. `seed` must be 32 fresh random bytes: it is an argument so that the
/// cores stay deterministic.
///
/// # Errors
/// [`Error::Key`] when the public key is unusable.
pub fn seal(
    to: &SealingPublic,
    binding: Binding<'_>,
    plain: &[u8],
    seed: &[u8; 32],
) -> Result<Sealed, Error> {
    let key = <Scheme as Kem>::PublicKey::from_bytes(&to.0).map_err(|_| Error::Key)?;
    let (enc, ciphertext) =
        hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Scheme>(
            &OpModeS::Base,
            &key,
            INFO,
            plain,
            &binding.aad(),
            &mut SeedRng(Random::new(seed, "bramble/seal/1")),
        )
        .map_err(|_| Error::Key)?;
    Ok(Sealed {
        enc: enc.to_bytes().into(),
        ciphertext,
    })
}

/// Opens what [`seal`] made.
///
/// # Errors
/// [`Error::Open`] for anything that was not sealed to this key under this binding.
pub fn open(
    secret: &SealingSecret,
    binding: Binding<'_>,
    sealed: &Sealed,
) -> Result<Vec<u8>, Error> {
    let key = <Scheme as Kem>::PrivateKey::from_bytes(&secret.0).map_err(|_| Error::Open)?;
    let enc = <Scheme as Kem>::EncappedKey::from_bytes(&sealed.enc).map_err(|_| Error::Open)?;
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Scheme>(
        &OpModeR::Base,
        &key,
        &enc,
        INFO,
        &sealed.ciphertext,
        &binding.aad(),
    )
    .map_err(|_| Error::Open)
}

/// What HPKE draws its ephemeral key from.
struct SeedRng(Random);

impl TryRng for SeedRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for SeedRng {}
