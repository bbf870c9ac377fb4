//! The board's keys, and what the join made of them, ready to use.

use std::fmt;
use std::sync::Arc;

use bramble_link::BrokerUrl;
use bramble_link::tls::{self, FloorClock, Identity as TlsIdentity};
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::seal::{SealingPublic, SealingSecret};
use bramble_wire::{SigningKey, VerifyingKey};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::state::{Keys, Membership};

/// What is wrong with the keys or the membership on disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No randomness.
    #[error("draw random bytes: {0}")]
    Random(getrandom::Error),
    /// A TLS key could not be made.
    #[error("make the TLS key")]
    TlsKey(#[source] rcgen::Error),
    /// A stored value is not what it should be.
    #[error("stored {what} is unusable: {why}")]
    Stored {
        /// Which.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The certificates can't be used.
    #[error("set up TLS")]
    Tls(#[source] tls::Error),
}

fn stored(what: &'static str) -> impl Fn(String) -> Error {
    move |why| Error::Stored { what, why }
}

/// 32 fresh random bytes.
///
/// # Errors
/// [`Error::Random`].
pub fn seed() -> Result<[u8; 32], Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(Error::Random)?;
    Ok(seed)
}

/// Makes a board's keys.
///
/// # Errors
/// [`Error::Random`] and [`Error::TlsKey`].
pub fn generate() -> Result<Keys, Error> {
    let tls = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Error::TlsKey)?;
    Ok(Keys {
        tls: tls.serialize_der(),
        identity: seed()?,
        sealing: seed()?,
    })
}

/// Key that signs messages.
pub fn signing_key(keys: &Keys) -> SigningKey {
    SigningKey::from_bytes(&keys.identity)
}

/// Public half of the sealing key.
pub fn sealing_public(keys: &Keys) -> SealingPublic {
    SealingSecret::from_seed(&keys.sealing).1
}

/// The node as a member of its cluster.
#[derive(Clone)]
pub struct Identity {
    /// Cluster.
    pub cluster: ClusterId,
    /// Node.
    pub node: NodeName,
    /// Key that signs messages.
    pub signing: SigningKey,
    /// Key that opens secrets.
    pub sealing: SealingSecret,
    /// Whom the node obeys.
    pub controller: VerifyingKey,
    /// Brokers, best first.
    pub brokers: Vec<BrokerUrl>,
    /// Host that answered the join.
    pub controller_host: String,
    membership: Membership,
    tls_key: Vec<u8>,
}

impl fmt::Debug for Identity {
    /// Leaves the keys out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("cluster", &self.cluster)
            .field("node", &self.node)
            .field("brokers", &self.brokers)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Parses what is on disk.
    ///
    /// # Errors
    /// [`Error::Stored`] naming the value.
    pub fn new(keys: &Keys, membership: &Membership) -> Result<Self, Error> {
        let brokers = (membership.brokers.iter())
            .map(|url| url.parse::<BrokerUrl>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| stored("broker URL")(error.to_string()))?;
        let cluster = ClusterId::new(&membership.cluster);
        let node = NodeName::new(&membership.node);
        let controller = VerifyingKey::from_bytes(&membership.controller);
        Ok(Self {
            cluster: cluster.map_err(|error| stored("cluster id")(error.to_string()))?,
            node: node.map_err(|error| stored("node name")(error.to_string()))?,
            signing: signing_key(keys),
            sealing: SealingSecret::from_seed(&keys.sealing).0,
            controller: controller.map_err(|error| stored("controller key")(error.to_string()))?,
            brokers,
            controller_host: membership.controller_host.clone(),
            membership: membership.clone(),
            tls_key: keys.tls.clone(),
        })
    }

    /// TLS towards the broker, with the node's certificate.
    ///
    /// # Errors
    /// [`Error::Tls`].
    pub fn tls(&self, clock: Arc<FloorClock>) -> Result<Arc<ClientConfig>, Error> {
        let certificate = CertificateDer::from(self.membership.certificate.clone());
        let ca = CertificateDer::from(self.membership.ca.clone());
        let identity = TlsIdentity {
            chain: vec![certificate],
            key: PrivatePkcs8KeyDer::from(self.tls_key.clone()).into(),
        };
        tls::client_config(&[ca], Some(identity), clock).map_err(Error::Tls)
    }
}
