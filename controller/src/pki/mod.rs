//! The cluster's keys and certificates: made at the first start, kept in `<data-dir>/pki`.
//!
//! In: the data directory and the names the controller is reached under. Out: the CA, leaf
//! identities for the API server, the broker, the administrator and the controller itself, the
//! signing keys of the node protocol and of service-account tokens, and certificates for nodes that
//! join and for people.
//!
//! What can't be made again (CA, signing keys, cluster id) is written into `pki.new` and renamed to
//! `pki` as a whole, so a power cut leaves all of it or none. Everything else is made again from the
//! CA whenever it is missing or its names have changed. All certificates are valid from 2020 on, and
//! to 9999 but those of people: a node's membership is the controller's key table, not the calendar,
//! and boards wake in 1970.

mod certs;
pub(crate) mod files;
mod follow;
mod kubeconfig;
mod names;
mod serving;
mod subject;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bramble_link::tls::Identity;
use bramble_wire::name::{ClusterId, NodeName};
use ed25519_dalek::SigningKey;
use rcgen::{Issuer, KeyPair};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use crate::tokens;

pub use certs::Csr;
pub use follow::follow_addresses;
pub use kubeconfig::kubeconfig;
pub use names::local_names;
pub use serving::Serving;

/// Signs service-account tokens.
const SERVICE_ACCOUNTS: &str = "service-account.key";

/// What can't be made again.
pub const ROOTS: [&str; 5] = [
    "cluster-id",
    "ca.crt",
    "ca.key",
    "signing.key",
    SERVICE_ACCOUNTS,
];

/// Why keys could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Something that can't be made again is missing or unreadable.
    #[error(
        "{} is {problem}; restore the whole directory {} from a backup, or, to start a new cluster \
         that every node must join again, move the data directory {} away",
        path.display(), dir.display(), data.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its directory.
        dir: PathBuf,
        /// The data directory.
        data: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate could not be made.
    #[error("making the certificate of {subject}")]
    Certificate {
        /// Whose.
        subject: String,
        /// Why.
        source: rcgen::Error,
    },
    /// TLS can't use a key.
    #[error("using the key of {subject}")]
    ServerKey {
        /// Whose.
        subject: String,
        /// Why.
        source: rustls::Error,
    },
    /// A request for a certificate is unusable.
    #[error("certificate request: {0}")]
    Csr(String),
    /// The system has no randomness to give.
    #[error("reading random bytes: {0}")]
    Random(getrandom::Error),
}

/// Where the keys live and what the certificates must name.
#[derive(Clone, Debug)]
pub struct Options {
    /// `<data-dir>`; created with mode 0700.
    pub data_dir: PathBuf,
    /// DNS names and addresses the server is reached under, beside the usual ones.
    pub names: Vec<String>,
}

