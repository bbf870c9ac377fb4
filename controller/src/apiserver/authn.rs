//! Who asks: the bearer of a client certificate, or nobody known.
//!
//! In: what TLS has verified. Out: an [`Identity`], which everything behind it (authorization,
//! admission, reviews) takes as given. Group names and extra keys are upstream's
//! (`k8s.io/apiserver/pkg/authentication/user`).

use std::collections::BTreeMap;

use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};

/// Everybody who showed who they are.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// Everybody who did not.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user of a request without credentials.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// Extra key that names the credential, for audits.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub user: String,
    /// What tells two users of one name apart in time; empty when unknown.
    pub uid: String,
    /// The user's groups, `system:authenticated` or `system:unauthenticated` included.
    pub groups: Vec<String>,
    /// What else the credential says.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// Out of a certificate that TLS has verified: the common name and the organisations.
    #[must_use]
    pub fn from_certificate(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let subject = certificate.subject();
        let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let mut groups: Vec<String> = subject
            .iter_organization()
            .filter_map(|o| o.as_str().ok())
            .map(str::to_owned)
            .collect();
        groups.push(AUTHENTICATED.to_owned());
        let id = format!("X509SHA256={}", hex::encode(Sha256::digest(der)));
        Some(Self {
            user,
            uid: String::new(),
            groups,
            extra: BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![id])]),
        })
    }

    /// A service account, by one of its tokens.
    pub(crate) fn of_account(
        namespace: &str,
        name: &str,
        uid: &str,
        extra: BTreeMap<String, Vec<String>>,
    ) -> Self {
        Self {
            user: format!("system:serviceaccount:{namespace}:{name}"),
            uid: uid.to_owned(),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                AUTHENTICATED.to_owned(),
            ],
            extra,
        }
    }

    /// Nobody known: may see health and version.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            user: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }

    /// Whether nobody known asks.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.user == ANONYMOUS
    }

    /// Whether it has this group.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_names_its_user_and_groups() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = &mut params.distinguished_name;
        name.push(rcgen::DnType::OrganizationName, "people");
        name.push(rcgen::DnType::CommonName, "ann");
        let cert = params.self_signed(&key).unwrap();
        let identity = Identity::from_certificate(cert.der()).unwrap();
        assert_eq!(identity.user, "ann");
        assert_eq!(identity.groups, ["people", AUTHENTICATED]);
        assert!(identity.extra[CREDENTIAL_ID][0].starts_with("X509SHA256="));
        assert!(Identity::anonymous().is_in(UNAUTHENTICATED));
    }
}
