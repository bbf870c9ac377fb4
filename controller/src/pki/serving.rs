//! A server's certificate that follows the machine's addresses.
//!
//! In: the names this machine has now. Out: the certificate that the next handshake is served. The key
//! stays; a new certificate is made in memory only, so that an address that comes and goes costs no
//! write, and a restart makes it again when it is still needed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use bramble_link::tls::Identity;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use super::Error;

/// What a server shows: the newest certificate.
#[derive(Debug)]
pub struct Serving {
    pub(super) cn: &'static str,
    pub(super) identity: Arc<Identity>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Serving {
    pub(super) fn new(cn: &'static str, identity: Arc<Identity>) -> Result<Self, Error> {
        let current = certified(cn, identity.chain.clone(), &identity)?;
        Ok(Self {
            cn,
            identity,
            current: RwLock::new(Arc::new(current)),
        })
    }

    fn current(&self) -> Arc<CertifiedKey> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    /// Names and addresses of the current certificate.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let current = self.current();
        current.cert.first().map(names_of).unwrap_or_default()
    }

    pub(super) fn replace(&self, leaf: CertificateDer<'static>) -> Result<(), Error> {
        let mut chain = self.identity.chain.clone();
        if let Some(first) = chain.first_mut() {
            *first = leaf;
        }
        let new = Arc::new(certified(self.cn, chain, &self.identity)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn certified(
    cn: &str,
    chain: Vec<CertificateDer<'static>>,
    identity: &Identity,
) -> Result<CertifiedKey, Error> {
    let key = any_supported_type(&identity.key).map_err(|source| Error::ServerKey {
        subject: cn.to_owned(),
        source,
    })?;
    Ok(CertifiedKey::new(chain, key))
}

/// The subject alternative names of a certificate, as [`super::names`] writes them.
fn names_of(der: &CertificateDer<'static>) -> BTreeSet<String> {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else {
        return BTreeSet::new();
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return BTreeSet::new();
    };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = match bytes.len() {
                4 => IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?),
                _ => IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?),
            };
            Some(address.to_string())
        }
        _ => None,
    };
    names.value.general_names.iter().filter_map(text).collect()
}