/// The cluster's keys, read or made.
pub struct Pki {
    /// Id of the cluster: part of every topic.
    pub cluster: ClusterId,
    /// The CA's certificate.
    pub ca: CertificateDer<'static>,
    /// The API server's key and chain (leaf and CA: a joining node checks the CA by its hash).
    pub api: Arc<Serving>,
    /// The embedded broker's.
    pub broker: Arc<Serving>,
    /// The controller's own, as an MQTT client of an external broker.
    pub controller: Arc<Identity>,
    /// Signs what the controller tells nodes.
    pub signing: SigningKey,
    /// Signs the tokens of service accounts.
    pub service_accounts: Arc<tokens::SigningKey>,
    admin: Identity,
    /// Names beside those of this machine.
    names: Vec<String>,
    data_dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pki")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

impl Pki {
    /// Reads the keys under `options.data_dir`, making what is missing.
    ///
    /// # Errors
    /// [`Error::Damaged`] when something that can't be made again is gone; otherwise what the file
    /// system or the generator said.
    pub fn open(options: &Options) -> Result<Self, Error> {
        files::ensure_dir(&options.data_dir)?;
        let dir = options.data_dir.join("pki");
        if !dir.exists() {
            make_roots(&options.data_dir, &dir)?;
        }
        let read = |name: &str| -> Result<String, Error> {
            let path = dir.join(name);
            std::fs::read_to_string(&path).map_err(|source| {
                let problem = if source.kind() == std::io::ErrorKind::NotFound {
                    "missing".to_owned()
                } else {
                    format!("unreadable ({source})")
                };
                damaged(options, &dir, path, problem)
            })
        };
        let bad = |name: &str, problem: String| damaged(options, &dir, dir.join(name), problem);

        let cluster = ClusterId::new(read("cluster-id")?.trim())
            .map_err(|e| bad("cluster-id", format!("damaged ({e})")))?;
        let signing = parse_signing(&read("signing.key")?)
            .ok_or_else(|| bad("signing.key", "damaged".into()))?;
        let ca =
            certs::read_cert(&read("ca.crt")?).ok_or_else(|| bad("ca.crt", "damaged".into()))?;
        let ca_key = KeyPair::from_pem(&read("ca.key")?)
            .map_err(|e| bad("ca.key", format!("damaged ({e})")))?;
        let path = dir.join(SERVICE_ACCOUNTS);
        if !path.exists() {
            // A cluster from before there was one; without it there are no tokens to lose.
            files::write(&path, service_account_key()?.as_bytes())?;
            tracing::info!(path = %path.display(), "made the key of service-account tokens");
        }
        let service_accounts = tokens::SigningKey::from_pem(&read(SERVICE_ACCOUNTS)?)
            .map_err(|e| bad(SERVICE_ACCOUNTS, format!("damaged ({e})")))?;
        let issuer = Issuer::from_ca_cert_der(&ca, ca_key)
            .map_err(|e| bad("ca.crt", format!("damaged ({e})")))?;
        certs::check_pair(&ca, issuer.key())
            .map_err(|()| bad("ca.key", "not the key of ca.crt".into()))?;

        let names = names::certificate_names(&options.names);
        let leaf = |file: &str, leaf: &certs::Leaf<'_>| -> Result<Identity, Error> {
            certs::ensure_leaf(&dir.join(file), leaf, &ca, &issuer)
        };
        let server = |file: &str, cn: &'static str| -> Result<Arc<Serving>, Error> {
            let identity = leaf(file, &certs::Leaf::server(cn, &names))?;
            Serving::new(cn, Arc::new(identity)).map(Arc::new)
        };
        let api = server("api.pem", "bramble-api")?;
        let broker = server("broker.pem", "bramble-broker")?;
        // External brokers give rights by the CN. No node can have this one: a node's name has no dot.
        let controller = leaf(
            "controller.pem",
            &certs::Leaf::client("bramble.controller", "bramble:controller"),
        )?;
        let admin = leaf(
            "admin.pem",
            &certs::Leaf::client("kubernetes-admin", "system:masters"),
        )?;

        Ok(Self {
            cluster,
            ca,
            api,
            broker,
            controller: Arc::new(controller),
            signing,
            service_accounts: Arc::new(service_accounts),
            admin,
            names: options.names.clone(),
            data_dir: options.data_dir.clone(),
            issuer,
        })
    }

    /// What can't be made again, by the names of its files.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn roots(&self) -> Result<Vec<(&'static str, Vec<u8>)>, Error> {
        let dir = self.data_dir.join("pki");
        let read = |name: &'static str| {
            let path = dir.join(name);
            let content = std::fs::read(&path).map_err(|source| Error::Io {
                operation: "reading",
                path,
                source,
            })?;
            Ok((name, content))
        };
        ROOTS.into_iter().map(read).collect()
    }

    /// Writes `<data-dir>/admin.kubeconfig` for an API at `url` and returns its path.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_kubeconfig(&self, url: &str) -> Result<PathBuf, Error> {
        let path = self.data_dir.join("admin.kubeconfig");
        let text = kubeconfig::kubeconfig(self.cluster.as_str(), url, &self.ca, &self.admin);
        files::ensure_file(&path, text.as_bytes())?;
        Ok(path)
    }

    /// SHA-256 of the CA's certificate (DER): what a join token carries.
    #[must_use]
    pub fn ca_sha256(&self) -> [u8; 32] {
        fingerprint(&self.ca)
    }

    /// The CA's certificate as PEM.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        certs::to_pem("CERTIFICATE", &self.ca)
    }

    /// Makes the servers' certificates again when this machine's names are others than theirs. Says
    /// which, and for how many names.
    ///
    /// # Errors
    /// [`Error::Certificate`]; the old ones stay.
    pub fn follow_names(&self) -> Result<Vec<(&'static str, usize)>, Error> {
        let wanted = names::certificate_names(&self.names);
        let mut changes = Vec::new();
        for serving in [&self.api, &self.broker] {
            if serving.names().iter().eq(&wanted) {
                continue;
            }
            let leaf = certs::Leaf::server(serving.cn, &wanted);
            let fresh = certs::sign_again(&self.issuer, &leaf, &serving.identity.key)?;
            serving.replace(fresh)?;
            changes.push((serving.cn, wanted.len()));
        }
        Ok(changes)
    }

    /// Signs a person's client certificate: `CN=<user>`, `O=` each group, valid until `until` (seconds
    /// since 1970), whatever else the request asks for.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub fn sign_user(
        &self,
        user: &str,
        groups: &[String],
        until: u64,
        csr: Csr,
    ) -> Result<CertificateDer<'static>, Error> {
        certs::sign_user(&self.issuer, user, groups, until, csr)
    }

    /// Signs a node's client certificate: `CN=<node>`, `O=system:nodes`, whatever else the request
    /// asks for.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub fn sign_node(&self, node: &NodeName, csr: Csr) -> Result<CertificateDer<'static>, Error> {
        certs::sign_node(&self.issuer, node, csr)
    }
}

/// A certificate as PEM.
pub(crate) fn certificate_pem(der: &CertificateDer<'_>) -> String {
    certs::to_pem("CERTIFICATE", der)
}

/// SHA-256 of a certificate in DER.
#[must_use]
pub fn fingerprint(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}

fn damaged(options: &Options, dir: &Path, path: PathBuf, problem: String) -> Error {
    Error::Damaged {
        path,
        dir: dir.to_owned(),
        data: options.data_dir.clone(),
        problem,
    }
}

/// Makes the data directory, for its owner alone.
///
/// # Errors
/// [`Error::Io`].
pub fn ensure_data_dir(path: &Path) -> Result<(), Error> {
    files::ensure_dir(path)
}

/// Fills a fresh array from the system's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(bytes)
}

/// Random lower-case text without look-alikes.
pub(crate) fn random_text<const N: usize>() -> Result<String, Error> {
    // 32 characters, so that every byte maps evenly.
    const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
    Ok(random::<N>()?
        .iter()
        .map(|b| char::from(ALPHABET[usize::from(b & 31)]))
        .collect())
}

/// Makes what can't be made again, all or nothing.
fn make_roots(data: &Path, dir: &Path) -> Result<(), Error> {
    let fresh = data.join("pki.new");
    // Left over from a start that was cut short; nothing in it was ever used.
    files::remove_dir(&fresh)?;
    files::ensure_dir(&fresh)?;

    let cluster = format!("c{}", random_text::<7>()?);
    let (ca_pem, ca_key) = certs::make_ca(&cluster)?;
    let signing = SigningKey::from_bytes(&random()?);
    files::write(&fresh.join("cluster-id"), format!("{cluster}\n").as_bytes())?;
    files::write(&fresh.join("ca.crt"), ca_pem.as_bytes())?;
    files::write(&fresh.join("ca.key"), ca_key.as_bytes())?;
    let key_text = format!("{}\n", hex::encode(signing.to_bytes()));
    files::write(&fresh.join("signing.key"), key_text.as_bytes())?;
    files::write(
        &fresh.join(SERVICE_ACCOUNTS),
        service_account_key()?.as_bytes(),
    )?;
    files::rename_dir(&fresh, dir)?;
    tracing::info!(cluster, dir = %dir.display(), "made the keys of a new cluster");
    Ok(())
}

fn service_account_key() -> Result<String, Error> {
    let der = tokens::SigningKey::generate().ok_or(Error::Random(getrandom::Error::UNEXPECTED))?;
    Ok(certs::to_pem("PRIVATE KEY", &der))
}

fn parse_signing(text: &str) -> Option<SigningKey> {
    let bytes: [u8; 32] = hex::decode(text.trim()).ok()?.try_into().ok()?;
    Some(SigningKey::from_bytes(&bytes))
}

#[cfg(test)]
mod tests;
